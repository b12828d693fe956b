"""What an image folder holds, and how its digest is made. See docs/image_format.md."""

from __future__ import annotations

import hashlib
import json
from typing import Any

FORMAT = 1  # raised whenever an older reader would misread the folder, or golden gives new tokens
MANIFEST = "image.json"
ROM = "rom.bin"
TOKENIZER = "tokenizer.json"
ALIGNMENT = 64  # bytes; every tensor in rom.bin begins on a multiple
MANIFEST_LIMIT = 64 << 20  # bytes; a manifest is about 200 bytes a tensor


def canonical(chip: dict[str, Any]) -> bytes:
    """The one byte form of the digested part: sorted keys, no spaces, ASCII."""
    return json.dumps(chip, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def digest_of(chip: dict[str, Any]) -> str:
    """SHA-256 of the manifest's chip part, which itself holds the SHA-256 of every tensor."""
    return hashlib.sha256(canonical(chip)).hexdigest()

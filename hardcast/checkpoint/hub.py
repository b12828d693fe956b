"""Models of the Hugging Face hub. Contacted only for an id that the user wrote, never otherwise."""

from __future__ import annotations

import re
from pathlib import Path

from hardcast.errors import HardcastError

_PART = r"[A-Za-z0-9][\w.-]*"
HUB_ID = re.compile(rf"({_PART}/{_PART})(?:/(.+\.gguf))?")
FILES = ["*.json", "*.safetensors", "*.jinja"]


def is_hub_id(model: str) -> bool:
    """Whether `model` has the form org/name or org/name/file.gguf."""
    return HUB_ID.fullmatch(model) is not None


def fetch_from_hub(model: str) -> Path:
    """Downloads (or finds in the hub's own cache) a model; returns its folder or .gguf file.

    model: "org/name" for a safetensors folder, "org/name/file.gguf" for one file of it.
    Raises HardcastError if huggingface_hub is not installed or the hub does not give it.
    """
    match = HUB_ID.fullmatch(model)
    if match is None:
        raise HardcastError(f"{model}: no hub id; one looks like org/name or org/name/file.gguf")
    try:
        import huggingface_hub
    except ImportError:
        raise HardcastError(
            f"{model}: no such local path; to take it from the Hugging Face hub: "
            f"pip install 'hardcast[hub]'"
        ) from None
    repository, file = match.groups()
    try:
        if file is not None:
            return Path(huggingface_hub.hf_hub_download(repository, file))
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=FILES))
    except Exception as error:  # its errors come from several HTTP libraries, by version
        reason = " ".join(str(error).split())
        raise HardcastError(
            f"{model}: no such local path, and the Hugging Face hub does not give it: "
            f"{type(error).__name__}: {reason[:300]}"
        ) from None

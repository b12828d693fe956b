"""How a token's text becomes bytes: what the decoder of a tokenizer.json comes to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hardcast.errors import HardcastError

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
ALL = 1 << 30


def _byte_letters() -> dict[str, int]:
    """GPT-2's spelling of bytes as printable letters: letter -> byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + index): byte for index, byte in enumerate(rest)}


_LETTERS = _byte_letters()


@dataclass(frozen=True)
class Decoding:
    """byte_level: a token is spelled in GPT-2's letters. byte_fallback: `<0x0A>` is that byte.

    replaced: (letter, text) pairs, one after another. strip: spaces, at most, that the first token
    of a text loses.
    """

    byte_level: bool = False
    byte_fallback: bool = False
    replaced: tuple[tuple[str, str], ...] = ()
    strip: int = 0

    def bytes_of(self, token: str, plain: bool) -> bytes:
        """UTF-8 bytes of a token; maybe part of a letter.

        plain: an added token, whose text is found in a text as it stands. Byte-level spelling is
        not for it, though all its letters (`naïve`) may be in that alphabet.
        """
        if self.byte_level:
            if plain or not all(letter in _LETTERS for letter in token):
                return token.encode("utf-8", "replace")
            return bytes([_LETTERS[letter] for letter in token])
        match = _BYTE_TOKEN.fullmatch(token) if self.byte_fallback else None
        if match:
            return bytes([int(match[1], 16)])
        for letter, text in self.replaced:
            token = token.replace(letter, text)
        return token.encode("utf-8", "replace")


def decoding_of(decoder: Any) -> Decoding:
    """Reads a tokenizer.json's decoder.

    Raises HardcastError for one whose text could not be made token by token.
    """
    parts = parts_of(decoder, "decoders")
    kinds = [str(part.get("type")) for part in parts]
    replaced: list[tuple[str, str]] = []
    strip, fused = 0, False
    for part in parts:
        match part:
            case {"type": "ByteLevel" | "ByteFallback"}:
                pass
            case {"type": "Fuse"}:
                fused = True
            case {"type": "Replace", "pattern": {"String": str(letter)}, "content": str(text)}:
                replaced.append((letter, text))
            case {"type": "Strip", "content": " ", "start": 0 | 1, "stop": 0} if fused:
                strip = max(strip, part["start"])
            case {"type": "Metaspace"}:
                replaced.append((part.get("replacement", "▁"), " "))
                strip = ALL if prepends(part) else strip
            case _:
                raise _unsupported(kinds)
    if not {"ByteLevel", "ByteFallback", "Metaspace"} & set(kinds):
        raise _unsupported(kinds)
    if "ByteLevel" in kinds:
        if set(kinds) - {"ByteLevel", "Fuse"}:
            raise _unsupported(kinds)
        return Decoding(byte_level=True)
    return Decoding(False, "ByteFallback" in kinds, tuple(replaced), strip)


def parts_of(component: Any, name: str) -> list[dict[str, Any]]:
    """A component of tokenizer.json or, if it is a sequence, the parts under `name`, in order."""
    if not isinstance(component, dict):
        return []
    if component.get("type") != "Sequence":
        return [component]
    return [part for inner in component.get(name) or [] for part in parts_of(inner, name)]


def prepends(metaspace: dict[str, Any]) -> bool:
    """Whether a Metaspace puts a space before a text, so that decoding takes it away."""
    if metaspace.get("add_prefix_space") is False:  # the older spelling
        return False
    return metaspace.get("prepend_scheme", "always") != "never"


def _unsupported(kinds: list[str]) -> HardcastError:
    return HardcastError(
        f"tokenizer: decoder {kinds} is not supported; supported are byte-level BPE and "
        f"sentencepiece with byte fallback"
    )

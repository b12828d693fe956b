"""ROM words as text: fields of integers to the hexadecimal lines that $readmemh takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def bits_of(values: np.ndarray, width: int) -> np.ndarray:
    """uint8[..., n * width]: two's complement bits of integers[..., n], lowest first."""
    values = np.ascontiguousarray(values, dtype="<i8")
    bits = np.unpackbits(values.view(np.uint8), axis=-1, bitorder="little")
    bits = bits.reshape(*values.shape, 64)[..., :width]
    return bits.reshape(*values.shape[:-1], -1)


def hex_lines(bits: np.ndarray) -> bytes:
    """One line a word, highest digit first. bits: uint8[words, width], lowest first."""
    width = bits.shape[1]
    return hex_of_bytes(np.packbits(bits, axis=1, bitorder="little"), width)


def hex_of_bytes(words: np.ndarray, width: int) -> bytes:
    """The same from uint8[words, bytes], little-endian; width in bits."""
    count, size = words.shape
    digits = -(-width // 4)
    flipped = np.ascontiguousarray(words[:, ::-1])
    text = np.frombuffer(flipped.tobytes().hex().encode(), np.uint8).reshape(count, 2 * size)
    lines = np.full((count, digits + 1), ord("\n"), np.uint8)
    lines[:, :digits] = text[:, 2 * size - digits :]
    return lines.tobytes()


def fields(parts: Sequence[tuple[np.ndarray, int]]) -> bytes:
    """Lines of words whose fields, lowest first, are (integers[words, n], bits of each)."""
    return hex_lines(np.concatenate([bits_of(values, width) for values, width in parts], axis=1))

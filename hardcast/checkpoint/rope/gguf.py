"""RoPE's scaling out of the metadata and tensors of a GGUF file, as llama.cpp reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hardcast.checkpoint.base import check_finite, read_bytes
from hardcast.checkpoint.config import Fields
from hardcast.checkpoint.gguf_header import Header
from hardcast.errors import HardcastError
from hardcast.numerics.rope import RopeScaling, yarn_attention

FACTORS, SHORT, LONG = (
    f"{name}.weight" for name in ("rope_freqs", "rope_factors_short", "rope_factors_long")
)
ROPE_TENSORS = (FACTORS, SHORT, LONG)
KINDS = ("none", "linear", "yarn", "longrope")


def shortest(value: float) -> float:
    """The shortest decimal that the file's float32 stands for: 1e-5, not 9.999999747378752e-06."""
    with np.errstate(over="ignore"):  # an infinity is refused by ModelConfig.check
        return float(str(np.float32(value)))


def rope_scaling(path: Path, header: Header, fields: Fields, rotary: int) -> RopeScaling | None:
    """No type means linear, and a factor of 0, or none, no scaling.

    rotary: channels of a head that are turned. Raises HardcastError for what is not understood.
    """
    kind = fields.text("rope.scaling.type", "linear")
    if kind not in KINDS:
        raise HardcastError(
            f"{path}: RoPE scaling {kind!r:.40} is not supported; supported are {', '.join(KINDS)}"
        )
    old = fields.number("rope.scale_linear", 0.0)  # the key of 2023
    factor = shortest(fields.number("rope.scaling.factor", old))
    if kind in ("none", "longrope") or factor == 0:
        factor = 1.0
    if not 1 <= factor <= 1e6:
        raise HardcastError(f"{path}: RoPE scaling factor is {factor}, expected 1 to 1000000")
    stated = fields.integer("rope.scaling.original_context_length", 0)
    original = stated or fields.integer("context_length")
    if original < 1:
        raise HardcastError(f"{path}: rope.scaling.original_context_length is {original}")
    attention, betas = _attention(path, fields), _betas(path, fields)
    if SHORT in header.tensors or LONG in header.tensors:
        short, long = (_factors(path, header, name, rotary) * factor for name in (SHORT, LONG))
        return RopeScaling(
            "longrope",
            original_max_position_embeddings=original,
            factors=tuple(short.tolist()),
            long_factors=tuple(long.tolist()),
            attention_factor=attention,
        )
    if kind == "longrope":
        raise HardcastError(f"{path}: tensor {SHORT} is missing; RoPE scaling longrope needs it")
    if kind == "yarn" and factor > 1:
        return _yarn(path, fields, factor, original, attention, *betas)
    if FACTORS in header.tensors:
        factors = _factors(path, header, FACTORS, rotary) * factor
        found = tuple(factors.tolist())
        return RopeScaling("factors", factors=found, attention_factor=attention)
    if factor == 1 and attention == 1:
        return None
    return RopeScaling("linear", factor=factor, attention_factor=attention)


def _attention(path: Path, fields: Fields) -> float:
    """What multiplies cosine and sine, whatever the type; 0 stands for nothing said."""
    attention = 1.0
    for name in ("rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor"):
        attention *= shortest(fields.number(name, 1.0)) or 1.0
    if not 0 < attention <= 1e3:
        raise HardcastError(
            f"{path}: rope.scaling.attn_factor is {attention}, expected above 0, to 1000"
        )
    return attention


def _betas(path: Path, fields: Fields) -> tuple[float, float]:
    """YaRN's two bounds, in turns within the original context."""
    fast = shortest(fields.number("rope.scaling.yarn_beta_fast", 32.0))
    slow = shortest(fields.number("rope.scaling.yarn_beta_slow", 1.0))
    if not 0 < slow <= fast <= 1e6:
        raise HardcastError(
            f"{path}: rope.scaling.yarn_beta_slow {slow} and yarn_beta_fast {fast}: expected "
            f"0 < slow <= fast"
        )
    return fast, slow


def _yarn(
    path: Path,
    fields: Fields,
    factor: float,
    original: int,
    attention: float,
    fast: float,
    slow: float,
) -> RopeScaling:
    if fields.number("rope.scaling.yarn_ext_factor", -1.0) == 0:
        raise HardcastError(
            f"{path}: rope.scaling.yarn_ext_factor is 0, which makes YaRN another scaling"
        )
    return RopeScaling(
        "yarn",
        factor,
        original_max_position_embeddings=original,
        beta_fast=fast,
        beta_slow=slow,
        attention_factor=attention * yarn_attention(factor),
    )


def _factors(path: Path, header: Header, name: str, rotary: int) -> np.ndarray:
    """float64[rotary / 2]: what each frequency is divided by (Llama 3, LongRoPE)."""
    if name not in header.tensors:
        raise HardcastError(f"{path}: tensor {name} is missing; the other one is there")
    entry = header.tensors[name]
    data = read_bytes(path, name, entry.offset, entry.size_bytes)
    if entry.type_name != "F32" or len(entry.shape) != 1:
        raise HardcastError(f"{path}: tensor {name} is no float32 vector")
    factors = data.view("<f4")
    check_finite(path, name, factors)
    if factors.size != rotary // 2 or factors.min() <= 0:
        raise HardcastError(f"{path}: tensor {name} must hold {rotary // 2} factors above 0")
    return factors.astype(np.float64)

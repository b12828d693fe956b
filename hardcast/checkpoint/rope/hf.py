"""RoPE's base and scaling out of config.json: the spellings of transformers 4 and 5."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hardcast.checkpoint.config import Family, Fields
from hardcast.errors import HardcastError
from hardcast.numerics.rope import RopeScaling, yarn_attention

DEFAULT_THETA = 10000.0  # what transformers takes where config.json does not say
# Keys of the table that count, by its type; "type" is the older name of rope_type. dynamic
# stretches RoPE beyond max_position_embeddings only, where no chip goes: there it is default.
_ALWAYS = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
_ORIGINAL = "original_max_position_embeddings"
_SCALED = {
    "default": set[str](),
    "dynamic": {"factor"},
    "linear": {"factor"},
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", _ORIGINAL},
    "yarn": {
        "factor", "attention_factor", "mscale", "mscale_all_dim", "beta_fast", "beta_slow",
        "truncate", _ORIGINAL,
    },
    "longrope": {"factor", "attention_factor", "short_factor", "long_factor", _ORIGINAL},
}  # fmt: skip


@dataclass(frozen=True)
class Rope:
    """What a config.json says of RoPE; unknown: keys that nobody reads."""

    theta: float
    scaling: RopeScaling | None
    partial: float
    unknown: list[str]


def rope(fields: Fields, family: Family) -> Rope:
    """As in transformers 5: rope_scaling goes before rope_parameters, and what stands in the table
    before what stands beside it. Raises HardcastError for a type that is not understood.
    """
    where = fields.where
    name = "rope_scaling" if fields.values.get("rope_scaling") else "rope_parameters"
    table = fields.values.get(name) or {}
    if not isinstance(table, dict):
        raise HardcastError(f"{where}: {name} is {table!r:.60}, expected an object")
    for key, value in table.items():
        if isinstance(value, dict):
            raise HardcastError(
                f"{where}: {name} gives {key!r:.40} a RoPE of its own; all layers must have one"
            )
    inner = Fields(f"{where} ({name})", table)
    theta = inner.number("rope_theta", fields.number("rope_theta", DEFAULT_THETA))
    beside = fields.number("partial_rotary_factor", 1.0) if family.partial else 1.0
    partial = inner.number("partial_rotary_factor", beside)
    if partial != 1.0 and not family.partial:
        raise HardcastError(f"{where}: partial_rotary_factor other than 1 is not supported")
    if not 0 < partial <= 1:
        raise HardcastError(f"{where}: partial_rotary_factor is {partial}, expected above 0, to 1")
    kind = inner.text("rope_type", inner.text("type", "default"))
    if kind == "su" or (kind == "yarn" and family.partial):  # what early Phi-3 called it
        kind = "longrope"
    if kind not in _SCALED:
        raise HardcastError(
            f"{where}: RoPE scaling {kind!r:.40} is not supported; supported are "
            f"{', '.join(_SCALED)}"
        )
    read = _ALWAYS | _SCALED[kind]
    unknown = [f"{name}.{key}" for key, value in table.items() if value and key not in read]
    return Rope(theta, _scaling(kind, inner, fields), partial, unknown)


def _scaling(kind: str, inner: Fields, fields: Fields) -> RopeScaling | None:
    if kind in ("default", "dynamic"):
        return None
    where = fields.where
    if kind == "linear":
        return RopeScaling(kind="linear", factor=_stretch(where, inner.number("factor")))
    most = fields.integer("max_position_embeddings")
    if kind == "llama3":
        context = fields.integer(_ORIGINAL, inner.integer(_ORIGINAL, most))
    else:
        context = inner.integer(_ORIGINAL, fields.integer(_ORIGINAL, most))
    if context < 1:
        raise HardcastError(f"{where}: {_ORIGINAL} is {context}")
    if kind == "llama3":
        factor = _stretch(where, inner.number("factor"))
        low, high = inner.number("low_freq_factor"), inner.number("high_freq_factor")
        if not 0 < low < high <= 1e6:
            raise HardcastError(
                f"{where}: low_freq_factor {low} and high_freq_factor {high}: "
                f"expected 0 < low < high"
            )
        return RopeScaling("llama3", factor, low, high, context)
    factor = inner.number("factor", most / context)
    if kind == "longrope":
        stated = math.sqrt(1 + math.log(factor) / math.log(context)) if factor > 1 < context else 1
        return RopeScaling(
            "longrope",
            original_max_position_embeddings=context,
            factors=_factors(inner, "short_factor"),
            long_factors=_factors(inner, "long_factor"),
            attention_factor=_attention(where, inner.number("attention_factor", stated)),
        )
    factor = _stretch(where, factor)
    stated = yarn_attention(factor)
    mscale, all_dim = inner.number("mscale", 0), inner.number("mscale_all_dim", 0)
    if mscale and all_dim:
        stated = yarn_attention(factor, mscale) / yarn_attention(factor, all_dim)
    fast, slow = inner.number("beta_fast", 32), inner.number("beta_slow", 1)
    if not 0 < slow <= fast <= 1e6:
        raise HardcastError(
            f"{where}: beta_slow {slow} and beta_fast {fast}: expected 0 < slow <= fast"
        )
    return RopeScaling(
        "yarn",
        factor,
        original_max_position_embeddings=context,
        beta_fast=fast,
        beta_slow=slow,
        truncate=inner.flag("truncate", True),
        attention_factor=_attention(where, inner.number("attention_factor", stated)),
    )


def _stretch(where: str, factor: float) -> float:
    if not 1 <= factor <= 1e6:
        raise HardcastError(f"{where}: RoPE scaling factor is {factor}, expected 1 to 1000000")
    return factor


def _attention(where: str, factor: float) -> float:
    if not 0 < factor <= 1e3:
        raise HardcastError(f"{where}: attention_factor is {factor}, expected above 0, to 1000")
    return factor


def _factors(inner: Fields, name: str) -> tuple[float, ...]:
    """What each frequency is divided by."""
    values = inner.values.get(name)
    if not isinstance(values, list) or not values:
        raise HardcastError(f"{inner.where}: {name} is {values!r:.60}, expected a list of numbers")
    listed = Fields(inner.where, {f"{name}[{i}]": value for i, value in enumerate(values)})
    found = tuple(listed.number(key) for key in listed.values)
    if not all(0 < value <= 1e6 for value in found):
        raise HardcastError(f"{inner.where}: {name} must hold numbers above 0")
    return found

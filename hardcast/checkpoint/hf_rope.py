"""RoPE's base and scaling out of config.json: the spellings of transformers 4 and 5."""

from __future__ import annotations

from hardcast.checkpoint.config import Fields
from hardcast.errors import HardcastError
from hardcast.numerics.rope import RopeScaling

DEFAULT_THETA = 10000.0  # what transformers takes when config.json does not say
# Keys of the table that count, by its type; "type" is the older name of rope_type. dynamic
# stretches RoPE beyond max_position_embeddings only, where no chip goes: there it is default.
_ALWAYS = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
_SCALED = {
    "default": set[str](),
    "dynamic": {"factor"},
    "linear": {"factor"},
    "llama3": {
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    },
}


def rope(fields: Fields) -> tuple[float, RopeScaling | None, list[str]]:
    """(rope_theta, scaling, keys that nobody reads) of a config.json.

    As in transformers 5: rope_scaling goes before rope_parameters, and what stands in the table
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
    if inner.number("partial_rotary_factor", 1.0) != 1.0:
        raise HardcastError(f"{where}: partial_rotary_factor other than 1 is not supported")
    kind = inner.text("rope_type", inner.text("type", "default"))
    if kind not in _SCALED:
        raise HardcastError(
            f"{where}: RoPE scaling {kind!r:.40} is not supported; supported are "
            f"{', '.join(_SCALED)}"
        )
    read = _ALWAYS | _SCALED[kind]
    unknown = [f"{name}.{key}" for key, value in table.items() if value and key not in read]
    return theta, _scaling(kind, inner, fields), unknown


def _scaling(kind: str, inner: Fields, fields: Fields) -> RopeScaling | None:
    if kind in ("default", "dynamic"):
        return None
    where = fields.where
    factor = inner.number("factor")
    if not 1 <= factor <= 1e6:
        raise HardcastError(f"{where}: RoPE scaling factor is {factor}, expected 1 to 1000000")
    if kind == "linear":
        return RopeScaling(kind="linear", factor=factor)
    low, high = inner.number("low_freq_factor"), inner.number("high_freq_factor")
    if not 0 < low < high <= 1e6:
        raise HardcastError(
            f"{where}: low_freq_factor {low} and high_freq_factor {high}: expected 0 < low < high"
        )
    name = "original_max_position_embeddings"
    beside = inner.integer(name, fields.integer("max_position_embeddings"))
    context = fields.integer(name, beside)
    if context < 1:
        raise HardcastError(f"{where}: original_max_position_embeddings is {context}")
    return RopeScaling("llama3", factor, low, high, context)

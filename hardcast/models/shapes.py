"""Published model sizes by name (shapes.toml): a chip can be sized before a checkpoint is fetched.

A helper of this room, not an architecture.
"""

from __future__ import annotations

import itertools
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from hardcast.checkpoint.config import Layer, LocalRope, ModelConfig
from hardcast.errors import HardcastError
from hardcast.numerics.rope import RopeScaling

SHAPES_PATH = Path(__file__).with_name("shapes.toml")
NONE = "none"  # TOML has no null, and a left-out key is refused

_OWN_KEYS = {"source": str, "parameters": int}
_RULE = (  # of a RoPE scaling, whichever kind it is
    "kind",
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
)
# Fields of ModelConfig that most models leave out.
_RARE = ("layers", "local_rope", "query_pre_attn_scalar", "rotary_dim")


@dataclass(frozen=True)
class NamedShape:
    """A published model without its weights.

    name: key in shapes.toml. config: its sizes. parameters: published count of weights, each
    tensor once. source: the Hugging Face repository whose config.json the sizes come from.
    """

    name: str
    config: ModelConfig
    parameters: int
    source: str


def shape_names() -> list[str]:
    """Names of the known shapes, in the file's order (families together, small to large)."""
    return list(_shapes())


def get_shape(name: str) -> NamedShape:
    """The shape called `name`.

    Raises:
        HardcastError: no such shape; the message lists the known ones.
    """
    try:
        return _shapes()[name]
    except KeyError:
        raise HardcastError(
            f"no shape named {name!r}; known shapes: {', '.join(shape_names())}"
        ) from None


@cache
def _shapes() -> dict[str, NamedShape]:
    return load_shapes(SHAPES_PATH)


def load_shapes(path: Path) -> dict[str, NamedShape]:
    """Reads a shapes file.

    Raises:
        HardcastError: not TOML, or a shape with a key missing, unknown or of the wrong type.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HardcastError(f"{path}: cannot be read as TOML ({error})") from None
    return {name: _shape(f"{path.name}: {name}", name, table) for name, table in tables.items()}


def _shape(where: str, name: str, table: Any) -> NamedShape:
    if not isinstance(table, dict):
        raise HardcastError(f"{where} is not a table of sizes")
    sizes = get_type_hints(ModelConfig)
    del sizes["biases"]  # no published model here has any beside its family's
    for key in _RARE:
        if key not in table:
            del sizes[key]
    _same_keys(where, set(table), set(sizes) | set(_OWN_KEYS))
    for key, kind in _OWN_KEYS.items():
        _value(f"{where}.{key}", table[key], kind)
    fields = {k: _value(f"{where}.{k}", table[k], t) for k, t in sizes.items()}
    if "layers" in fields:  # as many as there are: those of the file in turn
        count = fields["num_hidden_layers"]
        fields["layers"] = tuple(itertools.islice(itertools.cycle(fields["layers"]), count))
    config = ModelConfig(**fields)
    config.check(where)
    return NamedShape(name, config, table["parameters"], table["source"])


def _value(where: str, value: Any, kind: Any) -> Any:
    """`value` as ModelConfig wants it. kind: a type, `type | None`, or `tuple[type, ...]`."""
    if get_origin(kind) is tuple:
        if not isinstance(value, list) or not value:
            raise HardcastError(f"{where} is {value!r:.60}, expected a list")
        return tuple(_value(where, item, get_args(kind)[0]) for item in value)
    allowed = get_args(kind) or (kind,)
    if value == NONE and NoneType in allowed:
        return None
    inner = next((t for t in (RopeScaling, Layer, LocalRope) if t in allowed), None)
    if inner is not None and isinstance(value, dict):
        hints = get_type_hints(inner)
        if inner is RopeScaling:
            hints = {key: hints[key] for key in hints if key in value or key in _RULE}
        _same_keys(where, set(value), set(hints))
        return inner(**{k: _value(f"{where}.{k}", value[k], t) for k, t in hints.items()})
    if type(value) not in allowed:
        names = [NONE if t is NoneType else t.__name__ for t in allowed]
        raise HardcastError(f"{where} is {value!r}, expected {' or '.join(names)}")
    return value


def _same_keys(where: str, found: set[str], expected: set[str]) -> None:
    if missing := sorted(expected - found):
        raise HardcastError(f"{where} lacks {', '.join(missing)}")
    if unknown := sorted(found - expected):
        raise HardcastError(f"{where} has unknown key {', '.join(unknown)}")

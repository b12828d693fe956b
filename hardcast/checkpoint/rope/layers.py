"""What config.json says of each layer: which see a window, which turn nothing.

As transformers decides it: layer_types goes before what it would be derived from.
"""

from __future__ import annotations

from hardcast.checkpoint.config import LAYER_LIMIT, Family, Fields, Layer
from hardcast.errors import HardcastError

WINDOWED, FULL = "sliding_attention", "full_attention"  # of layer_types


def layers(fields: Fields, family: Family, model_type: str) -> tuple[int | None, tuple[Layer, ...]]:
    """(the window of every layer, ()) where all are alike, or (None, each layer).

    Raises HardcastError for a description that does not fit the layers, or fits no window.
    """
    count = fields.integer("num_hidden_layers")
    if not 0 < count <= LAYER_LIMIT:
        return None, ()  # ModelConfig.check refuses it
    turned = _turned(fields, count) if family.unturned else [True] * count
    window = _window(fields, family, model_type)
    windowed = _windowed(fields, family, model_type, window, turned)
    if any(windowed) and window is None:
        raise HardcastError(
            f"{fields.where}: a sliding window in {sum(windowed)} of {count} layers with no "
            f"sliding_window"
        )
    if all(turned) and len(set(windowed)) <= 1:
        return (window if all(windowed) else None), ()
    return None, tuple(
        Layer(window if sees_window else None, "rope" if turns else None)
        for sees_window, turns in zip(windowed, turned, strict=True)
    )


def _window(fields: Fields, family: Family, model_type: str) -> int | None:
    """The window that there is, whichever layers see it."""
    if model_type not in family.window_types:
        return None
    if family.window_switch and not fields.flag("use_sliding_window", False):
        return None
    stated = fields.values.get("sliding_window", family.window_default)
    return None if stated is None else fields.integer("sliding_window", family.window_default)


def _windowed(
    fields: Fields, family: Family, model_type: str, window: int | None, turned: list[bool]
) -> list[bool]:
    """Whether each layer sees the window."""
    count = len(turned)
    kinds = layer_kinds(fields, count)
    if model_type in family.window_types and not family.window_switch:  # all, whatever is said
        windowed = [window is not None] * count
        if kinds is not None and [kind == WINDOWED for kind in kinds] != windowed:
            said = "no sliding_window" if window is None else f"sliding_window {window}"
            raise HardcastError(
                f"{fields.where}: layer_types gives {kinds.count(WINDOWED)} of {count} layers a "
                f"sliding window with {said}; in a {model_type} model all or none have it"
            )
        return windowed
    if kinds is not None:
        return [kind == WINDOWED for kind in kinds]
    if window is None:
        return [False] * count
    if family.unturned:
        return [not turns for turns in turned]
    first = fields.integer("max_window_layers", 28)
    return [index >= first for index in range(count)]


def layer_kinds(fields: Fields, count: int) -> list[str] | None:
    """layer_types, one an existing layer; None if it is not there."""
    kinds = fields.values.get("layer_types")
    if not kinds:
        return None
    if not isinstance(kinds, list) or len(kinds) < count:
        raise HardcastError(
            f"{fields.where}: layer_types is {kinds!r:.60}, expected one of {count} layers each"
        )
    for kind in kinds[:count]:
        if kind not in (WINDOWED, FULL):
            raise HardcastError(
                f"{fields.where}: layer_types holds {kind!r:.60}; supported are {FULL} and "
                f"{WINDOWED}"
            )
    return kinds[:count]


def _turned(fields: Fields, count: int) -> list[bool]:
    """Whether each layer has RoPE: no_rope_layers (1: it has), or all but every so-manieth."""
    stated = fields.values.get("no_rope_layers")
    if stated is None:
        interval = fields.integer("no_rope_layer_interval", 4)
        if interval < 1:
            raise HardcastError(
                f"{fields.where}: no_rope_layer_interval is {interval}, expected at least 1"
            )
        return [(index + 1) % interval != 0 for index in range(count)]
    if not isinstance(stated, list) or len(stated) < count:
        raise HardcastError(
            f"{fields.where}: no_rope_layers is {stated!r:.60}, expected one of {count} layers each"
        )
    for value in stated[:count]:
        if value not in (0, 1):
            raise HardcastError(
                f"{fields.where}: no_rope_layers holds {value!r:.60}, expected 0 (no RoPE) or 1"
            )
    return [bool(value) for value in stated[:count]]

"""What else runs such models (rivals/*.toml): GPUs, SRAM machines, and other hardwired chips.

A rival's file has texts, figures of a device and of the system that it is sold as, and what is
published of its speed: of one user, and of a device at full load, which are never mixed. What was
published and cannot be stands under `refused`. Found by listing the folder.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from hardcast.errors import HardcastError
from hardcast.models.shapes import NamedShape, get_shape, shape_names
from hardcast.technology.figure import Figure, load_figures

FOLDER = Path(str(resources.files(__package__))) / "rivals"

TEXTS = ("title", "vendor", "status", "memory", "precision", "cooling", "infrastructure", "source")
CHOICES = {
    "status": ("sold", "service", "announced", "paper"),
    "memory": ("hbm", "sram", "rom"),
    "cooling": ("air", "liquid", "air or liquid", "not published"),
}
# Of one device, and of what is sold: name, unit.
UNITS = {
    "device.process_nm": "nm",
    "device.area_mm2": "mm2",
    "device.memory_bytes": "bytes",
    "device.memory_bytes_s": "bytes/s",
    "device.peak_bf16": "op/s",
    "device.peak_fp8": "op/s",
    "device.peak_int8": "op/s",
    "device.peak_fp4": "op/s",
    "device.power_w": "W",
    "device.price_usd": "USD",
    "device.rent_usd_h": "USD/h",
    "device.layer_us": "us",  # of a layer for one user, beside the reading of its weights
    "device.batched_share": "of the roofline",  # that is reached at full load
    "system.devices": "devices",
    "system.power_w": "W",
    "system.price_usd": "USD",
}
# Tables with one figure for a model and a key: name, unit.
BY_MODEL = {
    "tokens_s_user": "tokens/s",
    "tokens_s_device": "tokens/s",
    "refused": "tokens/s",
    "devices": "devices",
    "api_usd": "USD",
}
LOADED = {"tokens_s_user": False, "tokens_s_device": True}  # whether keys have lengths
COST = "usd_per_million_tokens"  # a table of models
PRECISIONS = ("bf16", "fp8", "int8", "fp4")
ANY, ROM = "any", "rom"  # precisions not said, and of a model in ROM
OTHER_MODELS = ("gpt-oss-120b",)  # published figures of models that are no named shape


@dataclass(frozen=True)
class Claim:
    """A published speed. model: a shape's name. precision: of its weights, or ANY, or ROM.

    lengths: tokens in and out of a user, for a device at full load; None for one user's speed.
    devices: that worked together, where that is known.
    """

    model: str
    precision: str
    lengths: tuple[int, int] | None
    figure: Figure
    devices: Figure | None


@dataclass(frozen=True)
class Rival:
    """A chip or service that we are compared with.

    users: speeds of one user. batched: of one device at full load. refused: of either kind, that
    cannot be true as published.
    """

    name: str
    texts: Mapping[str, str]
    figures: Mapping[str, Figure]
    users: tuple[Claim, ...]
    batched: tuple[Claim, ...]
    refused: tuple[Claim, ...]

    @property
    def title(self) -> str:
        """What people call it."""
        return self.texts["title"]

    def user_claims(self, shape: NamedShape) -> list[Claim]:
        """Published one-user speeds of models with the shape's sizes, the fastest first."""
        return sorted(_of(self.users, shape), key=lambda c: -c.figure.value[0])

    def batched_claim(self, shape: NamedShape, lengths: tuple[int, int]) -> Claim | None:
        """A device's published speed at full load: at these lengths, else the nearest to them.

        Nearest in the tokens that one token of output costs, (in + out) / out, then in length.
        """
        return min(_of(self.batched, shape), key=lambda c: _apart(c, lengths), default=None)

    def by_model(self, table: str, shape: NamedShape) -> Figure | None:
        """A figure of `api_usd` or `usd_per_million_tokens` for a model with the shape's sizes."""
        for name, figure in self.figures.items():
            model, _ = _model_and_key(name, table)
            if model and same_sizes(model, shape):
                return figure
        return None


def rival_names() -> list[str]:
    """Names of the rivals, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


@cache
def get_rival(name: str) -> Rival:
    """The rival called `name`. Raises HardcastError, with the nearest name, if there is none."""
    names = rival_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}"
        raise HardcastError(f"no rival {name!r}; {hint}")
    return load_rival(FOLDER / f"{name}.toml")


def load_rival(path: Path) -> Rival:
    """A rival from its file.

    Raises HardcastError for a text or figure that is missing, unknown, of another unit, or about a
    model that is neither a named shape nor in OTHER_MODELS.
    """
    texts, figures = load_figures(path)
    for key in TEXTS:
        if not texts.get(key):
            raise HardcastError(f"{path.name} has no {key}")
    for key in texts:
        if key not in TEXTS:
            raise HardcastError(f"{path.name}: unknown text {key}")
    for key, choices in CHOICES.items():
        if texts[key] not in choices:
            raise HardcastError(
                f"{path.name}: {key} is {texts[key]!r}; there are: {', '.join(choices)}"
            )
    for name, figure in figures.items():
        _check(path.name, name, figure)
    for name in ("device.process_nm", "system.devices"):
        if name not in figures:
            raise HardcastError(f"{path.name} has no {name}")
    claims = {
        table: tuple(_claims(figures, table))
        for table in ("tokens_s_user", "tokens_s_device", "refused")
    }
    return Rival(path.stem, texts, figures, *claims.values())


def same_sizes(model: str, shape: NamedShape) -> bool:
    """Whether a named model has the shape's sizes, so that it runs as fast."""
    if model == shape.name:
        return True
    return model in shape_names() and _sizes(get_shape(model)) == _sizes(shape)


def _sizes(shape: NamedShape) -> tuple[object, ...]:
    c = shape.config
    return (
        shape.parameters,
        c.hidden_size,
        c.intermediate_size,
        c.num_hidden_layers,
        c.num_attention_heads,
        c.num_key_value_heads,
        c.head_dim,
        c.vocab_size,
        [c.layer(index).window for index in range(c.num_hidden_layers)],
    )


def _check(file: str, name: str, figure: Figure) -> None:
    if name in UNITS:
        unit = UNITS[name]
    elif name.startswith(f"{COST}."):
        _check_model(file, name.removeprefix(f"{COST}."))
        unit = "USD"
    else:
        table = name.split(".")[0]
        model, key = _model_and_key(name, table)
        if table not in BY_MODEL or not model:
            raise HardcastError(f"{file}: unknown figure {name}")
        _check_model(file, model)
        if table != "api_usd":
            _, lengths = _parse(f"{file}: {name}", key)
            if table in LOADED and (lengths is not None) != LOADED[table]:
                wanted = "fp8-1000x1000" if LOADED[table] else "fp8"
                raise HardcastError(f"{file}: {name}: expected a key as {wanted}")
        unit = BY_MODEL[table]
    if figure.unit != unit:
        raise HardcastError(f"{file}: {name} is in {figure.unit}, expected {unit}")
    if figure.at:
        raise HardcastError(f"{file}: {name} is a curve, expected one value")


def _check_model(file: str, model: str) -> None:
    known = [*shape_names(), *OTHER_MODELS]
    if model not in known:
        near = difflib.get_close_matches(model, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise HardcastError(f"{file}: unknown model {model!r}{hint}")


def _model_and_key(name: str, table: str) -> tuple[str, str]:
    """Of `table.model.key`; a model's name may hold dots, a key none. Empty for other figures."""
    if table == COST:
        model = name.removeprefix(f"{COST}.")
        return (model, "") if model != name else ("", "")
    found = re.fullmatch(rf"{table}\.(.+)\.([^.]+)", name)
    return (found[1], found[2]) if found else ("", "")


def _parse(where: str, key: str) -> tuple[str, tuple[int, int] | None]:
    """`fp8` is one user's; `fp8-1000x2000` a full device's, with tokens in and out."""
    found = re.fullmatch(r"(\w+?)(?:-(\d+)x(\d+))?", key)
    if not found or found[1] not in (*PRECISIONS, ANY, ROM):
        raise HardcastError(
            f"{where}: expected {', '.join(PRECISIONS)}, {ANY} or {ROM}, as fp8 or fp8-1000x1000"
        )
    return found[1], (int(found[2]), int(found[3])) if found[2] else None


def _claims(figures: Mapping[str, Figure], table: str) -> Iterator[Claim]:
    for name, figure in figures.items():
        model, key = _model_and_key(name, table)
        if model:
            precision, lengths = _parse(name, key)
            devices = figures.get(f"devices.{model}.{key}")
            yield Claim(model, precision, lengths, figure, devices)


def _of(claims: tuple[Claim, ...], shape: NamedShape) -> list[Claim]:
    return [claim for claim in claims if same_sizes(claim.model, shape)]


def _apart(claim: Claim, lengths: tuple[int, int]) -> tuple[float, float]:
    assert claim.lengths is not None  # load_rival lets none pass without
    (ours_in, ours_out), (its_in, its_out) = lengths, claim.lengths
    work = abs((its_in + its_out) / its_out - (ours_in + ours_out) / ours_out)
    return work, abs(sum(claim.lengths) - sum(lengths))

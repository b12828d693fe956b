"""What an answer would have taken on the chip, and on a GPU: predictions, each with its source.

    silicon = Silicon(image)
    silicon.chip.tokens_s_user.value      # with low, high, kind, source, note: economics.cells.Cell
    silicon.answer(tokens=120)            # what the API adds to an answer
    silicon.gpus                          # the same of what is sold with HBM

Reckoned when first asked for, in about half a second: warm() does it beforehand.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hardcast.chip.design import Design
from hardcast.chip.fit import fit
from hardcast.chip.subject import open_subject, preset_for
from hardcast.economics import cells
from hardcast.economics.cells import Cell
from hardcast.economics.cost import wall_power_w
from hardcast.economics.cost_figures import cost_figures
from hardcast.economics.quote import priced_assumptions, quote
from hardcast.economics.rival_cells import rival_cells
from hardcast.economics.rivals import Rival, get_rival, rival_names
from hardcast.economics.roofline import LENGTHS
from hardcast.errors import HardcastError
from hardcast.image import Image
from hardcast.models.shapes import NamedShape, get_shape, shape_names
from hardcast.technology.assumptions import Assumptions, Real
from hardcast.technology.uncertainty import bands

DEFAULT_NODE = "n6"
POSITION = 1023  # of a user in the context: what rivals' speeds are mostly of
SYSTEMS = 10_000  # that share design and masks


@dataclass(frozen=True)
class SiliconRate:
    """A machine's rates. Each Cell has value (None if not known), low, high, kind, source, note.

    tokens_s_user: of one user. mj_per_token: at the wall, at full load. usd_per_million_tokens: to
    whoever runs it. node, preset: of a chip of ours, else empty.
    """

    name: str
    title: str
    tokens_s_user: Cell
    mj_per_token: Cell
    usd_per_million_tokens: Cell
    node: str = ""
    preset: str = ""

    def to_json(self) -> dict[str, Any]:
        """All of it; cells as the `compare` verb writes them."""
        return {
            name: value.to_json() if isinstance(value, Cell) else value
            for name in self.__dataclass_fields__
            if (value := getattr(self, name)) != ""
        }


class Silicon:
    """The rates of an image's chip and of GPUs. Safe to use from any thread.

    node: as `hardcast chip --node` has it.
    """

    def __init__(self, image: Image, node: str = DEFAULT_NODE) -> None:
        self._image, self._node = image, node
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Reckons everything now."""
        with self._lock:
            _ = self._found

    @property
    def chip(self) -> SiliconRate | None:
        """The chip's rates; None where no preset suits the model, or the node does not."""
        self.warm()
        return self._found[0]

    @property
    def gpus(self) -> tuple[SiliconRate, ...]:
        """What is sold with HBM, the fastest for one user first; none for a model of no shape."""
        self.warm()
        return self._found[1]

    def answer(self, tokens: int) -> dict[str, Any] | None:
        """What the chip would have taken for so many tokens of an answer; None without a chip.

        A prediction, at position 1,023 for every token; the prompt is left out.
        """
        chip = self.chip
        if chip is None:
            return None
        rate, energy, cost = chip.tokens_s_user, chip.mj_per_token, chip.usd_per_million_tokens
        assert rate.value and energy.value is not None and cost.value is not None  # of ours, always
        return {
            "kind": "prediction",
            "node": chip.node,
            "preset": chip.preset,
            "tokens_per_second": rate.value,
            "tokens_per_second_low": rate.low,
            "tokens_per_second_high": rate.high,
            "seconds": tokens / rate.value,
            "millijoules": tokens * energy.value,
            "usd": tokens * cost.value / 1e6,
            "source": rate.source,
        }

    @cached_property
    def _found(self) -> tuple[SiliconRate | None, tuple[SiliconRate, ...]]:
        try:
            chip = chip_rate(self._image, self._node)
        except HardcastError:  # serving does not depend on it
            chip = None
        return chip, gpu_rates(self._image)


def chip_rate(image: Image, node: str = DEFAULT_NODE) -> SiliconRate:
    """The rates of the chip that suits an image: 10th percentile, point, 90th.

    Raises HardcastError for an unknown node and where no preset suits the model.
    """
    a = priced_assumptions(node)
    subject = open_subject(str(image.path))
    preset = preset_for(subject.program.shape.hidden_size)
    parameters = dataclasses.replace(preset.chip, bits=subject.bits)
    design = fit(Design(subject, parameters), a)
    position = min(POSITION, design.chip.context - 1)

    def answer(a: Assumptions) -> Mapping[str, Real]:
        found = quote(design, a, position, SYSTEMS)
        power = wall_power_w(found.product, a)
        return {
            "tokens/s": found.product.tokens_s_user,
            "mJ": power / found.product.tokens_s * 1e3,
            "USD": found.serving.usd_per_million_tokens,
        }

    name = a.texts["node.name"]
    source = f"hardcast chip: {preset.chip.name} on {name}"
    note = f"predicted, at position {position:,}; low and high: the 10th and 90th percentile"
    rate, energy, cost = (
        cells.of_band((band.low, band.point, band.high), unit, "derived", source, note)
        for unit, band in bands(answer, a).items()
    )
    title = f"this chip, {preset.chip.name} on {name}"
    return SiliconRate("chip", title, rate, energy, cost, name, preset.chip.name)


def gpu_rates(image: Image) -> tuple[SiliconRate, ...]:
    """The rates of every GPU with HBM that is sold: published for the model, else reckoned."""
    shape = shape_of(image)
    if shape is None:
        return ()
    found = []
    for rival in map(get_rival, rival_names()):
        if rival.texts["memory"] == "hbm" and rival.texts["status"] == "sold":
            of = rival_cells(rival, shape, cost_figures(), None, LENGTHS)
            rate, energy, cost = (
                _with_source(of[name], rival)
                for name in ("tokens_s_user", "mj_per_token", "usd_per_million_tokens")
            )
            found.append(SiliconRate(rival.name, rival.title, rate, energy, cost))
    return tuple(sorted(found, key=lambda rate: -(rate.tokens_s_user.value or 0)))


def _with_source(cell: Cell, rival: Rival) -> Cell:
    """Of what is reckoned in a comparison, the data that it is reckoned from."""
    if cell.source != cells.HERE:
        return cell
    return dataclasses.replace(cell, source=f"hardcast compare, from {rival.texts['source']}")


def shape_of(image: Image) -> NamedShape | None:
    """The named shape that has an image's sizes, if there is one."""
    sizes = dataclasses.asdict(image.program.shape)
    for shape in map(get_shape, shape_names()):
        if all(getattr(shape.config, field) == size for field, size in sizes.items()):
            return shape
    return None

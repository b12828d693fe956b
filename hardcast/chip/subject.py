"""What is to be cast: a program and the form of each of its matrices, from a shape or an image."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hardcast import models
from hardcast.chip.parameters import BLOCK, Preset, get_preset, preset_names
from hardcast.chip.schedule import Op, grouped, schedule
from hardcast.errors import HardcastError
from hardcast.image import open_image
from hardcast.models.shapes import get_shape, shape_names
from hardcast.program.program import Program
from hardcast.program.step import Embed, Matvec
from hardcast.quantize import recipe as recipes


@dataclass(frozen=True)
class Form:
    """How a matrix is coded. bits: of a plane. group_size: inputs that share a scale, 0: a row."""

    bits: int
    planes: int
    group_size: int
    offsets: bool


@dataclass(frozen=True)
class Subject:
    """A model to be cast. digest: of its image, "" for a shape. parameters: weights, each once."""

    name: str
    program: Program
    forms: Mapping[str, Form]
    recipe: str
    digest: str = ""

    @cached_property
    def parameters(self) -> int:
        """Weights of all matrices."""
        return sum(rows * columns for rows, columns in self.program.matrices().values())

    @cached_property
    def embedding(self) -> str:
        """Name of the matrix that EMBED reads."""
        return next(step.matrix for step in self.program.steps if isinstance(step, Embed))

    @cached_property
    def planes(self) -> dict[str, int]:
        """Planes of each matrix, as the schedule wants them."""
        return {name: form.planes for name, form in self.forms.items()}

    @cached_property
    def ops(self) -> list[Op]:
        """The words of its program, as every chip runs it."""
        return schedule(self.program, self.planes)

    @cached_property
    def groups(self) -> list[tuple[Op, int, bool]]:
        """Of these, the ones that take the same cycles, each with how many there are."""
        return grouped(self.ops)

    @cached_property
    def bits(self) -> int:
        """B of the lanes that its codes need."""
        return max(form.bits for form in self.forms.values())

    @cached_property
    def code_bits(self) -> float:
        """Bits of codes a weight, scales left out."""
        shapes = self.program.matrices()
        total = sum(
            rows * columns * self.forms[name].bits * self.forms[name].planes
            for name, (rows, columns) in shapes.items()
        )
        return total / self.parameters

    @cached_property
    def swept(self) -> list[Form]:
        """Forms of the matrices that tiles hold: all but an embedding that is no head."""
        steps = self.program.steps
        return [self.forms[step.matrix] for step in steps if isinstance(step, Matvec)]

    @cached_property
    def group_size(self) -> int:
        """Inputs that share a scale field of a ROM word: 64 where that divides all groups."""
        return BLOCK if all(form.group_size % BLOCK == 0 for form in self.swept) else BLOCK // 2

    @cached_property
    def offsets(self) -> bool:
        """Whether ROM words have fields of offsets."""
        return any(form.offsets for form in self.swept)


def open_subject(name: str, recipe: str | None = None) -> Subject:
    """A known shape under a recipe, or an image's folder (whose own forms count).

    recipe: for a shape, by default that of the preset which suits it.
    Raises HardcastError for a name that is neither, with the nearest shape, and for a recipe
    asked of an image.
    """
    if Path(name).is_dir():
        if recipe:
            raise HardcastError(f"{name} is an image, whose codes are what they are: no --recipe")
        image = open_image(name)
        forms = {
            matrix: Form(
                entry["bits"], entry["planes"], entry["group_size"], image.has(f"{matrix}.offsets")
            )
            for matrix, entry in image.matrices.items()
        }
        return Subject(
            Path(name).name, image.program, forms, image.chip["recipe"]["name"], image.digest
        )
    if name not in shape_names():
        near = difflib.get_close_matches(name, shape_names(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise HardcastError(
            f"{name!r} is no image's folder and no known shape; {hint}`hardcast models` lists them"
        )
    program = models.build_program(get_shape(name).config)
    recipe = recipe or preset_for(program.shape.hidden_size).recipe
    code = recipes.get(recipe).fitted(program.matrices())
    forms = {}
    for matrix, (_, columns) in program.matrices().items():
        of = code.code(matrix)
        forms[matrix] = Form(of.bits, of.planes, of.group(columns), of.kind == "asymmetric")
    return Subject(name, program, forms, recipe)


def preset_for(hidden_size: int) -> Preset:
    """The packaged preset meant for models of this width: the first that says it suits it."""
    for name in preset_names():
        preset = get_preset(name)
        if preset.suits[0] <= hidden_size <= preset.suits[1]:
            return preset
    raise HardcastError(
        f"no preset suits hidden_size {hidden_size}; name one: {', '.join(preset_names())}"
    )

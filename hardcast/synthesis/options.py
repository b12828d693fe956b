"""What a block is made for: the options that an image and a chip would otherwise decide."""

from __future__ import annotations

from dataclasses import dataclass

from hardcast.chip.geometry import Geometry
from hardcast.chip.parameters import Chip
from hardcast.errors import HardcastError
from hardcast.models.shapes import get_shape
from hardcast.program.program import Shape
from hardcast.quantize import recipe as recipes
from hardcast.rtl import emit
from hardcast.rtl.package import Contents

DEPTH = 1 << 14  # of a tile's ROM and of the rows' ROMs: it only shapes addresses
LINEAR = "linear"  # instead of a recipe's name: one codebook, evenly spaced


@dataclass(frozen=True)
class Options:
    """What a block is made for. All that a block does not use leaves it as it is.

    bits: B. columns: K. users: U. recipe: whose codebooks, groups and offsets the tile has, or
    "linear". lanes: TR. positions: P of attention. shape: of the model, by name. slices: C.
    """

    bits: int = 3
    columns: int = 8
    users: int = 1
    recipe: str = "3/6"
    lanes: int = 1
    positions: int = 1
    shape: str = "smollm2-135m"
    slices: int = 9
    context: int = 2048

    def geometry(self) -> Geometry:
        """Raises HardcastError where no chip can be so."""
        chip = Chip(
            "block",
            bits=self.bits,
            columns=self.columns,
            slices=self.slices,
            tile_rows=self.lanes,
            users=self.users,
            positions=self.positions,
            context=self.context,
        )
        chip.check()
        config = get_shape(self.shape).config
        return Geometry(
            chip,
            Shape(
                config.hidden_size,
                config.intermediate_size,
                config.num_hidden_layers,
                config.num_attention_heads,
                config.num_key_value_heads,
                config.head_dim,
                config.vocab_size,
            ),
        )

    def contents(self) -> Contents:
        """Codebooks, group and offsets of the recipe; depths that only shape addresses."""
        codebooks, group, asymmetric = _codes(self.recipe, self.bits)
        return Contents(
            depths={"tile": DEPTH, "rows": DEPTH, "bias": 0, "gain": DEPTH, "program": 256},
            codebooks=codebooks,
            group=group,
            asymmetric=asymmetric,
            wide=False,
            acc_bits=48,
            gain_bits=16,
            bias=False,
            head_norm=False,
            ropes=("rope",),
            unturned=False,
            embed_bits=2 * self.bits,
            embed_planes=2,
            embed_codebook=min(1, len(codebooks) - 1),
            embed_group=64,
            embed_offsets=False,
        )


def _codes(recipe: str, bits: int) -> tuple[tuple[tuple[int, ...], ...], int, bool]:
    """(codebooks, inputs a scale serves, whether groups have offsets) of a recipe's tiles."""
    even, low = tuple(range(-(1 << bits - 1), 1 << bits - 1)), tuple(range(1 << bits))
    if recipe == LINEAR:
        return (even,), 64, False
    found = recipes.get(recipe)
    if found.default.bits != bits:
        raise HardcastError(
            f"recipe {recipe} has {found.default.bits}-bit codes, not {bits}-bit; "
            f"choose another recipe, or {LINEAR}"
        )
    all_codes = [found.default, *([found.wide] if found.wide else []), *found.roles.values()]
    codes = [code for code in all_codes if code.bits <= bits]  # a role that no such chip has
    books: list[tuple[int, ...]] = []
    for code in codes:
        own = code.codebook or (low if code.kind == "asymmetric" else even)
        books += [own] if code.planes == 1 else [even, low]
    group = 64 if all(code.group_size % 64 == 0 for code in codes) else 32
    asymmetric = any(code.kind == "asymmetric" for code in codes)
    return tuple(dict.fromkeys(books)), group, asymmetric


@dataclass(frozen=True)
class ImageOptions(Options):
    """Those of an image laid on a chip; `made` replaces everything that the others would say."""

    made: tuple[Geometry, Contents] | None = None

    def geometry(self) -> Geometry:
        assert self.made is not None
        return self.made[0]

    def contents(self) -> Contents:
        assert self.made is not None
        return self.made[1]


def of_design(design: emit.Design) -> Options:
    """The options of an image on a chip. recipe and shape are named after the image's digest."""
    chip, name = design.geometry.chip, f"image {design.image.digest[:12]}"
    return ImageOptions(
        bits=chip.bits,
        columns=chip.columns,
        users=chip.users,
        recipe=name,
        lanes=chip.tile_rows,
        positions=chip.positions,
        shape=name,
        slices=chip.slices,
        context=chip.context,
        made=(design.geometry, design.contents),
    )

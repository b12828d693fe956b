"""A recipe held against the matrices of a model: groups that do not divide, matrices it lacks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hardcast.errors import HardcastError
from hardcast.image.matrix import GROUP_BITS, ROW_BITS
from hardcast.quantize import recipe as recipes
from hardcast.quantize.code import Code
from hardcast.quantize.sensitivity import allocate
from tests.quantize.test_recipe import SHAPES


def test_groups_that_do_not_divide_a_matrix_become_its_row() -> None:
    recipe = recipes.get("3bit")
    assert [recipe.fitted(SHAPES).code(name) for name in SHAPES] == [
        recipe.code(name) for name in SHAPES
    ]
    assert recipe.fitted(SHAPES).notes() == []
    odd = {
        **SHAPES,
        "layers.0.up_proj": (192, 112),
        "layers.1.up_proj": (192, 112),
        "layers.0.v_proj": (64, 97),
        "lm_head": (1009, 96),
    }
    fitted = recipe.fitted(odd)
    assert fitted.code("layers.0.up_proj") == replace(recipe.default, group_size=0)
    assert fitted.code("lm_head") == replace(recipe.roles["lm_head"], group_size=0)
    assert fitted.code("layers.0.q_proj") == recipe.default
    assert fitted.notes() == [
        "recipe 3bit: groups of 32 do not divide these, which get one scale a row: "
        "up_proj (112 inputs), v_proj (97 inputs)",
        "recipe 3bit: groups of 64 do not divide these, which get one scale a row: "
        "lm_head (96 inputs)",
    ]
    row = GROUP_BITS + ROW_BITS
    rom = 384 * (112 * 3 + row) + 64 * (97 * 3 + row) + 1009 * (96 * 6 + row)
    assert fitted.rom_bits(odd) - recipe.rom_bits(SHAPES) == rom


def test_a_stored_grid_keeps_its_groups() -> None:
    recipe = recipes.get("4bit")
    odd = {"layers.0.up_proj": (192, 97)}
    assert recipe.fitted(odd).code("layers.0.up_proj").group_size == 32
    assert recipe.fitted(odd).notes() == []


def test_the_wide_code_falls_back_by_itself() -> None:
    wide = Code("symmetric", 3, planes=2, group_size=96)
    recipe = replace(recipes.get("auto"), wide=wide).fitted(SHAPES)
    for name, (_, columns) in SHAPES.items():
        assert recipe.code(name) == recipe.default
        assert recipe.wider(name).group_size == (0 if columns % 96 else 96)
    assert recipe.notes() == []  # no matrix has it yet
    chosen = allocate(dict.fromkeys(SHAPES, 1.0), SHAPES, recipe, 100)
    assert all(chosen.code(name) == recipe.wider(name) for name in SHAPES)
    (note,) = chosen.notes()
    assert note.startswith("recipe auto: groups of 96 do not divide these")
    for name, (_, columns) in SHAPES.items():
        assert (f"{name.rpartition('.')[2]} ({columns} inputs)" in note) == bool(columns % 96)


def test_a_matrix_that_the_model_lacks() -> None:
    recipe = replace(recipes.get("3bit"), matrices={"layers.9.q_proj": Code("symmetric", 3)})
    with pytest.raises(HardcastError, match="3bit: the model has no matrix 'layers.9.q_proj'"):
        recipe.fitted(SHAPES)

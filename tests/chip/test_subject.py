"""What is to be cast: shapes under recipes, and images."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardcast import cli
from hardcast.chip.parameters import preset_names
from hardcast.chip.subject import Form, open_subject, preset_for
from hardcast.errors import HardcastError
from hardcast.models.shapes import get_shape, shape_names
from hardcast.quantize import recipe as recipes
from tests import tiny
from tests.chip.drawn import subject_of
from tests.random_image import config


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    model = tiny.write_gguf(folder / "tiny.gguf", "qwen2")
    out = folder / "tiny.image"
    assert (
        cli.main(["build", str(model), "--recipe", "4bit", "-o", str(out), "--context", "64"]) == 0
    )
    return out


@pytest.mark.parametrize("name", shape_names())
def test_a_shape_has_all_of_a_models_matrices(name: str) -> None:
    subject = open_subject(name, "3/6")
    shape = subject.program.shape
    # The published count also has gains and biases, a few vectors a layer.
    vectors = 8 * (shape.num_hidden_layers + 1) * shape.hidden_size
    assert 0 <= get_shape(name).parameters - subject.parameters <= vectors
    assert set(subject.forms) == set(subject.program.matrices())
    assert subject.digest == ""


def test_a_recipe_decides_the_forms() -> None:
    subject = open_subject("llama-3.1-8b", "3/6")
    assert subject.forms["layers.0.q_proj"] == Form(3, 1, 32, False)
    assert subject.forms["layers.31.down_proj"] == Form(3, 2, 64, False)
    assert (subject.bits, subject.group_size, subject.offsets) == (3, 32, False)
    assert subject.planes["lm_head"] == 2
    wide = recipes.get("3/6")
    rom = wide.rom_bits(subject.program.matrices())
    assert 0.9 < subject.code_bits / (rom / subject.parameters) < 1  # scales are the rest
    four = open_subject("llama-3.1-8b", "4bit")
    assert (four.bits, four.group_size, four.offsets) == (4, 32, True)
    assert open_subject("llama-3.1-8b", "4gptq").group_size == 64


def test_without_a_recipe_that_of_the_preset_which_suits_is_taken() -> None:
    assert open_subject("llama-3.1-8b").recipe == "3/6"
    assert open_subject("smollm2-135m").recipe == "4bit"


def test_an_image_brings_its_own_forms(image: Path) -> None:
    subject = open_subject(str(image))
    assert subject.recipe == "4bit" and len(subject.digest) == 64
    assert subject.name == "tiny.image"
    assert subject.forms["embed_tokens"] == Form(4, 2, 32, False)
    assert subject.forms["layers.1.up_proj"] == Form(4, 1, 32, True)
    with pytest.raises(HardcastError, match="is an image, whose codes are what they are"):
        open_subject(str(image), "3/6")


def test_an_image_and_its_shape_are_the_same_to_a_chip(image: Path) -> None:
    built = open_subject(str(image))
    model = config("qwen2", vocab_size=1009, max_position_embeddings=256)
    drawn = subject_of(model, (Form(4, 1, 32, True),))
    assert drawn.program.shape == built.program.shape
    assert [op.name for op in drawn.ops] == [op.name for op in built.ops]
    assert sum(count for _, count, _ in built.groups) == len(built.ops)


def test_scale_fields_serve_64_inputs_only_where_all_groups_of_the_tiles_do() -> None:
    even, odd, row = Form(4, 1, 64, False), Form(4, 1, 96, False), Form(4, 1, 0, False)
    assert subject_of(config(), (even, row)).group_size == 64
    assert subject_of(config(), (even, odd)).group_size == 32


def test_one_scale_a_row_is_a_group_as_long_as_the_row(tmp_path: Path) -> None:
    recipe = tmp_path / "row.toml"
    recipe.write_text(
        'summary = "a row"\n[default]\nkind = "symmetric"\nbits = 4\ngroup_size = 0\n'
    )
    subject = open_subject("llama-3.1-8b", str(recipe))
    assert subject.forms["layers.0.down_proj"].group_size == 14336
    assert subject.group_size == 64


def test_lanes_are_as_wide_as_the_widest_plane() -> None:
    mixed = subject_of(config(), (Form(4, 1, 64, False), Form(2, 2, 64, False)))
    assert mixed.bits == 4
    shapes = mixed.program.matrices()
    assert mixed.parameters == sum(rows * columns for rows, columns in shapes.values())
    assert mixed.code_bits == 4  # a plane of 4, or two of 2


def test_an_embedding_that_is_no_head_shapes_no_tile() -> None:
    other = Form(4, 1, 32, True)
    alone = subject_of(config(tie_word_embeddings=False), (Form(4, 1, 64, False),))
    alone.forms["embed_tokens"] = other  # type: ignore[index]
    assert (alone.group_size, alone.offsets, alone.embedding) == (64, False, "embed_tokens")
    tied = subject_of(config(), (Form(4, 1, 64, False),))
    tied.forms["embed_tokens"] = other  # type: ignore[index]
    assert (tied.group_size, tied.offsets) == (32, True)


def test_an_unknown_model_names_the_nearest_shape() -> None:
    with pytest.raises(HardcastError, match=r"no known shape; did you mean llama-3\.1-8b\?"):
        open_subject("llama-3.1-8")
    with pytest.raises(HardcastError, match="there are"):
        open_subject("llama-3.1-8b", "5/10")


@pytest.mark.parametrize("size", [1, 64, 576, 1536, 1537, 4096, 16384, 65536])
def test_every_width_has_a_preset(size: int) -> None:
    least, largest = preset_for(size).suits
    assert least <= size <= largest and preset_for(size).chip.name in preset_names()


def test_no_preset_suits_what_is_wider_than_all() -> None:
    with pytest.raises(HardcastError, match="no preset suits hidden_size 65537; name one: hc1"):
        preset_for(65537)

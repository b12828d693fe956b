"""Published shapes: complete, consistent with their published weight counts, and strictly read."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import pytest

from hardcast import models
from hardcast.errors import HardcastError
from hardcast.models.shapes import SHAPES_PATH, get_shape, load_shapes, shape_names
from hardcast.numerics.rope import RopeScaling


@pytest.mark.parametrize("name", shape_names())
def test_program_has_the_published_number_of_weights(name: str) -> None:
    """The count is independent of the sizes, so one mistyped size shows."""
    shape = get_shape(name)
    program = models.build_program(shape.config)
    counts = [math.prod(sizes) for sizes in models.tensor_shapes(program).values()]
    assert sum(counts) == shape.parameters


@pytest.mark.parametrize("name", shape_names())
def test_program_reads_what_the_checkpoint_room_demands(name: str) -> None:
    """A tensor that a checkpoint must hold and no step reads would be another model's."""
    config = get_shape(name).config
    config.check(name)
    shapes = models.tensor_shapes(models.build_program(config))
    assert {models.checkpoint_name(key): size for key, size in shapes.items()} == (
        config.tensor_shapes()
    )


def test_every_architecture_has_a_shape() -> None:
    found = {get_shape(name).config.architecture for name in shape_names()}
    assert found == set(models.architectures())


def test_nulls_and_rope_scaling_become_the_configurations_own_types() -> None:
    assert get_shape("smollm2-135m").config.rope_scaling is None
    assert get_shape("llama-3.2-1b").config.rope_scaling == RopeScaling("llama3", factor=32.0)
    assert get_shape("mistral-7b-v0.1").config.sliding_window == 4096
    assert get_shape("mistral-7b").config.sliding_window is None


def test_unknown_shape_lists_the_known_ones() -> None:
    with pytest.raises(HardcastError, match="no shape named 'llama-9b'.*llama-3.1-8b"):
        get_shape("llama-9b")


def edited(tmp_path: Path, old: str, new: str) -> Path:
    """shapes.toml cut down to its first shape and edited."""
    text = SHAPES_PATH.read_text(encoding="utf-8")
    first = text[text.index("[") : text.index("[", text.index("[") + 1)]
    assert old in first and len(tomllib.loads(first)) == 1
    path = tmp_path / "edited.toml"
    path.write_text(first.replace(old, new), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("head_dim = 64\n", "", "smollm2-135m lacks head_dim"),
        ("head_dim = 64\n", "head_size = 64\nhead_dim = 64\n", "unknown key head_size"),
        ("head_dim = 64\n", "head_dim = 64.0\n", "head_dim is 64.0, expected int"),
        ("tie_word_embeddings = true", "tie_word_embeddings = 1", "is 1, expected bool"),
        ('rope_scaling = "none"', 'rope_scaling = {kind = "llama3"}', "rope_scaling lacks factor"),
        ('rope_scaling = "none"', "rope_scaling = 8.0", "expected RopeScaling or none"),
        ('sliding_window = "none"', 'sliding_window = "big"', "expected int or none"),
        ("hidden_size = 576", "hidden_size = ", "cannot be read as TOML"),
    ],
)
def test_a_shape_that_is_not_whole_is_refused(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    path = edited(tmp_path, old, new)
    with pytest.raises(HardcastError, match=expected):
        load_shapes(path)


def test_unedited_shape_loads(tmp_path: Path) -> None:
    path = edited(tmp_path, "head_dim = 64", "head_dim = 64")
    assert load_shapes(path) == {"smollm2-135m": get_shape("smollm2-135m")}

"""Spaces: numbers to points, what is drawn, the user's lists and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.chip.parameters import get_preset, preset_names
from hardcast.chip.subject import open_subject, preset_for
from hardcast.errors import HardcastError
from hardcast.explore.space import (
    AXES,
    MOST_POINTS,
    Space,
    divided,
    read_space,
    standard_space,
    wide_space,
)
from tests.explore.small import space


def test_every_number_is_another_point() -> None:
    small = space()
    points = {tuple(small.point(number).items()) for number in range(small.size)}
    assert len(points) == small.size == 2 * 2 * 2 * 3 * 2 * 2
    assert list(small.point(0)) == list(AXES)
    last = {axis: values[-1] for axis, values in small.lists.items()}
    assert small.point(small.size - 1) == last


def test_the_last_axis_counts_fastest() -> None:
    small = space(gather_stages=(0, 1), users=(1, 2))
    first, second = small.point(0), small.point(1)
    assert {axis for axis in AXES if first[axis] != second[axis]} == {"gather_stages"}


def test_the_standard_space_of_llama_has_ten_thousand_points() -> None:
    shape = open_subject("llama-3.1-8b").program.shape
    standard = standard_space(shape, get_preset("hc1"), ["n6"], ["3/6"])
    assert 10_000 <= standard.size <= 30_000
    assert wide_space(shape, get_preset("hc1"), ["n6"], ["3/6"]).size > 10 * standard.size


@pytest.mark.parametrize("name", preset_names())
def test_the_standard_space_holds_its_preset(name: str) -> None:
    preset = get_preset(name)
    model = {"tiny": "smollm2-135m", "hc1": "llama-3.1-8b"}.get(name, "smollm2-135m")
    subject = open_subject(model, preset.recipe)
    standard = standard_space(subject.program.shape, preset, ["n6"], [preset.recipe])
    for axis in ("tile_rows", "columns", "positions", "users", "context", "sampler_lanes"):
        assert getattr(preset.chip, axis) in standard.lists[axis], axis


@pytest.mark.parametrize("model", ["llama-3.1-8b", "smollm2-135m", "qwen3-8b", "llama-3.1-405b"])
def test_standard_slices_take_a_row_in_whole_passes(model: str) -> None:
    shape = open_subject(model).program.shape
    standard = standard_space(shape, preset_for(shape.hidden_size), ["n6"], ["3/6"])
    for width in (shape.hidden_size, shape.intermediate_size):
        assert -(-width // 64) in standard.lists["slices"]


@pytest.mark.parametrize(
    ("fewest", "dies"),
    [(1, ("fit", "2x1", "4x1", "1x2")), (20, ("fit", "30x2", "30x3", "1x40"))],
)
def test_standard_dies_are_about_the_fewest(fewest: int, dies: tuple[str, ...]) -> None:
    shape = open_subject("smollm2-135m").program.shape  # 30 layers
    standard = standard_space(shape, get_preset("smollm2-fast"), ["n6"], ["3/6"], fewest)
    assert standard.lists["dies"] == dies
    wide = wide_space(shape, get_preset("smollm2-fast"), ["n6"], ["3/6"], fewest)
    assert set(dies) <= set(wide.lists["dies"])


@given(st.integers(1, 200), st.integers(0, 5))
def test_drawn_points_are_distinct_and_the_same_again(points: int, seed: int) -> None:
    small = space()
    drawn = small.numbers(points, seed)
    assert list(drawn) == sorted(set(drawn)) == list(small.numbers(points, seed))
    assert len(drawn) == min(points, small.size)
    assert all(0 <= number < small.size for number in drawn)


def test_another_seed_draws_others() -> None:
    assert space().numbers(20, 0) != space().numbers(20, 1)


def test_too_many_points_are_refused() -> None:
    large = space(context=tuple(range(1000, 3000)), users=tuple(range(1, 33)))
    assert large.size > MOST_POINTS
    with pytest.raises(HardcastError, match=r"--points N draws N"):
        large.numbers(None, 0)
    assert len(large.numbers(7, 0)) == 7


@pytest.mark.parametrize(("value", "means"), [("fit", None), ("2x1", (2, 1)), ("12x34", (12, 34))])
def test_dies(value: str, means: tuple[int, int] | None) -> None:
    assert divided(value) == means


@pytest.mark.parametrize("value", ["", "2", "0x1", "1x0", "2x-1", "2 x 1", 2, "fitted", "1x99999"])
def test_bad_dies(value: object) -> None:
    with pytest.raises(HardcastError, match="stages x pieces"):
        divided(value)  # type: ignore[arg-type]


def test_a_file_replaces_the_axes_that_it_names(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('slices = [9, 12]\nusers = 2\ngather_stages = [0, "auto"]\ndies = "fit"\n')
    made = read_space(file, space())
    assert made.lists["slices"] == (9, 12)
    assert made.lists["users"] == (2,)
    assert made.lists["gather_stages"] == (0, "auto")
    assert made.lists["columns"] == space().lists["columns"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slice = [3]", "no axis 'slice'; did you mean slices?"),
        ("frobnication = [3]", "there are: recipe, node"),
        ("users = []", "users: an empty list"),
        ("users = [0]", "users is 0, must be 1..64"),
        ("users = [true]", "users is True"),
        ("users = [1.5]", "users is 1.5"),
        ('users = ["many"]', "users is 'many'"),
        ("users = [[1]]", "users is [1]"),
        ("users = [1, 2, 1]", "users: 1 stands twice"),
        ("tile_rows = [48]", "tile_rows is 48, must be 1, 2, 4"),
        ('broadcast_stages = ["automatic"]', "broadcast_stages is 'automatic'"),
        ("broadcast_stages = [65]", "must be 0..64"),
        ('dies = ["3"]', "dies: '3'"),
        ("lora_rank = [-1]", "lora_rank: -1"),
        ("node = [6]", "node: 6 is no name"),
        ("users = {a = 1}", "users is {'a': 1}"),
        ("users = [1", "cannot be read as TOML"),
        ("[users]\n", "users is {}"),
    ],
)
def test_a_bad_file_says_what_is_wrong(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(HardcastError) as caught:
        read_space(file, space())
    assert str(caught.value).startswith(f"{file}: ")
    assert says in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(HardcastError, match="No such file"):
        read_space(tmp_path / "none.toml", space())


def test_binary_files_are_no_spaces(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_bytes(b"\xff\xfe\x00users")
    with pytest.raises(HardcastError, match="cannot be read as TOML"):
        read_space(file, space())


def test_a_space_checks_its_values() -> None:
    with pytest.raises(HardcastError, match="columns is 5"):
        Space({**space().lists, "columns": (5,)})

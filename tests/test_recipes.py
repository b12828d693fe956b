"""Every recipe end to end on tiny models: what it builds, interrupted too, and refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardcast import flow
from hardcast.checkpoint.synthetic import SyntheticCheckpoint
from hardcast.engine import Engine
from hardcast.errors import HardcastError
from hardcast.golden import Golden
from hardcast.image import open_image
from hardcast.models import shapes
from hardcast.models.shapes import NamedShape
from hardcast.quantize import calibration_text, rounder
from hardcast.quantize import recipe as recipes
from hardcast.quantize.folding import can_rotate
from hardcast.quantize.recipe import GPTQ
from tests import random_image, tiny

BITS = 4.5  # for a recipe that searches: enough for some second planes
UNTIED = "qwen2"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny checkpoint of each architecture, one with a head of its own."""
    return {
        name: tiny.write_safetensors(
            tmp_path_factory.mktemp(name), name, **tiny.GROUPED, tie_word_embeddings=name != UNTIED
        )
        for name in tiny.ARCHITECTURES
    }


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Little more than the least tokens that a calibration text must have."""
    path = tmp_path_factory.mktemp("text") / "text"
    path.write_text(calibration_text.read(None)[:3000], encoding="utf-8")
    return path


def options(name: str, text: Path) -> dict[str, Any]:
    """What `build` needs for a recipe."""
    recipe = recipes.get(name)
    found: dict[str, Any] = {"recipe": name}
    if recipe.rounding == GPTQ:
        found["calibrate"] = text
    if recipe.wide is not None:
        found["bits"] = BITS
    return found


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("name", [name for name in recipes.names() if name != recipes.DEFAULT])
def test_every_recipe_builds_every_architecture(
    name: str, architecture: str, models: dict[str, Path], text: Path, tmp_path: Path
) -> None:
    """Forms and ROM as the recipe says, golden == engine, and the same again from the same."""
    report = flow.build(str(models[architecture]), tmp_path / "i", **options(name, text))
    image = open_image(tmp_path / "i")
    image.verify()
    assert report.digest == image.digest and report.rom_bits == image.rom_bits
    assert leftovers(tmp_path) == ["i"]
    assert image.chip["recipe"]["name"] == name
    recipe, matrices = recipes.get(name), image.program.matrices()
    turned = recipe.rotate and can_rotate(image.program)  # a head of its own is turned in place
    assert ("head_rotation" in matrices) == (turned and architecture != UNTIED)
    assert turned or not recipe.rotate or architecture in ("gemma3", "olmo2")
    wide = set()
    for matrix, shape in matrices.items():
        found, code = image.matrix(matrix), recipe.code(matrix)
        if recipe.wide is not None and found.planes != code.planes:
            wide.add(matrix)
            code = recipe.wider(matrix)
        assert (found.bits, found.planes, found.group_size) == (
            code.bits,
            code.planes,
            code.group_size,
        )
        assert (found.offsets is not None) == (code.kind == "asymmetric")
        assert found.rom_bits == code.rom_bits(shape)
    if recipe.wide is None:
        assert report.rom_bits == recipe.rom_bits(matrices)
    else:
        chosen = dataclasses.replace(recipe, matrices={m: recipe.wider(m) for m in wide})
        assert 0 < len(wide) < len(matrices)
        assert report.rom_bits == chosen.rom_bits(matrices)
        assert BITS - 0.7 < report.bits_per_weight <= BITS
    tokens = np.random.default_rng(0).integers(0, 1009, 20).tolist()
    logits = Golden(image).session().forward(tokens, "all")
    assert logits.std() > 100
    np.testing.assert_array_equal(Engine(image, 1).session().forward(tokens, "all"), logits)
    if architecture == "llama":
        again = flow.build(str(models[architecture]), tmp_path / "j", **options(name, text))
        assert again.digest == report.digest


def test_a_recipe_of_ones_own_is_a_file(models: dict[str, Path], tmp_path: Path) -> None:
    """Also groups of a whole row, which need not divide anything."""
    own = tmp_path / "own.toml"
    own.write_text(
        'rotate = true\n[default]\nkind = "codebook"\nbits = 2\ncodebook = [-3, -1, 1, 3]\n'
        'group_size = 0\n[matrices."layers.0.up_proj"]\nkind = "symmetric"\nbits = 4\n'
    )
    report = flow.build(str(models["qwen3"]), tmp_path / "i", recipe=str(own))
    image = open_image(tmp_path / "i")
    assert report.rom_bits == recipes.get(str(own)).rom_bits(image.program.matrices())
    assert image.chip["recipe"]["name"] == "own"
    assert image.matrix("layers.0.up_proj").bits == 4
    assert image.matrix("layers.0.down_proj").groups == 1


# Interrupted


def count_rounded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the matrices that are made from here on, in order."""
    made: list[str] = []
    whole = rounder.Rounder._round

    def counted(self: rounder.Rounder, step: Any, factor: float) -> Any:
        made.append(step.matrix)
        return whole(self, step, factor)

    monkeypatch.setattr(rounder.Rounder, "_round", counted)
    return made


def interrupt_at(done: int, error: type[BaseException] = KeyboardInterrupt) -> flow.Progress:
    def progress(what: str, now: int, total: int | None) -> None:
        if what == "quantizing" and now == done:
            raise error

    return progress


@pytest.mark.parametrize(("name", "stops"), [("3/6", (2, 11, 22)), ("auto", (15,))])
def test_an_interrupted_build_goes_on(
    name: str,
    stops: tuple[int, ...],
    models: dict[str, Path],
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped at the start, in a layer and at the head: the same image, and no work done twice."""
    made, out, wanted = count_rounded(monkeypatch), tmp_path / "i", options(name, text)
    whole = flow.build(str(models["llama"]), tmp_path / "whole", **wanted)
    names = list(made)
    made.clear()
    for done in stops:
        with pytest.raises(KeyboardInterrupt):
            flow.build(str(models["llama"]), out, progress=interrupt_at(done), **wanted)
        assert leftovers(tmp_path) == [".i.partial", ".i.partial.journal", "whole"]
    assert flow.build(str(models["llama"]), out, **wanted).digest == whole.digest
    assert made == names and len(set(made)) == len(made)
    assert leftovers(tmp_path) == ["i", "whole"]
    ours, theirs = (
        {p.name: p.read_bytes() for p in folder.iterdir()} for folder in (out, whole.path)
    )
    assert ours == theirs


def test_an_interruption_before_the_first_matrix_leaves_nothing(
    models: dict[str, Path], text: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        flow.build(
            str(models["llama"]), tmp_path / "i", progress=interrupt_at(0), **options("3bit", text)
        )
    assert leftovers(tmp_path) == []


def other_text(model: Path, folder: Path) -> dict[str, Any]:
    (folder / "other").write_text(calibration_text.read(None)[5000:8000])
    return {"calibrate": folder / "other"}


def touched(model: Path, folder: Path) -> dict[str, Any]:
    tiny.write_safetensors(model, "llama", seed=3, **tiny.GROUPED)
    return {}


@pytest.mark.parametrize(
    "change",
    [
        lambda model, folder: {"activation_bits": 9},
        lambda model, folder: {"context": 60},
        lambda model, folder: {"recipe": "3bit"},
        other_text,
        touched,
    ],
)
def test_a_changed_option_starts_anew(
    change: Callable[[Path, Path], dict[str, Any]],
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Text and weights are options too: nothing of the interrupted build is used."""
    model = tiny.write_safetensors(tmp_path / "m", "llama", **tiny.GROUPED)
    out, wanted = tmp_path / "new" / "i", options("3/6", text)
    with pytest.raises(KeyboardInterrupt):
        flow.build(str(model), out, progress=interrupt_at(11), **wanted)
    wanted |= change(model, tmp_path)
    made = count_rounded(monkeypatch)
    flow.build(str(model), out, **wanted)
    assert made == list(open_image(out).program.matrices())
    assert leftovers(out.parent) == ["i"]


def test_another_name_for_the_same_text_is_no_other_build(
    models: dict[str, Path], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(text.read_bytes())
    with pytest.raises(KeyboardInterrupt):
        flow.build(
            str(models["llama"]), tmp_path / "i", progress=interrupt_at(11), **options("3bit", text)
        )
    made = count_rounded(monkeypatch)
    flow.build(str(models["llama"]), tmp_path / "i", recipe="3bit", calibrate=copy)
    assert 0 < len(made) < len(open_image(tmp_path / "i").program.matrices())


# Refused


def refused(model: str, folder: Path, message: str, **wanted: Any) -> None:
    """One line, and nothing written."""
    before = leftovers(folder)
    with pytest.raises(HardcastError) as caught:
        flow.build(model, folder / "refused", **wanted)
    line = str(caught.value)
    assert message in line and "\n" not in line
    assert leftovers(folder) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 tokens are too short to calibrate with"),
        (b"A short text. " * 40, "tokens are too short to calibrate with; give at least 2048"),
        (b"Gr\xfc\xdfe, " * 9000, "not UTF-8 (byte 2)"),
        (None, "No such file or directory"),
    ],
)
@pytest.mark.parametrize("name", ["3bit", "auto"])
def test_bad_calibration_texts(
    name: str, content: bytes | None, message: str, models: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "text"
    if content is not None:
        path.write_bytes(content)
    wanted = {**options(name, path), "calibrate": path}
    refused(str(models["llama"]), tmp_path, f"{path}: ", **wanted)
    refused(str(models["llama"]), tmp_path, message, **wanted)


@pytest.mark.parametrize("name", ["4bit", "ternary"])
def test_recipes_that_do_not_calibrate(
    name: str, models: dict[str, Path], text: Path, tmp_path: Path
) -> None:
    message = f"recipe {name} rounds to nearest: no --calibrate"
    refused(str(models["llama"]), tmp_path, message, recipe=name, calibrate=text)


def test_bits_are_for_recipes_that_search(
    models: dict[str, Path], text: Path, tmp_path: Path
) -> None:
    model = str(models["llama"])
    for name in recipes.names():
        if name != "auto":
            message = f"recipe {name} has nothing to search: no --bits (auto searches)"
            refused(model, tmp_path, message, recipe=name, bits=4.0)
    refused(model, tmp_path, "recipe auto searches: give --bits", recipe="auto", calibrate=text)
    for bits in (0.0, 3.2, -5.0, float("nan")):
        wanted = {**options("auto", text), "bits": bits}
        refused(model, tmp_path, "is too little: one plane everywhere is 3.", **wanted)


def test_more_bits_than_there_are_planes_give_every_second_plane(
    models: dict[str, Path], text: Path, tmp_path: Path
) -> None:
    report = flow.build(
        str(models["llama"]), tmp_path / "i", **{**options("auto", text), "bits": float("inf")}
    )
    image = open_image(tmp_path / "i")
    assert all(image.matrix(name).planes == 2 for name in image.matrices)
    assert 6 < report.bits_per_weight < 8


# Random weights


@pytest.fixture
def tiny_shape(monkeypatch: pytest.MonkeyPatch) -> NamedShape:
    """A published shape small enough to build here."""
    config = random_image.config(
        "qwen2", hidden_size=128, head_dim=32, intermediate_size=192, vocab_size=300
    )
    shape = NamedShape("tiny-1k", config, 1000, "nobody/tiny")
    monkeypatch.setattr(shapes, "get_shape", lambda name: shape)
    return shape


@pytest.mark.parametrize("name", ["3/6", "4bit"])
def test_random_weights_have_the_forms_of_the_recipe(
    name: str, tiny_shape: NamedShape, tmp_path: Path
) -> None:
    report = flow.build("tiny-1k", tmp_path / "i", synthetic=True, recipe=name, context=64)
    image = open_image(tmp_path / "i")
    image.verify()
    names = SyntheticCheckpoint("tiny-1k", tiny_shape.config).names()
    assert len(image.matrices) == sum(
        name.endswith("proj.weight") or "embed" in name for name in names
    )
    assert report.rom_bits == recipes.get(name).rom_bits(image.program.matrices())
    tokens = list(range(20))
    logits = Golden(image).session().forward(tokens, "all")
    np.testing.assert_array_equal(Engine(image, 1).session().forward(tokens, "all"), logits)
    if name == "4bit":  # the default, for random weights: there is nothing to calibrate for
        default = flow.build("tiny-1k", tmp_path / "d", synthetic=True, context=64)
        assert (default.digest, default.notes) == (report.digest, report.notes)
    other = flow.build("tiny-1k", tmp_path / "k", synthetic=True, recipe=name, context=64, seed=1)
    assert other.digest != report.digest


def test_an_unknown_shape_is_told_the_known_ones(tmp_path: Path) -> None:
    message = "no shape named 'gpt-5'; known shapes: smollm2-135m"
    refused("gpt-5", tmp_path, message, synthetic=True)


def test_random_weights_have_nothing_to_calibrate_or_search(
    tiny_shape: NamedShape, text: Path, tmp_path: Path
) -> None:
    message = "--synthetic: random weights have nothing to measure"
    refused("tiny-1k", tmp_path, message, synthetic=True, recipe="3/6", calibrate=text)
    refused("tiny-1k", tmp_path, message, synthetic=True, recipe="auto", bits=4.0)
    refused("tiny-1k", tmp_path, message, synthetic=True, recipe="auto")

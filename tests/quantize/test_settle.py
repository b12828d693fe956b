"""What the default recipe comes to: on files with a grid everywhere, in places, and nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardcast import flow
from hardcast.checkpoint import open_checkpoint
from hardcast.engine import Engine
from hardcast.errors import HardcastError
from hardcast.golden import Golden
from hardcast.image import open_image
from hardcast.image.matrix import Matrix
from hardcast.models import checkpoint_name
from hardcast.quantize import calibration_text, settle
from tests import tiny


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_text(calibration_text.read(None)[:3000], encoding="utf-8")
    return path


def built(model: Path, **options: Any) -> tuple[flow.BuildReport, list[str]]:
    said: list[str] = []
    out = model.parent / f"{model.name}.image"
    return flow.build(str(model), out, note=said.append, replace=True, **options), said


def kept(matrix: Matrix, model: Path) -> bool:
    """Whether a matrix has the codes of the file's grid, and nearly its weights."""
    checkpoint = open_checkpoint(str(model))
    grid = checkpoint.grid(checkpoint_name(matrix.name))
    assert grid is not None
    middle = 0 if grid.minimum is None or matrix.planes == 1 else 1 << grid.bits - 1
    negative = np.repeat(grid.scale < 0, grid.group_size, axis=1)[:, : matrix.in_features]
    codes = grid.codes.astype(int)
    turned = -codes if grid.minimum is None else (1 << grid.bits) - 1 - codes
    return np.array_equal(matrix.values(), np.where(negative, turned, codes) - middle)


@pytest.mark.parametrize("quant", ["Q4_0", "Q4_1", "MXFP4"])
def test_a_file_of_4_bit_grids_is_built_as_4bit_in_no_time(tmp_path: Path, quant: str) -> None:
    roles = {"lm_head": "Q5_1"}  # two planes: rounding them to 8 bits loses next to nothing
    tied = {"tie_word_embeddings": False}
    model = tiny.write_gguf(
        tmp_path / "m.gguf", "llama", quant=quant, roles=roles, **tiny.GROUPED, **tied
    )
    report, said = built(model)
    line = "recipe 4keep: every matrix keeps its own grid, so it is 4bit"
    assert said == [line] == list(report.notes)
    image = open_image(report.path)
    assert image.chip["recipe"]["name"] == "4bit"
    assert all(kept(image.matrix(name), model) for name in image.matrices)
    assert image.matrix("lm_head").planes == 2
    assert report.digest == built(model, recipe="4bit")[0].digest


def test_a_model_without_grids_is_built_as_4gptq(tmp_path: Path, text: Path) -> None:
    model = tiny.write_safetensors(tmp_path / "m", "qwen2", **tiny.GROUPED)
    report, said = built(model, calibrate=text)
    line = "recipe 4keep: no matrix has a grid that it keeps, so it is 4gptq"
    assert said == [line] == list(report.notes)
    assert report.digest == built(model, recipe="4gptq", calibrate=text)[0].digest
    assert open_image(report.path).chip["recipe"]["name"] == "4gptq"


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "MXFP4"])
def test_grids_in_places_stay_and_the_others_are_calibrated(
    tmp_path: Path, text: Path, kind: str
) -> None:
    roles = {"down_proj": kind, "k_proj": kind, "q_proj": "Q5_0", "up_proj": "Q8_0"}
    model = tiny.write_gguf(tmp_path / "m.gguf", "qwen2", quant="F16", roles=roles, **tiny.GROUPED)
    report, said = built(model, calibrate=text)
    assert said[0].endswith("2 of 7 matrices keep their own grid, the others are calibrated")
    image = open_image(report.path)
    assert image.chip["recipe"]["name"] == "4keep"
    assert not any(type(step).__name__ == "Quantize" for step in image.program.steps)
    for role in roles:
        matrix = image.matrix(f"layers.0.{role}")
        assert (matrix.bits, matrix.planes, matrix.group_size) == (4, 1, 32)
        if roles[role] == kind:
            assert kept(matrix, model)
        else:  # no stored grid of 5 bits and more has room: the recipe's own codebook
            assert matrix.codebook.min() == -20 and matrix.offsets is None
    tokens = np.random.default_rng(0).integers(0, 1009, 20).tolist()
    logits = Golden(image).session().forward(tokens, "all")
    np.testing.assert_array_equal(Engine(image, 2).session().forward(tokens, "all"), logits)
    assert report.digest == built(model, calibrate=text)[0].digest


def test_a_build_in_between_goes_on_where_it_was(tmp_path: Path, text: Path) -> None:
    """Kept and calibrated matrices alike are finished ones."""
    roles = {"down_proj": "Q4_0", "k_proj": "Q4_1"}
    model = tiny.write_gguf(tmp_path / "m.gguf", "qwen2", quant="F16", roles=roles, **tiny.GROUPED)
    whole = built(model, calibrate=text)[0]

    def stop(what: str, done: int, total: int | None) -> None:
        if what == "quantizing" and done == 12:
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            flow.build(str(model), tmp_path / "i", calibrate=text, progress=stop)
        assert (tmp_path / ".i.partial.journal").exists()
    assert flow.build(str(model), tmp_path / "i", calibrate=text).digest == whole.digest


def test_a_text_is_refused_where_nothing_is_calibrated(tmp_path: Path, text: Path) -> None:
    model = tiny.write_gguf(tmp_path / "m.gguf", "qwen3", **tiny.GROUPED)
    with pytest.raises(HardcastError, match="4keep: every matrix keeps its own grid: no --cal"):
        built(model, calibrate=text)


def test_the_time_grows_with_weights_and_widths_and_falls_with_cores() -> None:
    def minutes(shapes: list[tuple[int, int]], cores: int) -> int:
        (line,) = settle.expectation(shapes, cores)
        assert line.endswith(f" min on {cores} cores")
        return int(line.split("about ")[1].split()[0])

    wide, tall = minutes([(4096, 16384)] * 50, 2), minutes([(16384, 4096)] * 50, 2)
    assert wide > tall > 1
    assert abs(minutes([(16384, 4096)] * 100, 2) - 2 * tall) <= 1
    assert minutes([(16384, 4096)] * 100, 4) == tall
    assert settle.expectation([(128, 128)], 2) == settle.expectation([], 2) == []


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("Q4_0", (1, 32, True)),
        ("Q4_1", (1, 32, True)),
        ("MXFP4", (1, 32, False)),
        ("Q5_0", (2, 32, False)),
        ("Q5_1", (2, 32, True)),
        ("Q8_0", (2, 32, False)),
        ("F16", (2, 32, False)),
    ],
)
def test_the_recipe_file_keeps_what_a_file_has(
    tmp_path: Path, kind: str, form: tuple[int, int, bool]
) -> None:
    roles = {"embed_tokens": kind}
    model = tiny.write_gguf(tmp_path / "m.gguf", "llama", quant=kind, roles=roles, **tiny.GROUPED)
    report, said = built(model, recipe="file")
    assert said == []
    image = open_image(report.path)
    for name in image.matrices:
        matrix = image.matrix(name)
        assert (matrix.planes, matrix.group_size, matrix.offsets is not None) == form
        assert kind == "F16" or kept(matrix, model)
    tokens = np.random.default_rng(0).integers(0, 1009, 20).tolist()
    logits = Golden(image).session().forward(tokens, "all")
    np.testing.assert_array_equal(Engine(image, 2).session().forward(tokens, "all"), logits)

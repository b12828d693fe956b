"""What is no whole image, or was forged, is refused in one line when it is opened."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast.errors import HardcastError
from hardcast.image import Image, check, open_image
from hardcast.image.layout import FORMAT, MANIFEST, ROM, TOKENIZER, digest_of
from hardcast.numerics import tables
from tests.image.refused import refused


def test_an_altered_tokenizer_is_refused_at_once(image: Image) -> None:
    (image.path / TOKENIZER).write_text("{}  ")
    refused(image.tokenizer_json, TOKENIZER, "altered")
    refused(image.verify, TOKENIZER, "altered")
    (image.path / TOKENIZER).unlink()
    refused(image.tokenizer_json, TOKENIZER, "No such file")


@pytest.mark.parametrize("kept", [0, 1, 1000])
def test_a_truncated_rom_is_refused(image: Image, kept: int) -> None:
    rom = image.path / ROM
    rom.write_bytes(rom.read_bytes()[:kept])
    refused(lambda: open_image(image.path), ROM, f"{kept} bytes", "truncated")


def test_a_missing_or_too_long_rom_is_refused(image: Image) -> None:
    rom = image.path / ROM
    rom.write_bytes(rom.read_bytes() + b"0")
    refused(lambda: open_image(image.path), ROM, "expected")
    rom.unlink()
    refused(lambda: open_image(image.path), ROM, "0 bytes")


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_truncated_manifest_is_refused(image: Image, length: int) -> None:
    manifest = image.path / MANIFEST
    manifest.write_bytes(manifest.read_bytes()[:length])
    refused(lambda: open_image(image.path), MANIFEST, "not valid JSON")


@pytest.mark.parametrize("text", ["[]", "3", "null", '{"digest": "x"}', "[" * 100_000])
def test_other_json_is_no_manifest(image: Image, text: str) -> None:
    (image.path / MANIFEST).write_text(text)
    refused(lambda: open_image(image.path), MANIFEST, "not")


def test_a_huge_manifest_is_not_read(image: Image) -> None:
    with open(image.path / MANIFEST, "r+b") as file:
        file.truncate(1 << 40)  # sparse
    refused(lambda: open_image(image.path), MANIFEST, "not a manifest")


def test_what_is_no_image(tmp_path: Path) -> None:
    refused(lambda: open_image(tmp_path), "not a chip image", "hardcast build")
    refused(lambda: open_image(tmp_path / "nothing"), "not a chip image")
    (tmp_path / "file").write_text("x")
    refused(lambda: open_image(tmp_path / "file"), "not a chip image")


def rewrite(image: Image, change: Callable[[dict[str, Any]], Any], sign: bool = True) -> None:
    """Changes the chip part of a manifest; sign: with a digest that fits, as a forger would."""
    manifest = json.loads((image.path / MANIFEST).read_text())
    change(manifest["chip"])
    if sign:
        manifest["digest"] = digest_of(manifest["chip"])
    (image.path / MANIFEST).write_text(json.dumps(manifest))


def test_an_altered_manifest_is_refused(image: Image) -> None:
    rewrite(image, lambda chip: chip.update(context=100), sign=False)
    refused(lambda: open_image(image.path), MANIFEST, "altered")


@pytest.mark.parametrize("version", [FORMAT + 1, FORMAT - 1, "1", None, [1]])
def test_another_format_is_refused(image: Image, version: Any) -> None:
    rewrite(image, lambda chip: chip.update(format=version))
    refused(lambda: open_image(image.path), f"image format {version}", "build it anew")


def set_at(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one entry of the chip part; value: what it becomes, or a function of it."""

    def change(chip: dict[str, Any]) -> None:
        place: Any = chip
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value(place[keys[-1]]) if callable(value) else value

    return change


def drop(*keys: Any) -> Callable[[dict[str, Any]], None]:
    def change(chip: dict[str, Any]) -> None:
        place: Any = chip
        for key in keys[:-1]:
            place = place[key]
        del place[keys[-1]]

    return change


def step_of(kind: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda chip: next(s for s in chip["program"]["steps"] if s["step"] == kind)


def set_step(kind: str, **fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda chip: step_of(kind)(chip).update(fields)


Q = "layers.0.q_proj"
HOSTILE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no program": drop("program"),
    "program is a list": set_at("program", value=[]),
    "no shape": drop("program", "shape"),
    "unknown step": set_step("Add", step="Multiply"),
    "unknown field": set_step("Add", more=1),
    "steps are a number": set_at("program", "steps", value=3),
    "no steps": set_at("program", "steps", value=[]),
    "step out of order": set_at("program", "steps", value=lambda steps: steps[::-1]),
    "no key/value heads": set_at("program", "shape", "num_key_value_heads", value=0),
    "uneven heads": set_at("program", "shape", "num_key_value_heads", value=3),
    "odd head_dim": set_at("program", "shape", "head_dim", value=23),
    "head_dim is text": set_at("program", "shape", "head_dim", value="24"),
    "head_dim is a float": set_at("program", "shape", "head_dim", value=24.0),
    "negative hidden_size": set_at("program", "shape", "hidden_size", value=-96),
    "huge vocabulary": set_at("program", "shape", "vocab_size", value=1 << 60),
    "larger vocabulary": set_at("program", "shape", "vocab_size", value=2000),
    "layers without steps": set_at("program", "shape", "num_hidden_layers", value=1 << 20),
    "layer out of range": set_step("KvWrite", layer=7),
    "layer of another type": set_step("KvWrite", layer=True),
    "attend to another layer": set_step("Attend", layer=0.0),
    "negative window": set_step("Attend", window=-1),
    "attend to another buffer": set_step("Attend", dst="f"),
    "unknown gate": set_step("GateMul", table="tanh"),
    "norm into q": set_step("Norm", dst="q"),
    "activation bits 16": set_step("Norm", activation_bits=16),
    "activation bits 2": set_step("Attend", activation_bits=2),
    "matvec of x": set_step("Matvec", src="x"),
    "matvec to x": set_step("Matvec", dst="x"),
    "matrix is a number": set_step("Matvec", matrix=7),
    "matrix unknown": set_step("Matvec", matrix="no_proj"),
    "bias unknown": set_step("Matvec", bias="no_bias"),
    "bias of another shape": set_step("Matvec", bias="layers.0.k_proj.bias"),
    "rope of v": set_step("Rope", buffer="v"),
    "rope with other heads": set_step("Rope", num_heads=400),
    "rope by a table of another name": set_step("Rope", table="embed_tokens"),
    "rope by a table that is not there": set_step("Rope", table="rope_local"),
    "rope by a number": set_step("Rope", table=1),
    "embedding from a smaller matrix": set_step("Embed", matrix=Q),
    "gain unknown": set_step("Norm", gain="no_norm"),
    "gain of another shape": set_step("Norm", gain="log2"),
    "context is text": set_at("context", value="many"),
    "context 0": set_at("context", value=0),
    "context without ROM": set_at("context", value=100_000),
    "context 2^60": set_at("context", value=1 << 60),
    "a point is a float": set_at("points", "gate", value=9.5),
    "a negative point": set_at("points", "gate", value=-1),
    "a huge point": set_at("points", "v", value=60),
    "points that shift left": set_at("points", "rope", value=3),
    "gate without sigmoid": set_at("points", "gate", value=1),
    "unknown point": set_at("points", value={"z": 1}),
    "no constants": drop("constants"),
    "no epsilon": drop("constants", "norm_epsilon"),
    "epsilon is huge": set_at("constants", "norm_epsilon", value=1 << 70),
    "epsilon is negative": set_at("constants", "head_epsilon", value=-1),
    "no tensors": drop("tensors"),
    "tensors are a list": set_at("tensors", value=[]),
    "no table": drop("tensors", "exp2"),
    "a tensor is a number": set_at("tensors", "exp2", value=5),
    "object dtype": set_at("tensors", "exp2", "dtype", value="O"),
    "float dtype": set_at("tensors", "exp2", "dtype", value="float64"),
    "another dtype": set_at("tensors", "exp2", "dtype", value="int8"),
    "dtype is a list": set_at("tensors", "exp2", "dtype", value=["u1"]),
    "negative shape": set_at("tensors", "exp2", "shape", value=[-256]),
    "shape is text": set_at("tensors", "exp2", "shape", value="256"),
    "huge shape": set_at("tensors", f"{Q}.codes", "shape", value=[1, 96, 1 << 40]),
    "many sizes": set_at("tensors", f"{Q}.codes", "shape", value=[1 << 40] * 1000),
    "negative offset": set_at("tensors", "exp2", "offset", value=-64),
    "offset beyond the end": set_at("tensors", "exp2", "offset", value=1 << 40),
    "offset is a float": set_at("tensors", "exp2", "offset", value=0.5),
    "hash is a number": set_at("tensors", "exp2", "sha256", value=5),
    "no matrices": drop("matrices"),
    "no such matrix": drop("matrices", Q),
    "matrix field missing": drop("matrices", Q, "in_features"),
    "matrix of other sizes": set_at("matrices", Q, "in_features", value=64),
    "matrix size is a float": set_at("matrices", Q, "in_features", value=96.0),
    "bits is huge": set_at("matrices", Q, "bits", value=1 << 40),
    "codebook of floats": set_at("matrices", Q, "codebook", value=[0.5] * 16),
    "codebook of huge values": set_at("matrices", Q, "codebook", value=[1 << 40] * 16),
    "codebook is text": set_at("matrices", Q, "codebook", value="0123456789abcdef"),
    "sum_bits is huge": set_at("matrices", Q, "sum_bits", value=4000),
    "sum_bits is text": set_at("matrices", Q, "sum_bits", value="20"),
    "rom_bytes is text": set_at("rom_bytes", value="all"),
    "rom_bytes is negative": set_at("rom_bytes", value=-1),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_forged_manifest_is_refused_when_opened(image: Image, fault: str) -> None:
    """Each has a digest that fits, so only the contents give it away."""
    rewrite(image, HOSTILE[fault])
    refused(lambda: open_image(image.path), str(image.path))


@pytest.mark.parametrize(
    "change",
    [
        set_at("matrices", Q, "bits", value=3),
        set_at("matrices", Q, "planes", value=1),
        set_at("matrices", Q, "group_size", value=64),
        set_at("matrices", Q, "codebook", value=[0] * 8),
        set_at("tensors", f"{Q}.scales", "shape", value=[96, 1]),
        set_at("tensors", f"{Q}.codes", "shape", value=[1, 96, 24]),
        drop("tensors", f"{Q}.row_shift"),
        lambda chip: chip["tensors"].update({f"{Q}.row_shift": chip["tensors"]["exp2"]}),
    ],
)
def test_a_forged_matrix_is_refused_when_read(
    image: Image, change: Callable[[dict[str, Any]], Any]
) -> None:
    rewrite(image, change)
    refused(lambda: open_image(image.path).matrix(Q), Q)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_entry_of_a_manifest_may_be_anything(
    original: Image, tmp_path: Path, data: st.DataObject
) -> None:
    """Whatever stands in one place, opening and reading either works or fails in one line."""
    if not (tmp_path / "i").exists():
        shutil.copytree(original.path, tmp_path / "i")
    manifest = copy.deepcopy(json.loads((original.path / MANIFEST).read_text()))
    place, key = manifest, "chip"
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.integers(0, 9)):
        place = place[key]
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
    place[key] = data.draw(
        st.sampled_from([None, True, -1, 0, 1, 3, 1 << 70, 0.5, "", "x", "int8", [], [1], {}])
    )
    if isinstance(manifest["chip"], dict):
        manifest["digest"] = digest_of(manifest["chip"])
    (tmp_path / "i" / MANIFEST).write_text(json.dumps(manifest))
    try:
        image = open_image(tmp_path / "i")
        for name in image.program.matrices():
            image.matrix(name)
        image.tokenizer_json()
    except HardcastError as error:
        assert "\n" not in str(error)


def test_the_reader_knows_every_table() -> None:
    made = {name: build() for name, build in tables.TABLES.items()}
    found = {name: (table.dtype.name, list(table.shape)) for name, table in made.items()}
    assert found == check.TABLES

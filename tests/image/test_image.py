"""An image on disk: what goes in comes out, the same bytes everywhere."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast.image import Image, open_image
from hardcast.image.layout import ALIGNMENT, MANIFEST, ROM
from hardcast.image.matrix import Matrix
from hardcast.image.writer import ImageWriter
from tests.image.refused import refused
from tests.random_image import FORMS, config, draw_matrix, write_random_image


def same(a: Matrix, b: Matrix) -> bool:
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(Matrix)]
    return all(np.array_equal(x, y) and type(x) is not type(None) or x is y for x, y in pairs)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(FORMS)),
    rows=st.integers(1, 9),
    columns=st.integers(1, 140),
    seed=st.integers(0, 2**32 - 1),
)
def test_tensors_and_matrices_come_back(
    tmp_path: Path, name: str, rows: int, columns: int, seed: int
) -> None:
    """Through a bare image: reader functions need no program for this."""
    rng = np.random.default_rng(seed)
    matrix = draw_matrix(rng, "some.matrix", (rows, columns), FORMS[name])
    others = {
        "a": rng.integers(0, 256, (rows, 3, columns)).astype(np.uint8),
        "b": rng.integers(-128, 128, columns).astype(np.int8),
        "c": rng.integers(-(1 << 31), 1 << 31, (columns, rows)).astype(np.int32).T,  # not C order
        "d": rng.integers(0, 1 << 16, 5).astype(">u2"),  # not little-endian
        "e": np.zeros((0, 4), np.int16),
    }
    with ImageWriter(tmp_path / "image", replace=True) as out:
        for key in ("a", "b"):
            out.add_tensor(key, others[key])
        out.add_matrix(matrix)
        for key in ("c", "d", "e"):
            out.add_tensor(key, others[key])
        out.finish({}, {"k": "é"}, {})
    read = object.__new__(Image)
    read.path = tmp_path / "image"
    manifest = json.loads((read.path / MANIFEST).read_text())
    read.chip = manifest["chip"]
    read._tensors, read.matrices = read.chip["tensors"], read.chip["matrices"]
    read.verify()
    assert read.tokenizer_json() == {"k": "é"}
    for mapped in (True, False):
        assert same(read.matrix("some.matrix", mapped), matrix)
        for key, array in others.items():
            found = read.tensor(key, mapped)
            assert np.array_equal(found, array) and found.dtype == array.dtype.newbyteorder("<")
    assert all(entry["offset"] % ALIGNMENT == 0 for entry in read._tensors.values())
    assert (read.path / ROM).stat().st_size == read.chip["rom_bytes"]


def test_an_image_knows_itself(original: Image) -> None:
    original.verify()
    assert original.context == 200
    assert original.rom_bits == sum(original.matrix(m).rom_bits for m in original.matrices)
    shapes = original.program.matrices().values()
    assert original.parameters == sum(rows * columns for rows, columns in shapes)
    refused(lambda: original.tensor("nothing"), "no tensor nothing")
    refused(lambda: original.matrix("nothing"), "no matrix nothing")


def test_digests_do_not_depend_on_place_or_provenance(original: Image, tmp_path: Path) -> None:
    model = config("qwen2", num_hidden_layers=1, tie_word_embeddings=False, sliding_window=9)
    again = write_random_image(tmp_path / "elsewhere", model, context=200)
    other = write_random_image(tmp_path / "other", model, context=200, seed=1)
    assert again.digest == original.digest != other.digest
    assert (again.path / ROM).read_bytes() == (original.path / ROM).read_bytes()
    manifest = json.loads((again.path / MANIFEST).read_text())
    manifest["provenance"] = {"model": "renamed"}
    (again.path / MANIFEST).write_text(json.dumps(manifest))
    assert open_image(again.path).digest == original.digest


def test_verify_finds_any_flipped_byte(image: Image) -> None:
    rom = image.path / ROM
    whole = rom.read_bytes()
    rng = np.random.default_rng(0)
    names = sorted(image._tensors)
    for name in [*rng.choice(names, 12), names[0], names[-1]]:
        entry = image._tensors[name]
        size = np.dtype(entry["dtype"]).itemsize * int(np.prod(entry["shape"]))
        content = bytearray(whole)
        content[entry["offset"] + int(rng.integers(size))] ^= 1 << int(rng.integers(8))
        rom.write_bytes(content)
        refused(open_image(image.path).verify, f"tensor {name} was altered")
    rom.write_bytes(whole)
    open_image(image.path).verify()


def test_verify_reports_progress(original: Image) -> None:
    seen: list[tuple[str, int, int]] = []
    original.verify(lambda *update: seen.append(update))
    total = len(original._tensors)
    assert seen == [("verifying", done, total) for done in range(1, total + 1)]

"""Writing an image: whole or not at all, whatever ends it."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardcast.errors import HardcastError
from hardcast.image import Image, open_image, writer
from hardcast.image.writer import ImageWriter
from tests.image.refused import refused
from tests.random_image import FORMS, config, draw_matrix, write_random_image


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("error", [ValueError, HardcastError, KeyboardInterrupt, MemoryError])
def test_whatever_ends_a_build_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), ImageWriter(tmp_path / "i") as out:
        out.add_tensor("t", np.zeros(1000, np.int32))
        assert len(leftovers(tmp_path)) == 1
        raise error("end")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("error", [HardcastError, KeyboardInterrupt])
def test_the_old_image_survives_a_failed_replacement(
    image: Image, error: type[BaseException]
) -> None:
    with pytest.raises(error), ImageWriter(image.path, replace=True) as out:
        out.add_tensor("t", np.zeros(1000, np.int32))
        raise error("end")
    assert leftovers(image.path.parent) == ["image"]
    open_image(image.path).verify()


@pytest.mark.parametrize("fails", ["old", "new"])
def test_the_old_image_survives_a_failed_rename(
    image: Image, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """Ctrl-C at the one moment when neither image stands at its place."""
    rename = writer.os.rename

    def interrupted(source: Path, target: Path) -> None:
        if fails == "old" and source == image.path:
            raise KeyboardInterrupt
        if fails == "new" and ".partial" in Path(source).name:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(writer.os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), ImageWriter(image.path, replace=True) as out:
        out.finish({}, {}, {})
    assert leftovers(image.path.parent) == ["image"]
    open_image(image.path).verify()


def test_replacing_leaves_only_the_new_image(image: Image) -> None:
    model = config("llama", num_hidden_layers=1)
    other = write_random_image(image.path, model, context=64)
    assert leftovers(image.path.parent) == ["image"]
    assert open_image(image.path).digest == other.digest != image.digest


class FullDisk:
    """A file that takes `room` bytes; then the disk is full, also for what a buffer held back."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def write(self, content: Any) -> int:
        self.room -= memoryview(content).nbytes
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(self.file.write(content))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def close(self) -> None:
        self.file.close()
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("room", [0, 100, 5000])
def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path: Path, room: int) -> None:
    with (
        pytest.raises(OSError, match="No space left") as caught,
        ImageWriter(tmp_path / "i") as out,
    ):
        out.add_tensor("first", np.zeros(1, np.uint8))
        out._rom = FullDisk(out._rom, room)  # type: ignore[assignment]
        for number in range(10):
            out.add_tensor(str(number), np.zeros(1000, np.uint8))
    assert caught.value.errno == errno.ENOSPC
    assert leftovers(tmp_path) == []


def test_a_disk_full_at_the_manifest_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer, "_write", full)
    with pytest.raises(OSError, match="No space left"), ImageWriter(tmp_path / "i") as out:
        out.finish({}, {}, {})
    assert leftovers(tmp_path) == []


def test_a_rom_that_cannot_be_opened_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(OSError, match="No space left"), ImageWriter(tmp_path / "i") as out:
        out.add_tensor("first", np.zeros(1, np.uint8))
    monkeypatch.undo()
    assert leftovers(tmp_path) == []


def test_what_is_there_is_not_overwritten(image: Image, tmp_path: Path) -> None:
    refused(lambda: ImageWriter(image.path), str(image.path), "--force")
    (tmp_path / "papers").mkdir()
    (tmp_path / "file").write_text("x")
    for name in ("papers", "file"):
        refused(lambda name=name: ImageWriter(tmp_path / name, replace=True), "not a chip image")
    assert leftovers(tmp_path) == ["file", "image", "papers"]


def test_a_matrix_that_does_not_fit_is_not_written(tmp_path: Path) -> None:
    matrix = draw_matrix(np.random.default_rng(0), "w", (4, 40), FORMS["4 bits, offsets"])
    wrong = dataclasses.replace(matrix, scales=matrix.scales[:, :1])
    with ImageWriter(tmp_path / "i") as out:
        refused(lambda: out.add_matrix(wrong), "w: scales is uint8[4, 1]")
    assert leftovers(tmp_path) == []


def test_a_build_that_writes_no_tensor_makes_no_folder(tmp_path: Path) -> None:
    with ImageWriter(tmp_path / "new" / "i"):
        pass
    assert leftovers(tmp_path) == []

"""What is no file is refused before it is opened: a named pipe would be waited for without end."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hardcast import cli
from hardcast.checkpoint import fetch, open_checkpoint
from hardcast.chip import measured
from hardcast.errors import HardcastError
from hardcast.explore.journal import Journal
from hardcast.explore.space import Space, read_space
from hardcast.files import check_above, check_file
from hardcast.image import open_image
from hardcast.quantize import calibration_text, recipe
from hardcast.report.quality import read_quality
from hardcast.rtl import emit
from hardcast.serve.access.keys import KeyStore
from hardcast.text import read_text
from tests import tiny


@pytest.fixture(params=["named pipe", "socket", "folder"])
def no_file(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, str]]:
    """A path, and what it is."""
    path = tmp_path / "x.toml"
    if request.param == "named pipe":
        os.mkfifo(path)
        yield path, request.param
    elif request.param == "folder":
        path.mkdir()
        yield path, request.param
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
            yield path, request.param


def test_every_reader_of_a_users_file_refuses_what_is_none(no_file: tuple[Path, str]) -> None:
    path, kind = no_file
    readers: list[Any] = [
        check_file,
        read_text,
        calibration_text.read,
        lambda p: recipe.get(str(p)),
        lambda p: read_space(p, Space({})),
        lambda p: Journal(p, {}),
        lambda p: measured.save(p, []),
        read_quality,
        KeyStore,
    ]
    if kind != "folder":
        readers += [open_checkpoint, lambda p: fetch(str(p))]
    for reader in readers:
        with pytest.raises(HardcastError, match=f"x.toml: a {kind}, where a file is expected"):
            reader(path)
    assert stat.S_IFMT(path.stat().st_mode) != stat.S_IFREG


def test_a_device_is_no_file() -> None:
    ends = os.openpty()
    try:
        terminal = Path(os.ttyname(ends[1]))
        with pytest.raises(HardcastError, match=f"{terminal}: a device"):
            check_file(terminal)
    finally:
        for end in ends:
            os.close(end)


def test_pipes_within_a_models_folder_are_not_waited_for(tmp_path: Path) -> None:
    tiny.write_safetensors(tmp_path, "llama")
    for name in ("model.safetensors", "other.safetensors"):
        (tmp_path / "model.safetensors").unlink(missing_ok=True)
        os.mkfifo(tmp_path / name)
        with pytest.raises(HardcastError, match=f"{name}: a named pipe"):
            open_checkpoint(tmp_path)
    (tmp_path / "gguf").mkdir()
    os.mkfifo(tmp_path / "gguf" / "m.gguf")
    with pytest.raises(HardcastError, match="m.gguf: a named pipe"):
        open_checkpoint(tmp_path / "gguf")


def test_an_image_with_a_pipe_for_its_tokenizer(tmp_path: Path) -> None:
    model = tiny.write_gguf(tmp_path / "m.gguf", "llama")
    assert cli.main(["build", str(model), "--recipe", "4bit", "-o", str(tmp_path / "image")]) == 0
    (tmp_path / "image" / "tokenizer.json").unlink()
    os.mkfifo(tmp_path / "image" / "tokenizer.json")
    with pytest.raises(HardcastError, match="tokenizer.json: a named pipe"):
        open_image(tmp_path / "image").tokenizer_json()


def test_what_the_shell_has_opened_is_read() -> None:
    """`command | hardcast ... /dev/stdin` and `<(command)`, as /dev/fd/N."""
    code = (
        "import sys; from pathlib import Path; from hardcast.text import read_text; "
        "print(read_text(Path(sys.argv[1])))"
    )
    for name in ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"):
        ended = subprocess.run(
            [sys.executable, "-c", code, name], input=b"caf\xc3\xa9", capture_output=True
        )
        assert ended.stdout.decode("utf-8").strip() == "café", ended.stderr


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ELOOP])
def test_a_file_that_may_not_be_looked_at_is_left_to_who_opens_it(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: Path, **_: Any) -> os.stat_result:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "stat", denied)
    check_file(Path("x"))


def test_nothing_is_written_below_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    for below in (file / "x", file / "x" / "y"):
        with pytest.raises(HardcastError, match="file is no folder; name a path below one"):
            check_above(below)
        with pytest.raises(HardcastError, match="is no folder"):
            measured.save(below, [])
        with pytest.raises(HardcastError, match="is no folder"):
            Journal(below, {})
    check_above(tmp_path / "new" / "newer" / "x")
    assert file.read_text() == "kept" and sorted(tmp_path.iterdir()) == [file]


def test_an_emitted_chip_is_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    design: Any = None  # not looked at before the path is
    with pytest.raises(HardcastError, match="file is a file; name a folder"):
        emit.emit(design, file)
    with pytest.raises(HardcastError, match="is no folder"):
        emit.emit(design, file / "x")
    assert file.read_text() == "kept"

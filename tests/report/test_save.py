"""The datasheet's file: whole or not at all; nothing else is overwritten."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hardcast.errors import HardcastError
from hardcast.report.save import MARK, check_target, save

SHEET = MARK.decode() + '0.1.0 datasheet">'


def test_a_page_is_written_and_replaces_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    check_target(path)
    assert save(path, SHEET + "é") == len((SHEET + "é").encode())
    check_target(path)
    save(path, SHEET)
    assert path.read_text("utf-8") == SHEET
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "link.html").symlink_to(tmp_path / "a.html")
    save(tmp_path / "link.html", SHEET)
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "a.html").read_text() == SHEET


def test_a_foreign_file_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "thesis.html"
    path.write_text("years of work")
    with pytest.raises(HardcastError, match="is no Hardcast datasheet"):
        check_target(path)
    assert path.read_text() == "years of work"
    check_target(path, force=True)


def test_a_file_that_only_mentions_datasheets_late_is_foreign(tmp_path: Path) -> None:
    path = tmp_path / "notes.html"
    path.write_text(" " * 5000 + SHEET)
    with pytest.raises(HardcastError, match="is no Hardcast datasheet"):
        check_target(path)


def test_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HardcastError, match="is a folder: name a file"):
        check_target(tmp_path)
    with pytest.raises(HardcastError, match="there is no folder"):
        check_target(tmp_path / "missing" / "a.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(HardcastError, match="there is no folder"):
        check_target(tmp_path / "file" / "a.html")


def test_a_pipe_is_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for force in (False, True):
        with pytest.raises(HardcastError, match="no plain file"):
            check_target(tmp_path / "pipe", force)


@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_what_fails_leaves_the_old_page_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    path = tmp_path / "a.html"
    save(path, SHEET)

    def full(_: int) -> None:
        raise stop

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(type(stop)):
        save(path, "half")
    assert path.read_text() == SHEET
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]

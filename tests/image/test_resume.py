"""A keyed build goes on where it was interrupted, and the image is the same byte for byte."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardcast.errors import HardcastError
from hardcast.image import writer
from hardcast.image.layout import MANIFEST, ROM
from hardcast.image.matrix import Matrix
from hardcast.image.writer import ImageWriter
from tests.image.refused import refused
from tests.image.test_image import same
from tests.random_image import FORMS, draw_matrix

PARTIAL, JOURNAL = ".i.partial", ".i.partial.journal"


def parts() -> list[np.ndarray | Matrix]:
    """What the builds here write, in order: tensors of odd sizes, matrices of every form."""
    rng = np.random.default_rng(0)
    made: list[np.ndarray | Matrix] = [np.arange(1001, dtype=np.int16)]
    for number, form in enumerate(FORMS.values()):
        made.append(draw_matrix(rng, f"matrix{number}", (5, 70), form))
        made.append(np.full((number, 3), number, np.int32))
    return made


PARTS = parts()


def add(out: ImageWriter, number: int) -> None:
    part = PARTS[number]
    if isinstance(part, Matrix):
        out.add_matrix(part)
    else:
        out.add_tensor(f"tensor{number}", part)


def build(
    folder: Path, key: str | None = "k", before: Callable[[int], None] = lambda number: None
) -> list[str]:
    """One build of folder/i; what is there already is not added. Returns the names made anew."""
    made = []
    with ImageWriter(folder / "i", key=key) as out:
        for number, part in enumerate(PARTS):
            before(number)
            if isinstance(part, Matrix):
                found = out.finished(part.name)
                if found is not None:
                    assert same(found, part)
                    continue
                made.append(part.name)
            add(out, number)
        out.finish({"some": "chip"}, {"token": "izer"}, {})
    return made


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "i").iterdir()}


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def interrupt(folder: Path, after: int, error: type[BaseException] = KeyboardInterrupt) -> None:
    def stop(number: int) -> None:
        if number == after:
            raise error("stop")

    with pytest.raises(error, match="stop"):
        build(folder, before=stop)


NAMES = [part.name for part in PARTS if isinstance(part, Matrix)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The image as a build without a key makes it."""
    folder = tmp_path_factory.mktemp("whole")
    assert build(folder, key=None) == NAMES
    assert leftovers(folder) == ["i"]
    return content(folder)


def test_a_key_changes_nothing_of_the_image(tmp_path: Path, whole: dict[str, bytes]) -> None:
    assert build(tmp_path) == NAMES
    assert content(tmp_path) == whole and leftovers(tmp_path) == ["i"]


@pytest.mark.parametrize("after", range(2, len(PARTS)))
def test_a_build_goes_on_after_any_part(
    tmp_path: Path, whole: dict[str, bytes], after: int
) -> None:
    interrupt(tmp_path, after, [KeyboardInterrupt, OSError, ValueError][after % 3])
    assert leftovers(tmp_path) == [PARTIAL, JOURNAL]
    done = sum(isinstance(part, Matrix) for part in PARTS[:after])
    assert build(tmp_path) == NAMES[done:]
    assert content(tmp_path) == whole and leftovers(tmp_path) == ["i"]


def test_a_build_may_be_interrupted_again_and_again(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    for after in range(len(PARTS)):
        interrupt(tmp_path, after)
    assert build(tmp_path) == NAMES[len(NAMES) :]
    assert content(tmp_path) == whole


def test_an_interrupted_build_says_what_it_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ImageWriter(tmp_path / "i", key="k") as out:
        add(out, 0)
        add(out, 1)
        raise KeyboardInterrupt
    assert out.kept == tmp_path / PARTIAL


def test_nothing_is_kept_before_a_matrix_is_done(tmp_path: Path) -> None:
    interrupt(tmp_path, 1)
    assert leftovers(tmp_path) == []


def test_a_refused_build_leaves_nothing(tmp_path: Path) -> None:
    interrupt(tmp_path, 6)
    interrupt(tmp_path, 8, HardcastError)
    assert leftovers(tmp_path) == []
    with ImageWriter(tmp_path / "i", key="k") as out:  # as `--stop-after` leaves it
        add(out, 0)
        add(out, 1)
    assert leftovers(tmp_path) == [] and out.kept is None


@pytest.mark.parametrize("lost", [1, 64, 1000, 2500, 10**9])
def test_a_truncated_rom_loses_only_what_it_held(
    tmp_path: Path, whole: dict[str, bytes], lost: int
) -> None:
    interrupt(tmp_path, len(PARTS) - 1)
    rom = tmp_path / PARTIAL / ROM
    os.truncate(rom, max(rom.stat().st_size - lost, 0))
    made = build(tmp_path)
    assert made == NAMES[len(NAMES) - len(made) :] and made
    assert content(tmp_path) == whole and leftovers(tmp_path) == ["i"]


@pytest.mark.parametrize("between", [False, True])
def test_a_rom_that_was_altered_or_grew_is_cut(
    tmp_path: Path, whole: dict[str, bytes], between: bool
) -> None:
    """In a tensor, or between two, where zeros align them."""
    interrupt(tmp_path, len(PARTS) - 1)
    rom = tmp_path / PARTIAL / ROM
    spoilt = bytearray(rom.read_bytes())
    middle = len(spoilt) // 2
    manifest = json.loads(whole[MANIFEST])["chip"]["tensors"]
    if between:
        at = max(entry["offset"] for entry in manifest.values() if entry["offset"] < middle) - 1
        assert spoilt[at] == 0
    else:
        at = max(at for at in range(middle) if spoilt[at])
    spoilt[at] ^= 1
    rom.write_bytes(spoilt + b"half a matrix")
    made = build(tmp_path)
    assert 0 < len(made) < len(NAMES) and made == NAMES[-len(made) :]
    assert content(tmp_path) == whole


@pytest.mark.parametrize("lost", [1, 2, 40, 200])
@pytest.mark.parametrize("zeros", [False, True])
def test_a_torn_journal_line_is_cut(
    tmp_path: Path, whole: dict[str, bytes], lost: int, zeros: bool
) -> None:
    interrupt(tmp_path, len(PARTS) - 1)  # its last line is of a matrix
    journal = tmp_path / JOURNAL
    text = journal.read_bytes()
    journal.write_bytes(text[:-lost] + (b"\0" * lost if zeros else b""))
    made = build(tmp_path)
    assert made == NAMES[-1:]
    assert content(tmp_path) == whole


def test_a_bit_of_the_journal_that_flipped_is_noticed(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    interrupt(tmp_path, len(PARTS) - 2)
    journal = tmp_path / JOURNAL
    text = journal.read_bytes()
    journal.write_bytes(text.replace(b'"group_size": 64', b'"group_size": 96', 1))
    assert 0 < len(build(tmp_path)) < len(NAMES)
    assert content(tmp_path) == whole


@pytest.mark.parametrize("gone", [PARTIAL, JOURNAL])
def test_half_of_what_was_kept_is_nothing(
    tmp_path: Path, whole: dict[str, bytes], gone: str
) -> None:
    interrupt(tmp_path, 8)
    (tmp_path / gone).rename(tmp_path / "elsewhere")
    assert build(tmp_path) == NAMES
    assert content(tmp_path) == whole


def test_another_key_starts_anew(tmp_path: Path, whole: dict[str, bytes]) -> None:
    interrupt(tmp_path, 8)
    assert build(tmp_path, key="other") == NAMES
    assert content(tmp_path) == whole and leftovers(tmp_path) == ["i"]


def test_an_image_is_replaced_only_at_the_end(tmp_path: Path, whole: dict[str, bytes]) -> None:
    build(tmp_path, key=None)
    old = content(tmp_path)
    with pytest.raises(KeyboardInterrupt), ImageWriter(tmp_path / "i", True, key="k") as out:
        add(out, 1)
        raise KeyboardInterrupt
    assert content(tmp_path) == old and leftovers(tmp_path) == [PARTIAL, JOURNAL, "i"]
    with ImageWriter(tmp_path / "i", True, key="k") as out:
        add(out, 1)
        out.finish({}, {}, {})
    assert leftovers(tmp_path) == ["i"] and content(tmp_path)[ROM] != old[ROM]


def test_what_is_there_may_be_added_again_if_it_is_the_same(tmp_path: Path) -> None:
    interrupt(tmp_path, 4)
    with ImageWriter(tmp_path / "i", key="k") as out:
        for _ in range(2):
            for number in range(4):
                add(out, number)
        assert (tmp_path / PARTIAL / ROM).stat().st_size == out._position
        out.finish({}, {}, {})


@pytest.mark.parametrize("key", ["k", None])
def test_another_content_under_the_same_name_is_refused(tmp_path: Path, key: str | None) -> None:
    plain, other = FORMS["two planes of 4"], FORMS["two planes of 4, offsets"]
    rng = np.random.default_rng(0)
    drawn = [draw_matrix(rng, "w", (4, 64), form) for form in (plain, plain, other)]
    for again in drawn[1:]:
        with ImageWriter(tmp_path / "i", key=key) as out:
            out.add_tensor("t", np.zeros(5, np.int16))
            out.add_matrix(drawn[0])
            refused(lambda out=out: out.add_tensor("t", np.zeros(5, np.uint16)), "tensor t is not")
            refused(lambda out=out: out.add_tensor("t", np.ones(5, np.int16)), "tensor t is not")
            refused(lambda out=out, again=again: out.add_matrix(again), " w")
            out.add_tensor("t", np.zeros(5, np.int16))
            out.add_matrix(drawn[0])
    assert leftovers(tmp_path) == []


def test_finished_works_without_a_key(tmp_path: Path) -> None:
    with ImageWriter(tmp_path / "i") as out:
        matrix = PARTS[1]
        assert isinstance(matrix, Matrix)
        assert out.finished(matrix.name) is None
        out.add_matrix(matrix)
        found = out.finished(matrix.name)
        assert found is not None and same(found, matrix)


def test_two_builds_of_one_image_at_once_are_refused(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    with ImageWriter(tmp_path / "i", key="k") as first:
        for number in range(3):
            add(first, number)
        with ImageWriter(tmp_path / "i", key="k") as second:
            refused(lambda: add(second, 0), str(tmp_path / "i"), "another build", "-o")
        with ImageWriter(tmp_path / "j", key="k") as neighbour:
            add(neighbour, 0)
        for number in range(3, len(PARTS)):
            add(first, number)
        first.finish({"some": "chip"}, {"token": "izer"}, {})
    assert content(tmp_path) == whole and leftovers(tmp_path) == ["i"]


def test_a_lock_that_is_removed_meanwhile_does_not_let_two_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening the journal and locking it, its owner finishes and another build begins."""
    from hardcast.image import journal

    owner = ImageWriter(tmp_path / "i", key="k")
    add(owner, 0)
    flock = journal.fcntl.flock
    third: list[ImageWriter] = []

    def slow(file: Any, how: int) -> None:
        monkeypatch.setattr(journal.fcntl, "flock", flock)
        owner.__exit__(None, None, None)
        third.append(ImageWriter(tmp_path / "i", key="k"))
        add(third[0], 0)
        flock(file, how)

    monkeypatch.setattr(journal.fcntl, "flock", slow)
    with ImageWriter(tmp_path / "i", key="k") as second:
        refused(lambda: add(second, 0), "another build")
    third[0].__exit__(None, None, None)
    assert leftovers(tmp_path) == []


def test_a_full_disk_keeps_what_is_whole(
    tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    fsync = os.fsync

    def fails(descriptor: int) -> None:
        if (tmp_path / PARTIAL / ROM).exists() and (tmp_path / PARTIAL / ROM).stat().st_size > 4000:
            raise full
        fsync(descriptor)

    monkeypatch.setattr(writer.os, "fsync", fails)
    with pytest.raises(OSError, match="No space left"):
        build(tmp_path)
    monkeypatch.undo()
    assert leftovers(tmp_path) == [PARTIAL, JOURNAL]
    made = build(tmp_path)
    assert 0 < len(made) < len(NAMES)
    assert content(tmp_path) == whole


def test_a_kill_during_the_rename_leaves_a_whole_image(
    tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writer.os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path)
    monkeypatch.undo()
    assert (tmp_path / PARTIAL / MANIFEST).is_file()
    assert build(tmp_path) == []
    assert content(tmp_path) == whole and leftovers(tmp_path) == ["i"]


@pytest.mark.parametrize("after", [1, 4, len(PARTS) - 1])
def test_a_kill_at_any_time_loses_at_most_the_part_in_hand(
    tmp_path: Path, whole: dict[str, bytes], after: int
) -> None:
    """kill -9 of a real process while it is between two writes of a matrix."""
    script = textwrap.dedent(
        f"""
        import os, signal, sys
        from pathlib import Path
        from tests.image import test_resume as t

        def kill(number):
            if number == {after}:
                t.ImageWriter._note = lambda *_: os.kill(os.getpid(), signal.SIGKILL)

        t.build(Path(sys.argv[1]), before=kill)
        """
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    assert leftovers(tmp_path) == [PARTIAL, JOURNAL]
    before = sum(isinstance(part, Matrix) for part in PARTS[:after])
    assert build(tmp_path) == NAMES[before:]
    assert content(tmp_path) == whole and leftovers(tmp_path) == ["i"]

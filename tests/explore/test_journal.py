"""What a journal keeps, what it forgives, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from hardcast.errors import HardcastError
from hardcast.explore import journal as room
from hardcast.explore.evaluate import Task, evaluate_all
from hardcast.explore.journal import Journal, key_of
from tests.explore.small import subject, task


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "search.jsonl"


POINTS = range(0, 96, 8)  # from one end of the space to the other: some are no chips


def filled(file: Path, small: Task) -> None:
    with Journal(file, key_of(small)) as journal:
        assert journal.results == []
        journal.append(evaluate_all(small, POINTS[:6]))
        journal.append(evaluate_all(small, POINTS[6:]))


def test_results_come_back_as_they_were(file: Path) -> None:
    small = task()
    filled(file, small)
    with Journal(file, key_of(small)) as journal:
        assert journal.results == evaluate_all(small, POINTS)
    results = evaluate_all(small, POINTS)
    assert any(r.reason for r in results) and any(not r.reason for r in results)


@pytest.mark.parametrize("cut", [1, 2, 40, 150])
def test_a_last_line_that_was_cut_short_is_dropped(cut: int, file: Path) -> None:
    small = task()
    filled(file, small)
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    left = whole[:-cut].count(b"\n") - 1
    with Journal(file, key_of(small)) as journal:
        assert len(journal.results) == left < len(POINTS)
        journal.append(evaluate_all(small, POINTS[left:]))
    assert file.read_bytes() == whole


@pytest.mark.parametrize("length", [0, 1, 100])
def test_a_first_line_that_was_cut_short_is_a_new_journal(length: int, file: Path) -> None:
    small = task()
    filled(file, small)
    whole = file.read_bytes()
    file.write_bytes(whole[:length])
    filled(file, small)
    assert file.read_bytes() == whole


OTHERS = {
    "another space": lambda t: task(users=(1, 2)),
    "another model": lambda t: dataclasses.replace(
        t, subjects={"4bit": dataclasses.replace(subject(), name="another")}
    ),
    "another --position": lambda t: task(position=101),
    "another number of --systems": lambda t: dataclasses.replace(t, systems=7),
    "another --utilisation": lambda t: dataclasses.replace(t, utilisation=0.25),
    "other figures of nodes or costs": lambda t: dataclasses.replace(
        t, assumptions={"n6": task(node=("n5",)).assumptions["n5"]}
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_the_journal_of_another_search_is_refused_and_kept(what: str, file: Path) -> None:
    small = task()
    filled(file, small)
    whole = file.read_bytes()
    with pytest.raises(HardcastError, match=f"{file} is the journal of a search with {what}: "):
        Journal(file, key_of(OTHERS[what](small)))
    assert file.read_bytes() == whole


def test_the_journal_of_another_version_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(file, task())
    monkeypatch.setattr(room, "code_version", lambda: "0.0.1+feed")
    with pytest.raises(HardcastError, match="another version of Hardcast"):
        Journal(file, key_of(task()))


def test_the_version_knows_the_files_that_decide_figures() -> None:
    assert room.code_version() == room.code_version.__wrapped__()
    assert "+" in room.code_version()


@pytest.mark.parametrize("text", ["my notes\n", "{}\n", "[1]\n", "3\n", '{"kind": "x"}\n{}\n', "x"])
def test_a_file_of_the_users_is_left_alone(text: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(HardcastError, match="is there and is no journal"):
        Journal(file, key_of(task()))
    assert file.read_text() == text


def test_a_damaged_line_is_named(file: Path) -> None:
    small = task()
    filled(file, small)
    lines = file.read_text().splitlines(keepends=True)
    lines[4] = "\0\0\0\n"
    file.write_text("".join(lines))
    with pytest.raises(HardcastError, match="line 5 is damaged"):
        Journal(file, key_of(small))


def test_two_searches_do_not_share_a_journal(file: Path) -> None:
    small = task()
    with Journal(file, key_of(small)), pytest.raises(HardcastError, match="another search"):
        Journal(file, key_of(small))
    Journal(file, key_of(small)).__exit__()


def test_every_line_is_json(file: Path) -> None:
    filled(file, task())
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert entries[0]["kind"] == room.KIND
    assert [entry["point"] for entry in entries[1:]] == list(POINTS)

"""The journal of a search: every evaluated point, so that an interrupted search can go on.

JSON lines. The first is the search's key; each further one is a point, written down in batches that
are made durable together. A search of other objectives or limits, or of more points of the same
space, uses the same journal; one of another space, model or version is refused.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hardcast import __version__
from hardcast.errors import HardcastError
from hardcast.explore.evaluate import Result, Task
from hardcast.files import check_above, check_file

FORMAT = 1
KIND = "journal of hardcast explore"
WHAT = {
    "format": "another format of journals",
    "version": "another version of Hardcast",
    "model": "another model",
    "figures": "other figures of nodes or costs",
    "position": "another --position",
    "systems": "another number of --systems",
    "utilisation": "another --utilisation",
    "space": "another space",
}
"""What differs when a field of the key does."""


def key_of(task: Task) -> dict[str, Any]:
    """What two searches must have in common for their points to mean the same."""
    subjects = [
        [s.name, s.digest, s.recipe, _digest(repr((s.program, sorted(s.forms.items()))).encode())]
        for s in task.subjects.values()
    ]
    figures = {
        node: [dict(a.texts), {name: f.to_json() for name, f in a.figures.items()}]
        for node, a in task.assumptions.items()
    }
    return {
        "kind": KIND,
        "format": FORMAT,
        "version": code_version(),
        "model": subjects,
        "figures": _digest(json.dumps(figures, sort_keys=True).encode()),
        "position": task.position,
        "systems": task.systems,
        "utilisation": task.utilisation,
        "space": {axis: list(values) for axis, values in task.space.lists.items()},
    }


@cache
def code_version() -> str:
    """The version, and a digest of the files that decide what a point's figures are."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for room in ("technology", "chip", "economics", "explore"):
        for path in sorted((package / room).rglob("*")):
            if path.suffix in (".py", ".toml"):
                name = path.relative_to(package).as_posix()
                digest.update(f"{name} {_digest(path.read_bytes())}\n".encode())
    return f"{__version__}+{digest.hexdigest()[:12]}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Journal:
    """An open journal that no other search may open. results: of the points in it.

    A last line that was cut short is dropped. Raises HardcastError for a file that is no journal,
    is one of a search with another key, or is in use.
    """

    def __init__(self, path: Path, key: dict[str, Any]) -> None:
        self.path = path
        check_above(path)
        check_file(path)
        self._file = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HardcastError(
                    f"{path}: another search is writing it; wait for that or name another --journal"
                ) from None
            self.results = self._read(key)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, results: Sequence[Result]) -> None:
        """Writes results down; they are durable when this returns."""
        self._write(b"".join(_line(_record(result)) for result in results))

    def _read(self, key: dict[str, Any]) -> list[Result]:
        head = _line(key)
        data = self._file.readall()
        if head.startswith(data):  # empty, or cut short in its first line
            self._cut(0)
            self._write(head)
            return []
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.splitlines()
        self._check_key(lines[0] if lines else b"", key)
        results = [self._result(number, line) for number, line in enumerate(lines[1:], 2)]
        self._cut(len(whole))
        return results

    def _check_key(self, line: bytes, key: dict[str, Any]) -> None:
        try:
            found = json.loads(line)
            if found["kind"] != KIND:
                raise ValueError
        except (ValueError, TypeError, KeyError):
            raise HardcastError(
                f"{self.path} is there and is no journal of a search: name another --journal"
            ) from None
        for name, what in WHAT.items():
            if found.get(name) != key[name]:
                raise HardcastError(
                    f"{self.path} is the journal of a search with {what}: name another --journal, "
                    "or remove it"
                )

    def _result(self, number: int, line: bytes) -> Result:
        try:
            entry = json.loads(line)
            return Result(
                int(entry["point"]),
                entry.get("reason", ""),
                entry.get("parameters", {}),
                entry.get("figures", {}),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            raise HardcastError(
                f"{self.path}: line {number} is damaged; remove the lines from there on"
            ) from None

    def _cut(self, length: int) -> None:
        self._file.truncate(length)
        self._file.seek(length)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        os.fsync(self._file.fileno())


def _record(result: Result) -> dict[str, Any]:
    if result.reason:
        return {"point": result.point, "reason": result.reason}
    return {
        "point": result.point,
        "parameters": dict(result.parameters),
        "figures": dict(result.figures),
    }


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"

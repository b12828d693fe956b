"""A datasheet's file: whole or not at all, and nothing else of the user's is overwritten."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hardcast.errors import HardcastError

MARK = b'<meta name="generator" content="Hardcast '
SEEN = 4096  # bytes within which a datasheet says what it is


def check_target(path: Path, force: bool = False) -> None:
    """Raises HardcastError for a path that a datasheet must not or cannot be written to.

    A file that is there may be replaced if it is a datasheet, or with force.
    """
    if path.is_dir():
        raise HardcastError(f"{path} is a folder: name a file, for example {path / 'chip.html'}")
    if not path.parent.is_dir():
        raise HardcastError(f"{path}: there is no folder {path.parent}; make it first")
    if not path.exists():
        return
    if not path.is_file():  # with force too: /dev/null would become a datasheet
        raise HardcastError(f"{path} is no plain file: name another")
    if force:
        return
    with path.open("rb") as file:
        if MARK not in file.read(SEEN):
            raise HardcastError(
                f"{path} is there and is no Hardcast datasheet: name another file, or --force"
            )


def save(path: Path, text: str) -> int:
    """Writes the text beside the path, flushes it to the disk and puts it in place.

    A link is written through. Returns the size in bytes. OSError of the disk is let through, and
    nothing is left behind then.
    """
    data, path = text.encode("utf-8"), path.resolve()
    handle, name = tempfile.mkstemp(
        prefix=f".{path.name[:100]}.", suffix=".partial", dir=path.parent
    )
    aside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp's files are for their owner alone; this is an ordinary one.
        mask = os.umask(0)
        os.umask(mask)
        aside.chmod(0o666 & ~mask)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return len(data)

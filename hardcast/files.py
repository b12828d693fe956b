"""A user's file is opened only if it is one: a named pipe could be waited for without end."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from hardcast.errors import HardcastError

# What the shell opened before (`< text`, `<(command)`): reading it waits for nobody to come.
OPEN_ALREADY = re.compile(r"/dev/(stdin|fd/\d+)|/proc/(self|\d+)/fd/\d+")
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_above(path: Path) -> None:
    """Raises HardcastError if a file stands where a folder above `path` is or would be made."""
    above = next((folder for folder in path.absolute().parents if folder.exists()), None)
    if above is not None and not above.is_dir():
        raise HardcastError(f"{path}: {above} is no folder; name a path below one")


def check_file(path: Path) -> None:
    """Raises HardcastError if `path` is a folder, a named pipe, a socket or a device.

    Pipes that are open already (/dev/stdin, <(command)) may pass. A path that is not there, or not
    to be reached, passes too: opening it says why.
    """
    if OPEN_ALREADY.fullmatch(os.path.abspath(path)):
        return
    try:
        kind = KINDS.get(stat.S_IFMT(path.stat().st_mode))
    except OSError:
        return
    if kind is not None:
        raise HardcastError(f"{path}: {kind}, where a file is expected; name a file")

"""A user's text as it is: UTF-8, every line end kept."""

from __future__ import annotations

import codecs
from pathlib import Path

from hardcast.errors import HardcastError
from hardcast.files import check_file


def read_text(path: Path) -> str:
    """The text of a UTF-8 file.

    A byte order mark at its start says how it is encoded and is no part of it; CRLF and CR stay.
    A pipe that is open already (/dev/stdin, <(command)) is read to its end.
    Raises HardcastError if it is no file (files.check_file) or not UTF-8, and OSError.
    """
    check_file(path)
    return decoded(path.read_bytes(), str(path))


def decoded(data: bytes, where: str) -> str:
    """The text of UTF-8 bytes; see read_text. where: what errors call them."""
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        first = error.start + (len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0)
        raise HardcastError(
            f"{where}: not UTF-8 (byte {first}); convert it, for example with iconv"
        ) from None

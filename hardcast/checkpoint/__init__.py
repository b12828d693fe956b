"""Checkpoints: GGUF, safetensors, hub ids and packaged models, behind one protocol."""

from __future__ import annotations

from pathlib import Path

from hardcast.checkpoint.arranged import arranged
from hardcast.checkpoint.base import Checkpoint, Grid
from hardcast.checkpoint.config import FAMILIES, ModelConfig
from hardcast.checkpoint.fetch import cached, fetch, locate
from hardcast.checkpoint.packaged import Progress, packaged_models
from hardcast.errors import HardcastError

__all__ = [
    "FAMILIES",
    "Checkpoint",
    "Grid",
    "ModelConfig",
    "Progress",
    "cached",
    "fetch",
    "locate",
    "open_checkpoint",
    "packaged_models",
]


def open_checkpoint(model: str | Path, progress: Progress | None = None) -> Checkpoint:
    """Opens a model: a .gguf file, a folder with safetensors, a packaged name, or a hub id.

    progress: told about a download, if one is needed.

    Raises HardcastError, one line, for anything that is no supported and complete model.
    """
    # Readers are imported here: naming a model or asking for the cache needs neither.
    path = locate(str(model), progress)
    if path.is_dir():
        files = _gguf_files(path)
        if not files or any(path.glob("*.safetensors")):
            from hardcast.checkpoint.safetensors import SafetensorsCheckpoint

            return arranged(SafetensorsCheckpoint(path))
        path = files[0]
    elif path.suffix == ".safetensors":
        raise HardcastError(f"{path}: give its folder instead, which holds config.json as well")
    from hardcast.checkpoint.gguf import GgufCheckpoint

    return arranged(GgufCheckpoint(path))


def _gguf_files(folder: Path) -> list[Path]:
    """The folder's .gguf model, in a list of at most one. Raises HardcastError for several."""
    files = sorted(f for f in folder.glob("*.gguf") if not f.name.startswith("mmproj"))
    if len(files) > 1 and not any(folder.glob("*.safetensors")):
        names = ", ".join(file.name for file in files[:5])
        raise HardcastError(f"{folder}: holds {len(files)} .gguf files ({names}); name one")
    return files

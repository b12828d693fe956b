"""Model architectures: one short file each, found by listing this folder.

A module here is an architecture if it defines

    ARCHITECTURE: Architecture      # common.Decoder, or whatever else lists a program's steps

and its file name is the lookup key: `ModelConfig.architecture == "qwen3"` means `models/qwen3.py`.
Modules without one (common, shapes, units) are the room's helpers.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Protocol, cast

from hardcast.checkpoint.config import ModelConfig
from hardcast.errors import HardcastError
from hardcast.models.common import (
    ACTIVATION_BITS,
    HEAD_ACTIVATION_BITS,
    checkpoint_name,
    tensor_shapes,
)
from hardcast.program.program import Program

__all__ = [
    "Architecture",
    "architectures",
    "build_program",
    "checkpoint_name",
    "get",
    "tensor_shapes",
]


class Architecture(Protocol):
    """What an architecture module's ARCHITECTURE offers."""

    def build_program(
        self,
        config: ModelConfig,
        activation_bits: int = ACTIVATION_BITS,
        head_activation_bits: int = HEAD_ACTIVATION_BITS,
    ) -> Program:
        """One token's forward pass; see `common.Decoder.build_program`."""
        ...


@cache
def _found() -> dict[str, Architecture]:
    found = {}
    for entry in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{entry.name}")
        if hasattr(module, "ARCHITECTURE"):
            found[entry.name] = cast(Architecture, module.ARCHITECTURE)
    return dict(sorted(found.items()))


def architectures() -> list[str]:
    """Names of the supported architectures, sorted."""
    return list(_found())


def get(architecture: str) -> Architecture:
    """An architecture by name.

    Raises:
        HardcastError: the architecture has no module; the message lists those that have.
    """
    try:
        return _found()[architecture]
    except KeyError:
        raise HardcastError(
            f"architecture {architecture!r} is not supported; supported: "
            f"{', '.join(architectures())} (docs/models.md says how to add one)"
        ) from None


def build_program(
    config: ModelConfig,
    activation_bits: int = ACTIVATION_BITS,
    head_activation_bits: int = HEAD_ACTIVATION_BITS,
) -> Program:
    """The program of a model: looks up `config.architecture` and lets it list the steps.

    Raises:
        HardcastError: unsupported architecture, or sizes that no chip can run.
    """
    return get(config.architecture).build_program(config, activation_bits, head_activation_bits)

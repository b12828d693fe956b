"""Model architectures: one short file each, found by listing this folder.

A module here is an architecture if it defines

    build_program(config, activation_bits=8, head_activation_bits=10) -> Program

and its file name is the lookup key: `ModelConfig.architecture == "qwen3"` means `models/qwen3.py`.
Modules without a `build_program` (common, shapes) are the room's helpers.
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
    """What an architecture module offers."""

    def build_program(
        self,
        config: ModelConfig,
        activation_bits: int = ACTIVATION_BITS,
        head_activation_bits: int = HEAD_ACTIVATION_BITS,
    ) -> Program:
        """One token's forward pass; see `common.decoder_program`."""
        ...


@cache
def _modules() -> dict[str, Architecture]:
    found = {}
    for entry in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{entry.name}")
        if hasattr(module, "build_program"):
            found[entry.name] = cast(Architecture, module)
    return dict(sorted(found.items()))


def architectures() -> list[str]:
    """Names of the supported architectures, sorted."""
    return list(_modules())


def get(architecture: str) -> Architecture:
    """The module of an architecture.

    Raises:
        HardcastError: the architecture has no module; the message lists those that have.
    """
    try:
        return _modules()[architecture]
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
    """The program of a model: looks up `config.architecture` and lets its module list the steps.

    Raises:
        HardcastError: unsupported architecture, or sizes that no chip can run.
    """
    return get(config.architecture).build_program(config, activation_bits, head_activation_bits)

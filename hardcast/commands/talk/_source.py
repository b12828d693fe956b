"""The float source of an image, for the verbs that hold a chip against it."""

from __future__ import annotations

from typing import TypeVar

from hardcast import models
from hardcast.checkpoint import Checkpoint, open_checkpoint
from hardcast.console import Bars
from hardcast.errors import HardcastError
from hardcast.image import Image
from hardcast.quantize.float_forward import FloatModel
from hardcast.quantize.folding import Plain

CACHED_WEIGHTS = 1 << 29  # a float model up to this many weights (2 GiB) stays in memory

Model = TypeVar("Model", bound=FloatModel)


def source_of(model: str, image: Image, progress: Bars) -> Checkpoint:
    """The checkpoint that `image` came from. Raises HardcastError if the sizes say otherwise."""
    checkpoint = open_checkpoint(model, progress)
    for note in checkpoint.notes:
        progress.note(note)
    program = models.build_program(checkpoint.config)
    if program.shape != image.program.shape or program.architecture != image.program.architecture:
        raise HardcastError(f"{model}: not the model of {image.path}: their sizes differ")
    checkpoint.config = checkpoint.config.for_context(image.context)
    return checkpoint


def float_model(checkpoint: Checkpoint, image: Image, kind: type[Model]) -> Model:
    """It, run in float by FloatModel or a kind of it."""
    program = models.build_program(checkpoint.config)
    plain = Plain(checkpoint, program)
    return kind(program, checkpoint.config, plain.tensor, cache=cached(image))


def cached(image: Image) -> bool:
    """Whether the float weights stay in memory."""
    return image.parameters <= CACHED_WEIGHTS

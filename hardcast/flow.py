"""`build` as one list of passes: a checkpoint becomes a chip image. Each pass is one method."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from hardcast import __version__, models
from hardcast.checkpoint import open_checkpoint
from hardcast.checkpoint.base import Checkpoint, Grid
from hardcast.errors import HardcastError
from hardcast.golden import bounds
from hardcast.golden.bounds import Bounds
from hardcast.image.writer import ImageWriter
from hardcast.models.common import ACTIVATION_BITS, HEAD_ACTIVATION_BITS, checkpoint_name
from hardcast.numerics import rope, tables
from hardcast.numerics.points import Points
from hardcast.program import step as kinds
from hardcast.program.program import Program
from hardcast.quantize import recipe as recipes
from hardcast.quantize.recipe import quantize_matrix
from hardcast.tokenizer import TokenizerSpec

Progress = Callable[[str, int, int | None], None]

LOG2_E = 1.4426950408889634  # exp is computed as a power of two: q carries the factor
DEFAULT_CONTEXT = 8192  # positions of KV cache, unless the model has fewer or the user says
HEAD_EXTRA_BITS = HEAD_ACTIVATION_BITS - ACTIVATION_BITS  # at any width, as models/ says why
ACTIVATION_BITS_RANGE = range(8, 16)
GAIN_BITS = 24  # of a norm's integer gain: times an int32 residual it fits int64 with room
BIAS_BITS = 20  # of a bias in whole units: at its binary point it fits int32


@dataclass(frozen=True)
class BuildReport:
    """What `build` made. bits_per_weight and rom_bits count codes, scales, offsets, multipliers."""

    path: Path
    digest: str
    parameters: int
    bits_per_weight: float
    rom_bits: int
    seconds: float
    stopped_after: str | None = None


class _Build:
    """The state that the passes hand on. `PASSES` lists them in order."""

    checkpoint: Checkpoint
    program: Program
    context: int
    widths: dict[str, int]
    digest = ""

    def __init__(
        self, model: str, recipe: str, context: int | None, bits: int, progress: Progress
    ) -> None:
        if bits not in ACTIVATION_BITS_RANGE:
            raise HardcastError(f"activation bits {bits} are outside 8..15")
        self.model, self.recipe, self.bits = model, recipes.get(recipe), bits
        self.asked_context, self.progress = context, progress
        self.points = Points()
        self.biases: dict[str, np.ndarray] = {}
        self.matrices: dict[str, tuple[int, int]] = {}  # name -> weights, rom_bits

    def read(self, writer: ImageWriter) -> None:
        """Opens the checkpoint: header, config, names and shapes; no weights yet."""
        self.checkpoint = open_checkpoint(self.model, self.progress)
        most = self.checkpoint.config.max_position_embeddings
        asked = self.asked_context
        self.context = min(most, DEFAULT_CONTEXT) if asked is None else asked
        if not 1 <= self.context <= most:
            raise HardcastError(f"context {self.context} is outside 1..{most}, the model's range")

    def list_steps(self, writer: ImageWriter) -> None:
        """Writes the forward pass down as a program, checks it, and makes the tables."""
        config = self.checkpoint.config
        head_bits = min(self.bits + HEAD_EXTRA_BITS, ACTIVATION_BITS_RANGE[-1])
        self.program = models.get(config.architecture).build_program(config, self.bits, head_bits)
        for name, build_table in tables.TABLES.items():
            writer.add_tensor(name, build_table())
        frequencies = rope.inverse_frequencies(
            config.head_dim, config.rope_theta, config.rope_scaling
        )
        coarse, fine = rope.rope_tables(frequencies, self.context)
        writer.add_tensor("rope_coarse", coarse)
        writer.add_tensor("rope_fine", fine)

    def quantize(self, writer: ImageWriter) -> None:
        """Streams every weight through the recipe into the image, and bounds each step."""
        self.bounds = Bounds(self.program, self.points)
        steps = self.program.steps
        for done, step in enumerate(steps):
            self.progress("quantizing", done, len(steps))
            match step:
                case kinds.Embed() | kinds.Matvec():
                    self._quantize_matrix(step, writer)
                case kinds.Norm():
                    gain = self._gain(step.gain, self.program.shape.width(step.src), 1.0)
                    writer.add_tensor(step.gain, gain)
                    self.bounds.step(step, gain=gain.astype(np.int64))
                case kinds.HeadNorm():
                    factor = LOG2_E / math.sqrt(self.program.shape.head_dim)
                    dim = self.program.shape.head_dim
                    gain = self._gain(step.gain, dim, factor if step.buffer == "q" else 1.0)
                    writer.add_tensor(step.gain, gain)
                    self.bounds.step(step, gain=gain.astype(np.int64))
                case _:
                    self.bounds.step(step)
        self.progress("quantizing", len(steps), len(steps))

    def _quantize_matrix(self, step: kinds.Embed | kinds.Matvec, writer: ImageWriter) -> None:
        shape = self.program.matrices()[step.matrix]
        factor = self._score_factor(step)
        source = _Tensor(self.checkpoint, checkpoint_name(step.matrix))
        matrix = quantize_matrix(self.recipe, step.matrix, shape, source, factor)
        bias = None
        if isinstance(step, kinds.Matvec) and step.bias is not None:
            bias = self.checkpoint.tensor(checkpoint_name(step.bias)).astype(np.float64) * factor
            if np.abs(bias).max() >= 1 << BIAS_BITS:
                raise HardcastError(
                    f"{self.checkpoint.path}: {checkpoint_name(step.bias)} holds a bias of "
                    f"{np.abs(bias).max():g}, more than a chip's q, k and v can hold"
                )
            self.biases[step.bias] = bias
            bias = np.ceil(np.abs(bias) * (1 << bounds.FRACTION)).astype(np.int64)
        self.bounds.step(step, matrix=matrix, bias=bias)
        if step.matrix not in self.matrices:  # a tied head is written once
            writer.add_matrix(matrix)
            self.matrices[step.matrix] = (shape[0] * shape[1], matrix.rom_bits)

    def _score_factor(self, step: kinds.Embed | kinds.Matvec) -> float:
        """log2(e) / sqrt(head_dim) for q, so that scores come out in log2 units."""
        normed_after = any(isinstance(s, kinds.HeadNorm) for s in self.program.steps)
        if isinstance(step, kinds.Matvec) and step.dst == "q" and not normed_after:
            return LOG2_E / math.sqrt(self.program.shape.head_dim)
        return 1.0

    def _gain(self, name: str, n: int, factor: float) -> np.ndarray:
        """round(g sqrt(n) factor 2^gain), int32[n]: the mean of a norm becomes a plain sum."""
        gain = self.checkpoint.tensor(checkpoint_name(name)).astype(np.float64)
        scaled = np.rint(gain * (math.sqrt(n) * factor * (1 << self.points.gain)))
        if np.abs(scaled).max() >= 1 << GAIN_BITS:
            raise HardcastError(
                f"{self.checkpoint.path}: {checkpoint_name(name)} holds a gain of "
                f"{np.abs(gain).max():g}, more than a chip's norm can hold"
            )
        return scaled.astype(np.int32)

    def prove_widths(self, writer: ImageWriter) -> None:
        """Proves the width of every buffer and accumulator; refuses what could overflow."""
        self.widths = self.bounds.widths()
        for step in self.program.steps:
            if isinstance(step, kinds.Matvec) and step.bias is not None:
                point = self.points.v if step.dst == "v" else self.points.qk
                integers = np.rint(self.biases[step.bias] * (1 << point)).astype(np.int32)
                writer.add_tensor(step.bias, integers)

    def write(self, writer: ImageWriter) -> None:
        """Writes manifest and tokenizer and renames the folder into place."""
        config, points = self.checkpoint.config, self.points
        spec = TokenizerSpec.from_source(self.checkpoint.tokenizer_source())
        epsilon = Fraction(config.rms_norm_eps)
        constants = {
            "norm_epsilon": round(epsilon * config.hidden_size * 4**points.residual),
            "head_epsilon": round(epsilon * config.head_dim * 4**points.qk),
        }
        chip: dict[str, Any] = {
            "program": self.program.to_json(),
            "context": self.context,
            "points": points.to_json(),
            "constants": constants,
            "widths": self.widths,
            "recipe": {"name": self.recipe.name, "activation_bits": self.bits},
        }
        provenance = {"model": Path(self.model).name, "hardcast": __version__}
        self.digest = writer.finish(chip, spec.to_json(), provenance)


@dataclass(frozen=True)
class _Tensor:
    """Rows of one tensor of a checkpoint, as quantize/ asks for them."""

    checkpoint: Checkpoint
    name: str

    def grid(self, rows: slice) -> Grid | None:
        return self.checkpoint.grid(self.name, rows)

    def tensor(self, rows: slice) -> np.ndarray:
        return self.checkpoint.tensor(self.name, rows)


BUILD = [_Build.read, _Build.list_steps, _Build.quantize, _Build.prove_widths, _Build.write]
PASSES = [build_pass.__name__ for build_pass in BUILD]


def build(
    model: str,
    out: Path,
    *,
    recipe: str = "4bit",
    context: int | None = None,
    activation_bits: int = 8,
    stop_after: str | None = None,
    replace: bool = False,
    progress: Progress = lambda description, done, total: None,
) -> BuildReport:
    """Builds the image of `model` at `out`. stop_after: name of a pass; nothing is written then.

    Raises HardcastError for anything wrong with the model, the options or the output path.
    """
    begun = time.perf_counter()
    if stop_after is not None and stop_after not in PASSES:
        raise HardcastError(f"pass {stop_after!r} is not known; there are: {', '.join(PASSES)}")
    state = _Build(model, recipe, context, activation_bits, progress)
    with ImageWriter(out, replace) as writer:
        for build_pass in BUILD:
            build_pass(state, writer)
            if build_pass.__name__ == stop_after:
                break
    weights = sum(count for count, _ in state.matrices.values())
    rom_bits = sum(bits for _, bits in state.matrices.values())
    return BuildReport(
        out,
        state.digest,
        weights,
        rom_bits / weights if weights else 0.0,
        rom_bits,
        time.perf_counter() - begun,
        stop_after,
    )

"""`build` as one list of passes: a checkpoint becomes a chip image. Each pass is one method."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hardcast import __version__, models
from hardcast.checkpoint import open_checkpoint
from hardcast.checkpoint.base import Checkpoint
from hardcast.checkpoint.synthetic import SyntheticCheckpoint
from hardcast.cores import usable_cores
from hardcast.errors import HardcastError
from hardcast.golden import bounds
from hardcast.golden.bounds import Bounds
from hardcast.image.layout import FORMAT
from hardcast.image.matrix import Matrix
from hardcast.image.writer import ImageWriter
from hardcast.models import shapes, units
from hardcast.models.common import ACTIVATION_BITS, HEAD_ACTIVATION_BITS, checkpoint_name
from hardcast.numerics import rope, tables
from hardcast.numerics.points import Points
from hardcast.program import step as kinds
from hardcast.program.program import Program
from hardcast.quantize import calibration_text, sensitivity, settle
from hardcast.quantize import recipe as recipes
from hardcast.quantize.balance import chip_basis
from hardcast.quantize.folding import Source, can_rotate
from hardcast.quantize.recipe import GPTQ
from hardcast.quantize.rounder import Rounder
from hardcast.tokenizer import usable_tokenizer

Progress = Callable[[str, int, int | None], None]
Note = Callable[[str], None]

LOG2_E = 1.4426950408889634  # exp is computed as a power of two: q carries the factor
DEFAULT_CONTEXT = 8192  # positions of KV cache, unless the model has fewer or the user says
LONG_BUILD = 1 << 30  # weights; or any build that calibrates
HEAD_EXTRA_BITS = HEAD_ACTIVATION_BITS - ACTIVATION_BITS  # at any width, as models/ says why
ACTIVATION_BITS_RANGE = range(8, 16)
GAIN_BITS = 30  # of a norm's integer gain: times an int32 residual it fits int64 with room
BIAS_BITS = 20  # of a bias in whole units: at its binary point it fits int32
UNROTATED = (
    "recipe {} rotates the residual, which the gains of this model's norms behind forbid: it is not"
)


@dataclass(frozen=True)
class Options:
    """What a user may choose of a build.

    model: file, folder, hub id or packaged name; the name of a shape if `synthetic`.
    recipe: name or .toml file. context: positions of the KV cache; None for the model's, at most
    DEFAULT_CONTEXT. activation_bits: 8..15. calibrate: a text of the user's own. bits: ROM bits a
    weight that a searching recipe may spend in all.
    synthetic: seeded random weights in a named shape; seed: theirs.
    """

    model: str
    recipe: str = recipes.DEFAULT
    context: int | None = None
    activation_bits: int = 8
    calibrate: Path | None = None
    bits: float | None = None
    synthetic: bool = False
    seed: int = 0


@dataclass(frozen=True)
class BuildReport:
    """What `build` made. bits_per_weight and rom_bits count codes, scales, offsets, multipliers.

    notes: what the user should know of how the model was read and rounded, a line each.
    """

    path: Path
    digest: str
    parameters: int
    bits_per_weight: float
    rom_bits: int
    seconds: float
    stopped_after: str | None = None
    notes: tuple[str, ...] = ()


class _Build:
    """The state that the passes hand on. `PASSES` lists them in order."""

    program: Program
    source: Source
    context: int
    widths: dict[str, int]
    digest = ""

    def __init__(self, options: Options, progress: Progress, note: Note) -> None:
        if options.activation_bits not in ACTIVATION_BITS_RANGE:
            raise HardcastError(f"activation bits {options.activation_bits} are outside 8..15")
        self.options, self.progress, self._note = options, progress, note
        self.notes: list[str] = []
        self.recipe = recipes.get(options.recipe)
        if options.synthetic and (options.calibrate is not None or self.recipe.wide is not None):
            raise HardcastError(
                "--synthetic: random weights have nothing to measure: no --calibrate, and no "
                "recipe that searches"
            )
        if options.calibrate is not None and self.recipe.rounding != GPTQ:
            raise HardcastError(f"recipe {self.recipe.name} rounds to nearest: no --calibrate")
        if (self.recipe.wide is None) != (options.bits is None):
            raise HardcastError(
                f"recipe {self.recipe.name} has nothing to search: no --bits (auto searches)"
                if self.recipe.wide is None
                else f"recipe {self.recipe.name} searches: give --bits, of ROM a weight (like 3.5)"
            )
        self.points = Points()
        self.biases: dict[str, np.ndarray] = {}
        self.matrices: dict[str, tuple[int, int]] = {}  # name -> weights, rom_bits
        self.checkpoint = self._open()
        self._say(self.checkpoint.notes)
        most = self.checkpoint.config.max_position_embeddings
        asked = options.context
        self.context = min(most, DEFAULT_CONTEXT) if asked is None else asked
        if not 1 <= self.context <= most:
            raise HardcastError(f"context {self.context} is outside 1..{most}, the model's range")
        self.checkpoint.config = self.checkpoint.config.for_context(self.context)
        # Before any weight is read: hours later it would be found out after all.
        self.tokenizer = usable_tokenizer(
            self.checkpoint.tokenizer_source(), self.checkpoint.config.vocab_size
        )
        self._say(self.tokenizer.spec.notes)
        self.program = self._plain_program()
        self._settle()

    def _open(self) -> Checkpoint:
        """Header, config, names and shapes; no weights yet."""
        if not self.options.synthetic:
            return open_checkpoint(self.options.model, self.progress)
        # Random weights have nothing to rotate or calibrate for: only the forms of the recipe.
        if self.recipe.nothing_to_round:
            self.recipe = recipes.get(self.recipe.nothing_to_round)
        self.recipe = dataclasses.replace(self.recipe, rotate=False, rounding="nearest")
        shape = shapes.get_shape(self.options.model)
        return SyntheticCheckpoint(shape.name, shape.config, self.options.seed)

    def _plain_program(self) -> Program:
        """The forward pass of the architecture; a rotation may still add to it."""
        config, bits = self.checkpoint.config, self.options.activation_bits
        head_bits = min(bits + HEAD_EXTRA_BITS, ACTIVATION_BITS_RANGE[-1])
        return models.get(config.architecture).build_program(config, bits, head_bits)

    def _settle(self) -> None:
        """Holds the recipe against the checkpoint's grids, and says how long it will take."""
        form, asked = self.checkpoint.grid_form, self.recipe.name
        found = settle.settle(self.recipe, self.program, lambda name: form(checkpoint_name(name)))
        self.recipe = found.recipe
        self._say(found.notes)
        if self.options.calibrate is not None and self.recipe.rounding != GPTQ:
            raise HardcastError(f"recipe {asked}: every matrix keeps its own grid: no --calibrate")
        if self.recipe.wide is None:  # nobody knows how long a search takes
            self._say(settle.expectation(found.calibrated, usable_cores()))

    def _say(self, lines: Iterable[str]) -> None:
        """Tells the user at once, and the report."""
        for line in lines:
            self.notes.append(line)
            self._note(line)

    def key(self) -> str | None:
        """What an interrupted build must have in common with the one that goes on; None: none can.

        A build of seconds starts anew.
        """
        names = self.checkpoint.names()
        weights = sum(math.prod(self.checkpoint.shape(name)) for name in names)
        if self.recipe.rounding != GPTQ and weights < LONG_BUILD:
            return None
        text = self._calibration_text if self.recipe.rounding == GPTQ else ""
        options = dataclasses.replace(self.options, calibrate=None)  # the text itself stands for it
        parts = [__version__, FORMAT, self.recipe, options, text, _identity(self.checkpoint.path)]
        if self.recipe.wide is not None:  # a search's products may round by the number of threads
            parts.append(usable_cores())
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def list_steps(self, writer: ImageWriter) -> None:
        """Writes the forward pass down as a program, checks it, and makes the tables."""
        self.source = chip_basis(self.checkpoint, self.program, self.recipe.rotate)
        self.program = self.source.program
        self.recipe = self.recipe.fitted(self.program.matrices())
        if self.options.bits is None:
            self._say(self.recipe.notes())
        if self.recipe.rotate and not can_rotate(self.program):
            self._say([UNROTATED.format(self.recipe.name)])
        for name, build_table in tables.needed(self.program.gate_tables()).items():
            writer.add_tensor(name, build_table())
        for name in self.program.rope_tables():
            coarse, fine = rope.rope_tables(self.checkpoint.config.frequencies(name), self.context)
            writer.add_tensor(f"{name}_coarse", coarse)
            writer.add_tensor(f"{name}_fine", fine)

    def search(self, writer: ImageWriter) -> None:
        """For a recipe with a choice: measures which matrices deserve a second plane."""
        if self.options.bits is None:
            return
        shapes, config = self.program.matrices(), self.checkpoint.config
        sensitivity.allocate(dict.fromkeys(shapes, 0.0), shapes, self.recipe, self.options.bits)
        windows = self._windows()
        assert windows is not None
        found = sensitivity.measure(
            self.source, config, self.recipe, windows, usable_cores(), self.progress
        )
        self.recipe = sensitivity.allocate(found, shapes, self.recipe, self.options.bits)
        self._say(self.recipe.notes())

    def quantize(self, writer: ImageWriter) -> None:
        """Streams every weight through the recipe into the image, and bounds each step."""
        self.bounds = Bounds(self.program, self.points)
        steps = self.program.steps
        with Rounder(
            self.recipe,
            self.source,
            self.checkpoint.config,
            self.points,
            self._windows(),
            writer.finished,
            usable_cores(),
        ) as rounder:
            for done, step in enumerate(steps):
                self.progress("quantizing", done, len(steps))
                matrix, factor = None, self._score_factor(step)
                match step:
                    case kinds.Embed() | kinds.Matvec():
                        matrix = rounder.matrix(step, factor)
                        self._add_matrix(step, matrix, factor, writer)
                    case kinds.Norm() | kinds.HeadNorm():
                        gain = self._gain(step, factor)
                        writer.add_tensor(step.gain, gain)
                        self.bounds.step(step, gain=gain.astype(np.int64))
                    case _:
                        self.bounds.step(step)
                rounder.run(step, matrix, factor)
        self.progress("quantizing", len(steps), len(steps))

    def _windows(self) -> np.ndarray | None:
        """The calibration text as windows of token ids, for a recipe that wants one."""
        if self.recipe.rounding != GPTQ:
            return None
        tokenizer = self.tokenizer
        token_ids = tokenizer.encode(self._calibration_text, special=False, add_bos=False)
        bos_id = tokenizer.bos_id if tokenizer.spec.add_bos else None
        name = str(self.options.calibrate or "the packaged calibration text")
        return calibration_text.windows(token_ids, self.context, bos_id, name)

    @cached_property
    def _calibration_text(self) -> str:
        """Read once: a pipe gives it only once."""
        return calibration_text.read(self.options.calibrate)

    def _add_matrix(
        self,
        step: kinds.Embed | kinds.Matvec,
        matrix: Matrix,
        factor: float,
        writer: ImageWriter,
    ) -> None:
        bias = None
        if isinstance(step, kinds.Matvec) and step.bias is not None:
            bias = self.source.tensor(step.bias).astype(np.float64) * factor
            if np.abs(bias).max() >= 1 << BIAS_BITS:
                raise self._too_large("a bias", step.bias, " can add")
            self.biases[step.bias] = bias
            bias = np.ceil(np.abs(bias) * (1 << bounds.FRACTION)).astype(np.int64)
        self.bounds.step(step, matrix=matrix, bias=bias)
        if step.matrix not in self.matrices:  # a tied head is written once
            writer.add_matrix(matrix)
            weights = matrix.out_features * matrix.in_features
            self.matrices[step.matrix] = (weights, matrix.rom_bits)

    def _score_factor(self, step: kinds.Step) -> float:
        """log2(e) / sqrt(head_dim) for q, or its norm, so that scores come out in log2 units."""
        factor = LOG2_E / math.sqrt(self.program.shape.head_dim)
        if isinstance(step, kinds.HeadNorm):
            return factor if step.buffer == "q" else 1.0
        norms = (s for s in self.program.steps if isinstance(s, kinds.HeadNorm))
        normed_after = any(s.buffer == "q" for s in norms)
        is_query = isinstance(step, kinds.Matvec) and step.dst == "q"
        return factor if is_query and not normed_after else 1.0

    def _gain(self, step: kinds.Norm | kinds.HeadNorm, factor: float) -> np.ndarray:
        """round(g sqrt(n) factor 2^gain), int32[n]: the mean of a norm becomes a plain sum."""
        gain = self.source.tensor(step.gain).astype(np.float64)
        scaled = np.rint(gain * (math.sqrt(len(gain)) * factor * (1 << self.points.gain)))
        if np.abs(scaled).max() >= 1 << GAIN_BITS:
            raise self._too_large("a gain", step.gain, "'s norm can hold")
        return scaled.astype(np.int32)

    def _too_large(self, what: str, name: str, limit: str) -> HardcastError:
        """In the file's own figures, whatever a rotation or a balance made of them."""
        stored = checkpoint_name(name)
        largest = np.abs(self.checkpoint.tensor(stored)).max()
        return HardcastError(
            f"{self.checkpoint.path}: {stored} holds {what} of {largest:g}, more than a chip{limit}"
        )

    def prove_widths(self, writer: ImageWriter) -> None:
        """Proves the width of every buffer and accumulator; refuses what could overflow."""
        self.widths = self.bounds.widths()
        for step in self.program.steps:
            if isinstance(step, kinds.Matvec) and step.bias is not None:
                unit = 1 << self.points.of(step.dst)
                integers = np.rint(self.biases[step.bias] * unit).astype(np.int32)
                writer.add_tensor(step.bias, integers)

    def write(self, writer: ImageWriter) -> None:
        """Writes manifest and tokenizer and renames the folder into place."""
        points = self.points
        chip: dict[str, Any] = {
            "program": self.program.to_json(),
            "context": self.context,
            "points": points.to_json(),
            "constants": units.constants(self.checkpoint.config, self.program, points),
            "widths": self.widths,
            "recipe": {
                "name": self.recipe.name,
                "activation_bits": self.options.activation_bits,
            },
        }
        provenance = {"model": Path(self.options.model).name, "hardcast": __version__}
        self.digest = writer.finish(chip, self.tokenizer.spec.to_json(), provenance)


def _identity(path: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a checkpoint's files: another file there is another model."""
    if not path.exists():  # a synthetic one
        return [(str(path), 0, 0)]
    files = [path] if path.is_file() else sorted(f for f in path.iterdir() if f.is_file())
    return [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]


BUILD = [_Build.list_steps, _Build.search, _Build.quantize, _Build.prove_widths, _Build.write]
PASSES = ["read", *(build_pass.__name__ for build_pass in BUILD)]


def build(
    model: str,
    out: Path,
    *,
    stop_after: str | None = None,
    replace: bool = False,
    progress: Progress = lambda description, done, total: None,
    note: Note = lambda line: None,
    **options: Any,
) -> BuildReport:
    """Builds the image of `model` at `out`.

    stop_after: name of a pass; nothing is written then. note: told each line of the report's notes
    as soon as it is known. options: fields of Options.
    A long build that is interrupted leaves its finished matrices in a folder beside `out`, and
    the same build goes on from there.
    Raises HardcastError for anything wrong with the model, the options or the output path.
    """
    begun = time.perf_counter()
    if stop_after is not None and stop_after not in PASSES:
        raise HardcastError(f"pass {stop_after!r} is not known; there are: {', '.join(PASSES)}")
    ImageWriter(out, replace)  # refuses a bad path before a model is fetched
    state = _Build(Options(model, **options), progress, note)
    if stop_after != "read":
        writer = ImageWriter(out, replace, None if stop_after else state.key())
        try:
            with writer:
                for build_pass in BUILD:
                    build_pass(state, writer)
                    if build_pass.__name__ == stop_after:
                        break
        except KeyboardInterrupt:
            kept = f"{writer.kept} is kept: the same build goes on from there"
            raise KeyboardInterrupt(*([kept] if writer.kept else [])) from None
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
        tuple(state.notes),
    )

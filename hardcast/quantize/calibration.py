"""A calibration text on its way through the model, once exactly and once as the chip has it.

Both run layer by layer beside the rounding: a matrix is rounded against the input that the
already rounded matrices before it give, integer activations included (block codes, with the
chip's exponents; only its lookup tables are exact here). Nothing but the running activations and
the matrices of one input is in memory.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from hardcast.checkpoint.config import ModelConfig
from hardcast.image.matrix import Matrix, stack_rows
from hardcast.models import units
from hardcast.numerics.blocks import (
    BLOCK,
    HEAD_BITS,
    HEAD_MAGNITUDE_BITS,
    MAGNITUDE_BITS,
)
from hardcast.numerics.points import Points
from hardcast.program.program import reads_writes
from hardcast.program.step import (
    Add,
    Attend,
    Embed,
    GateMul,
    HeadNorm,
    KvWrite,
    Matvec,
    Norm,
    Quantize,
    Rope,
    Step,
)
from hardcast.quantize.code import Code
from hardcast.quantize.float_forward import attend, gate, rms_norm, rope, rope_frequencies
from hardcast.quantize.folding import Source
from hardcast.quantize.gptq import Hessian, Rounding, hessian
from hardcast.quantize.nearest import assemble
from hardcast.quantize.products import TOKENS, cross, gram

CHUNK_WEIGHTS = 1 << 23  # weights rounded at a time by a thread
LEAST_ROWS = 768  # in a piece: fewer, and the steps between products take over
Buffers = dict[str, np.ndarray]


class Calibration:
    """The state between two steps, as a context manager; give it every step in order.

    matrix() rounds what a MATVEC reads; run() then runs any step, with the matrix it reads.
    """

    def __init__(
        self,
        source: Source,
        config: ModelConfig,
        windows: np.ndarray,
        points: Points | None,
        threads: int,
    ) -> None:
        """
        Args:
            source: weights; its program is the one whose steps will come.
            config: rms_norm_eps and RoPE.
            windows: token ids int64[windows, tokens]; each window is a context of its own.
            points: the chip's binary points; None: only the exact model runs, and matrices are
                rounded against its inputs.
            threads: windows, and pieces of a matrix, worked on at the same time. Results do not
                depend on it.
        """
        self.source, self.windows = source, windows
        self.shape = source.program.shape
        self._exact = Stream(source, config, None)
        self._chip = self._exact if points is None else Stream(source, config, points)
        self._known: dict[str, Hessian] = {}  # of the inputs as they are now
        self._roundings: dict[str, Rounding] = {}
        self._pool = ThreadPoolExecutor(threads)

    def __enter__(self) -> Calibration:
        # Each thread of the pool calls BLAS by itself; its own threads would only wait for others.
        self._limits = threadpool_limits(1)
        return self

    def __exit__(self, *error: object) -> None:
        self._limits.restore_original_limits()
        self._pool.shutdown(cancel_futures=True)

    def matrix(self, step: Matvec, code: Code, factor: float) -> Matrix:
        """Rounds the matrix of `step`, times `factor`, against the chip's own input."""
        rounding = self._rounding(step, code)

        def piece(rows: slice) -> Matrix:
            weights = self.source.tensor(step.matrix, rows)
            values, scales = rounding.round(weights, code, self._crossed(step.src, weights))
            return assemble(step.matrix, values, scales, code, factor)

        return stack_rows(list(self._pool.map(piece, self._pieces(step))))

    def run(self, step: Step, matrix: Matrix | None = None, factor: float = 1.0) -> None:
        """Runs a step on both streams. matrix: what the chip has for it, `factor` folded in."""
        match step:
            case Embed():
                tokens = self.windows.reshape(-1)
                self._exact.buffers[step.dst] = self._rows_of(step.matrix, tokens)
                if self._chip is not self._exact:
                    assert matrix is not None
                    self._chip.buffers[step.dst] = real(matrix.select(tokens))
            case Matvec():
                self._multiply(step, matrix, factor)
            case _:
                self._run(self._exact, step)
                if self._chip is not self._exact:
                    self._run(self._chip, step)
        for buffer in reads_writes(step)[1]:
            self._known.pop(buffer, None)
            self._roundings.pop(buffer, None)

    def _rows_of(self, name: str, tokens: np.ndarray) -> np.ndarray:
        """float32[tokens, hidden_size], a piece of the embedding in memory at a time."""
        found = np.empty((len(tokens), self.shape.hidden_size), np.float32)
        size = max(CHUNK_WEIGHTS // self.shape.hidden_size, 1)
        for first in range(0, self.shape.vocab_size, size):
            here = (tokens >= first) & (tokens < first + size)
            if here.any():
                part = self.source.tensor(name, slice(first, first + size))
                found[here] = part[tokens[here] - first]
        return found

    def _pieces(self, step: Matvec) -> list[slice]:
        """Rows of a matrix that are worked on together, whatever the number of threads."""
        rows, columns = self.shape.width(step.dst), self.shape.width(step.src)
        pieces = max(rows // LEAST_ROWS, 1)
        size = max(min(-(-rows // pieces), CHUNK_WEIGHTS // columns), 1)
        return [slice(first, min(first + size, rows)) for first in range(0, rows, size)]

    def _windows_of(self) -> list[slice]:
        """The rows of a buffer that belong to each window."""
        length = self.windows.shape[1]
        return [slice(i * length, (i + 1) * length) for i in range(len(self.windows))]

    def _rounding(self, step: Matvec, code: Code) -> Rounding:
        """The Hessian of a step's input made ready for a group size, also shared."""
        src = step.src
        known, found = self._hessian(step), self._roundings.get(src)
        if found is None or found.group != code.group(self.shape.width(src)):
            rows = self._rows_reading(step)
            found = self._roundings[src] = Rounding.of(known, code, rows, self._pool)
        return found

    def _rows_reading(self, step: Matvec) -> int:
        """Rows of all matrices that read what `step` reads, from it on."""
        steps = self.source.program.steps
        rows = 0
        for later in steps[steps.index(step) :]:
            if isinstance(later, Matvec) and later.src == step.src:
                rows += self.shape.width(later.dst)
            if step.src in reads_writes(later)[1]:
                break
        return rows

    def _hessian(self, step: Matvec) -> Hessian:
        """The Hessian of a step's input; matrices that read the same input share it."""
        src = step.src
        if src not in self._known:
            chip, exact = self._chip.buffers[src], self._exact.buffers[src]
            moves = chip is not exact and 2 * self._rows_reading(step) >= chip.shape[1]
            total = gram(chip, self._pool)
            self._known[src] = hessian(
                total, cross(exact - chip, chip, self._pool) if moves else None
            )
        return self._known[src]

    def _crossed(self, src: str, weights: np.ndarray) -> np.ndarray | None:
        """weights @ cross, where few rows read a wide input: two thin products instead of a
        square one. float32[out, in], or None where the Hessian has it or there is none.
        """
        chip, exact = self._chip.buffers[src], self._exact.buffers[src]
        if chip is exact or self._known[src].cross is not None:
            return None
        found = np.zeros_like(weights)
        for first in range(0, len(chip), TOKENS):
            part = slice(first, first + TOKENS)
            found += (weights @ (exact[part] - chip[part]).T) @ chip[part]
        return found

    def _multiply(self, step: Matvec, matrix: Matrix | None, factor: float) -> None:
        if step.dst == "logits":  # nothing is rounded after it
            return
        tokens = self.windows.size
        exact = np.empty((tokens, self.shape.width(step.dst)), np.float32)
        chip = exact if self._chip is self._exact else np.empty_like(exact)
        source, rounded = self._exact.buffers[step.src], self._chip.buffers[step.src]

        def piece(rows: slice) -> None:
            np.matmul(source, self.source.tensor(step.matrix, rows).T, out=exact[:, rows])
            if matrix is None or chip is exact:
                return
            weights = real(matrix.select(rows))
            np.matmul(rounded, weights.T, out=chip[:, rows])
            if factor != 1.0:
                chip[:, rows] /= np.float32(factor)

        list(self._pool.map(piece, self._pieces(step)))
        if step.bias is not None:
            bias = self.source.tensor(step.bias)
            exact += bias
            if chip is not exact:
                chip += bias
        self._exact.buffers[step.dst] = exact
        self._chip.buffers[step.dst] = chip

    def _run(self, stream: Stream, step: Step) -> None:
        """One step on one stream, windows side by side."""
        reads, writes = reads_writes(step)
        buffers = stream.buffers
        names = [name for name in (*reads, *writes) if name != "kv"]
        if isinstance(step, Attend | KvWrite):
            names = ["q", "k", "v"]

        def window(rows: slice) -> Buffers:
            part = {name: buffers[name][rows] for name in names if name in buffers}
            stream.run(step, part)
            return part

        parts = list(self._pool.map(window, self._windows_of()))
        for name in ("v",) if isinstance(step, KvWrite) else writes:
            if name in parts[0]:
                buffers[name] = np.concatenate([part[name] for part in parts])
        if isinstance(step, Attend | GateMul):  # what only this step read is not needed again
            for name in ("q", "k", "v") if isinstance(step, Attend) else (step.gate, step.up):
                buffers.pop(name, None)


class Stream:
    """The steps between matrices, exactly or as the chip rounds them (points given)."""

    def __init__(self, source: Source, config: ModelConfig, points: Points | None) -> None:
        self.source, self.points = source, points
        self.shape = source.program.shape
        self._epsilon = {buffer: float(units.epsilon(config, buffer)) for buffer in "xyqk"}
        self.buffers: Buffers = {}
        self._frequencies = rope_frequencies(source.program, config)
        self._score_factor = np.float32(math.log2(math.e) / math.sqrt(self.shape.head_dim))

    def run(self, step: Step, part: Buffers) -> None:
        """Runs a step on one window. part: float32[tokens, width] by name, changed in place."""
        match step:
            case Norm():
                part[step.dst] = self._norm(step, part[step.src])
            case Quantize():
                part[step.dst] = self._blocks(part[step.src], step.activation_bits, "residual")
            case HeadNorm():
                parts = part[step.buffer].reshape(len(part[step.buffer]), step.num_heads, -1)
                gain = self.source.tensor(step.gain)
                normed = rms_norm(parts, gain, self._epsilon[step.buffer])
                part[step.buffer] = normed.reshape(len(parts), -1)
            case Rope():
                heads = self._heads(part[step.buffer])
                turned = rope(heads, np.arange(len(heads)), self._frequencies[step.table])
                # The chip's q carries a factor, and is quantised with it.
                factor = self._score_factor if step.buffer == "q" else np.float32(1)
                blocks = self._head_blocks(turned.reshape(len(heads), -1) * factor, "rope")
                part[step.buffer] = blocks / factor
            case KvWrite():
                part["v"] = self._head_blocks(part["v"], "v")
            case Attend():
                q, k, v = (self._heads(part[name]) for name in "qkv")
                mixed = attend(q, k, v, step.window).reshape(len(q), -1)
                part[step.dst] = self._blocks(mixed, step.activation_bits, "a")
            case GateMul():
                f = gate(part[step.gate], step.table) * part[step.up]
                part[step.dst] = self._blocks(f, step.activation_bits, "f")
            case Add():
                part[step.dst] = part[step.dst] + part[step.src]

    def _norm(self, step: Norm, x: np.ndarray) -> np.ndarray:
        """The chip quantises x * gain and leaves 1/rms to the product, so that is done here."""
        gain = self.source.tensor(step.gain)
        if self.points is None:
            return rms_norm(x, gain, self._epsilon[step.src])
        point = self.points.residual + self.points.norm_extra
        # The chip's gains carry sqrt(n), so that is on its blocks' grid too.
        root = np.float32(math.sqrt(x.shape[1]))
        scaled = chip_blocks(x * (gain * root), step.activation_bits, BLOCK, point, MAGNITUDE_BITS)
        mean_square = np.square(x, dtype=np.float64).mean(axis=1, keepdims=True)
        rms = np.sqrt(mean_square + self._epsilon[step.src])
        return scaled * (1.0 / (rms * root)).astype(np.float32)

    def _heads(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1, self.shape.head_dim)

    def _blocks(self, x: np.ndarray, bits: int, point: str) -> np.ndarray:
        if self.points is None:
            return x
        return chip_blocks(x, bits, BLOCK, getattr(self.points, point), MAGNITUDE_BITS)

    def _head_blocks(self, x: np.ndarray, point: str) -> np.ndarray:
        if self.points is None:
            return x
        block, at = self.shape.head_dim, getattr(self.points, point)
        return chip_blocks(x, HEAD_BITS, block, at, HEAD_MAGNITUDE_BITS)


def chip_blocks(
    x: np.ndarray, bits: int, block: int, point: int, magnitude_bits: int
) -> np.ndarray:
    """float32[T, n] as the chip's block codes have it, in real units.

    The block quantiser of numerics/blocks.py in float32: a block's exponent fits its largest
    element, is never below the point's and never above what magnitude_bits leaves.
    """
    tokens, n = x.shape
    grouped = np.pad(x, ((0, 0), (0, -n % block))).reshape(tokens, -1, block)
    largest = np.maximum(grouped.max(axis=2), -grouped.min(axis=2))
    length = np.frexp(largest)[1] + point  # bits of the largest integer
    exponent = np.clip(length - (bits - 1), 0, magnitude_bits - (bits - 1)) - point
    unit = np.ldexp(np.float32(1), exponent)[:, :, None]
    codes = np.rint(grouped * (1 / unit))
    top = np.float32(1 << bits - 1)
    np.minimum(codes, top - 1, out=codes)
    np.maximum(codes, -top, out=codes)
    codes *= unit
    return codes.reshape(tokens, -1)[:, :n]


def real(matrix: Matrix) -> np.ndarray:
    """float32[out, in]: the weights that a matrix of the chip stands for."""
    unit = np.ldexp(matrix.row_multiplier.astype(np.float32), -matrix.row_shift.astype(np.int32))
    return matrix.integers().astype(np.float32) * unit[:, None]

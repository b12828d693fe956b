"""Makes every matrix of an image, in the order of the program, as the recipe says."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np

from hardcast.checkpoint.config import ModelConfig
from hardcast.image.matrix import Matrix
from hardcast.numerics.points import Points
from hardcast.program.step import Embed, Matvec, Step
from hardcast.quantize.calibration import Calibration
from hardcast.quantize.folding import Source
from hardcast.quantize.imports import import_matrix
from hardcast.quantize.nearest import quantize_matrix
from hardcast.quantize.recipe import Recipe


class Rounder:
    """Context manager. For every step in order: matrix() if it reads one, then run().

    recipe: what becomes of each matrix. source: its weights. windows: the calibration text,
    int64[windows, tokens], for recipes that round by GPTQ, else None. finished: a matrix that an
    interrupted build already made, or None. threads: to use at most; results don't depend on it.
    """

    def __init__(
        self,
        recipe: Recipe,
        source: Source,
        config: ModelConfig,
        points: Points,
        windows: np.ndarray | None,
        finished: Callable[[str], Matrix | None],
        threads: int,
    ) -> None:
        self.recipe, self.source, self._finished = recipe, source, finished
        self._shapes = source.program.matrices()
        self._threads = threads
        self._calibration: Calibration | None = None
        if windows is not None:
            self._calibration = Calibration(source, config, windows, points, threads)
        self._tied: Matrix | None = None  # the embedding, while a head is still to read it

    def __enter__(self) -> Rounder:
        self._stack = ExitStack()
        self._pool = self._stack.enter_context(ThreadPoolExecutor(self._threads))
        if self._calibration is not None:
            self._stack.enter_context(self._calibration)
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._stack.close()

    def matrix(self, step: Embed | Matvec, factor: float) -> Matrix:
        """The matrix that `step` reads, times `factor`."""
        name = step.matrix
        if self._tied is not None and self._tied.name == name:
            return self._tied
        matrix = self._finished(name)
        if matrix is None:
            matrix = self._round(step, factor)
        if isinstance(step, Embed) and self._read_again(step):
            self._tied = matrix
        return matrix

    def run(self, step: Step, matrix: Matrix | None, factor: float) -> None:
        """Takes the calibration text through the step."""
        if self._calibration is not None:
            self._calibration.run(step, matrix, factor)

    def _round(self, step: Embed | Matvec, factor: float) -> Matrix:
        recipe, name = self.recipe, step.matrix
        code, shape = recipe.code(name), self._shapes[name]
        if self._calibration is None or isinstance(step, Embed):
            return quantize_matrix(recipe, name, shape, self.source, factor, self._pool)
        if recipe.import_grids:
            kept = import_matrix(name, shape, self.source, code, factor)
            if kept is not None:
                return kept
        return self._calibration.matrix(step, code, factor)

    def _read_again(self, step: Embed) -> bool:
        readers = [s for s in self.source.program.steps if isinstance(s, Matvec)]
        return any(reader.matrix == step.matrix for reader in readers)

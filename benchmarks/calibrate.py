"""Seconds that calibrated rounding takes a million weights, by part, for a model of known shape.

One layer and a part of the head with random weights, so no model is needed: the time does not
depend on the weights. CPU seconds of all threads stand beside the clock's, because the machine
may be shared; the whole model's are the layer's times its layers and the head's by its rows.

    python benchmarks/calibrate.py [--shape qwen2.5-0.5b] [--recipe 4gptq] [--tokens 8192]
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

from hardcast import models
from hardcast.checkpoint.synthetic import SyntheticCheckpoint
from hardcast.cores import usable_cores
from hardcast.models import shapes
from hardcast.numerics.points import Points
from hardcast.program.step import Embed, Matvec
from hardcast.quantize import calibration, recipe
from hardcast.quantize.balance import chip_basis
from hardcast.quantize.calibration_text import MOST_TOKENS, WINDOW
from hardcast.quantize.nearest import quantize_matrix

MOST_ROWS = 8192  # of the head
PARTS = {
    "gram": "sums over the text",
    "cross": "sums over the text",
    "Rounding": "factor of the inverse",
}


class Clock:
    """Seconds by part: of the clock and of all cores. A part within another is taken off it."""

    def __init__(self) -> None:
        self.spent: dict[str, np.ndarray] = {}
        self._inside = [np.zeros(2)]

    def measured(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            start = np.array([time.perf_counter(), time.process_time()])
            self._inside.append(np.zeros(2))
            result = function(*arguments)
            took = np.array([time.perf_counter(), time.process_time()]) - start
            own = took - self._inside.pop()
            self._inside[-1] += took
            self.spent[part] = self.spent.get(part, np.zeros(2)) + own
            return result

        return run


def measure(
    source: Any, config: Any, plan: recipe.Recipe, tokens: int
) -> dict[str, dict[str, np.ndarray]]:
    """By "layer" and "head", by part: seconds of the clock and of all cores."""
    ids = np.random.default_rng(0).integers(0, config.vocab_size, (tokens // WINDOW, WINDOW))
    found: dict[str, dict[str, np.ndarray]] = {}
    with calibration.Calibration(source, config, ids, Points(), usable_cores()) as state:
        for step in source.program.steps:
            clock = Clock()
            parts = {"gram": calibration.gram, "cross": calibration.cross}
            wrapped = {name: clock.measured(PARTS[name], made) for name, made in parts.items()}
            ready = clock.measured(PARTS["Rounding"], calibration.Rounding.of)
            with (
                mock.patch.multiple(calibration, **wrapped),
                mock.patch.object(calibration.Rounding, "of", ready),
            ):
                matrix, factor = None, 1.0
                if isinstance(step, Embed):
                    shape = source.program.matrices()[step.matrix]
                    matrix = quantize_matrix(plan, step.matrix, shape, source, factor)
                elif isinstance(step, Matvec):
                    rounding = clock.measured("rounding", state.matrix)
                    matrix = rounding(step, plan.code(step.matrix), factor)
                part = "products" if isinstance(step, Matvec) else "steps between"
                clock.measured(part, state.run)(step, matrix, factor)
            if isinstance(step, Embed):
                continue
            place = "head" if isinstance(step, Matvec) and step.dst == "logits" else "layer"
            for name, spent in clock.spent.items():
                sums = found.setdefault(place, {})
                sums[name] = sums.get(name, np.zeros(2)) + spent
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="qwen2.5-0.5b", help="a name of `hardcast models`")
    parser.add_argument("--recipe", default="4gptq", help="one that calibrates every matrix")
    parser.add_argument("--tokens", type=int, default=MOST_TOKENS, help="of text")
    arguments = parser.parse_args()

    whole = shapes.get_shape(arguments.shape).config
    rows = min(whole.vocab_size, MOST_ROWS)
    config = dataclasses.replace(whole, vocab_size=rows, tie_word_embeddings=False)
    checkpoint = SyntheticCheckpoint(arguments.shape, config, layers=1)
    program = models.get(config.architecture).build_program(checkpoint.config, 8, 10)
    plan = recipe.get(arguments.recipe)
    source = chip_basis(checkpoint, program, plan.rotate)
    matrices = source.program.matrices()
    plan = plan.fitted(matrices)
    found = measure(source, checkpoint.config, plan, arguments.tokens)

    head = next(s.matrix for s in source.program.steps if getattr(s, "dst", "") == "logits")
    layer = [s.matrix for s in source.program.steps if isinstance(s, Matvec) and s.matrix != head]
    weights = {
        "layer": sum(int(np.prod(matrices[name])) for name in layer) / 1e6,
        "head": int(np.prod(matrices[head])) / 1e6,
    }
    print(f"{arguments.shape}, {arguments.recipe}, {arguments.tokens} tokens, seconds a million:")
    for place, parts in found.items():
        for name, spent in sorted(parts.items(), key=lambda part: -part[1][1]):
            clock, cores = spent / weights[place]
            print(f"  {place:5}  {name:22} {clock:7.3f}   {cores:7.3f} of all cores")
    times = {"layer": whole.num_hidden_layers, "head": whole.vocab_size / rows}
    total = sum(times[place] * sum(parts.values()) for place, parts in found.items())
    size = sum(times[place] * weights[place] for place in found)
    print(
        f"the whole: {size:,.0f} million weights in {total[0]:,.0f} s, {total[0] / size:.2f} a "
        f"million ({total[1]:,.0f} s of all cores); embedding, reading and writing apart"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    print(f"memory at most: {peak:.2f} GiB")


if __name__ == "__main__":
    main()

"""Speed of the matrix kernels alone: every product of one SmolLM2-135M token, and of a prompt.

Random weights of the real shapes, so no model is needed; the head's input has 10 bits. Prints best
and median, because the machine may be shared.

    python benchmarks/kernels.py [--weights 4bit|3bit|3/6] [--path avx2] [--rounds 40]
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from hardcast.engine import _native as native

LAYERS = 30
LAYER = [(576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)]
FINER = (1, 2, 6)  # k_proj, v_proj and down_proj: those that 3/6 gives two planes
HEAD = (49152, 576)

# bits, planes, group_size, codebook, offsets
FOUR = (4, 1, 32, np.arange(16), True)
THREE = (3, 1, 64, np.array([-14, -9, -5, -2, 2, 5, 9, 14]), False)
SIX = (3, 2, 64, np.arange(8) - 4, False)
EIGHT = (8, 1, 32, np.arange(256) - 128, False)
WEIGHTS = {"4bit": (FOUR, FOUR, EIGHT), "3bit": (THREE,) * 3, "3/6": (THREE, SIX, SIX)}


def random_matrix(rng: np.random.Generator, shape: tuple[int, int], form: tuple[Any, ...]) -> Any:
    bits, planes, group_size, codebook, offsets = form
    out, inp = shape
    scales = rng.integers(0, 256, (out, inp // group_size), dtype=np.uint8)
    return native.pack(
        rng.integers(0, 256, (planes, out, inp * bits // 8), dtype=np.uint8),
        codebook.astype(np.int16),
        bits,
        inp,
        group_size,
        scales,
        rng.integers(-3700, 0, scales.shape).astype(np.int16) if offsets else None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", default="", help="instruction set (default: the fastest)")
    parser.add_argument("--weights", choices=WEIGHTS, default="4bit")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()

    rng = np.random.default_rng(0)
    plain, finer, last = WEIGHTS[arguments.weights]
    layers = [
        random_matrix(rng, shape, finer if index in FINER else plain)
        for _ in range(LAYERS)
        for index, shape in enumerate(LAYER)
    ]
    head = random_matrix(rng, HEAD, last)
    macs = LAYERS * sum(out * inp for out, inp in LAYER)
    head_macs = HEAD[0] * HEAD[1]
    path = arguments.path or native.available_paths()[0]
    print(f"path {path}; layers {sum(m.bytes for m in layers) / 1e6:.1f} MB, "
          f"head {head.bytes / 1e6:.1f} MB")  # fmt: skip

    def report(name: str, matrices: list[Any], tokens: int, threads: int, work: int) -> None:
        bits = [10 if matrix is head else 8 for matrix in matrices]
        rounds = max(3, arguments.rounds // tokens)
        times = native.time_products(matrices, bits, tokens, threads, rounds, path)
        size = sum(matrix.bytes for matrix in matrices)
        figures = []
        for seconds in (min(times), float(np.median(times))):
            figures.append(
                f"{tokens / seconds:7.0f} tokens/s {size / seconds / 1e9:5.1f} GB/s "
                f"{work * tokens / seconds / 1e9:6.1f} GMAC/s"
            )
        print(f"{name:16} T={tokens:<4} {threads} thread{'s' * (threads > 1):1} "
              f"best {figures[0]} | median {figures[1]}")  # fmt: skip

    for threads in (1, 2):
        report("whole token", [*layers, head], 1, threads, macs + head_macs)
        report("layers", layers, 1, threads, macs)
        report("head", [head], 1, threads, head_macs)
        for tokens in (2, 4, 8, 32, 512):
            report("layers", layers, tokens, threads, macs)


if __name__ == "__main__":
    main()

"""Speed of the matrix kernels alone: every product of one SmolLM2-135M token, and of a prompt.

Random weights of the real shapes (4-bit with offsets: 4.75 bits a weight; 8-bit head, 10-bit
input), so no model is needed. Prints best and median, because the machine may be shared.

    python benchmarks/kernels.py [--path avx2] [--rounds 40]
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from hardcast.engine import _native as native

LAYERS = 30
LAYER = [(576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)]
HEAD = (49152, 576)


def random_matrix(rng: np.random.Generator, out: int, inp: int, bits: int, offsets: bool) -> Any:
    codebook = np.arange(1 << bits) - (128 if bits == 8 else 0)
    scales = rng.integers(0, 256, (out, inp // 32), dtype=np.uint8)
    return native.pack(
        rng.integers(0, 256, (1, out, inp * bits // 8), dtype=np.uint8),
        codebook.astype(np.int16),
        bits,
        inp,
        32,
        scales,
        rng.integers(-3700, 0, scales.shape).astype(np.int16) if offsets else None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", default="", help="instruction set (default: the fastest)")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()

    rng = np.random.default_rng(0)
    layers = [random_matrix(rng, *shape, 4, True) for _ in range(LAYERS) for shape in LAYER]
    head = random_matrix(rng, *HEAD, 8, False)
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

"""Orthogonal rotations that spread outliers over all channels: signs, then a Hadamard matrix.

Q = diag(signs) (H (x) O): H the Hadamard matrix of the largest power of two in n, as a Kronecker
product of small ones, O a seeded orthogonal matrix on the odd factor that is left. Every entry of
a rotated vector is then a sum of all of its entries' 1/sqrt(n)-ths, and near Gaussian.

Source of the idea: Ashkboos et al., "QuaRot: outlier-free 4-bit inference in rotated LLMs",
NeurIPS 2024; Liu et al., "SpinQuant", 2024.
"""

from __future__ import annotations

import math

import numpy as np

from hardcast.errors import HardcastError

FACTOR = 64  # of a Kronecker product: a dense multiplication by it runs at full speed
LARGEST_ODD = 2048  # a dense orthogonal matrix of this size is still cheap to make and apply


class Rotation:
    """An orthogonal n x n matrix Q, made from `seed`; applied to rows without being formed.

    Raises HardcastError if n has an odd factor too large to rotate.
    """

    def __init__(self, n: int, seed: int) -> None:
        two = n & -n
        odd = n // two
        if odd > LARGEST_ODD:
            raise HardcastError(f"cannot rotate {n} channels: their odd factor is {odd}")
        random = np.random.Generator(np.random.Philox(key=seed))
        self.n = n
        self._signs = random.choice(np.array([-1, 1], np.float32), n)
        self._factors: list[np.ndarray] = []
        while two > 1:
            size = min(two, FACTOR)
            self._factors.append(hadamard(size))
            two //= size
        if odd > 1:
            q, r = np.linalg.qr(random.standard_normal((odd, odd)))
            self._factors.append((q * np.sign(np.diag(r))).astype(np.float32))

    def apply(self, x: np.ndarray) -> np.ndarray:
        """x Q along the last axis: float32[..., n] -> float32[..., n]."""
        result = x * self._signs
        inner = self.n
        for factor in self._factors:
            inner //= len(factor)
            if inner == 1:  # one large product instead of many tiny ones
                result = result.reshape(-1, len(factor)) @ factor
            else:
                result = np.matmul(factor.T, result.reshape(-1, len(factor), inner))
        return result.reshape(x.shape)

    def apply_to_rows(self, x: np.ndarray) -> np.ndarray:
        """Q^T x for a matrix float32[n, m]: what must multiply this rotation's channels back."""
        return np.ascontiguousarray(self.apply(np.ascontiguousarray(x.T)).T)


def hadamard(size: int) -> np.ndarray:
    """The symmetric orthogonal Hadamard matrix, entries +-1/sqrt(size): float32[size, size].

    size: a power of two (Sylvester's construction).
    """
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return (matrix / math.sqrt(size)).astype(np.float32)

"""The sampler's settings as the integers that the host writes into the chip, and its generator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hardcast.errors import HardcastError

MAX_TOP_K = 256  # candidates the chip sorts; top-p is defined within them
TEMPERATURE_BITS = 12
LOG2_E = Fraction(6497320848556798, 4503599627370496)  # log2(e) to float64's 53 bits
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0


@dataclass(frozen=True)
class SamplerSettings:
    """inverse_temperature: round(2^12 * log2(e) / T), 0 for greedy. top_k: 1..256, 0 for off.

    top_p: probability mass to keep as a 16-bit fraction, 65536 for off. seed: 64 bits.
    """

    inverse_temperature: int = 0
    top_k: int = 0
    top_p: int = 1 << 16
    seed: int = 0

    @property
    def greedy(self) -> bool:
        """Whether the largest logit is taken as it is."""
        return self.inverse_temperature == 0

    @property
    def candidates(self) -> int:
        """How many of the largest logits are kept; 0 means the whole vocabulary."""
        if self.top_k or self.top_p < 1 << 16:
            return self.top_k or MAX_TOP_K
        return 0

    @staticmethod
    def from_user(
        temperature: float = 0.0, top_k: int = 0, top_p: float = 1.0, seed: int = 0
    ) -> SamplerSettings:
        """Checks what a user asked for. Raises HardcastError naming the option and its range."""
        if not math.isfinite(temperature) or temperature < 0 or temperature > MAX_TEMPERATURE:
            raise HardcastError(f"temperature {temperature} is outside 0..{MAX_TEMPERATURE:g}")
        if 0 < temperature < MIN_TEMPERATURE:
            raise HardcastError(
                f"temperature {temperature} is below {MIN_TEMPERATURE}; 0 means greedy"
            )
        if not 0 <= top_k <= MAX_TOP_K:
            raise HardcastError(f"top-k {top_k} is outside 0..{MAX_TOP_K} (0 is off)")
        if not 0 < top_p <= 1:  # also refuses nan
            raise HardcastError(f"top-p {top_p} is outside (0, 1]")
        if not 0 <= seed < 1 << 64:
            raise HardcastError(f"seed {seed} is outside 0..2^64-1")
        inverse = 0
        if temperature:
            exact = LOG2_E * (1 << TEMPERATURE_BITS) / Fraction(temperature)
            inverse = math.floor(exact + Fraction(1, 2))
        mass = max(math.floor(Fraction(top_p) * (1 << 16) + Fraction(1, 2)), 1)
        return SamplerSettings(inverse, top_k, mass, seed)


def philox(counter: np.ndarray, position: int, seed: int) -> np.ndarray:
    """Philox4x32-10: uint32[n, 4] random words for counters (counter[i], 0, position, 0).

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11. The key is the
    64-bit seed. counter: integer array [n].
    """
    mask, n = np.uint64(0xFFFFFFFF), len(counter)
    c = [np.asarray(counter).astype(np.uint64) & mask, np.zeros(n, np.uint64)]
    c += [np.full(n, position & 0xFFFFFFFF, np.uint64), np.full(n, position >> 32, np.uint64)]
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [
            (p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0),
            p1 & mask,
            (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1),
            p0 & mask,
        ]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c, axis=1).astype(np.uint32)

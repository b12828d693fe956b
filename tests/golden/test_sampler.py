"""The integer sampler draws from the distribution that it promises: chi-square against softmax."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.golden import sampler
from hardcast.numerics.fixed import rescale
from hardcast.numerics.sampling import SamplerSettings

POINT = 10
VOCAB = 48
DRAWS = 5_000
NOISE_DRAWS = 100_000


def critical(freedom: int) -> float:
    """Upper 99.9 % point of chi-square, by Wilson and Hilferty; the draws are seeded."""
    return float(freedom * (1 - 2 / (9 * freedom) + 3.09 * np.sqrt(2 / (9 * freedom))) ** 3)


def test_critical_values() -> None:
    for freedom, value in {4: 18.47, 9: 27.88, 15: 37.70, 47: 82.72}.items():
        assert critical(freedom) == pytest.approx(value, rel=0.02)


def draw_logits(seed: int = 0, spread: float = 2.0) -> np.ndarray:
    return np.rint(np.random.default_rng(seed).standard_normal(VOCAB) * spread * 1024).astype(int)


def softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    p = np.exp((logits - logits.max()) / 1024 / temperature)
    return p / p.sum()


def draw(logits: np.ndarray, settings: SamplerSettings) -> np.ndarray:
    """How often each token was drawn, over DRAWS positions."""
    draws = [sampler.sample(logits, settings, position, POINT) for position in range(DRAWS)]
    return np.bincount(draws, minlength=len(logits))


def assert_distribution(counts: np.ndarray, p: np.ndarray) -> None:
    """Chi-square, the cells that expect fewer than 5 draws put together."""
    assert not counts[p == 0].any()
    expected = p * counts.sum()
    rare = expected < 5
    cells = np.append(expected[~rare], expected[rare].sum())
    found = np.append(counts[~rare], counts[rare].sum())
    if cells[-1] < 5:
        cells = np.append(cells[:-2], cells[-2:].sum())
        found = np.append(found[:-2], found[-2:].sum())
    statistic = ((found - cells) ** 2 / cells).sum()
    assert statistic < critical(len(cells) - 1)
    assert len(cells) >= 4  # else nothing was tested


def draw_by_noise(logits: np.ndarray, settings: SamplerSettings) -> np.ndarray:
    """The same rule with one long run of noise for many draws at once."""
    noise = sampler.gumbel_noise(VOCAB * NOISE_DRAWS, 3, settings.seed)
    scores = rescale(logits * settings.inverse_temperature, 12 + POINT - sampler.SCORE_BITS)
    draws = np.argmax(scores + noise.reshape(NOISE_DRAWS, VOCAB), axis=1)
    return np.bincount(draws, minlength=VOCAB)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_temperature(temperature: float) -> None:
    """Gumbel noise over the whole vocabulary: no probability is computed, softmax comes out."""
    logits = draw_logits()
    counts = draw_by_noise(logits, SamplerSettings.from_user(temperature, seed=1))
    assert_distribution(counts, softmax(logits, temperature))


def test_temperature_position_by_position() -> None:
    """The sampler itself, a position a draw, as a text would use it."""
    logits = draw_logits(2)
    counts = draw(logits, SamplerSettings.from_user(1.0, seed=1))
    assert_distribution(counts, softmax(logits, 1.0))


def test_the_chi_square_would_notice() -> None:
    """A temperature 5 % off, or a token that is drawn a tenth too rarely, fails the same test."""
    logits = draw_logits()
    counts = draw_by_noise(logits, SamplerSettings.from_user(1.0, seed=1))
    assert_distribution(counts, softmax(logits, 1.0))
    with pytest.raises(AssertionError):
        assert_distribution(counts, softmax(logits, 1.05))
    rarer = counts.copy()
    rarer[np.argmax(logits)] *= 0.9
    with pytest.raises(AssertionError):
        assert_distribution(rarer, softmax(logits, 1.0))


def kept(p: np.ndarray, top_k: int, top_p: float) -> np.ndarray:
    """p cut to its top_k largest, then to the shortest prefix with mass top_p of that."""
    order = np.argsort(-p, kind="stable")[: top_k or len(p)]
    sums = np.cumsum(p[order]) / p[order].sum()
    order = order[: int(np.searchsorted(sums, top_p)) + 1]
    cut = np.zeros_like(p)
    cut[order] = p[order]
    return cut / cut.sum()


@pytest.mark.parametrize(
    ("top_k", "top_p"), [(48, 1.0), (10, 1.0), (0, 0.9), (20, 0.8), (1, 1.0), (0, 0.7)]
)
def test_top_k_and_top_p(top_k: int, top_p: float) -> None:
    logits = draw_logits(1)
    counts = draw(logits, SamplerSettings.from_user(1.0, top_k, top_p, seed=5))
    p = kept(softmax(logits, 1.0), top_k, top_p)
    if (p > 0).sum() == 1:
        assert counts[np.argmax(p)] == DRAWS
    else:
        assert_distribution(counts, p)


@pytest.mark.parametrize("seed", range(5))
def test_the_nucleus_is_the_shortest_prefix(seed: int) -> None:
    """Its members are exactly the tokens that are ever drawn."""
    logits = draw_logits(seed, spread=1.0)
    counts = draw(logits, SamplerSettings.from_user(1.3, 12, 0.7, seed))
    expected = kept(softmax(logits, 1.3), 12, 0.7) > 0
    assert ((counts > 0) == expected).all()


def test_the_walk_takes_every_share_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two equal tokens of 4095 parts: (r * 8190) >> 32 is 4094 and then 4095 at r = 2^31."""
    logits = np.array([500, 9000, 9000, 100])
    asked = SamplerSettings.from_user(1.0, top_k=2, seed=0)
    for r, expected in ((0, 1), ((1 << 31) - 1, 1), (1 << 31, 2), ((1 << 32) - 1, 2)):
        monkeypatch.setattr(sampler, "philox", lambda *_, r=r: np.full((1, 4), r, np.uint32))
        assert sampler.sample(logits, asked, 0, POINT) == expected


def test_ties_go_to_the_smaller_id() -> None:
    logits = np.array([5, 9, 9, 3, 9])
    assert sampler.sample(logits, SamplerSettings(), 0, POINT) == 1
    for position in range(50):
        only = SamplerSettings.from_user(1.0, top_k=1, seed=3)
        assert sampler.sample(logits, only, position, POINT) == 1
        two = SamplerSettings.from_user(1.0, top_k=2, seed=3)
        assert sampler.sample(logits, two, position, POINT) in (1, 2)


@given(st.integers(0, 2**32 - 1), st.integers(0, 1 << 40), st.integers(0, (1 << 64) - 1))
def test_same_seed_and_position_same_token(seed: int, position: int, sampler_seed: int) -> None:
    logits = draw_logits(seed)
    asked = SamplerSettings.from_user(1.0, seed=sampler_seed)
    first = sampler.sample(logits, asked, position, POINT)
    assert sampler.sample(logits.copy(), asked, position, POINT) == first


def test_positions_and_seeds_draw_independently() -> None:
    """Equal logits, 64 tokens: neighbours in position and in seed agree 1 time in 64, not more."""
    logits = np.zeros(64, np.int64)
    draws = np.array(
        [
            [
                sampler.sample(logits, SamplerSettings(5909, seed=s), position, POINT)
                for position in range(300)
            ]
            for s in range(8)
        ]
    )
    along = (draws[:, 1:] == draws[:, :-1]).sum()
    across = (draws[1:] == draws[:-1]).sum()
    assert 15 < along < 65 and 12 < across < 60  # 37 and 33 expected
    counts = np.bincount(draws.reshape(-1), minlength=64)
    assert ((counts - 37.5) ** 2 / 37.5).sum() < critical(63)


def test_log2_of_every_magnitude() -> None:
    """257 entries, linear in between: (1/256)^2 / 8 / ln 2 at most, and rounding."""
    rng = np.random.default_rng(0)
    x = np.concatenate([2 ** np.arange(34), rng.integers(1, 1 << 33, 20_000)]).astype(np.int64)
    found = sampler.log2_fixed(x, 33) / 2.0**24
    error = found - (np.log2(x.astype(float)) - 33)
    assert np.abs(error).max() < 2.8e-6 + 2.0**-23


def test_noise_is_gumbel_to_four_digits() -> None:
    """Every word's noise against floats; v is taken near both of its ends too."""
    count = 1_000_000
    words = sampler.philox(np.arange(count // 4), 77, 99).reshape(-1)
    found = sampler.gumbel_noise(count, 77, 99) / 2.0**16
    v = (2 * words.astype(np.float64) + 1) / 2.0**33
    exact = -np.log2(-np.log1p(-v) / np.log(2))
    assert np.abs(found - exact).max() < 4e-5
    # The mean of -log2(E), E exponential of rate ln 2, is (gamma + ln ln 2) / ln 2.
    assert found.mean() == pytest.approx(
        (np.euler_gamma + np.log(np.log(2))) / np.log(2), abs=0.006
    )


@pytest.mark.parametrize("word", [0, 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1])
def test_noise_at_the_ends(monkeypatch: pytest.MonkeyPatch, word: int) -> None:
    words = np.full((1, 4), word, np.uint32)
    monkeypatch.setattr(sampler, "philox", lambda *_: words)
    v = (2 * word + 1) / 2.0**33
    exact = -np.log2(-np.log1p(-v) / np.log(2))
    assert sampler.gumbel_noise(1, 0, 0)[0] / 2.0**16 == pytest.approx(exact, abs=4e-5)
    assert -5.05 < exact < 32.6

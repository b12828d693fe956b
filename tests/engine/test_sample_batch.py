"""sample_batch is sample() of every row, whatever the rows' settings and the number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.engine import Engine
from hardcast.numerics.sampling import SamplerSettings
from tests.random_image import config, write_random_image

VOCAB = 323  # neither four nor the sampler's stride of 256 divides it
SETTINGS = st.one_of(
    st.just(SamplerSettings()),
    st.builds(
        SamplerSettings.from_user,
        temperature=st.sampled_from([0.05, 0.7, 1.0, 30.0]),
        top_k=st.sampled_from([0, 0, 1, 20, 256]),
        top_p=st.sampled_from([1.0, 1.0, 0.3, 0.9]),
        seed=st.integers(0, 2**64 - 1),
    ),
)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> list[Engine]:
    path = tmp_path_factory.mktemp("sample") / "image"
    image = write_random_image(path, config(num_hidden_layers=1, vocab_size=VOCAB))
    return [Engine(image, threads) for threads in (1, 2, 3)]


@settings(max_examples=60, deadline=None)
@given(
    asked=st.lists(SETTINGS, max_size=9),
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0, 3, 1 << 12, 1 << 30]),
)
def test_equals_sample(
    engines: list[Engine], asked: list[SamplerSettings], seed: int, spread: int
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.integers(-spread, spread, (len(asked), VOCAB), dtype=np.int32, endpoint=True)
    positions = rng.integers(0, 1 << 40, len(asked)).tolist()
    for engine in engines:
        each = [engine.sample(*one) for one in zip(logits, asked, positions, strict=True)]
        assert engine.sample_batch(logits, asked, positions) == each
        assert engine.sample_batch(list(logits), asked, positions) == each
        apart = np.asfortranarray(logits)  # rows that do not lie in one piece
        assert engine.sample_batch(apart, asked, positions) == each


def test_refusals(engines: list[Engine]) -> None:
    row = np.zeros(VOCAB, np.int32)
    one = [SamplerSettings()]
    for rows, asked, positions in (
        ([row], one, []),
        ([row], [], [1]),
        ([], one, [1]),
        ([row[:-1]], one, [1]),
    ):
        with pytest.raises(ValueError, match="argument 2|one draw a row|one logit a vocabulary"):
            engines[0].sample_batch(rows, asked, positions)

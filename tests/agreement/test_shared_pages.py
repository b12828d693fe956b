"""golden == engine where sessions share pages: golden runs each text alone, from its beginning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast.checkpoint.config import ModelConfig
from hardcast.engine import Engine
from hardcast.engine.engine import available_paths
from hardcast.golden import Golden
from tests.random_image import config, model_configs, write_random_image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    model=st.one_of(
        model_configs(),
        st.builds(config, sliding_window=st.sampled_from([40, 63, 64, 65, 70])),
    ),
    seed=st.integers(0, 2**32 - 1),
    cut=st.one_of(st.integers(0, 150), st.sampled_from([63, 64, 65, 127, 128, 129])),
    fork=st.one_of(st.integers(0, 150), st.sampled_from([63, 64, 65, 127, 128, 129])),
    back=st.integers(0, 20),
    threads=st.sampled_from([1, 2]),
    path=st.sampled_from(available_paths()),
)
def test_forks_and_truncations(
    folder: Path,
    model: ModelConfig,
    seed: int,
    cut: int,
    fork: int,
    back: int,
    threads: int,
    path: str,
) -> None:
    """A prompt in two calls, a fork that ends otherwise, the parent back and on, in one batch."""
    image = write_random_image(folder / "image", model, seed=seed, context=200, skew=seed % 12)
    rng = np.random.default_rng(seed)
    tokens, other, again = (
        rng.integers(0, model.vocab_size, count).tolist() for count in (150, 30, 25)
    )
    engine = Engine(image, threads, path)
    parent = engine.session()
    rows = [parent.forward(tokens[:cut], "all"), parent.forward(tokens[cut:], "all")]
    child = parent.fork(fork)
    kept = max(fork - back, 0)
    parent.truncate(kept)
    on, off = engine.forward_batch([(parent, again, "all"), (child, other, "all")])

    golden = Golden(image)
    np.testing.assert_array_equal(np.concatenate(rows), golden.session().forward(tokens, "all"))
    first = golden.session()
    first.forward(tokens[:kept], "none")
    np.testing.assert_array_equal(on, first.forward(again, "all"))
    second = golden.session()
    second.forward(tokens[:fork], "none")
    np.testing.assert_array_equal(off, second.forward(other, "all"))

"""Golden's sessions: nothing depends on how a text is cut, what ran before, or who else runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.golden import Golden
from hardcast.numerics.sampling import SamplerSettings
from tests.random_image import config, write_random_image

TOKENS = np.random.default_rng(0).integers(0, 211, 40).tolist()


@pytest.fixture(scope="module", params=["llama", "qwen2", "qwen3", "window"])
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    window = 5 if request.param == "window" else None
    model = config("llama" if window else request.param, sliding_window=window)
    path = tmp_path_factory.mktemp("golden") / "image"
    return Golden(write_random_image(path, model, context=40))


@pytest.fixture(scope="module")
def whole(golden: Golden) -> np.ndarray:
    """int32[40, vocab]: every logit of TOKENS in one call."""
    return golden.session().forward(TOKENS, "all")


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_cutting_gives_the_same(golden: Golden, whole: np.ndarray, data: st.DataObject) -> None:
    cuts = data.draw(st.sets(st.integers(1, 39), max_size=12))
    edges = [0, *sorted(cuts), 40]
    session = golden.session()
    for start, end in zip(edges, edges[1:], strict=False):
        which = data.draw(st.sampled_from(["all", "last", "none"]))
        rows = session.forward(TOKENS[start:end], which)
        kept = {"all": end - start, "last": 1, "none": 0}[which]
        np.testing.assert_array_equal(rows, whole[end - kept : end])
    assert session.length == 40


@settings(max_examples=5, deadline=None)
@given(keep=st.integers(0, 20), other=st.lists(st.integers(0, 210), min_size=1, max_size=10))
def test_what_was_truncated_leaves_no_trace(
    golden: Golden, whole: np.ndarray, keep: int, other: list[int]
) -> None:
    session = golden.session()
    session.forward([*TOKENS[:keep], *other])
    session.truncate(keep)
    np.testing.assert_array_equal(session.forward(TOKENS[keep:], "all"), whole[keep:])


def test_sessions_do_not_meet(golden: Golden, whole: np.ndarray) -> None:
    one, other = golden.session(), golden.session()
    one.forward(TOKENS[:10], "none")
    other.forward(TOKENS[20:30], "none")
    np.testing.assert_array_equal(one.forward(TOKENS[10:], "all"), whole[10:])


def test_later_tokens_do_not_change_earlier_ones(golden: Golden, whole: np.ndarray) -> None:
    changed = [*TOKENS[:25], *TOKENS[::-1][:15]]
    rows = golden.session().forward(changed, "all")
    np.testing.assert_array_equal(rows[:25], whole[:25])
    assert (rows[26:] != whole[26:]).any()


def test_position_matters(golden: Golden) -> None:
    """The same token at another position has other logits: RoPE is there."""
    rows = golden.session().forward([7, 3, 3, 7, 3], "all")
    assert (rows[1] != rows[4]).any()


def test_a_window_forgets(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One layer, window 5: a token sees itself and four before it, and no others."""
    model = config(sliding_window=5, num_hidden_layers=1)
    golden = Golden(write_random_image(tmp_path_factory.mktemp("w") / "i", model, context=40))
    rows = golden.session().forward(TOKENS[:20], "all")
    changed = [9, *TOKENS[1:20]]
    assert changed[0] != TOKENS[0]
    other = golden.session().forward(changed, "all")
    differs = (rows != other).any(axis=1)
    assert differs[:5].all() and not differs[5:].any()


def test_refusals(golden: Golden) -> None:
    session = golden.session()
    session.forward(TOKENS[:39])
    with pytest.raises(ValueError, match="39 \\+ 2 tokens exceed context 40"):
        session.forward([1, 2])
    for bad in (-1, 211):
        with pytest.raises(ValueError, match="token id outside 0..210"):
            session.forward([bad])
    with pytest.raises(ValueError, match="cannot truncate 39 positions to 40"):
        session.truncate(40)
    assert session.forward([]).shape == (0, 211)
    assert session.forward([1]).shape == (1, 211)


def test_sample_uses_the_images_point(golden: Golden, whole: np.ndarray) -> None:
    greedy = golden.sample(whole[-1], SamplerSettings(), 40)
    assert greedy == int(np.argmax(whole[-1]))
    cold = SamplerSettings.from_user(0.01, seed=1)
    best = np.sort(whole[-1])[-2:]
    if best[1] - best[0] > 300:  # 0.3 at temperature 0.01: thirty nats
        assert golden.sample(whole[-1], cold, 40) == greedy

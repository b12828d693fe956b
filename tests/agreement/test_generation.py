"""golden == engine in what the user sees: sampled tokens, generated text, the real model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast import flow
from hardcast.engine import Engine
from hardcast.engine.engine import available_paths
from hardcast.generate import Generator, Result
from hardcast.golden import Golden
from hardcast.image import Image, open_image
from hardcast.numerics.sampling import SamplerSettings
from hardcast.tokenizer import Tokenizer, TokenizerSpec
from tests import real_model, tiny
from tests.random_image import config, write_random_image

# The digest of the packaged SmolLM2 at its default context: the same on every machine.
SMOLLM2_DIGEST = "c34df4cd41f2f229ad43a6df7e628d44b11d5cdb0d16e9599f720564515115c7"

SETTINGS = {
    "greedy": SamplerSettings(),
    "temperature": SamplerSettings.from_user(0.8, seed=1),
    "top-k": SamplerSettings.from_user(1.5, top_k=20, seed=2),
    "top-p": SamplerSettings.from_user(1.0, top_p=0.9, seed=3),
    "both": SamplerSettings.from_user(2.0, top_k=100, top_p=0.5, seed=(1 << 64) - 1),
}


@pytest.fixture(scope="module")
def executors(tmp_path_factory: pytest.TempPathFactory) -> tuple[Golden, Engine]:
    path = tmp_path_factory.mktemp("sampler") / "image"
    image = write_random_image(path, config(num_hidden_layers=1, vocab_size=323))
    return Golden(image), Engine(image, 1)


def logits_of(kind: str, rng: np.random.Generator, count: int) -> np.ndarray:
    """Rows of logits as they come (10 fraction bits), with many ties, or absurd."""
    if kind == "usual":
        return (rng.standard_normal(count) * 3 * 1024).astype(np.int32)
    if kind == "ties":
        return (rng.integers(-2, 3, count) * 1024).astype(np.int32)
    if kind == "equal":
        return np.full(count, rng.integers(-(1 << 31), 1 << 31), np.int32)
    return rng.integers(-(1 << 31), 1 << 31, count).astype(np.int32)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from(["usual", "ties", "equal", "absurd"]),
    seed=st.integers(0, 2**32 - 1),
    temperature=st.one_of(st.just(0.0), st.floats(0.01, 100)),
    top_k=st.integers(0, 256),
    top_p=st.floats(0, 1, exclude_min=True),
    sampler_seed=st.integers(0, (1 << 64) - 1),
    position=st.integers(0, 1 << 40),
)
def test_the_sampler_chooses_the_same(
    executors: tuple[Golden, Engine],
    kind: str,
    seed: int,
    temperature: float,
    top_k: int,
    top_p: float,
    sampler_seed: int,
    position: int,
) -> None:
    golden, engine = executors
    logits = logits_of(kind, np.random.default_rng(seed), 323)
    for asked in (
        SamplerSettings.from_user(temperature, top_k, top_p, sampler_seed),
        SamplerSettings.from_user(temperature, seed=sampler_seed),
    ):
        expected = golden.sample(logits, asked, position)
        assert engine.sample(logits, asked, position) == expected


def test_a_vocabulary_smaller_than_top_k(tmp_path: Path) -> None:
    image = write_random_image(tmp_path / "i", config(num_hidden_layers=1, vocab_size=33))
    golden, engine = Golden(image), Engine(image, 1)
    logits = logits_of("usual", np.random.default_rng(0), 33)
    for position in range(200):
        asked = SamplerSettings.from_user(1.0, top_k=256, top_p=0.99, seed=7)
        assert engine.sample(logits, asked, position) == golden.sample(logits, asked, position)


@pytest.fixture(scope="module")
def tiny_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("tiny")
    model = tiny.write_gguf(folder / "tiny.gguf", "llama")
    flow.build(str(model), folder / "image", recipe="4bit")
    return open_image(folder / "image")


@pytest.mark.parametrize("name", SETTINGS)
def test_generated_text_is_the_same(tiny_image: Image, name: str) -> None:
    """Two turns on one generator each, the second on the first one's cached prefix."""
    generators = [Generator(tiny_image, Golden(tiny_image))]
    generators += [Generator(tiny_image, Engine(tiny_image, t)) for t in (1, 2)]
    prompt = generators[0].tokenizer.encode("A small model says what it likes")
    made: list[list[str | Result]] = []
    for generator in generators:
        pieces = list(generator.run(prompt, SETTINGS[name], 32))
        assert isinstance(pieces[-1], Result)
        longer = [*prompt, *pieces[-1].token_ids, 5, 6]
        pieces += generator.run(longer, SETTINGS[name], 32)
        made.append([piece if isinstance(piece, str) else _timeless(piece) for piece in pieces])
    assert made[0] == made[1] == made[2]


def _timeless(result: Result) -> Result:
    return Result(
        result.text,
        result.token_ids,
        result.prompt_tokens,
        result.cached_tokens,
        result.finish_reason,
        0.0,
        0.0,
    )


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Image:
    path = tmp_path_factory.mktemp("smollm2") / "image"
    flow.build(str(real_model.smollm2()), path)
    return open_image(path)


@pytest.mark.verify
def test_smollm2_has_its_digest(smollm2: Image) -> None:
    smollm2.verify()
    assert smollm2.digest == SMOLLM2_DIGEST


@pytest.mark.verify
def test_smollm2_every_logit_of_a_chat(smollm2: Image) -> None:
    """The chat prompt and 64 greedy tokens after it: every logit of each, on every path."""
    tokenizer = Tokenizer(TokenizerSpec.from_json(smollm2.tokenizer_json()))
    question = "Tell me a long story about a river."
    prompt = tokenizer.encode(tokenizer.chat_prompt([{"role": "user", "content": question}]))
    generator = Generator(smollm2, Engine(smollm2))
    *_, result = generator.run(prompt, SamplerSettings(), 64)
    assert isinstance(result, Result) and len(result.token_ids) == 64
    tokens = [*prompt, *result.token_ids]
    golden = Golden(smollm2).session()
    expected = golden.forward(prompt, "all")
    # One token at a time, as golden's own loop would run: the choice is golden's too.
    rows = [expected]
    for made in result.token_ids:
        assert int(np.argmax(rows[-1][-1])) == made
        rows.append(golden.forward([made], "all"))
    expected = np.concatenate(rows)
    for path in available_paths():
        for threads in (1, 2):
            engine = Engine(smollm2, threads, path)
            where = f"{path}, {threads} threads"
            np.testing.assert_array_equal(engine.session().forward(tokens, "all"), expected, where)
            session = engine.session()
            session.forward(prompt, "none")
            for position in range(len(prompt), len(tokens)):
                row = session.forward([tokens[position]], "all")
                np.testing.assert_array_equal(row[0], expected[position], where)

"""The token loop: stop strings at any split, prefix reuse, limits, and what a result says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast import flow
from hardcast.errors import HardcastError
from hardcast.generate import Generator, Result, StopGate
from hardcast.golden import Golden
from hardcast.image import Image, open_image
from hardcast.numerics.sampling import SamplerSettings
from tests import tiny

GREEDY = SamplerSettings()
CONTEXT = 60

# Stop strings

ALPHABET = st.text("abc", max_size=30)
STOPS = st.lists(st.text("abc", max_size=4), max_size=3)


def cut_at(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The definition, on the whole text: it ends before the first stop string to be complete.

    Of several that complete with the same letter, the longest begins first and cuts most.
    """
    ends = [(i + len(s), i) for s in stop if s for i in range(len(text)) if text.startswith(s, i)]
    if not ends:
        return text, False
    end = min(ends)[0]
    return text[: min(i for e, i in ends if e == end)], True


@settings(max_examples=400)
@given(ALPHABET, STOPS)
def test_letter_by_letter_is_the_definition(text: str, stop: list[str]) -> None:
    gate = StopGate(stop)
    passed = [gate.push(letter) for letter in text]
    expected, stopped = cut_at(text, stop)
    assert ("".join(passed) + gate.flush(), gate.stopped) == (expected, stopped)


@settings(max_examples=400)
@given(st.lists(st.text("abc", max_size=5), max_size=10), STOPS)
def test_any_split_of_a_text_gives_the_same(pieces: list[str], stop: list[str]) -> None:
    gate = StopGate(stop)
    passed = [gate.push(piece) for piece in pieces]
    expected, stopped = cut_at("".join(pieces), stop)
    assert ("".join(passed) + gate.flush(), gate.stopped) == (expected, stopped)


@given(st.lists(st.text("abc", max_size=5), max_size=10), STOPS)
def test_no_more_is_held_back_than_must_be(pieces: list[str], stop: list[str]) -> None:
    """What is held is a beginning of a stop string; without one nothing is ever held."""
    gate = StopGate(stop)
    pushed = said = ""
    for piece in pieces:
        pushed += piece
        said += gate.push(piece)
        if gate.stopped:
            assert gate.push("more") == "" and gate.flush() == ""
            return
        held = pushed[len(said) :]
        assert pushed.startswith(said)
        assert not held or any(s.startswith(held) and s != held for s in stop)


def test_a_stop_string_over_three_pieces() -> None:
    gate = StopGate(["<|end|>"])
    assert [gate.push(p) for p in ("hi <", "|en", "d|> and more")] == ["hi ", "", ""]
    assert gate.stopped and gate.flush() == ""


def test_a_false_alarm_comes_out() -> None:
    gate = StopGate(["<|end|>"])
    assert [gate.push(p) for p in ("hi <|", "x", " <|en")] == ["hi ", "<|x", " "]
    assert not gate.stopped and gate.flush() == "<|en"


# Generation


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("generate")
    flow.build(
        str(tiny.write_safetensors(folder / "m", "llama")),
        folder / "i",
        context=CONTEXT,
        recipe="4bit",
    )
    return open_image(folder / "i")


def run(
    generator: Generator,
    prompt: Sequence[int],
    max_tokens: int = 8,
    asked: SamplerSettings = GREEDY,
    stop: Sequence[str] = (),
) -> tuple[list[str], Result]:
    *pieces, result = generator.run(prompt, asked, max_tokens, stop)
    assert isinstance(result, Result)
    assert all(isinstance(piece, str) and piece for piece in pieces)
    assert "".join(map(str, pieces)) == result.text
    return [str(piece) for piece in pieces], result


def test_greedy_tokens_are_goldens_argmax(image: Image) -> None:
    prompt = [5, 60, 700, 3]
    _, result = run(Generator(image, Golden(image)), prompt, 10)
    tokens = list(prompt)
    for made in result.token_ids:
        row = Golden(image).session().forward(tokens)[-1]
        assert made == int(np.argmax(row))
        tokens.append(made)
    assert (result.prompt_tokens, result.cached_tokens) == (4, 0)
    assert result.decode_tokens_s > 0 and result.prefill_tokens_s > 0
    stream = Generator(image, Golden(image)).tokenizer.stream()
    assert result.text == "".join(map(stream.push, result.token_ids)) + stream.flush()


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    turns=st.lists(
        st.tuples(st.integers(0, 12), st.lists(st.integers(3, 1008), min_size=1, max_size=6)),
        min_size=1,
        max_size=4,
    ),
    seed=st.integers(0, 1000),
)
def test_a_kept_context_gives_what_a_fresh_one_gives(
    image: Image, turns: list[tuple[int, list[int]]], seed: int
) -> None:
    """Prompts that keep any part of what was said before: same tokens, less work."""
    asked = SamplerSettings.from_user(1.0, seed=seed)
    kept = Generator(image, Golden(image))
    said: list[int] = []
    for keep, new in turns:
        prompt = [*said[:keep], *new]
        _, result = run(kept, prompt, 4, asked)
        _, fresh = run(Generator(image, Golden(image)), prompt, 4, asked)
        assert (result.text, result.token_ids) == (fresh.text, fresh.token_ids)
        assert (result.finish_reason, result.prompt_tokens) == (
            fresh.finish_reason,
            fresh.prompt_tokens,
        )
        # The token said last was never run: nothing had to follow it.
        common = max(min(keep, len(said) - 1, len(prompt) - 1), 0)
        assert common <= result.cached_tokens < len(prompt)
        said = [*prompt, *result.token_ids]


def test_a_prompt_said_again_runs_only_its_last_token(image: Image) -> None:
    generator = Generator(image, Golden(image))
    prompt = list(range(10, 30))
    _, first = run(generator, prompt)
    _, again = run(generator, prompt)
    assert (first.cached_tokens, again.cached_tokens) == (0, 19)
    assert again.token_ids == first.token_ids
    _, shorter = run(generator, prompt[:5])
    assert shorter.cached_tokens == 4


def test_an_abandoned_run_leaves_a_usable_generator(image: Image) -> None:
    """Whoever stops reading (Ctrl-C at the terminal) may ask again."""
    generator = Generator(image, Golden(image))
    pieces = generator.run([5, 6, 7], GREEDY, 30)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    _, result = run(generator, [5, 6, 7, 8])
    _, fresh = run(Generator(image, Golden(image)), [5, 6, 7, 8])
    assert result.token_ids == fresh.token_ids


def test_max_tokens_and_the_context_end_a_run(image: Image) -> None:
    generator = Generator(image, Golden(image))
    _, one = run(generator, [5, 6], 1)
    assert (len(one.token_ids), one.finish_reason, one.decode_tokens_s) == (1, "length", 0.0)
    hot = SamplerSettings.from_user(3.0, seed=3)
    _, full = run(generator, list(range(10, 50)), 1000, hot)
    # 40 prompt tokens and 20 more fill 60 positions; the last logits still choose a token.
    assert (len(full.token_ids), full.finish_reason) == (21, "length")
    _, brim = run(generator, list(range(10, 10 + CONTEXT)), 5, hot)
    assert (len(brim.token_ids), brim.finish_reason) == (1, "length")


class Scripted:
    """Golden, but for the choice: the tokens come from a list."""

    name = "scripted"

    def __init__(self, image: Image, tokens: Sequence[int]) -> None:
        self.golden, self.tokens = Golden(image), list(tokens)

    def session(self) -> object:
        return self.golden.session()

    def sample(self, logits: np.ndarray, asked: SamplerSettings, position: int) -> int:
        return self.tokens.pop(0)


def scripted(image: Image, text: str, *more: int) -> Generator:
    tokens = [*Generator(image, Golden(image)).tokenizer.encode(text), *more]
    return Generator(image, Scripted(image, tokens))  # type: ignore[arg-type]


def test_the_end_token_ends_a_run(image: Image) -> None:
    generator = scripted(image, "The capital", 2, 5)
    assert 2 in generator.tokenizer.eos_ids
    _, result = run(generator, [5], 30)
    assert (result.text, result.finish_reason) == ("The capital", "stop")
    assert result.token_ids[-1] == 2


def test_a_stop_string_ends_a_run_before_it(image: Image) -> None:
    generator = scripted(image, "The capital of France is Paris. And more", 2)
    pieces, result = run(generator, [5], 40, stop=["is Par", "nothing"])
    assert (result.text, result.finish_reason) == ("The capital of France ", "stop")
    assert len(pieces) > 1  # streamed, not kept to the end


def test_a_beginning_of_a_stop_string_comes_out_at_the_end(image: Image) -> None:
    _, result = run(scripted(image, "The capital", 2), [5], 40, stop=["capital of"])
    assert (result.text, result.finish_reason) == ("The capital", "stop")


def test_half_a_letter_at_the_end_is_marked(image: Image) -> None:
    """Three of a letter's four bytes, then the length ends it."""
    generator = scripted(image, "a\U0001f600")
    count = len(generator.executor.tokens)  # type: ignore[attr-defined]
    pieces, result = run(generator, [5], count - 1)
    assert result.text == "a\ufffd"
    assert "\ufffd" not in "".join(pieces[:-1])


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "message"),
    [
        ([], 5, "the prompt is empty"),
        ([5], 0, "max tokens 0: at least 1"),
        ([5], -3, "max tokens -3: at least 1"),
        ([5] * 61, 5, "the prompt has 61 tokens, the chip's context holds 60; shorten it"),
        ([5, 1009], 5, "token id 1009 is outside the vocabulary of 1009"),
        ([-1], 5, "token id -1 is outside the vocabulary of 1009"),
    ],
)
def test_refusals(image: Image, prompt: list[int], max_tokens: int, message: str) -> None:
    generator = Generator(image, Golden(image))
    run(generator, [5, 6, 7])
    with pytest.raises(HardcastError, match=message) as caught:
        next(generator.run(prompt, GREEDY, max_tokens))
    assert "\n" not in str(caught.value)
    _, result = run(generator, [5, 6, 7])  # and goes on as if nothing had been asked
    assert result.cached_tokens == 2


def test_an_image_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    from tests.random_image import config, write_random_image

    bare = write_random_image(tmp_path / "i", config(num_hidden_layers=1))
    with pytest.raises(HardcastError):
        Generator(bare, Golden(bare))

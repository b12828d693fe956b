"""golden == engine, every logit: any architecture, weight form, path, thread count and cutting.

The only folder that imports both. Images are drawn in the chip's own integers, so the forms that
no recipe makes yet are covered like those that `build` offers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast import flow, models
from hardcast.checkpoint.config import ModelConfig
from hardcast.engine import Engine
from hardcast.engine.engine import available_paths
from hardcast.errors import HardcastError
from hardcast.golden import Golden, machine
from hardcast.image import Image, open_image
from hardcast.program import step as kinds
from hardcast.program.program import Program
from tests import tiny
from tests.random_image import FORMS, Form, config, model_configs, some_forms, write_random_image

PATHS = available_paths()
THREADS = (1, 2)

# Sizes that nothing divides: a model an architecture, one with every bias, and a Mistral.
MODELS = {
    "llama": ("llama", {"num_attention_heads": 6, "num_key_value_heads": 3}),
    "untied": ("llama", {"tie_word_embeddings": False, "hidden_size": 120}),
    "qwen2": ("qwen2", {"hidden_size": 80, "head_dim": 20, "intermediate_size": 144}),
    "qwen3": ("qwen3", {"head_dim": 32, "num_key_value_heads": 4, "tie_word_embeddings": False}),
    "biases": ("llama", {"attention_bias": True, "mlp_bias": True, "hidden_size": 72}),
    "mistral": ("llama", {"sliding_window": 7, "model_type": "mistral"}),
}


def cuts(rng: np.random.Generator, count: int) -> list[slice]:
    """count tokens cut into calls at random places."""
    places = rng.choice(np.arange(1, count), rng.integers(0, min(count, 6)), replace=False)
    edges = [0, *sorted(places.tolist()), count]
    return [slice(a, b) for a, b in zip(edges, edges[1:], strict=False)]


def assert_agreement(image: Image, tokens: list[int], seed: int) -> None:
    """One golden pass; then the engine on every path and thread count, cut differently each time.

    Batch of four: sessions of different texts and lengths, in one call and again in the next.
    """
    rng = np.random.default_rng(seed)
    golden = Golden(image)
    expected = golden.session().forward(tokens, "all")
    others = [tokens[i : i + 3 + 2 * i][::-1] for i in range(4)]
    alone = [golden.session().forward(other, "all") for other in others]
    for path in PATHS:
        for threads in THREADS:
            engine = Engine(image, threads, path)
            assert (engine.path, engine.threads) == (path, threads)
            where = f"{path}, {threads} threads"
            session = engine.session()
            rows = [session.forward(tokens[cut], "all") for cut in cuts(rng, len(tokens))]
            np.testing.assert_array_equal(np.concatenate(rows), expected, where)
            batch = [engine.session() for _ in others]
            first = engine.forward_batch(
                [(s, other[:-1], "all") for s, other in zip(batch, others, strict=True)]
            )
            second = engine.forward_batch(
                [(s, other[-1:], "last") for s, other in zip(batch, others, strict=True)]
            )
            for rows, last, logits in zip(first, second, alone, strict=True):
                np.testing.assert_array_equal(np.concatenate([rows, last]), logits, where)


def draw_tokens(seed: int, count: int, vocab_size: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, vocab_size, count).tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("bits", [8, 11])
def test_built_models(folder: Path, name: str, bits: int) -> None:
    architecture, overrides = MODELS[name]
    model = tiny.write_safetensors(folder / name, architecture, **overrides)
    path = folder / f"{name}-{bits}.image"
    flow.build(str(model), path, activation_bits=bits, context=160, recipe="4bit")
    image = open_image(path)
    assert_agreement(image, draw_tokens(bits, 40, image.program.shape.vocab_size), seed=bits)


@pytest.mark.parametrize("quant", ["Q4_0", "Q4_1", "Q8_0"])
def test_models_on_their_files_own_grid(folder: Path, quant: str) -> None:
    model = tiny.write_gguf(folder / f"{quant}.gguf", "llama", quant=quant)
    flow.build(str(model), folder / quant, context=160, recipe="4bit")
    assert_agreement(open_image(folder / quant), draw_tokens(1, 30, 1009), seed=1)


@pytest.mark.parametrize("form", FORMS)
def test_every_weight_form(folder: Path, form: str) -> None:
    """Also 3-bit codebooks and planes, which only a later recipe will make."""
    image = write_random_image(folder / "form", config(vocab_size=500), forms=(FORMS[form],))
    assert_agreement(image, draw_tokens(2, 24, 500), seed=2)


@pytest.mark.parametrize("bits", range(8, 16))
def test_every_activation_width(folder: Path, bits: int) -> None:
    """Mixed with another width at the head, so that both meet in one embedding matrix."""
    image = write_random_image(
        folder / "bits",
        config(num_hidden_layers=1),
        activation_bits=bits,
        head_activation_bits=23 - bits,
        skew=4,
    )
    assert_agreement(image, draw_tokens(bits, 20, 211), seed=bits)


def rewritten(model: ModelConfig, seed: int, head: str) -> Program:
    """The program of `model`, all activation widths drawn, with a head that no plain model has.

    rotated: NORM, a square matrix from h back to x, QUANTIZE, head. quantized: QUANTIZE, head.
    inside: QUANTIZE instead of the NORM before the last MLP, and a matrix from h to x before it.
    """
    rng = np.random.default_rng(seed)
    program = models.build_program(model, 8, 8)
    steps: list[kinds.Step] = list(program.steps)
    quantize, rotation = kinds.Quantize(), kinds.Matvec("head_rotation", "h", "x")
    if head == "rotated":
        steps[-2:-2] = [rotation, quantize]
    elif head == "quantized":
        steps[-3] = quantize
    else:
        last = max(i for i in range(len(steps) - 3) if isinstance(steps[i], kinds.Norm))
        steps[last : last + 1] = [steps[last], rotation, quantize]
    widths = rng.integers(8, 16, len(steps)).tolist()
    wide = kinds.Norm | kinds.Quantize | kinds.Attend | kinds.GateMul
    steps = [
        replace(step, activation_bits=bits) if isinstance(step, wide) else step
        for step, bits in zip(steps, widths, strict=True)
    ]
    return replace(program, steps=tuple(steps))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("head", ["rotated", "quantized", "inside"])
def test_plain_blocks_of_x_and_mixed_widths(
    folder: Path, monkeypatch: pytest.MonkeyPatch, head: str, seed: int
) -> None:
    """QUANTIZE, a MATVEC that overwrites x, and steps that write one buffer in several widths."""
    model = config(hidden_size=[96, 70, 192][seed], tie_word_embeddings=seed != 1)
    program = rewritten(model, seed, head)
    monkeypatch.setattr(models, "build_program", lambda *_: program)
    image = write_random_image(folder / "plain", model, seed=seed, gain=2.0**6, skew=4)
    assert image.program == program
    assert_agreement(image, draw_tokens(seed, 20, 211), seed)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    model=model_configs(),
    forms=some_forms(),
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(8, 15),
    head_bits=st.integers(8, 15),
    skew=st.sampled_from([0, 3, 14]),
)
def test_drawn_models(
    folder: Path,
    model: ModelConfig,
    forms: tuple[Form, ...],
    seed: int,
    bits: int,
    head_bits: int,
    skew: int,
) -> None:
    image = write_random_image(
        folder / "drawn",
        model,
        seed=seed,
        forms=forms,
        activation_bits=bits,
        head_activation_bits=head_bits,
        context=64,
        skew=skew,
    )
    assert_agreement(image, draw_tokens(seed, 20, model.vocab_size), seed)


@pytest.mark.parametrize(
    ("gain", "saturates"),
    [(1e-6, False), (2.0**6, False), (2.0**9, True), (2.0**12, True), (2.0**18, True)],
)
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_absurd_magnitudes(folder: Path, architecture: str, gain: float, saturates: bool) -> None:
    """Weights that saturate the residual and clamp blocks, or vanish: defined, so equal."""
    model = config(architecture, num_hidden_layers=1)
    image = write_random_image(folder / "absurd", model, gain=gain, skew=2)
    run = machine._Pass(Golden(image).session(), np.arange(16), 16)
    for step in image.program.steps:
        run.do(step)
    assert (np.abs(run.ints("x")).max() >= (1 << 31) - 1) == saturates
    assert_agreement(image, list(range(16)), seed=3)


@pytest.mark.parametrize("gain", [1e-6, 2.0**12, 2.0**18])
@pytest.mark.parametrize("architecture", ["gemma3", "olmo2"])
def test_absurd_magnitudes_before_a_norm(folder: Path, architecture: str, gain: float) -> None:
    """What a norm behind reads saturates, or is all zeros."""
    model = config(architecture, num_hidden_layers=1)
    image = write_random_image(folder / "behind", model, gain=gain, skew=2)
    assert_agreement(image, list(range(16)), seed=3)


@pytest.mark.parametrize("gain", [2.0**22, 2.0**40])
def test_more_than_absurd_is_refused(folder: Path, gain: float) -> None:
    with pytest.raises(HardcastError, match="weights so large that . would need [0-9]+ bits"):
        write_random_image(folder / "refused", config(), gain=gain)


def test_long_contexts_and_prompts_longer_than_a_native_call(folder: Path) -> None:
    """600 positions: several RoPE steps, several chunks of 256 tokens, growth of the cache."""
    image = write_random_image(
        folder / "long", config(num_hidden_layers=1, sliding_window=300), context=600
    )
    tokens = draw_tokens(4, 600, 211)
    expected = Golden(image).session().forward(tokens, "all")
    for path in PATHS:
        engine = Engine(image, 2, path)
        session = engine.session()
        rows = [session.forward(tokens[a : a + 257], "all") for a in (0, 257)]
        rows += [session.forward([t], "all") for t in tokens[514:]]
        np.testing.assert_array_equal(np.concatenate(rows), expected, path)
        last = engine.session().forward(tokens, "last")
        np.testing.assert_array_equal(last, expected[-1:], path)


def test_sessions_behave_the_same(folder: Path) -> None:
    """Lengths, what comes back for each `logits`, truncation, and the same refusals."""
    image = write_random_image(folder / "sessions", config(num_hidden_layers=1), context=20)
    tokens = draw_tokens(5, 20, 211)
    for executor in (Golden(image), Engine(image, 1)):
        session = executor.session()
        assert session.forward([], "all").shape == (0, 211)
        assert session.forward(tokens[:5], "none").shape == (0, 211)
        assert session.forward(tokens[5:9]).shape == (1, 211)
        rows = session.forward(tokens[9:15], "all")
        assert (rows.shape, rows.dtype, session.length) == ((6, 211), np.int32, 15)
        with pytest.raises(ValueError, match="15 \\+ 6 tokens exceed context 20"):
            session.forward(tokens[:6])
        for bad in (-1, 211, 1 << 40):
            with pytest.raises(ValueError, match="token id outside 0..210"):
                session.forward([bad])
        with pytest.raises(ValueError, match="truncate"):
            session.truncate(16)
        with pytest.raises(ValueError, match="truncate"):
            session.truncate(-1)
        assert session.length == 15  # no refusal left a trace
        session.truncate(9)
        assert session.length == 9
        np.testing.assert_array_equal(session.forward(tokens[9:15], "all"), rows)
        session.forward(tokens[15:20])
        assert session.length == 20


def test_batches_of_nothing_and_of_the_same_session(folder: Path) -> None:
    image = write_random_image(folder / "batch", config(num_hidden_layers=1), context=20)
    engine = Engine(image, 1)
    assert engine.forward_batch([]) == []
    session, other = engine.session(), engine.session()
    with pytest.raises(ValueError, match="a session comes twice"):
        engine.forward_batch([(session, [1], "last"), (other, [2], "all"), (session, [3], "all")])
    assert (session.length, other.length) == (0, 0)
    rows = engine.forward_batch([(session, [], "all"), (other, [2, 3], "all")])
    assert [row.shape for row in rows] == [(0, 211), (2, 211)]
    np.testing.assert_array_equal(rows[1], Golden(image).session().forward([2, 3], "all"))
    with pytest.raises(ValueError, match="exceed context 20"):
        engine.forward_batch([(session, [1], "last"), (other, [5] * 19, "last")])
    assert (session.length, other.length) == (0, 2)  # all or none

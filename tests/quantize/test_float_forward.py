"""The float forward pass: against `transformers`, and against what attention must mean."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast import models
from hardcast.checkpoint import open_checkpoint
from hardcast.errors import HardcastError
from hardcast.quantize import float_forward
from hardcast.quantize.float_forward import FloatModel, attend, gate, rms_norm
from hardcast.quantize.folding import Plain
from tests import tiny

TOKENS = 41
SIZES: dict[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 200,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 24,
    "vocab_size": 1009,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    # Wider than Hugging Face's 0.02, so that softmax, RoPE and gates leave their linear range.
    "initializer_range": 0.15,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "original_max_position_embeddings": 64,
}


def phi3_rope(partial: float) -> dict[str, Any]:
    """RoPE of a part of each head."""
    return {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": partial}


def longrope(original: int) -> dict[str, Any]:
    """A Phi-3 of so many original positions; six pairs: three quarters of a head of 16."""
    table = {
        "rope_type": "longrope",
        "short_factor": [1.0, 1.1, 1.2, 1.5, 2.0, 3.0],
        "long_factor": [1.0, 1.5, 2.5, 4.0, 8.0, 11.5],
        "original_max_position_embeddings": original,
    }
    return {
        "head_dim": 16,
        "rope_parameters": {**phi3_rope(0.75), **table},
        "original_max_position_embeddings": original,
        **TOKEN_IDS,
    }


TOKEN_IDS: dict[str, Any] = {"pad_token_id": None, "bos_token_id": 0, "eos_token_id": 1}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama untied": ("Llama", {}),
    "llama tied": ("Llama", {"tie_word_embeddings": True}),
    "llama llama3 rope": ("Llama", {"rope_parameters": LLAMA3_ROPE}),
    "llama linear rope": (
        "Llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.5}},
    ),
    "llama one kv head": ("Llama", {"num_key_value_heads": 1}),
    "llama wide epsilon": ("Llama", {"rms_norm_eps": 0.5}),
    "llama dynamic rope": (  # equal to plain RoPE up to max_position_embeddings
        "Llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 500.0, "factor": 4.0}},
    ),
    "llama attention biases": ("Llama", {"attention_bias": True}),
    "llama all biases": ("Llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 10}),
    "mistral window": ("Mistral", {"sliding_window": 9}),
    "qwen2": ("Qwen2", {"head_dim": 16}),  # Qwen2Config has no head_dim: hidden_size / heads
    "qwen2 tied": ("Qwen2", {"head_dim": 16, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {}),
    "qwen3 tied": ("Qwen3", {"tie_word_embeddings": True}),
    "qwen3 attention biases": ("Qwen3", {"attention_bias": True}),
    "gemma3 text": (
        "Gemma3",
        {"tie_word_embeddings": True, "num_hidden_layers": 7, "sliding_window": 9},
    ),
    "gemma3 global scaling, a score scale": (
        "Gemma3",
        {
            "tie_word_embeddings": True,
            "sliding_window": 5,
            "layer_types": ["full_attention", "sliding_attention", "full_attention"],
            "query_pre_attn_scalar": 60,
            "attention_bias": True,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e4},
                "sliding_attention": {"rope_type": "default", "rope_theta": 300.0},
            },
        },
    ),
    "gemma3 untied, wide epsilon": ("Gemma3", {"rms_norm_eps": 0.5, "sliding_window": 4}),
    "olmo2": ("Olmo2", {"head_dim": 16}),  # no head_dim either
    "olmo2 tied, biases": (
        "Olmo2",
        {"head_dim": 16, "tie_word_embeddings": True, "attention_bias": True},
    ),
    "olmo2 wide epsilon": ("Olmo2", {"head_dim": 16, "rms_norm_eps": 0.5}),
    "qwen2 mixed windows": (
        "Qwen2",
        {"head_dim": 16, "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
    ),
    "qwen3 layer types": (
        "Qwen3",
        {
            "use_sliding_window": True,
            "sliding_window": 7,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "smollm3": ("SmolLM3", {"num_hidden_layers": 5, "head_dim": 16, **TOKEN_IDS}),
    "phi3": ("Phi3", {"head_dim": 16, "rope_parameters": phi3_rope(1.0), **TOKEN_IDS}),
    "phi3 partial window": (
        "Phi3",
        {
            "head_dim": 16,
            "rope_parameters": phi3_rope(0.75),
            "sliding_window": 9,
            **TOKEN_IDS,
        },
    ),
    "phi3 short": ("Phi3", longrope(64)),
    "phi3 long": ("Phi3", longrope(32)),
    "llama yarn": ("Llama", {"rope_parameters": YARN}),
    "llama yarn mscale": (
        "Llama",
        {"rope_parameters": {**YARN, "mscale": 1.5, "mscale_all_dim": 0.5, "truncate": False}},
    ),
    "qwen2 yarn": ("Qwen2", {"head_dim": 16, "rope_parameters": YARN}),
    "qwen3 yarn": ("Qwen3", {"rope_parameters": {**YARN, "beta_fast": 4.0, "beta_slow": 0.5}}),
    "olmo2 yarn": ("Olmo2", {"head_dim": 16, "rope_parameters": YARN}),
    "smollm3 yarn": (
        "SmolLM3",
        {"num_hidden_layers": 5, "head_dim": 16, "rope_parameters": YARN, **TOKEN_IDS},
    ),
    "smollm3 windows": (
        "SmolLM3",
        {
            "head_dim": 16,
            "no_rope_layers": [0, 1, 0],
            "use_sliding_window": True,
            "sliding_window": 9,
            **TOKEN_IDS,
        },
    ),
}


def reference(family: str, overrides: dict[str, Any], folder: Path) -> tuple[Any, np.ndarray]:
    """A seeded random transformers model saved in `folder`, and the tokens to run it on."""
    reason = "needs PyTorch and transformers: pip install 'hardcast[reference]'"
    torch = pytest.importorskip("torch", reason=reason)
    transformers = pytest.importorskip("transformers", reason=reason)
    sizes = {**SIZES, **overrides}
    if family in ("Qwen2", "Olmo2", "SmolLM3", "Phi3"):
        assert sizes.pop("head_dim") * sizes["num_attention_heads"] == sizes["hidden_size"]
    torch.manual_seed(7)
    of_text = "TextConfig" if family == "Gemma3" else "Config"
    config = getattr(transformers, family + of_text)(**sizes)
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{family}ForCausalLM")(config).float().eval()
    with torch.no_grad():  # norms start as ones and biases as zeros: give them something to do
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder, safe_serialization=True)
    tokens = np.random.default_rng(3).integers(0, sizes["vocab_size"], TOKENS)
    return model, tokens


def open_float_model(folder: Path) -> FloatModel:
    checkpoint = open_checkpoint(str(folder))
    checkpoint.config = checkpoint.config.for_context(TOKENS)
    program = models.build_program(checkpoint.config)
    return FloatModel(program, checkpoint.config, Plain(checkpoint, program).tensor)


def assert_same_logits(model: Any, tokens: np.ndarray, ours: np.ndarray) -> None:
    import torch

    with torch.no_grad():
        theirs = model(torch.from_numpy(tokens)[None]).logits[0].double().numpy()
    assert ours.dtype == np.float32 and ours.shape == theirs.shape
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosine = (ours * theirs).sum(axis=1) / norms
    assert cosine.min() > 0.9999, f"cosine {cosine.min()} at position {cosine.argmin()}"
    # Cosine forgives a wrong scale and the mean forgives one position; the largest error does not.
    assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).all()


@pytest.mark.parametrize("case", CASES)
def test_logits_of_transformers(case: str, tmp_path: Path) -> None:
    family, overrides = CASES[case]
    model, tokens = reference(family, overrides, tmp_path)
    assert_same_logits(model, tokens, open_float_model(tmp_path).logits(tokens))


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Qwen3"])
def test_logits_of_transformers_on_drawn_shapes(
    family: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @given(
        kv_heads=st.integers(1, 3),
        shared=st.integers(1, 4),
        half_head=st.integers(1, 17),
        hidden_per_head=st.integers(1, 11),
        intermediate=st.integers(1, 90),
        vocab=st.integers(2, 300),
    )
    @settings(max_examples=5, deadline=None, derandomize=True)
    def check(
        kv_heads: int,
        shared: int,
        half_head: int,
        hidden_per_head: int,
        intermediate: int,
        vocab: int,
    ) -> None:
        heads, head_dim = kv_heads * shared, 2 * half_head
        overrides = {
            "hidden_size": heads * (head_dim if family == "Qwen2" else hidden_per_head),
            "intermediate_size": intermediate,
            "num_hidden_layers": 2,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "head_dim": head_dim,
            "vocab_size": vocab,
            "pad_token_id": None,
            "bos_token_id": 0,
            "eos_token_id": 1,
        }
        folder = tmp_path_factory.mktemp("drawn")
        model, tokens = reference(family, overrides, folder)
        assert_same_logits(model, tokens, open_float_model(folder).logits(tokens))

    check()


@pytest.fixture(params=models.architectures())
def tiny_float_model(request: pytest.FixtureRequest, tmp_path: Path) -> FloatModel:
    return open_float_model(tiny.write_safetensors(tmp_path / "tiny", request.param))


def test_a_position_sees_no_later_token(tiny_float_model: FloatModel) -> None:
    tokens = np.random.default_rng(0).integers(0, 1009, 30)
    whole = tiny_float_model.logits(tokens)
    np.testing.assert_allclose(tiny_float_model.logits(tokens[:11]), whole[:11], atol=1e-3)
    assert np.abs(whole[11] - tiny_float_model.logits(tokens[10:12])[1]).max() > 0.1


def test_blocks_of_logits_are_the_logits(tiny_float_model: FloatModel) -> None:
    tokens = np.random.default_rng(0).integers(0, 1009, 30)
    blocks = list(tiny_float_model.logit_blocks(tokens, block=7))
    assert [len(block) for block in blocks] == [7, 7, 7, 7, 2]
    np.testing.assert_allclose(np.vstack(blocks), tiny_float_model.logits(tokens), atol=1e-4)


def test_weights_are_fetched_when_read_and_kept_only_on_request(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(tiny.write_safetensors(tmp_path, "llama")))
    program = models.build_program(checkpoint.config)
    fetched: list[str] = []

    def tensor(name: str) -> np.ndarray:
        fetched.append(name)
        return checkpoint.tensor(models.checkpoint_name(name))

    for cache, times in ((False, 2), (True, 1)):
        model = FloatModel(program, checkpoint.config, tensor, cache=cache)
        assert fetched == []
        model.logits([5, 6])
        model.logits([7])
        assert fetched.count("layers.1.down_proj") == times
        fetched.clear()


def test_bad_tokens_are_refused(tiny_float_model: FloatModel) -> None:
    for tokens in ([], [0, 1009], [-1]):
        with pytest.raises(HardcastError):
            tiny_float_model.logits(tokens)


def plain_attention(
    q: np.ndarray, keys: np.ndarray, values: np.ndarray, window: int | None
) -> np.ndarray:
    """One query, one head at a time, in float64: slow and plain."""
    out = np.zeros(q.shape)
    for position in range(len(q)):
        first = 0 if window is None else max(0, position - window + 1)
        for head in range(q.shape[1]):
            kv_head = head // (q.shape[1] // keys.shape[1])
            k, v = keys[first : position + 1, kv_head], values[first : position + 1, kv_head]
            weights = np.exp(k @ q[position, head] / np.sqrt(q.shape[2], dtype=np.float64))
            out[position, head] = weights @ v / weights.sum()
    return out


@given(
    tokens=st.integers(1, 40),
    kv_heads=st.integers(1, 3),
    shared=st.integers(1, 3),
    window=st.none() | st.integers(1, 45),
    query_block=st.integers(1, 50),
)
@settings(max_examples=60, deadline=None)
def test_blocked_attention_is_attention(
    tokens: int, kv_heads: int, shared: int, window: int | None, query_block: int
) -> None:
    generator = np.random.default_rng(tokens)
    q, k, v = (
        generator.standard_normal((tokens, heads, 10)).astype(np.float32)
        for heads in (kv_heads * shared, kv_heads, kv_heads)
    )
    expected = plain_attention(q, k, v, window)
    np.testing.assert_allclose(attend(q, k, v, window, query_block), expected, atol=1e-5)


def test_attention_memory_is_bounded_by_the_block() -> None:
    tokens, heads, head_dim = 2048, 4, 8
    q, k, v = (np.ones((tokens, heads, head_dim), np.float32) for _ in range(3))
    tracemalloc.start()
    attend(q, k, v, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < heads * tokens * tokens * 4 / 8  # all scores at once would take eight times this
    assert peak > float_forward.QUERY_BLOCK * tokens * 4  # the measurement sees NumPy's memory


def test_extreme_values_stay_finite() -> None:
    x = np.array([[3e19, -3e19, 1.0]], np.float32)  # squares overflow float32
    assert np.allclose(rms_norm(x, np.ones(3, np.float32), 1e-5), [[1.2247449, -1.2247449, 0]])
    with np.errstate(all="raise", under="ignore"):
        g = np.array([-1e4, -100.0, 0.0, 100.0, 1e30], np.float32)
        assert np.allclose(gate(g, "sigmoid"), [0, 0, 0, 100, 1e30])
        scores = np.full((3, 1, 4), 1e4, np.float32)
        assert np.allclose(attend(scores, scores, scores, None), scores)


def test_unknown_gate_is_named() -> None:
    x = np.linspace(-9, 9, 37, dtype=np.float32)
    phi = 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x.astype(np.float64) ** 3)))
    assert np.allclose(gate(x, "gelu_tanh"), x * phi, atol=1e-6)
    with pytest.raises(HardcastError, match="'tanh'"):
        gate(np.zeros(1, np.float32), "tanh")

"""Tiny seeded checkpoints for tests: the same weights as safetensors or as GGUF, no network.

Weights are sums of seeded integers over a power of two, so they are the same bits on every machine
(no libm, no Gaussian tables), and a digest built from them may be pinned. Sizes are odd on purpose:
hidden 96, head_dim 24, vocab 1009; only what GGUF's 32-wide blocks need is a multiple of 32.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.tiny_vocabulary import CHAT_TEMPLATE, SPECIALS, tokenizer_json, vocabulary

ARCHITECTURES = ("gemma3", "llama", "olmo2", "phi3", "qwen2", "qwen3", "smollm3")
INTERLEAVED = ("llama", "smollm3")  # llama.cpp's converter moves rows of Q and K
NORMS = {
    "gemma3": (
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ),
    "olmo2": ("post_attention_layernorm", "post_feedforward_layernorm"),
}
GEMMA = {
    "model_type": "gemma3_text",
    "hidden_act": None,
    "hidden_activation": "gelu_pytorch_tanh",
    "sliding_window": 9,
    "sliding_window_pattern": 2,
    "query_pre_attn_scalar": 24,
}
# Overrides under which every in_features is a multiple of the groups of the recipes that calibrate.
GROUPED: dict[str, Any] = {
    "hidden_size": 128,
    "head_dim": 32,
    "intermediate_size": 192,
    "max_position_embeddings": 64,
    "num_hidden_layers": 1,
}
PLAIN_NORMS = ("input_layernorm", "post_attention_layernorm")


def config(architecture: str, **overrides: Any) -> dict[str, Any]:
    """config.json of a tiny model of `architecture`; overrides replace or add any key."""
    sizes: dict[str, Any] = {
        "architectures": [
            {
                "gemma3": "Gemma3ForCausalLM",
                "llama": "LlamaForCausalLM",
                "olmo2": "Olmo2ForCausalLM",
                "phi3": "Phi3ForCausalLM",
                "qwen2": "Qwen2ForCausalLM",
                "qwen3": "Qwen3ForCausalLM",
                "smollm3": "SmolLM3ForCausalLM",
            }[architecture]
        ],
        "model_type": architecture,
        "hidden_size": 96,
        "intermediate_size": 160,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 24,
        "vocab_size": 1009,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if architecture == "phi3":
        sizes["partial_rotary_factor"] = 0.75
    return {**sizes, **(GEMMA if architecture == "gemma3" else {}), **overrides}


def draw(generator: np.random.Generator, shape: tuple[int, ...], spread: float) -> np.ndarray:
    """float32[shape], nearly normal, standard deviation `spread`: four integers added."""
    total = generator.integers(-(1 << 15), 1 << 15, (4, *shape), dtype=np.int32).sum(axis=0)
    # Each integer's deviation is 2^16 / sqrt(12); four of them have twice that.
    return (total * (spread * np.sqrt(3.0) / (1 << 16))).astype(np.float32)


def tensors(architecture: str, seed: int = 0, **overrides: Any) -> dict[str, np.ndarray]:
    """float32 tensors under their Hugging Face names and in Hugging Face's row order."""
    c = config(architecture, **overrides)
    generator = np.random.default_rng(seed)
    hidden, heads, head_dim = c["hidden_size"], c["num_attention_heads"], c["head_dim"]
    kv_heads, inner = c["num_key_value_heads"], c["intermediate_size"]
    found: dict[str, np.ndarray] = {}

    def matrix(
        name: str, out_features: int, in_features: int, gain: float = 1.0, bias: bool = False
    ) -> None:
        found[name] = draw(generator, (out_features, in_features), gain / np.sqrt(in_features))
        if bias:
            found[name.replace(".weight", ".bias")] = draw(generator, (out_features,), 0.5)

    def norm(name: str, size: int) -> None:
        found[name] = np.float32(1.0) + draw(generator, (size,), 0.25)
        if architecture == "gemma3":  # so that 1 off and 1 on are exact
            found[name] = np.rint(found[name] * 4096) / np.float32(4096)

    attention, mlp = bool(c.get("attention_bias")), bool(c.get("mlp_bias"))
    matrix("model.embed_tokens.weight", c["vocab_size"], hidden, gain=4.0)
    for layer in range(c["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        first, *others = NORMS.get(architecture, PLAIN_NORMS)
        norm(f"{prefix}{first}.weight", hidden)
        for name, count in (("q_proj", heads), ("k_proj", kv_heads), ("v_proj", kv_heads)):
            bias = attention or architecture == "qwen2"
            matrix(f"{prefix}self_attn.{name}.weight", count * head_dim, hidden, 2.0, bias)
        if architecture in ("gemma3", "qwen3"):
            norm(prefix + "self_attn.q_norm.weight", head_dim)
            norm(prefix + "self_attn.k_norm.weight", head_dim)
        if architecture == "olmo2":
            norm(prefix + "self_attn.q_norm.weight", heads * head_dim)
            norm(prefix + "self_attn.k_norm.weight", kv_heads * head_dim)
        matrix(prefix + "self_attn.o_proj.weight", hidden, heads * head_dim, bias=attention)
        for name in others:
            norm(f"{prefix}{name}.weight", hidden)
        matrix(prefix + "mlp.gate_proj.weight", inner, hidden, 2.0, mlp)
        matrix(prefix + "mlp.up_proj.weight", inner, hidden, bias=mlp)
        matrix(prefix + "mlp.down_proj.weight", hidden, inner, bias=mlp)
    norm("model.norm.weight", hidden)
    if not c["tie_word_embeddings"]:
        matrix("lm_head.weight", c["vocab_size"], hidden, gain=4.0)
    return found


def write_safetensors(
    folder: str | Path,
    architecture: str,
    seed: int = 0,
    sharded: bool = False,
    dtype: str = "F32",
    weights: dict[str, np.ndarray | None] | None = None,
    **overrides: Any,
) -> Path:
    """Writes config.json, weights, tokenizer.json and tokenizer_config.json; returns the folder.

    dtype: F32, F16 or BF16 (rounded to nearest even). sharded: two shards and an index.
    weights: tensors that replace or join the drawn ones by name; None leaves one out.
    overrides: keys of config.json; None leaves one out.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    c = config(architecture, **overrides)
    drawn = stored(architecture, tensors(architecture, seed, **overrides), c["head_dim"])
    found = _replaced(drawn, weights)
    if architecture == "gemma3":  # its safetensors hold gains less 1
        for name in found:
            if name.endswith("norm.weight"):
                found[name] = found[name] - np.float32(1.0)
    written = {key: value for key, value in c.items() if value is not None}
    (folder / "config.json").write_text(json.dumps({**written, "torch_dtype": "float32"}, indent=1))
    (folder / "tokenizer.json").write_text(tokenizer_json(c["vocab_size"]), encoding="utf-8")
    special = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**special, "chat_template": CHAT_TEMPLATE, "add_bos_token": False})
    )
    names = list(found)
    if not sharded:
        save_safetensors(folder / "model.safetensors", found, dtype)
        return folder
    halves = {
        "model-00001-of-00002.safetensors": names[: len(names) // 2],
        "model-00002-of-00002.safetensors": names[len(names) // 2 :],
    }
    weight_map = {name: shard for shard, part in halves.items() for name in part}
    for shard, part in halves.items():
        save_safetensors(folder / shard, {name: found[name] for name in part}, dtype)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def stored(
    architecture: str, found: dict[str, np.ndarray], head_dim: int = 24
) -> dict[str, np.ndarray]:
    """The tensors as files hold them: Phi-3's q, k and v are one matrix, gate and up another.

    And what RoPE turns of a head of q or k, three quarters, comes before the rest.
    """
    if architecture != "phi3":
        return found
    joined: dict[str, np.ndarray] = {}
    whole = {"q_proj": "qkv_proj", "k_proj": "qkv_proj", "v_proj": "qkv_proj"}
    whole |= {"gate_proj": "gate_up_proj", "up_proj": "gate_up_proj"}
    for name, array in found.items():
        role = name.split(".")[-2]
        if role in ("q_proj", "k_proj"):
            halves = array.reshape(-1, 2, head_dim // 2, array.shape[1])
            parts = np.split(halves, [int(0.75 * head_dim) // 2], axis=2)
            heads = [part.reshape(len(halves), -1, array.shape[1]) for part in parts]
            array = np.concatenate(heads, axis=1).reshape(array.shape)
        key = name.replace(role, whole.get(role, role))
        joined[key] = np.concatenate([joined[key], array]) if key in joined else array
    return joined


def _replaced(
    found: dict[str, np.ndarray], weights: dict[str, np.ndarray | None] | None
) -> dict[str, np.ndarray]:
    return {k: v for k, v in {**found, **(weights or {})}.items() if v is not None}


INTEGERS = {"int64": "I64", "int32": "I32", "uint32": "U32", "int8": "I8", "uint8": "U8"}


def save_safetensors(path: Path, found: dict[str, np.ndarray], dtype: str = "F32") -> None:
    """Writes header length, JSON header and data by hand: NumPy has no bfloat16 to hand over.

    dtype: of the floats; integers stay what they are.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = bytearray()
    for name, array in found.items():
        start, kind = len(data), INTEGERS.get(array.dtype.name, dtype)
        data += array.tobytes() if kind != dtype else _to_bytes(array, dtype)
        offsets = [start, len(data)]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def _to_bytes(array: np.ndarray, dtype: str) -> bytes:
    if dtype == "F32":
        return np.ascontiguousarray(array, dtype="<f4").tobytes()
    if dtype == "F16":
        return array.astype("<f2").tobytes()
    bits = np.ascontiguousarray(array, dtype="<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def permute(rows: np.ndarray, num_heads: int) -> np.ndarray:
    """llama.cpp's row order of Q and K for llama: pairs (i, i + head_dim/2) become neighbours."""
    halves = rows.reshape(num_heads, 2, rows.shape[0] // num_heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


GGUF_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.qkv_proj.weight": "attn_qkv.weight",
    "mlp.gate_up_proj.weight": "ffn_up.weight",
    "self_attn.q_proj.bias": "attn_q.bias",
    "self_attn.k_proj.bias": "attn_k.bias",
    "self_attn.v_proj.bias": "attn_v.bias",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.o_proj.bias": "attn_output.bias",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "post_feedforward_layernorm.weight": "post_ffw_norm.weight",
    "pre_feedforward_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.gate_proj.bias": "ffn_gate.bias",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.up_proj.bias": "ffn_up.bias",
    "mlp.down_proj.weight": "ffn_down.weight",
    "mlp.down_proj.bias": "ffn_down.bias",
}


def gguf_name(name: str, architecture: str) -> str:
    """GGUF's name of a Hugging Face tensor."""
    top = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    parts = name.split(".", 3)
    if len(parts) < 4 or parts[3] not in GGUF_NAMES:
        return top.get(name, name)
    behind = architecture in NORMS and parts[3] == "post_attention_layernorm.weight"
    return f"blk.{parts[2]}.{'post_attention_norm.weight' if behind else GGUF_NAMES[parts[3]]}"


def write_gguf(
    path: str | Path,
    architecture: str,
    seed: int = 0,
    quant: str = "Q4_1",
    weights: dict[str, np.ndarray | None] | None = None,
    roles: dict[str, str] | None = None,
    metadata: dict[str, Any] | None = None,
    **overrides: Any,
) -> Path:
    """Writes the tiny model as GGUF with the gguf package; returns the path.

    quant: type of the matrices, as the gguf package names it (Q4_0, Q4_1, Q8_0, F16, F32, ...).
    With a 4-bit type the embedding and the head are Q8_0, as in shipped files; a matrix whose
    in_features is not a multiple of 32 falls back to F16; vectors are F32. roles: another type for
    the matrices of a role ("down_proj"). rope_scaling in the
    overrides becomes metadata (linear) or the rope_freqs tensor (llama3). weights: as in
    write_safetensors, under Hugging Face names or others as they are. metadata: entries that
    replace or join the model's own by key; None leaves one out.
    """
    import gguf

    c = config(architecture, **overrides)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, architecture)
    drawn = stored(architecture, tensors(architecture, seed, **overrides), c["head_dim"])
    _add_metadata(writer, architecture, c)
    for key, value in (metadata or {}).items():
        writer.kv_data[0].pop(key, None)
        if value is not None:
            writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    for name, array in _replaced(drawn, weights).items():
        if architecture in INTERLEAVED and ".q_proj." in name:
            array = permute(array, c["num_attention_heads"])
        if architecture in INTERLEAVED and ".k_proj." in name:
            array = permute(array, c["num_key_value_heads"])
        kind = quant
        if quant.startswith("Q4") and name in ("model.embed_tokens.weight", "lm_head.weight"):
            kind = "Q8_0"
        kind = (roles or {}).get(name.split(".")[-2], kind)
        if array.ndim == 1:
            kind = "F32"
        elif kind not in ("F16", "F32", "BF16") and array.shape[-1] % 32:
            kind = "F16"
        kind_of = gguf.GGMLQuantizationType[kind]
        data = gguf.quants.quantize(np.ascontiguousarray(array), kind_of)
        writer.add_tensor(gguf_name(name, architecture), data, raw_dtype=kind_of)
    scaling = c.get("rope_scaling")
    if scaling and scaling["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", _llama3_factors(c, scaling))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_metadata(writer: Any, architecture: str, c: dict[str, Any]) -> None:
    writer.add_name("tiny")
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    writer.add_head_count_kv(c["num_key_value_heads"])
    writer.add_key_length(c["head_dim"])
    writer.add_value_length(c["head_dim"])
    writer.add_rope_dimension_count(int(c["head_dim"] * c.get("partial_rotary_factor", 1)))
    writer.add_rope_freq_base(c["rope_theta"])
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    writer.add_vocab_size(c["vocab_size"])
    if c.get("sliding_window"):
        writer.add_sliding_window(c["sliding_window"])
    if c.get("sliding_window_pattern"):
        writer.add_uint32(
            f"{architecture}.attention.sliding_window_pattern", c["sliding_window_pattern"]
        )
    scaling = c.get("rope_scaling")
    if scaling and scaling["rope_type"] == "linear":
        writer.add_string(f"{architecture}.rope.scaling.type", "linear")
        writer.add_float32(f"{architecture}.rope.scaling.factor", scaling["factor"])
    tokens, merges = vocabulary(c["vocab_size"])
    fillers = sum(token.startswith("<filler_") for token in tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(list(tokens))
    normal = len(tokens) - fillers - len(SPECIALS)
    writer.add_token_types([3] * len(SPECIALS) + [1] * normal + [5] * fillers)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(c["bos_token_id"])
    writer.add_eos_token_id(c["eos_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _llama3_factors(c: dict[str, Any], scaling: dict[str, Any]) -> np.ndarray:
    """float32[head_dim / 2]: what llama.cpp's converter stores for Llama 3's RoPE scaling."""
    old = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    factors = []
    for pair in range(c["head_dim"] // 2):
        wavelength = 2 * np.pi * c["rope_theta"] ** (2 * pair / c["head_dim"])
        if wavelength < old / high:
            factors.append(1.0)
        elif wavelength > old / low:
            factors.append(scaling["factor"])
        else:
            smooth = (old / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(factors, dtype=np.float32)

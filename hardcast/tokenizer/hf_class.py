"""What transformers' tokenizer classes say where a folder's files say nothing, or something else.

Most folders load as the plain class over tokenizer.json. Three classes that the families here come
with take vocabulary, merges and post-processor out of that file and make the rest themselves; they
also bring names of their own for special tokens.
"""

from __future__ import annotations

import json
from typing import Any

from hardcast.tokenizer import byte_level
from hardcast.tokenizer.sentencepiece import SPACE

_END = "<|endoftext|>"
QWEN2 = "Qwen2Tokenizer"  # adds its special tokens once more in the end, as special ones and bare
LLAMA, GPT2 = "LlamaTokenizer", "GPT2Tokenizer"
_SPELL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}
# Class -> the named tokens that it has, or has not, unless a file says otherwise.
DEFAULTS: dict[str, dict[str, str | None]] = {
    LLAMA: {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
    QWEN2: {"unk_token": _END, "eos_token": _END, "pad_token": _END},
    GPT2: {"unk_token": _END, "bos_token": _END, "eos_token": _END, "pad_token": None},
}


def class_of(source: dict[str, Any]) -> str | None:
    """The key of DEFAULTS that AutoTokenizer (5.24) would load, or None for the plain class."""
    config = source.get("config") or {}
    model_type = config.get("model_type")
    declared = (source.get("tokenizer_config") or {}).get("tokenizer_class")
    name = str(declared or config.get("tokenizer_class") or "").removesuffix("Fast")
    if model_type == "qwen2" or (model_type == "qwen3" and not name):
        return QWEN2
    if model_type == "mistral" or name not in DEFAULTS:
        return None
    if name == LLAMA and '"ByteLevel"' in source["tokenizer_json"]:
        return None  # Llama 3's: the class knows the sentencepiece kind only
    return name


def as_class(
    where: str, definition: dict[str, Any], name: str | None, config: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The definition with the parts that the class makes, and notes for the user.

    name: of class_of. config: tokenizer_config.json. A part that says the same already stays as
    it is written, so that it changes no digest.
    """
    if name is None:
        return definition, []
    if name != LLAMA and '"ByteLevel"' not in json.dumps(definition.get("pre_tokenizer")):
        return definition, [f"{where}: is no byte-level tokenizer, and transformers' {name} is one"]
    digits = _listed(definition.get("pre_tokenizer")) == [_DIGITS, _says(_SPELL)]
    if name == GPT2 and digits and not config.get("add_prefix_space"):
        note = (  # SmolLM's files, whose models learned their digits so
            f"{where}: each digit is a word of its own, as this file says; transformers' {GPT2} "
            f"forgets that, so its ids differ where two spaces stand before a digit"
        )
        return definition, [note]
    wanted, decoder = _parts(name, config), definition.get("decoder")
    if name != LLAMA and isinstance(decoder, dict) and decoder.get("type") == "ByteLevel":
        del wanted["decoder"]  # which reads none of its switches
    changed = {k: v for k, v in wanted.items() if _says(definition.get(k)) != _says(v)}
    model = definition["model"]
    changed["model"] = {**model, **_switches(model, name == LLAMA)}
    return {**definition, **changed}, []


def _parts(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """What goes around a class's model, as transformers makes it, in tokenizer.json's words."""
    flag = config.get("add_prefix_space")
    if name == LLAMA:
        space = flag is None or bool(flag)
        scheme = "never" if not space else "always" if config.get("legacy", False) else "first"
        cut = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": False}
        decoders: list[dict[str, Any]] = [
            {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
        ]
        if space:
            decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
        decoder: dict[str, Any] = {"type": "Sequence", "decoders": decoders}
        return {"normalizer": None, "pre_tokenizer": cut, "decoder": decoder}
    spell = {**_SPELL, "add_prefix_space": bool(flag), "use_regex": name == GPT2}
    if name == GPT2:
        return {"normalizer": None, "pre_tokenizer": spell, "decoder": _SPELL}
    cut = {
        "type": "Split",
        "pattern": {"Regex": byte_level.QWEN2},
        "behavior": "Isolated",
        "invert": False,
    }
    both = {"type": "Sequence", "pretokenizers": [cut, spell]}
    return {"normalizer": {"type": "NFC"}, "pre_tokenizer": both, "decoder": _SPELL}


def _switches(model: dict[str, Any], llama: bool) -> dict[str, Any]:
    """Those of the model's section that the class sets otherwise."""
    wanted = {"fuse_unk": llama, "byte_fallback": llama, "ignore_merges": False}
    found: dict[str, Any] = {k: v for k, v in wanted.items() if bool(model.get(k)) != v}
    # Where every byte has a token nothing is unknown.
    if model.get("unk_token") and not (llama and _spells_all(model["vocab"])):
        found["unk_token"] = None
    return found


def _spells_all(vocab: dict[str, int]) -> bool:
    return all(f"<0x{byte:02X}>" in vocab for byte in range(256))


def _listed(part: Any) -> list[Any]:
    """What a sequence of cuts says, one by one."""
    found = part.get("pretokenizers") if isinstance(part, dict) else None
    return [_says(inner) for inner in found] if isinstance(found, list) else [_says(part)]


def _says(part: Any) -> Any:
    """A part of tokenizer.json less what changes no id and no text, for comparing two."""
    if isinstance(part, list):
        return [_says(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    if kind == "Sequence":
        return {key: _says(value) for key, value in part.items()}
    if kind == "ByteLevel":
        return {"use_regex": True, **{k: v for k, v in part.items() if k != "trim_offsets"}}
    return part

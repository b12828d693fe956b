"""What transformers' tokenizer classes say where a folder's files say nothing, or something else.

Most folders load as the plain class over tokenizer.json. Three classes that the families here come
with bring names of their own for special tokens, and a switch for the space before a text.
"""

from __future__ import annotations

from typing import Any

from hardcast.errors import HardcastError
from hardcast.tokenizer.decoding import parts_of, prepends

_END = "<|endoftext|>"
# Class -> the named tokens that it has, or has not, unless a file says otherwise.
DEFAULTS: dict[str, dict[str, str | None]] = {
    "LlamaTokenizer": {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
    "Qwen2Tokenizer": {"unk_token": _END, "eos_token": _END, "pad_token": _END},
    "GPT2Tokenizer": {"unk_token": _END, "bos_token": _END, "eos_token": _END, "pad_token": None},
}
QWEN2 = "Qwen2Tokenizer"  # adds its special tokens once more in the end, as special ones and bare
BYTE_LEVEL = (QWEN2, "GPT2Tokenizer")


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
    if name == "LlamaTokenizer" and '"ByteLevel"' in source["tokenizer_json"]:
        return None  # Llama 3's: the class knows the sentencepiece kind only
    return name


def with_prefix_space(
    where: str, definition: dict[str, Any], name: str | None, flag: Any
) -> dict[str, Any]:
    """tokenizer.json with the class's switch for a space before a text.

    name: of class_of. flag: add_prefix_space of tokenizer_config.json, or None; the plain class
    reads none. Raises HardcastError where tokenizer.json would have to be another one.
    """
    if name in BYTE_LEVEL:
        return {**definition, "pre_tokenizer": _switched(definition.get("pre_tokenizer"), flag)}
    if name is not None and isinstance(flag, bool) and flag != _prepends(definition):
        raise HardcastError(
            f"{where}: puts {'no' if flag else 'a'} space before a text, and tokenizer_config.json "
            f"says add_prefix_space {str(flag).lower()}; write both again with transformers: "
            f"AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        )
    return definition


def _switched(part: Any, flag: Any) -> Any:
    """A pre-tokenizer whose ByteLevel parts have the switch; without one it is off."""
    if not isinstance(part, dict):
        return part
    if isinstance(part.get("pretokenizers"), list):
        return {**part, "pretokenizers": [_switched(p, flag) for p in part["pretokenizers"]]}
    return {**part, "add_prefix_space": bool(flag)} if part.get("type") == "ByteLevel" else part


def _prepends(definition: dict[str, Any]) -> bool:
    """Whether the sentencepiece kind of tokenizer.json puts a space before a text."""
    parts = parts_of(definition.get("normalizer"), "normalizers")
    parts += parts_of(definition.get("pre_tokenizer"), "pretokenizers")
    return any(
        part.get("type") == "Prepend" or (part.get("type") == "Metaspace" and prepends(part))
        for part in parts
    )

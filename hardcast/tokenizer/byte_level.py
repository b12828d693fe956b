"""Byte-level BPE (GPT-2's kind) from a vocabulary and its merges, with the right pre-tokenizer.

A pre-tokenizer cuts the text into words before any merge; the wrong one gives tokens that the model
never saw in training. GGUF names it in `tokenizer.ggml.pre`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hardcast.tokenizer.vocabulary import Vocabulary

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


@dataclass(frozen=True)
class PreTokenizer:
    """patterns: regular expressions that cut the text one after another.

    nfc: the text is brought to Unicode's composed form first. ignore_merges: a word that is a token
    is taken whole, whatever the merges would make of it. add_bos: a text begins with BOS unasked.
    """

    patterns: tuple[str, ...]
    nfc: bool = False
    ignore_merges: bool = False
    add_bos: bool = False


_LLAMA3 = PreTokenizer((LLAMA3,), ignore_merges=True, add_bos=True)
_QWEN2 = PreTokenizer((QWEN2,), nfc=True)
_DIGITS = PreTokenizer((r"\p{N}", GPT2))  # every digit a word of its own
PRE_TOKENIZERS = {
    "default": PreTokenizer(
        # llama.cpp's rule for files that name none.
        (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")
    ),
    "gpt-2": PreTokenizer((GPT2,)),
    "smollm": _DIGITS,
    "starcoder": _DIGITS,
    "refact": _DIGITS,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
}
"""Value of `tokenizer.ggml.pre` -> how it cuts. Sources: each model's tokenizer.json."""


def byte_level_definition(vocabulary: Vocabulary, kind: PreTokenizer) -> dict[str, Any]:
    """tokenizer.json of a byte-level BPE over the vocabulary."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    cuts = [
        {"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False}
        for p in kind.patterns
    ]
    # The patterns have cut already; ByteLevel only spells each byte as its letter.
    spell = {**byte_level, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": vocabulary.added_tokens(),
        "normalizer": {"type": "NFC"} if kind.nfc else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*cuts, spell]},
        "post_processor": None,
        "decoder": spell,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": kind.ignore_merges,
            "vocab": {token: index for index, token in enumerate(vocabulary.tokens)},
            "merges": [list(pair) for pair in vocabulary.merges],
        },
    }

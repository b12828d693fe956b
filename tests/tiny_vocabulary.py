"""The tiny checkpoints' vocabulary: a byte-level BPE learned here, the same on every machine."""

from __future__ import annotations

import json
from functools import lru_cache

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a tiny chip<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

TEXT = (
    "A language model can be cast into silicon. The weights become a pattern of holes in one mask, "
    "and the chip is that model and nothing else. Each cycle one activation arrives; each lane "
    "selects one of its multiples by its weight and adds it. What is the capital of France? The "
    "capital of France is Paris. def forward(tokens): return [step(token) for token in tokens]\n"
    "When the last group ends, the lanes hand their sums to the scale unit, which folds in the "
    "scale, the offset and the exponent. The quick brown fox jumps over the lazy dog, and then "
    "there were none. It was the best of times, it was the worst of times.\n"
)


def byte_letters() -> list[str]:
    """The printable character that GPT-2's byte-level BPE writes for each byte, 0..255."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters, spare = {byte: chr(byte) for byte in printable}, 256
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(spare)
            spare += 1
    return [letters[byte] for byte in range(256)]


@lru_cache(maxsize=8)
def vocabulary(vocab_size: int) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """(tokens, merges) of a byte-level BPE learned from TEXT, filled up to `vocab_size`.

    Special tokens come first, then the 256 bytes, then merges, then fillers that no text reaches.
    Ties are broken by spelling, so it is the same on every machine and under every library.
    """
    letters = byte_letters()
    tokens = [*SPECIALS, *letters]
    if vocab_size < len(tokens):
        raise ValueError(f"a tiny vocabulary needs at least {len(tokens)} tokens, not {vocab_size}")
    spelled = ["".join(letters[b] for b in word.encode()) for word in TEXT.split(" ")]
    words = [list(("Ġ" if index else "") + word) for index, word in enumerate(spelled)]
    merges: list[tuple[str, str]] = []
    while len(tokens) < vocab_size:
        counts: dict[tuple[str, str], int] = {}
        for word in words:
            for pair in zip(word, word[1:], strict=False):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < 2:
            break
        merges.append(best)
        if "".join(best) not in tokens:
            tokens.append("".join(best))
        words = [_merge(word, best) for word in words]
    tokens += [f"<filler_{index}>" for index in range(vocab_size - len(tokens))]
    return tuple(tokens), tuple(merges)


def _merge(word: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for letter in word:
        # A letter that was just merged cannot be the left half again: it is two letters long.
        if merged and (merged[-1], letter) == pair:
            merged[-1] += letter
        else:
            merged.append(letter)
    return merged


def tokenizer_json(vocab_size: int) -> str:
    """tokenizer.json of the vocabulary, as Hugging Face `tokenizers` reads it."""
    tokens, merges = vocabulary(vocab_size)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {
                    "id": index,
                    "content": content,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": True,
                }
                for index, content in enumerate(SPECIALS)
            ],
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Digits", "individual_digits": True},
                    {**byte_level, "use_regex": True},
                ],
            },
            "post_processor": None,
            "decoder": {**byte_level, "use_regex": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": {token: index for index, token in enumerate(tokens)},
                "merges": [list(pair) for pair in merges],
            },
        },
        ensure_ascii=False,
    )

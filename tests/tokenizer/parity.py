"""Texts that tokenizers disagree on, and transformers' own tokenizers over a GGUF vocabulary."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.tiny_vocabulary import byte_letters

TEXTS = 2000

_PARTS = st.one_of(
    st.text(max_size=12),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20),
    st.sampled_from(["🙂", "👩‍👩‍👧‍👦", "🇫🇷", "👍🏽", "❤️", "🦙", "1️⃣"]),
    st.text("漢字日本語한국어中文、。「」ー々〇", min_size=1, max_size=8),
    st.text("0123456789", min_size=1, max_size=12),
    st.text("٣५๗Ⅷ½²①", min_size=1, max_size=4),
    st.text(st.characters(categories=["Cc"]), min_size=1, max_size=4),
    st.integers(1, 70).map(lambda count: " " * count),
    st.text(" \t\n\r\u00a0\u2003\u3000\u0085\u200b", min_size=1, max_size=8),
    st.sampled_from(
        "don't|I'LL|we'Ve|'tis|'S|e\u0301|naïve|Ελληνικά|русский|हिन्दी|ไทย|straße|İstanbul|"
        " the| and|def f(x):\n    return|https://a.b/?q=1|!!!|...|—|“quoted”|$1,234.56|"
        "\r\n\r\n".split("|")
    ),
)


@lru_cache(maxsize=1)
def texts() -> tuple[str, ...]:
    """2,000 different drawn texts, the same every time: scripts, digits, controls, long spaces."""
    found: dict[str, None] = {}

    @seed(0)
    @settings(
        max_examples=TEXTS * 5 // 4,  # a text may come twice
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(_PARTS, min_size=1, max_size=8).map("".join))
    def collect(text: str) -> None:
        found.setdefault(text)

    collect()
    assert len(found) >= TEXTS
    return tuple(found)[:TEXTS]


def transformers_tokenizer(metadata: dict[str, Any]) -> Any:
    """transformers' own tokenizer class over the vocabulary of GGUF's `tokenizer.*` metadata.

    Only tokens, and merges where the kind has them, come from the file; cutting, normalising and,
    for Llama 3 and the sentencepiece kind, the merges are transformers' work.
    """
    import transformers

    tokens = metadata["tokenizer.ggml.tokens"]
    types = metadata["tokenizer.ggml.token_type"]
    vocab = {token: index for index, token in enumerate(tokens)}
    merges = [_pair(line) for line in metadata.get("tokenizer.ggml.merges", [])]
    pre = metadata.get("tokenizer.ggml.pre")
    ends = {"eos_token": tokens[metadata["tokenizer.ggml.eos_token_id"]], "bos_token": None}
    if metadata["tokenizer.ggml.model"] == "llama":
        normal = {t: i for t, i in vocab.items() if types[i] in (1, 4)}
        made = _llama_tokenizer(vocab, normal, metadata["tokenizer.ggml.scores"])
    elif pre == "llama-bpe":
        made = _llama3_tokenizer({t: i for t, i in vocab.items() if types[i] == 1})
    elif pre == "qwen2":
        made = transformers.Qwen2Tokenizer(vocab, merges, unk_token=None, pad_token=None, **ends)
    else:
        made = transformers.GPT2Tokenizer(vocab, merges, unk_token=None, **ends)
        if pre != "gpt-2":
            # What these models' tokenizer.json puts before GPT-2's own cuts.
            from tokenizers import pre_tokenizers

            parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
            made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    added = [
        transformers.AddedToken(token, normalized=False, special=types[index] != 4)
        for token, index in vocab.items()
        if types[index] in (2, 3, 4)
    ]
    made.add_tokens(added)
    return made


def _pair(line: str) -> tuple[str, str]:
    left, _, right = line.partition(" ")
    return left, right


def _llama_tokenizer(vocab: dict[str, int], normal: dict[str, int], scores: list[float]) -> Any:
    import transformers
    from transformers.convert_slow_tokenizer import generate_merges

    ranked = {token: scores[index] for token, index in normal.items()}
    merges = generate_merges(normal, ranked)
    return transformers.LlamaTokenizer(vocab=vocab, merges=merges)


def _llama3_tokenizer(vocab: dict[str, int]) -> Any:
    """By transformers' converter of tiktoken files, which Llama 3's vocabulary is published as."""
    import transformers
    from transformers.convert_slow_tokenizer import TikTokenConverter

    byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}
    ranks = {bytes(byte_of[letter] for letter in token): i for token, i in vocab.items()}

    class FromMemory(TikTokenConverter):  # type: ignore[misc]
        @staticmethod
        def load_tiktoken_bpe(tiktoken_url: str) -> dict[bytes, int]:
            return ranks

    return transformers.PreTrainedTokenizerFast(tokenizer_object=FromMemory("").converted())


def spelled_by(metadata: dict[str, Any], text: str) -> bool:
    """Whether a byte-level vocabulary has a token for every byte of the text."""
    letters, known = byte_letters(), set(metadata["tokenizer.ggml.tokens"])
    return all(letters[byte] in known for byte in text.encode())

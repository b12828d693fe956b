"""The sentencepiece kind (Llama 2, TinyLlama, Mistral): BPE by score, spaces as ▁, byte fallback.

GGUF stores a score for each token and no merges. Merging the pair whose token scores best is the
same as a list of merges in the order of those scores, which is what `tokenizers` runs.
"""

from __future__ import annotations

from typing import Any

from hardcast.errors import HardcastError
from hardcast.tokenizer.vocabulary import NORMAL, UNKNOWN, USER_DEFINED, Vocabulary

SPACE = "▁"
PIECE_LIMIT = 256  # letters; each is tried at every cut, so the work grows with the square


def sentencepiece_definition(vocabulary: Vocabulary, add_space_prefix: bool) -> dict[str, Any]:
    """tokenizer.json of a sentencepiece-style BPE.

    add_space_prefix: a text is encoded as if a space stood before it.
    """
    # The unknown token takes what not even bytes can spell; a file may lack it.
    unknown = next(
        (t for t, k in zip(vocabulary.tokens, vocabulary.types, strict=True) if k == UNKNOWN), None
    )
    normalizers: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    ]
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if add_space_prefix:
        normalizers.insert(0, {"type": "Prepend", "prepend": SPACE})
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": vocabulary.added_tokens(),
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(vocabulary.tokens)},
            "merges": [list(pair) for pair in merges_by_score(vocabulary)],
        },
    }


def merges_by_score(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Every way to make a token of two others, best score first, as sentencepiece would merge.

    Raises HardcastError if the file has no scores or a token is absurdly long.
    """
    if not vocabulary.scores:
        raise HardcastError(f"{vocabulary.where}: tokenizer.ggml.scores is missing")
    ids = {
        token: index
        for index, token in enumerate(vocabulary.tokens)
        if vocabulary.types[index] in (NORMAL, USER_DEFINED)
    }
    found: list[tuple[float, int, int, int, int, tuple[str, str]]] = []
    for token, index in ids.items():
        if len(token) > PIECE_LIMIT:
            raise HardcastError(
                f"{vocabulary.where}: token {index} has {len(token)} letters, more than "
                f"{PIECE_LIMIT}"
            )
        score = vocabulary.scores[index]
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ids and right in ids:
                order = (-score, -len(left), -len(right), ids[left], ids[right])
                found.append((*order, (left, right)))
    found.sort()
    return [pair for *_, pair in found]

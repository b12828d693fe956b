"""GGUF's tokenizer lists (`tokenizer.ggml.*`), read and held against one another."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from hardcast.errors import HardcastError

PREFIX = "tokenizer.ggml."
# tokenizer.ggml.token_type
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class Vocabulary:
    """The parts of GGUF's tokenizer metadata, checked against one another.

    tokens: text of each id. types: token_type of each id. scores: one a token, or empty.
    merges: (left, right) in rank order, or empty.
    """

    where: str
    tokens: list[str]
    types: list[int]
    scores: list[float]
    merges: list[tuple[str, str]]

    def added_tokens(self) -> list[dict[str, Any]]:
        """tokenizer.json's added_tokens: control tokens are special, user-defined ones are not."""
        return [
            {
                "id": index,
                "content": self.tokens[index],
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": kind != USER_DEFINED,
            }
            for index, kind in enumerate(self.types)
            if kind in (UNKNOWN, CONTROL, USER_DEFINED) and self.tokens[index]
        ]


def read_vocabulary(where: str, metadata: dict[str, Any]) -> Vocabulary:
    """Reads and checks the lists; raises HardcastError naming the file (`where`) and the list."""
    tokens = _list(where, metadata, "tokens", str)
    if not tokens:
        raise HardcastError(f"{where}: {PREFIX}tokens is missing; a chip needs its tokenizer")
    types = _list(where, metadata, "token_type", int) or [NORMAL] * len(tokens)
    scores = _list(where, metadata, "scores", float)
    for name, values in (("token_type", types), ("scores", scores)):
        if values and len(values) != len(tokens):
            raise HardcastError(
                f"{where}: {PREFIX}{name} has {len(values)} values for {len(tokens)} tokens"
            )
    _refuse_duplicates(where, tokens)
    merges = []
    for line in _list(where, metadata, "merges", str):
        # As llama.cpp does: the first space that is not the first letter separates.
        cut = line.find(" ", 1)
        left, right = line[: max(cut, 0)], line[cut + 1 :]
        if not (left and right):
            raise HardcastError(f"{where}: {PREFIX}merges has {line!r:.60}, expected two parts")
        merges.append((left, right))
    check_merges(f"{where}: {PREFIX}merges", set(tokens), merges)
    return Vocabulary(where, tokens, types, scores, merges)


def check_merges(where: str, vocab: Collection[str], merges: Iterable[tuple[str, str]]) -> None:
    """Raises HardcastError, naming the place (`where`), for a merge of or into what is no token.

    Left out, such a merge would change others: llama.cpp, which loads these files, merges the pair
    all the same and spells what it got by bytes.
    """
    for left, right in merges:
        for text in (left, right, left + right):
            if text not in vocab:
                raise HardcastError(
                    f"{where}: {left!r:.40} and {right!r:.40} make {left + right!r:.60}, but "
                    f"{text!r:.60} is no token; take the tokenizer that the model came with"
                )


def _refuse_duplicates(where: str, tokens: list[str]) -> None:
    if len(set(tokens)) == len(tokens):
        return
    seen: set[str] = set()
    for index, token in enumerate(tokens):
        if token in seen:
            raise HardcastError(
                f"{where}: token {index}, {token!r:.60}, is in the vocabulary twice; "
                f"every token needs a text of its own: fetch or convert the model again"
            )
        seen.add(token)


def _list(where: str, metadata: dict[str, Any], name: str, kind: type) -> list[Any]:
    values = metadata.get(PREFIX + name, [])
    if not isinstance(values, list) or not all(type(value) is kind for value in values):
        raise HardcastError(f"{where}: {PREFIX}{name} is no list of {kind.__name__}")
    return values

"""Which tokens end an answer; in a GGUF file, whatever type it gives them.

A GGUF file names one end token, though a chat ends by its turn's token and a plain text by the
text's, and many a converter wrote the turn's token down as ordinary text. llama.cpp therefore knows
such tokens by their text (llama-vocab.cpp: special_eog_ids) and makes them control tokens; so do
we. Its tokens of fill-in-the-middle, which it lets end an answer too, are no ends of a turn and
stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from hardcast.tokenizer.vocabulary import CONTROL, NORMAL, Vocabulary

END_TOKENS = frozenset(
    "<|endoftext|> <|end_of_text|> <|im_end|> <|eot_id|> <|eom_id|> <|end|> </s> <EOT> _<EOT> "
    "[EOT] [EOS] <eos> <end_of_turn> <turn|> <end_of_utterance> <|return|> <|call|> <|calls|> "
    "<|flush|> <|tool_response> <｜end▁of▁sentence｜>".split()
)
CALLS, RETURNS = {"<|call|>", "<|calls|>"}, {"<|return|>", "<|flush|>"}


def with_end_tokens(vocabulary: Vocabulary, named: list[int]) -> tuple[Vocabulary, tuple[int, ...]]:
    """The vocabulary, its well-known end tokens made control tokens, and every token that ends.

    named: ids that the file names; they come first.
    """
    texts, types = vocabulary.tokens, list(vocabulary.types)
    made = {left + right for left, right in vocabulary.merges}
    known = [
        index
        for index, token in enumerate(texts)
        # What merges lead to was learned from text (`</s>` of HTML): it ends nothing.
        if token in END_TOKENS and not (types[index] == NORMAL and token in made)
    ]
    ends = dict.fromkeys(named + known)  # in order, each once
    present = {texts[index] for index in ends}
    dropped = set()
    if present & CALLS and present & RETURNS:  # there <|end|> ends a part of an answer only
        dropped.add("<|end|>")
    if "<|tool_response>" in present:
        dropped.add("</s>")
    for index in known:
        types[index] = types[index] if texts[index] in dropped else CONTROL
    kept = tuple(index for index in ends if texts[index] not in dropped)
    return dataclasses.replace(vocabulary, types=types), kept


def usable_ends(where: str, ends: Iterable[int], rows: int, notes: list[str]) -> tuple[int, ...]:
    """The end tokens, each once, that a model of `rows` tokens can give.

    notes: is told, naming the file (`where`), of those that it cannot, and if none is left.
    """
    found = tuple(dict.fromkeys(ends))
    usable = tuple(token for token in found if token < rows)
    for token in found:
        if token >= rows:
            notes.append(
                f"{where}: the end token is {token}, and the model has {rows}: no answer can end "
                f"by it"
            )
    if not usable:
        notes.append(
            f"{where}: no token of the model ends an answer: only a number of tokens or a stop "
            f"text will"
        )
    return usable

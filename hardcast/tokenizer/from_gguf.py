"""A tokenizer from GGUF metadata: picks the kind, the special tokens and the chat templates."""

from __future__ import annotations

from typing import Any

from hardcast.errors import HardcastError
from hardcast.tokenizer.byte_level import PRE_TOKENIZERS, byte_level_definition
from hardcast.tokenizer.end_tokens import usable_ends, with_end_tokens
from hardcast.tokenizer.sentencepiece import sentencepiece_definition
from hardcast.tokenizer.spec import TokenizerSpec
from hardcast.tokenizer.templates import DEFAULT, TOOL_USE, said_anew, templates_of
from hardcast.tokenizer.vocabulary import PREFIX, Vocabulary, read_vocabulary

# Names that templates know -> GGUF's key.
NAMED = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "sep_token": "seperator_token_id",  # the format's own spelling
    "pad_token": "padding_token_id",
    "cls_token": "cls_token_id",
    "mask_token": "mask_token_id",
}
# What llama.cpp starts from in files of the sentencepiece kind: their keys only override it.
LLAMA_IDS = {"unknown_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def spec_from_gguf(source: dict[str, Any], rows: int | None = None) -> TokenizerSpec:
    """Builds the spec from the `tokenizer.*` metadata of a GGUF file.

    rows: tokens that the model has; None for as many as the file has texts.
    Raises HardcastError for an unknown kind or pre-tokenizer, naming the known ones.
    """
    where, metadata, notes = str(source["path"]), source["metadata"], []
    model = metadata.get(PREFIX + "model")
    vocabulary = read_vocabulary(where, metadata)
    if model == "llama":
        known = {PREFIX + k: i for k, i in LLAMA_IDS.items() if i < len(vocabulary.tokens)}
        metadata = known | metadata
    named = [
        token
        for name in ("eos_token_id", "eot_token_id", "eom_token_id")
        if (token := _token_id(where, metadata, name, vocabulary)) is not None
    ]
    vocabulary, ends = with_end_tokens(vocabulary, named)
    if model == "gpt2":
        kind = metadata.get(PREFIX + "pre", "")
        if kind == "":
            kind = "default"
            notes.append(
                f"{where}: {PREFIX}pre is missing: text is cut by llama.cpp's rule for such files, "
                f"maybe not as the model learned it; take a newer conversion of the model"
            )
        if not isinstance(kind, str) or kind not in PRE_TOKENIZERS:
            raise HardcastError(
                f"{where}: pre-tokenizer {kind!r:.40} is not supported; supported are "
                f"{', '.join(PRE_TOKENIZERS)}"
            )
        definition = byte_level_definition(vocabulary, PRE_TOKENIZERS[kind])
        # Llama 3 files written before the flag existed still begin with a BOS.
        add_bos = PRE_TOKENIZERS[kind].add_bos
    elif model == "llama":
        prefix = bool(metadata.get(PREFIX + "add_space_prefix", True))
        definition = sentencepiece_definition(vocabulary, prefix)
        add_bos = True
    else:
        raise HardcastError(
            f"{where}: tokenizer {model!r:.40} is not supported; supported are gpt2, llama"
        )
    bos_id = _token_id(where, metadata, "bos_token_id", vocabulary)
    eos_id = _token_id(where, metadata, "eos_token_id", vocabulary)
    add_eos = bool(metadata.get(PREFIX + "add_eos_token", False))
    ends = usable_ends(where, ends, len(vocabulary.tokens) if rows is None else rows, notes)
    templates = templates_of(source)
    return TokenizerSpec(
        definition=definition,
        bos_id=bos_id,
        eos_ids=ends,
        add_bos=bool(metadata.get(PREFIX + "add_bos_token", add_bos)) and bos_id is not None,
        chat_template=templates.get(DEFAULT, (where, None))[1],
        tool_template=templates.get(TOOL_USE, (where, None))[1],
        named=_named(where, metadata, vocabulary, templates, (bos_id, next(iter(ends), None))),
        suffix=(eos_id,) if add_eos and eos_id is not None else (),
        notes=tuple(notes),
    )


def _token_id(
    where: str, metadata: dict[str, Any], name: str, vocabulary: Vocabulary
) -> int | None:
    value, count = metadata.get(PREFIX + name), len(vocabulary.tokens)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < count:
        raise HardcastError(f"{where}: {PREFIX}{name} is {value!r:.40}, expected 0 to {count - 1}")
    return value


def _named(
    where: str,
    metadata: dict[str, Any],
    vocabulary: Vocabulary,
    templates: dict[str, tuple[str, str]],
    derived: tuple[int | None, int | None],
) -> dict[str, str] | None:
    """Texts of the named tokens, where templates.said_anew finds them worth storing.

    As llama.cpp: a template gets an empty text for a BOS or EOS that the file does not name.
    """
    ids = {name: _token_id(where, metadata, key, vocabulary) for name, key in NAMED.items()}
    texts = {name: vocabulary.tokens[i] for name, i in ids.items() if i is not None}
    bos, eos = ("" if i is None else vocabulary.tokens[i] for i in derived)
    empty = {"bos_token": "", "eos_token": ""}
    return said_anew(empty | texts, {"bos_token": bos, "eos_token": eos}, templates)

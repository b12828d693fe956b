"""A tokenizer from GGUF metadata: picks the kind, the special tokens and the chat template."""

from __future__ import annotations

from typing import Any

from hardcast.errors import HardcastError
from hardcast.tokenizer.byte_level import PRE_TOKENIZERS, byte_level_definition
from hardcast.tokenizer.sentencepiece import sentencepiece_definition
from hardcast.tokenizer.spec import TokenizerSpec
from hardcast.tokenizer.vocabulary import CONTROL, PREFIX, Vocabulary, read_vocabulary

# Control tokens that end an answer under every template that uses them. Files name one eos only,
# though a chat ends by its turn's token and a plain text by the text's.
END_TOKENS = frozenset(
    "<|endoftext|> <|end_of_text|> <|im_end|> <|eot_id|> <|eom_id|> <|end|> </s> <EOT>".split()
)


def spec_from_gguf(source: dict[str, Any]) -> TokenizerSpec:
    """Builds the spec from the `tokenizer.*` metadata of a GGUF file.

    Raises HardcastError for an unknown kind or pre-tokenizer, naming the known ones.
    """
    where, metadata = str(source["path"]), source["metadata"]
    model = metadata.get(PREFIX + "model")
    vocabulary = read_vocabulary(where, metadata)
    if model == "gpt2":
        kind = metadata.get(PREFIX + "pre", "default")
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
    bos_id = _token_id(where, metadata, "bos_token_id", len(vocabulary.tokens))
    return TokenizerSpec(
        definition=definition,
        bos_id=bos_id,
        eos_ids=_eos_ids(where, metadata, vocabulary),
        add_bos=bool(metadata.get(PREFIX + "add_bos_token", add_bos)) and bos_id is not None,
        chat_template=_template(where, metadata),
    )


def _token_id(where: str, metadata: dict[str, Any], name: str, count: int) -> int | None:
    value = metadata.get(PREFIX + name)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < count:
        raise HardcastError(f"{where}: {PREFIX}{name} is {value!r:.40}, expected 0 to {count - 1}")
    return value


def _eos_ids(where: str, metadata: dict[str, Any], vocabulary: Vocabulary) -> tuple[int, ...]:
    """The file's eos, end-of-turn and end-of-message tokens, then well-known ones by text."""
    named = [
        _token_id(where, metadata, name, len(vocabulary.tokens))
        for name in ("eos_token_id", "eot_token_id", "eom_token_id")
    ]
    known = [
        index
        for index, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True))
        if kind == CONTROL and token in END_TOKENS
    ]
    # A dictionary keeps the first place of each: the file's own eos stays first.
    return tuple(dict.fromkeys([token for token in named if token is not None] + known))


def _template(where: str, metadata: dict[str, Any]) -> str | None:
    template = metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise HardcastError(f"{where}: tokenizer.chat_template is no text")
    return template

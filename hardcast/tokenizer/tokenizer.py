"""Text to token ids and back: encoding by `tokenizers`, decoding byte by byte here."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import cached_property
from typing import Any

from hardcast.errors import HardcastError
from hardcast.tokenizer.chat_template import render_chat
from hardcast.tokenizer.decoding import decoding_of
from hardcast.tokenizer.spec import TokenizerSpec
from hardcast.tokenizer.stream import TokenStream


class Tokenizer:
    """A tokenizer built from its spec.

    bos_id: the token that begins a text, or None. eos_ids: every token that ends an answer.
    vocab_size: one more than the largest id that has a text. has_chat_template: chat_prompt will
    work. tool_template: the one that a conversation with tools is written by, or None. special_ids:
    of the tokens that leave no text.
    """

    def __init__(self, spec: TokenizerSpec) -> None:
        """Raises HardcastError if the definition is not one that `tokenizers` can run."""
        self.spec = spec
        self.bos_id = spec.bos_id
        self.eos_ids = spec.eos_ids
        self.has_chat_template = bool(spec.chat_template)
        self.tool_template = spec.tool_template or spec.chat_template
        self._backend = _backend(spec.definition)
        self.vocab_size = _largest_id(spec.definition) + 1
        added = spec.definition.get("added_tokens") or []
        self._added = frozenset(token["id"] for token in added)
        self.special_ids = frozenset(token["id"] for token in added if token.get("special"))
        for token in added:
            # `tokenizers` numbers an added token itself if the vocabulary has it elsewhere.
            if self._backend.token_to_id(token["content"]) != token["id"]:
                raise HardcastError(
                    f"tokenizer: {token['content']!r:.60} has another id than stated"
                )
        self._decoding = decoding_of(spec.definition.get("decoder"))
        for name, token in (
            ("bos_id", spec.bos_id),
            *(("suffix", token) for token in spec.suffix),
        ):
            if token is not None and not 0 <= token < self.vocab_size:
                raise HardcastError(f"tokenizer: {name} {token} is outside its {self.vocab_size}")
        # A model may end by one of the rows that pad its embedding: no text names that token.
        if min(spec.eos_ids, default=0) < 0:
            raise HardcastError(f"tokenizer: eos_ids has {min(spec.eos_ids)}, expected 0 or more")

    def encode(self, text: str, special: bool = True, add_bos: bool | None = None) -> list[int]:
        """Token ids of a text.

        special: the text of a special token (`<|im_end|>`) becomes that token; False takes it as
        plain text, for text that others wrote. add_bos: begin with bos_id; None leaves it to the
        model's own habit, which for some is to end the text by a token as well. A text that begins
        with BOS already gets no second one.

        Raises HardcastError if the text is not valid Unicode (a lone surrogate).
        """
        backend = self._backend if special else self._plain_backend
        try:
            ids = list(backend.encode(text, add_special_tokens=False).ids)
        except (UnicodeEncodeError, TypeError):
            raise HardcastError("the text is not valid Unicode; save it as UTF-8") from None
        wanted = self.spec.add_bos if add_bos is None else add_bos
        if wanted and self.bos_id is not None and ids[:1] != [self.bos_id]:
            ids.insert(0, self.bos_id)
        return ids if add_bos is not None else [*ids, *self.spec.suffix]

    def decode(self, ids: list[int], skip_special: bool = True, continuation: bool = False) -> str:
        """Text of token ids: exactly what a stream of them would give, then its flush.

        skip_special: special tokens leave no text. continuation: the text follows another one, so
        the space that sentencepiece puts before a first word is kept.
        """
        stream = self.stream(skip_special, continuation)
        return "".join([stream.push(token) for token in ids]) + stream.flush()

    def stream(
        self,
        skip_special: bool = True,
        continuation: bool = False,
        spoken: Collection[int] = (),
    ) -> TokenStream:
        """A stream that turns ids into text one by one; see decode for the arguments.

        spoken: special tokens that leave their text all the same.
        """
        return TokenStream(
            lambda token: self.token_bytes(token, skip_special and token not in spoken),
            0 if continuation else self._decoding.strip,
        )

    def token_bytes(self, token: int, skip_special: bool = True) -> bytes:
        """UTF-8 bytes of one token; maybe part of a letter. An id that no token has gives none."""
        if skip_special and token in self.special_ids:
            return b""
        return self._decoding.bytes_of(self._text(token), token in self._added)

    def chat_prompt(
        self, messages: list[dict[str, Any]], /, add_generation_prompt: bool = True, **extra: Any
    ) -> str:
        """The prompt of a conversation, by the model's own chat template.

        messages: {"role": "system" | "user" | "assistant", "content": text}, oldest first.
        extra: further variables of the template (tools, enable_thinking, ...). With tools, even an
        empty list of them, the model's template for tools is taken if it has one.

        Raises HardcastError if the model has no template, or the template refuses or misbehaves.
        """
        tools = extra.get("tools") is not None
        template = self.tool_template if tools else self.spec.chat_template
        if not template:
            raise HardcastError(
                "this model has no chat template"
                + (" without tools" if self.tool_template else "")
                + "; give it a plain prompt"
            )
        named = self.spec.named
        if named is None:
            ids = {"bos_token": self.bos_id, "eos_token": next(iter(self.eos_ids), None)}
            named = {name: self._text(token) for name, token in ids.items()}
        given = {"messages": messages, "add_generation_prompt": add_generation_prompt, **extra}
        return render_chat(template, **{**named, **given})

    def _text(self, token: int | None) -> str:
        """A token as the vocabulary writes it; nothing for an id that no token has."""
        known = token is not None and 0 <= token < self.vocab_size
        return str(self._backend.id_to_token(token) or "") if known else ""

    @cached_property
    def _plain_backend(self) -> Any:
        """A second backend, since the switch is a property of the whole backend, not of a call."""
        backend = _backend(self.spec.definition)
        backend.encode_special_tokens = True
        return backend


def _backend(definition: dict[str, Any]) -> Any:
    # Imported here: listing models or inspecting an image needs no tokenizer (0.1 s).
    import tokenizers

    try:
        return tokenizers.Tokenizer.from_str(json.dumps(definition, ensure_ascii=False))
    except Exception as error:  # the package raises plain Exception for a bad definition
        reason = " ".join(str(error).split())[:200]
        raise HardcastError(f"tokenizer: its definition cannot be used: {reason}") from None


def _largest_id(definition: dict[str, Any]) -> int:
    """Of the vocabulary and the added tokens, which _backend has found well formed."""
    added = [token["id"] for token in definition.get("added_tokens") or []]
    return max([*definition["model"]["vocab"].values(), *added], default=-1)

"""Text to token ids and back: encoding by `tokenizers`, decoding byte by byte here."""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Any

from hardcast.errors import HardcastError
from hardcast.tokenizer.chat_template import render_chat
from hardcast.tokenizer.spec import TokenizerSpec
from hardcast.tokenizer.stream import TokenStream

SPACE = "▁"  # sentencepiece's letter for a space
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_letters() -> dict[str, int]:
    """GPT-2's spelling of bytes as printable letters: letter -> byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + index): byte for index, byte in enumerate(rest)}


_LETTERS = _byte_letters()


class Tokenizer:
    """A tokenizer built from its spec.

    bos_id: the token that begins a text, or None. eos_ids: every token that ends an answer.
    vocab_size: one more than the largest token id. has_chat_template: chat_prompt will work.
    """

    def __init__(self, spec: TokenizerSpec) -> None:
        """Raises HardcastError if the definition is not one that `tokenizers` can run."""
        self.spec = spec
        self.bos_id = spec.bos_id
        self.eos_ids = spec.eos_ids
        self.has_chat_template = bool(spec.chat_template)
        self._backend = _backend(spec.definition)
        self.vocab_size = _largest_id(spec.definition) + 1
        added = spec.definition.get("added_tokens") or []
        self._special = frozenset(token["id"] for token in added if token.get("special"))
        for token in added:
            # `tokenizers` numbers an added token itself if the vocabulary has it elsewhere.
            if self._backend.token_to_id(token["content"]) != token["id"]:
                raise HardcastError(
                    f"tokenizer: {token['content']!r:.60} has another id than stated"
                )
        kinds = _decoder_types(spec.definition.get("decoder"))
        self._byte_level = "ByteLevel" in kinds
        if not kinds & {"ByteLevel", "ByteFallback", "Metaspace"}:
            raise HardcastError(
                f"tokenizer: decoder {sorted(kinds)} is not supported; supported are byte-level "
                f"BPE and sentencepiece with byte fallback"
            )
        self._strips_first_space = not self._byte_level and bool(kinds & {"Strip", "Metaspace"})
        for name, token in (("bos_id", spec.bos_id), *(("eos_ids", t) for t in spec.eos_ids)):
            if token is not None and not 0 <= token < self.vocab_size:
                raise HardcastError(f"tokenizer: {name} {token} is outside its {self.vocab_size}")

    def encode(self, text: str, special: bool = True, add_bos: bool | None = None) -> list[int]:
        """Token ids of a text.

        special: the text of a special token (`<|im_end|>`) becomes that token; False takes it as
        plain text, for text that others wrote. add_bos: begin with bos_id; None leaves it to the
        model's own habit. A text that begins with it already gets no second one.

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
        return ids

    def decode(self, ids: list[int], skip_special: bool = True, continuation: bool = False) -> str:
        """Text of token ids: exactly what a stream of them would give, then its flush.

        skip_special: special tokens leave no text. continuation: the text follows another one, so
        the space that sentencepiece puts before a first word is kept.
        """
        stream = self.stream(skip_special, continuation)
        return "".join([stream.push(token) for token in ids]) + stream.flush()

    def stream(self, skip_special: bool = True, continuation: bool = False) -> TokenStream:
        """A stream that turns ids into text one by one; see decode for the arguments."""
        return TokenStream(
            lambda token: self.token_bytes(token, skip_special),
            self._strips_first_space and not continuation,
        )

    def token_bytes(self, token: int, skip_special: bool = True) -> bytes:
        """UTF-8 bytes of one token; maybe part of a letter. An id that no token has gives none."""
        if skip_special and token in self._special:
            return b""
        text = self._text(token)
        return _spelled(text) if self._byte_level else _piece(text)

    def chat_prompt(
        self, messages: list[dict[str, Any]], add_generation_prompt: bool = True, **extra: Any
    ) -> str:
        """The prompt of a conversation, by the model's own chat template.

        messages: {"role": "system" | "user" | "assistant", "content": text}, oldest first.
        extra: further variables of the template (tools, enable_thinking, ...).

        Raises HardcastError if the model has no template, or the template refuses or misbehaves.
        """
        if not self.spec.chat_template:
            raise HardcastError("this model has no chat template; give it a plain prompt")
        return render_chat(
            self.spec.chat_template,
            messages=messages,
            add_generation_prompt=add_generation_prompt,
            bos_token=self._text(self.bos_id),
            eos_token=self._text(next(iter(self.eos_ids), None)),
            **extra,
        )

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


def _decoder_types(decoder: Any) -> set[str]:
    """Types of a decoder and, if it is a sequence, of its parts."""
    if not isinstance(decoder, dict):
        return set()
    parts = decoder.get("decoders") or []
    return {str(decoder.get("type"))} | {str(part.get("type")) for part in parts}


def _largest_id(definition: dict[str, Any]) -> int:
    """Of the vocabulary and the added tokens, which _backend has found well formed."""
    added = [token["id"] for token in definition.get("added_tokens") or []]
    return max([*definition["model"]["vocab"].values(), *added], default=-1)


def _spelled(token: str) -> bytes:
    """Bytes of a byte-level token; an added token with letters outside the alphabet is plain."""
    try:
        return bytes([_LETTERS[letter] for letter in token])
    except KeyError:
        return token.encode("utf-8", "replace")


def _piece(token: str) -> bytes:
    """Bytes of a sentencepiece token."""
    match = _BYTE_TOKEN.fullmatch(token)
    return bytes([int(match[1], 16)]) if match else token.replace(SPACE, " ").encode("utf-8")

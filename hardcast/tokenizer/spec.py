"""What an image stores about its tokenizer: enough to encode, decode and chat without a checkpoint.

Whatever the checkpoint had, the stored form is Hugging Face's tokenizer.json plus the few facts
that it lacks. GGUF metadata are turned into that form by byte_level.py and sentencepiece.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hardcast.errors import HardcastError

FORMAT = 1


@dataclass(frozen=True)
class TokenizerSpec:
    """definition: the object of a tokenizer.json, as the `tokenizers` package reads it.

    bos_id: the token that begins a text, or None. add_bos: whether `encode` puts it there unasked.
    eos_ids: every token that ends an answer. chat_template: Jinja source, or None.
    """

    definition: dict[str, Any]
    bos_id: int | None
    eos_ids: tuple[int, ...]
    add_bos: bool
    chat_template: str | None

    def to_json(self) -> dict[str, Any]:
        """JSON-able form; the same spec always gives the same object, so it may be hashed."""
        return {
            "format": FORMAT,
            "bos_id": self.bos_id,
            "eos_ids": list(self.eos_ids),
            "add_bos": self.add_bos,
            "chat_template": self.chat_template,
            "tokenizer": self.definition,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> TokenizerSpec:
        """Reads what to_json wrote; raises HardcastError for anything else."""
        try:
            if data["format"] != FORMAT:
                raise HardcastError(
                    f"tokenizer.json: format {data['format']!r:.20}, this version reads {FORMAT}"
                )
            spec = TokenizerSpec(
                definition=dict(data["tokenizer"]),
                bos_id=None if data["bos_id"] is None else int(data["bos_id"]),
                eos_ids=tuple(int(token) for token in data["eos_ids"]),
                add_bos=bool(data["add_bos"]),
                chat_template=data["chat_template"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise HardcastError(f"tokenizer.json: malformed ({error!r:.80})") from None
        if not isinstance(spec.chat_template, str | None):
            raise HardcastError("tokenizer.json: chat_template is no text")
        return spec

"""What an image stores about its tokenizer: enough to encode, decode and chat without a checkpoint.

Whatever the checkpoint had, the stored form is Hugging Face's tokenizer.json plus the few facts
that it lacks. GGUF metadata are turned into that form by byte_level.py and sentencepiece.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hardcast.errors import HardcastError

FORMAT = 1
FORMAT_WITH_MORE = 2  # of a spec that says what format 1 cannot: older readers refuse it


@dataclass(frozen=True)
class TokenizerSpec:
    """definition: the object of a tokenizer.json, as the `tokenizers` package reads it.

    bos_id: the token that begins a text, or None. add_bos: whether `encode` puts it there unasked.
    eos_ids: every token that ends an answer, maybe one without a text. chat_template: Jinja source,
    or None.

    What few models need: tool_template, for conversations with tools. named: texts that a template
    writes under their names (bos_token, eos_token, ...); None for those of bos_id and of the first
    of eos_ids. suffix: tokens that end a text where BOS begins it.

    notes: what the user should know of how it was read, a line each; not stored.
    """

    definition: dict[str, Any]
    bos_id: int | None
    eos_ids: tuple[int, ...]
    add_bos: bool
    chat_template: str | None
    tool_template: str | None = None
    named: dict[str, str] | None = None
    suffix: tuple[int, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)

    def to_json(self) -> dict[str, Any]:
        """JSON-able form; the same spec always gives the same object, so it may be hashed."""
        more = {"tool_template": self.tool_template, "named": self.named, "suffix": self.suffix}
        # Only what is said: an image's digest is older than these.
        more = {key: value for key, value in more.items() if value not in (None, ())}
        return {
            "format": FORMAT_WITH_MORE if more else FORMAT,
            "bos_id": self.bos_id,
            "eos_ids": list(self.eos_ids),
            "add_bos": self.add_bos,
            "chat_template": self.chat_template,
            **more,
            "tokenizer": self.definition,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> TokenizerSpec:
        """Reads what to_json wrote; raises HardcastError for anything else."""
        try:
            if data["format"] not in (FORMAT, FORMAT_WITH_MORE):
                raise HardcastError(
                    f"tokenizer.json: format {data['format']!r:.20}, this version reads "
                    f"{FORMAT} and {FORMAT_WITH_MORE}"
                )
            named = data.get("named")
            spec = TokenizerSpec(
                definition=dict(data["tokenizer"]),
                bos_id=None if data["bos_id"] is None else int(data["bos_id"]),
                eos_ids=tuple(int(token) for token in data["eos_ids"]),
                add_bos=bool(data["add_bos"]),
                chat_template=data["chat_template"],
                tool_template=data.get("tool_template"),
                named=None if named is None else {str(k): str(v) for k, v in named.items()},
                suffix=tuple(int(token) for token in data.get("suffix", ())),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise HardcastError(f"tokenizer.json: malformed ({error!r:.80})") from None
        for template in (spec.chat_template, spec.tool_template):
            if not isinstance(template, str | None):
                raise HardcastError("tokenizer.json: chat_template is no text")
        return spec

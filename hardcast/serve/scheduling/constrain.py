"""Constrained decoding: a grammar's mask of the tokens that may come next, by llguidance.

    grammars = Grammars(tokenizer, vocab_size)
    matcher = grammars.json_schema({"type": "object"}).start()
    allowed = matcher.allowed()     # bool[vocab_size]
    matcher.push(token)

The mask is applied by the host to the chip's logits, before the chip's own sampler.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hardcast.errors import HardcastError
from hardcast.serve.scheduling import reach, relax
from hardcast.serve.scheduling.references import as_uris, in_words
from hardcast.tokenizer import Tokenizer

MOST_BYTES = 256 << 10  # of a schema or pattern
ANY_OBJECT = {"type": "object"}
# Between two parts of JSON: enough for deep indentation. Without an end a small model may well go
# on with spaces until its tokens run out.
NO_WAY_ON = "no text of this vocabulary satisfies what comes next; simplify the schema"
WHITESPACE = r"[ \n\r\t]{1,64}"


class Grammars:
    """Makes constraints over one tokenizer. Safe to use from any thread.

    vocab_size: of the image; ids that no token has are never allowed. Nothing is loaded before
    the first constraint is asked for, which takes a second or two; warm() does it beforehand.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self.tokenizer, self.vocab_size = tokenizer, vocab_size
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Loads what the first constraint needs. Raises HardcastError without llguidance."""
        with self._lock:
            _ = self._native

    def json_object(self) -> Constraint:
        """Any JSON object."""
        return self.json_schema(ANY_OBJECT)

    def json_schema(self, schema: dict[str, Any] | bool) -> Constraint:
        """JSON that a schema allows; True allows any.

        Raises HardcastError for a schema that cannot be followed.
        """
        schema = {} if schema is True else schema
        if not isinstance(schema, dict):
            raise HardcastError("json_schema: the schema must be an object")
        return self._schema("json_schema", schema)

    def lark(self, text: str, schemas: Sequence[tuple[str, dict[str, Any]]]) -> Constraint:
        """A grammar in the library's own language, whose rule `schemaI` is JSON of the I-th schema.

        schemas: (what an error calls it, schema), one or more. Each is a document of its own, so
        what one refers to is never found in another.

        Raises HardcastError for a schema that cannot be followed.
        """
        rules = [f"schema{i}: %json {_json(*one)}" for i, one in enumerate(schemas)]
        try:
            return self._constraint("grammar", "grammar_from_lark", "\n".join([text, *rules]))
        except HardcastError:
            for kind, schema in schemas:  # whose fault is it? The library quotes lines of ours
                self._schema(kind, schema)
            raise

    def check(self, kind: str, schema: dict[str, Any]) -> None:
        """Raises HardcastError for a schema with a reference that leads nowhere or never ends."""
        _json(kind, schema)

    def regex(self, pattern: str) -> Constraint:
        """Text that a regular expression matches as a whole (Rust's syntax, no look-around).

        Raises HardcastError for one that is malformed.
        """
        return self._constraint("regex", "grammar_from_regex", pattern)

    def _schema(self, kind: str, schema: dict[str, Any]) -> Constraint:
        text = _json(kind, schema)
        options = {"whitespace_pattern": WHITESPACE}
        try:
            return self._constraint(kind, "grammar_from_json_schema", text, options)
        except HardcastError as error:
            raise HardcastError(relax.in_words(str(error), schema)) from None

    def _constraint(self, kind: str, compiler: str, text: str, *options: Any) -> Constraint:
        if len(text.encode("utf-8", "replace")) > MOST_BYTES:
            raise HardcastError(f"{kind}: longer than {MOST_BYTES >> 10} KiB")
        self.warm()
        import llguidance

        try:
            grammar = getattr(llguidance.LLMatcher, compiler)(text, *options)
            matcher = llguidance.LLMatcher(self._native, grammar, log_level=0)
        except Exception as error:  # of a Rust library: whatever it dislikes is the user's
            raise HardcastError(f"{kind}: {_line(error)}") from None
        if matcher.is_error():
            raise HardcastError(f"{kind}: {_line(matcher.get_error())}")
        return Constraint(kind, matcher, self.vocab_size, self.tokenizer.eos_ids)

    @cached_property
    def _native(self) -> Any:
        try:
            import llguidance
        except ImportError:
            raise HardcastError(
                "JSON schemas and patterns need llguidance: pip install 'hardcast[serve]'"
            ) from None
        tokenizer = self.tokenizer
        if not tokenizer.eos_ids:
            raise HardcastError("this model has no end token, so no grammar can end its answer")
        # Not from the definition: the library would take every added token in angle brackets for
        # one without a text, `<tool_call>` and `<think>` of most models among them.
        return llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(_Tokens(tokenizer, self.vocab_size)),
            eos_token=list(tokenizer.eos_ids),
        )


class _Tokens:
    """A tokenizer as the library asks for one."""

    def __init__(self, tokenizer: Tokenizer, least: int) -> None:
        """least: rows that there are at least; those of no token have no bytes."""
        self.eos_token_id, self.bos_token_id = tokenizer.eos_ids[0], tokenizer.bos_id
        every = range(max(tokenizer.vocab_size, least))
        self.tokens = [tokenizer.token_bytes(token, skip_special=False) for token in every]
        self.special_token_ids = sorted(tokenizer.special_ids)
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, special=False, add_bos=False)


class Constraint:
    """A compiled grammar that any number of answers may follow. kind: how it was asked for."""

    def __init__(self, kind: str, matcher: Any, vocab_size: int, eos_ids: tuple[int, ...]) -> None:
        self.kind = kind
        self._matcher, self._vocab_size, self._eos_ids = matcher, vocab_size, eos_ids

    def start(self) -> Matcher:
        """Where an answer begins."""
        return Matcher(self._matcher.deep_copy(), self._vocab_size, self._eos_ids)


class Matcher:
    """An answer's place in its grammar."""

    def __init__(self, matcher: Any, vocab_size: int, eos_ids: tuple[int, ...]) -> None:
        self._matcher, self._vocab_size, self._eos_ids = matcher, vocab_size, eos_ids

    def allowed(self) -> np.ndarray:
        """bool[vocab_size]: the tokens that may come next, at least one.

        The end tokens are among them once the text is complete, and alone when nothing can follow.
        Raises HardcastError where the grammar leads nowhere.
        """
        if self._matcher.is_stopped() and not self._matcher.is_error():
            found = np.zeros(self._vocab_size, np.bool_)
            found[list(self._eos_ids)] = True
            return found
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            raise HardcastError(f"the grammar failed: {self._reason()}")
        found = np.unpackbits(bits, bitorder="little")[: self._vocab_size].view(np.bool_)
        if not found.any():
            raise HardcastError("the grammar allows no token of this vocabulary to come next")
        return found

    def push(self, token: int) -> None:
        """Takes the token that was chosen. Raises HardcastError for one that was not allowed."""
        if not self._matcher.is_stopped() and not self._matcher.consume_token(token):
            raise HardcastError(f"the grammar failed: {self._reason()}")

    def _reason(self) -> str:
        """What the library says, without its own state."""
        said = _line(self._matcher.get_error()).partition(" <state>")[0]
        return NO_WAY_ON if said.startswith("NoExtension") else said


def _json(kind: str, schema: dict[str, Any]) -> str:
    try:
        reach.check(schema)
        choices = {"coerce_one_of": True}  # what fits several choices of a oneOf is let through
        followed = {**as_uris(relax.relaxed(schema))}
        followed["x-guidance"] = {**followed.get("x-guidance", {}), **choices}
        return json.dumps(followed, allow_nan=False)
    except HardcastError as error:
        raise HardcastError(f"{kind}: {error}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise HardcastError(f"{kind}: not JSON: {_line(error)}") from None


def _line(error: object) -> str:
    """A message of the library, which may draw arrows under lines, on one line."""
    return in_words(" ".join(str(error).split()))[:300]

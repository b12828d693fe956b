"""Tools: what the chat template is given, and calls read out of the answer.

A model writes calls in the form that its template taught it. Two forms are known, told by what the
template itself writes; an answer in another form stays text.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TAG, END_TAG = "<tool_call>", "</tool_call>"
MARKED = re.compile(rf"{TAG}\s*(.*?)\s*(?:{END_TAG}|\Z)", re.DOTALL)
MOST_CALLS = 128


@dataclass(frozen=True)
class Call:
    """One call. arguments: a JSON object as text."""

    name: str
    arguments: str

    def reply(self, index: int | None = None) -> dict[str, Any]:
        """As a reply carries it; index only in a stream."""
        place = {} if index is None else {"index": index}
        function = {"name": self.name, "arguments": self.arguments}
        return {
            **place,
            "id": f"call_{secrets.token_hex(12)}",
            "type": "function",
            "function": function,
        }


def form_of(template: str | None) -> str | None:
    """How a template has calls written: "tagged", "bare", or None for a form not known here.

    tagged: JSON objects, each within <tool_call> tags (Hermes, Qwen). bare: the whole answer is
    one JSON object of name and parameters.
    """
    if template is None or "tools" not in template:
        return None
    if TAG in template:
        return "tagged"
    if '"parameters"' in template and '"name"' in template:
        return "bare"
    return None


def takes_tools(template: str | None) -> bool:
    """Whether a template shows tools to the model at all."""
    return template is not None and re.search(r"\btools\b", template) is not None


class CallGate:
    """Lets an answer's text through until a call may begin, and keeps the rest for its end."""

    def __init__(
        self, form: str | None, names: Sequence[str], forced: bool, most: int = MOST_CALLS
    ) -> None:
        """forced: the grammar makes the whole answer one call, {"name", "arguments"}.

        most: calls that are kept, the first ones.
        """
        self._form = "bare" if forced else form
        self._names, self._most = frozenset(names), most
        self._held = ""
        self._open = False  # a call has begun, or may have
        self._begun = False

    def push(self, text: str) -> str:
        """Text that belongs to no call."""
        if self._form is None:
            return text
        self._held += text
        if self._open:
            return ""
        if self._form == "bare":
            if not self._begun and self._held.strip():
                self._begun, self._open = True, self._held.lstrip().startswith("{")
            return "" if self._open or not self._begun else self._take(len(self._held))
        at = self._held.find(TAG)
        if at >= 0:
            self._open = True
            return self._take(at)
        most = min(len(TAG) - 1, len(self._held))
        kept = next((n for n in range(most, 0, -1) if self._held.endswith(TAG[:n])), 0)
        return self._take(len(self._held) - kept)

    def end(self) -> tuple[str, list[Call]]:
        """(text that was held back and is no call, the calls)."""
        held, self._held = self._held, ""
        if not self._open:
            return held, []
        pieces = [held.strip()] if self._form == "bare" else MARKED.findall(held)[: self._most]
        calls = [call for piece in pieces if (call := self._call(piece))]
        return ("", calls) if len(calls) == len(pieces) else (held, [])

    def _take(self, count: int) -> str:
        passed, self._held = self._held[:count], self._held[count:]
        return passed

    def _call(self, text: str) -> Call | None:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, dict) or found.get("name") not in self._names:
            return None
        given = found.get("arguments", found.get("parameters", {}))
        if isinstance(given, str):  # some models write the object as text
            given = arguments_object(given)
        if not isinstance(given, dict):
            return None
        return Call(found["name"], json.dumps(given, ensure_ascii=False))


def arguments_object(text: str) -> Any:
    """Arguments as an object, which templates want; text that is no JSON object stays text."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return found if isinstance(found, dict) else text

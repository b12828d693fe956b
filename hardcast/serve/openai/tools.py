"""Tools: what the chat template is given, and calls read out of the answer.

A model writes calls in the form that its template taught it. Two forms are known, told by what the
template itself writes; an answer in another form stays text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hardcast.serve.openai.calls import SPACE, Call, cut_call, read_call, value_end
from hardcast.tokenizer import Tokenizer

TAG, END_TAG = "<tool_call>", "</tool_call>"
MOST_CALLS = 128


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


def special_tags(tokenizer: Tokenizer) -> dict[str, int]:
    """Of the two tags those that are special tokens of a model, which leave no text by themselves.

    Tag to token id.
    """
    texts = {tokenizer.token_bytes(i, skip_special=False): i for i in tokenizer.special_ids}
    return {tag: texts[tag.encode()] for tag in (TAG, END_TAG) if tag.encode() in texts}


class CallGate:
    """Lets an answer's text through until a call may begin, and keeps the rest for its end."""

    def __init__(
        self, form: str | None, names: Sequence[str], forced: bool, most: int = MOST_CALLS
    ) -> None:
        """forced: the grammar makes the whole answer one call, {"name", "arguments"}.

        most: calls that are kept, the first ones.
        """
        self._form, self._forced = "bare" if forced else form, forced
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
        if self._form == "bare":
            call = read_call(held.strip(), self._names)
            if call is None and self._forced:
                call = cut_call(held, self._names)
            return (held, []) if call is None else ("", [call])
        pieces = list(_pieces(held))
        calls = [read_call(piece, self._names) for piece, _ in pieces[: self._most]]
        if None in calls:
            return held, []
        # What stands between calls is said, unless it only parts them.
        said = "".join(text for _, text in pieces if text.strip())
        return said, [call for call in calls if call]

    def _take(self, count: int) -> str:
        passed, self._held = self._held[:count], self._held[count:]
        return passed


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """(what stands within tags, the text after them) of a text that begins with a tag."""
    at = 0
    while at < len(text):
        match = SPACE.match(text, at + len(TAG))
        assert match is not None
        begin = match.end()
        # An end tag within the call's own JSON is none.
        close = text.find(END_TAG, value_end(text, begin) or begin)
        end = len(text) if close < 0 else close
        after = min(end + len(END_TAG), len(text))
        following = text.find(TAG, after)
        at = len(text) if following < 0 else following
        yield text[begin:end].strip(), text[after:at]

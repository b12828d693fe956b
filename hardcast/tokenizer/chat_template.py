"""Chat prompts: a conversation rendered by the model's own Jinja template.

The template comes out of a downloaded file, so it runs in sandbox.py's bounded sandbox. Options and
helpers are those that templates were written for: transformers' apply_chat_template.
"""

from __future__ import annotations

import datetime
import json
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
import jinja2.meta

from hardcast.errors import HardcastError
from hardcast.tokenizer.sandbox import VALUE_LIMIT, BoundedEnvironment, TemplateRefused, metered

SOURCE_LIMIT = 1 << 20  # letters of the template; the longest in use have some 20 000
OUTPUT_LIMIT = 8 << 20  # letters of the prompt, some two million tokens


class TemplateDeclined(HardcastError):
    """The template refuses this conversation, or misses a variable: another one may do."""


class _Raised(TemplateRefused):
    """By the template itself."""


def render_chat(source: str, /, **variables: Any) -> str:
    """Renders a chat template.

    source: the template. variables: messages, add_generation_prompt, bos_token, eos_token, ...

    Raises HardcastError, one line, for whatever the template does wrong: a syntax error, a
    forbidden attribute, a loop or a value beyond the sandbox's limits. TemplateDeclined, which is
    one too, for its own raise_exception and for a variable that it was not given.
    """
    if len(source) > SOURCE_LIMIT:
        raise HardcastError(f"chat template: longer than {SOURCE_LIMIT} letters")
    try:
        template = _compile(source)
        pieces: list[str] = []
        size = 0
        with metered(template):
            # tools and documents are always there, as None, for templates that test `is not none`.
            for piece in template.generate({"tools": None, "documents": None, **variables}):
                size += len(piece)
                if size > OUTPUT_LIMIT:
                    raise TemplateRefused(f"it writes more than {OUTPUT_LIMIT} letters")
                pieces.append(piece)
        return "".join(pieces)
    except Exception as error:  # foreign code: whatever it raises is its own mistake
        reason = " ".join(str(error).split())[:200]
        declined = isinstance(error, _Raised | jinja2.UndefinedError)
        name = "TemplateRefused" if isinstance(error, _Raised) else type(error).__name__
        kind = TemplateDeclined if declined else HardcastError
        raise kind(f"chat template: {name}: {reason}") from None


@lru_cache(maxsize=8)
def variables_of(source: str) -> frozenset[str]:
    """The variables that a chat template reads, the helpers that it is given not among them.

    Raises HardcastError for a syntax error.
    """
    environment = _environment()
    try:
        found = jinja2.meta.find_undeclared_variables(environment.parse(source))
    except Exception as error:  # as in render_chat
        raise HardcastError(f"chat template: {' '.join(str(error).split())[:200]}") from None
    return frozenset(found - set(environment.globals))


@lru_cache(maxsize=8)
def _compile(source: str) -> jinja2.Template:
    return _environment().from_string(source)


def _environment() -> BoundedEnvironment:
    functions = {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    return BoundedEnvironment({"tojson": _tojson}, functions)


def _raise_exception(message: Any) -> NoReturn:
    """A template's way to refuse a conversation (two user turns in a row, ...)."""
    raise _Raised(str(message))


def _strftime_now(form: str) -> str:
    """The local time; templates of tool-using models print the date."""
    return datetime.datetime.now().strftime(form)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as models saw it in training: jinja2's own filter escapes <, > and & for HTML."""
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    pieces: list[str] = []
    size = 0
    for piece in encoder.iterencode(value):  # piece by piece: an indent multiplies by the depth
        size += len(piece)
        if size > VALUE_LIMIT:
            raise TemplateRefused("a value grows too large")
        pieces.append(piece)
    return "".join(pieces)

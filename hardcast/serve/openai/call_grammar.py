"""The grammar of a call: of one that must come, and of those that a free answer may hold.

JSON allows any number of spaces and lines between its parts, and a small model that begins with
them may never end: one space at most, and the answer says something with every second token.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hardcast.errors import HardcastError
from hardcast.serve.openai.messages import Function
from hardcast.serve.openai.tools import END_TAG, TAG, special_tags
from hardcast.serve.scheduling.constrain import Constraint, Grammars

SPACES = {"x-guidance": {"whitespace_flexible": True, "whitespace_pattern": " ?"}}
# Of a call that must come the arguments, in the one style that templates show calls in.
ONE_STYLE = {
    "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
}
CALL = r'/\{{ ?"name" ?: ?"{name}" ?, ?"{arguments}" ?: ?/ schema{i} / ?\}}/'
GAP = r"/[ \n]{0,4}/"
# Text up to a call and text after the last, where calls stand within tags. A special token leaves
# no text, so it may stand anywhere in one; a tag that is one has two spellings.
TAGGED = """start: {start}
lead[suffix="{tag}"]: TEXT
TEXT: /(?s:.*)/
opened: lead{tag_token}
{tagged}"""
WITHIN = """tagged: {gap} call {gap} ("{end}"{end_token})
"""
# A whole answer that is a call, or text that cannot be taken for the beginning of one.
BARE = """start: {silent}{gap} call | {text}
BLANK: /\\s*/
BEGUN: /\\s*[^{{\\s](?s:.*)/
TEXT: /(?s:.*)/
"""
# An answer by a schema, or calls and nothing else.
EITHER = """start: schema{last} | {gap} {calls}
opened: "{tag}"{tag_token}
{tagged}"""


def required_call(grammars: Grammars, functions: Sequence[Function]) -> Constraint:
    """{"name", "arguments"}: a call of one of the functions, and nothing else.

    Raises HardcastError for a schema that cannot be followed.
    """
    return _grammar(grammars, "start: call\n", "arguments", functions, strict=True)


def strict_calls(
    grammars: Grammars, form: str, functions: Sequence[Function], parallel: bool
) -> Constraint:
    """Any answer whose calls follow the schema of their function where it is strict.

    form: of the calls, as tools.form_of tells it. parallel: whether more than one may come.

    Raises HardcastError for a schema that cannot be followed.
    """
    silent = grammars.tokenizer.special_ids - set(grammars.tokenizer.eos_ids)
    if form == "bare":
        tokens = _tokens(silent)
        text = BARE.format(
            gap=GAP,
            silent=f"{tokens}* " if tokens else "",
            text=f"(BLANK {tokens})* (BLANK | BEGUN ({tokens} TEXT)*)"
            if tokens
            else "BLANK | BEGUN",
        )
        return _grammar(grammars, text, "parameters", functions, strict=False)
    tags = special_tags(grammars.tokenizer)
    tokens = _tokens(silent - {tags.get(TAG)})
    other = f"TEXT {tokens} | " if tokens else ""
    start = f"({other}opened tagged)* TEXT"
    if not parallel:
        start = f"(TEXT {tokens})* (TEXT | opened tagged)" if tokens else "TEXT | opened tagged"
    text = TAGGED.format(
        start=start, tag=TAG, tag_token=_spelling("TEXT", tags, TAG), tagged=_tagged(tags)
    )
    return _grammar(grammars, text, "arguments", functions, strict=False)


def schema_or_calls(
    grammars: Grammars,
    form: str,
    functions: Sequence[Function],
    parallel: bool,
    schema: dict[str, Any] | bool,
) -> Constraint:
    """JSON by a schema, or calls of functions, which follow theirs where they are strict.

    Arguments as of strict_calls. Raises HardcastError for a schema that cannot be followed, and
    for calls that are written as a JSON object too.
    """
    if form == "bare":
        raise HardcastError(
            "response_format: this model writes a call as a JSON object of its own, so an answer "
            "by a schema cannot be told from one; leave out tools, or set tool_choice to none or "
            "required"
        )
    if not isinstance(schema, dict):
        schema = {} if schema else {"not": {}}
    tags = special_tags(grammars.tokenizer)
    call = f"opened tagged {GAP}"
    text = EITHER.format(
        last=len(functions),
        gap=GAP,
        calls=f"({call})+" if parallel else call,
        tag=TAG,
        tag_token=_spelling("", tags, TAG),
        tagged=_tagged(tags),
    )
    answer = ("json_schema", {**schema, **SPACES})
    return _grammar(grammars, text, "arguments", functions, strict=False, more=[answer])


def _tagged(tags: Mapping[str, int]) -> str:
    return WITHIN.format(gap=GAP, end=END_TAG, end_token=_spelling("", tags, END_TAG))


def _spelling(before: str, tags: Mapping[str, int], tag: str) -> str:
    """The other spelling of a tag, where it is a token without text."""
    return f" | {before} <[{tags[tag]}]>" if tag in tags else ""


def _tokens(ids: Collection[int | None]) -> str:
    """Any of some tokens, in the grammar's words; nothing where there are none."""
    return f"<[{','.join(str(i) for i in sorted(i for i in ids if i is not None))}]>" if ids else ""


def _grammar(
    grammars: Grammars,
    text: str,
    arguments: str,
    functions: Sequence[Function],
    strict: bool,
    more: Sequence[tuple[str, dict[str, Any]]] = (),
) -> Constraint:
    """strict: hold all functions to their schemas, not only those that are strict.

    more: schemas that the text names after those of the functions.
    """
    calls = [
        CALL.format(name=re.escape(function.name), arguments=arguments, i=i)
        for i, function in enumerate(functions)
    ]
    schemas: list[tuple[str, dict[str, Any]]] = []
    for one in functions:
        schema = one.schema_ if strict or one.strict else {"type": "object"}
        spaces = ONE_STYLE if strict else SPACES
        schemas.append((f"the parameters of {one.name}", {**schema, **spaces}))
    return grammars.lark(f"{text}call: {' | '.join(calls)}", [*schemas, *more])

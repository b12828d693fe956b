"""The grammar of a call: of one that must come, and of those that a free answer may hold.

JSON allows any number of spaces and lines between its parts, and a small model that begins with
them may never end: one space at most, and the answer says something with every second token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hardcast.serve.openai.messages import Function
from hardcast.serve.openai.tools import END_TAG, TAG
from hardcast.serve.scheduling.constrain import Constraint, Grammars

SPACES = {"x-guidance": {"whitespace_flexible": True, "whitespace_pattern": " ?"}}
CALL = r'/\{{ ?"name" ?: ?"{name}" ?, ?"{arguments}" ?: ?/ schema{i} / ?\}}/'
GAP = r"/[ \n]{0,4}/"
# Text up to a call and text after the last, where calls stand within tags.
TAGGED = """start: {start}
lead[suffix="{tag}"]: TEXT
TEXT: /(?s:.*)/
tagged: {gap} call {gap} "{end}"
"""
# A whole answer that is a call, or text that cannot be taken for the beginning of one.
BARE = """start: TEXT | {gap} call
TEXT: /\\s*([^{{\\s](?s:.*))?/
"""


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
    if form == "bare":
        text = BARE.format(gap=GAP)
        return _grammar(grammars, text, "parameters", functions, strict=False)
    start = "(lead tagged)* TEXT" if parallel else "TEXT | lead tagged"
    text = TAGGED.format(start=start, tag=TAG, end=END_TAG, gap=GAP)
    return _grammar(grammars, text, "arguments", functions, strict=False)


def _grammar(
    grammars: Grammars, text: str, arguments: str, functions: Sequence[Function], strict: bool
) -> Constraint:
    """strict: hold all functions to their schemas, not only those that are strict."""
    calls = [
        CALL.format(name=re.escape(function.name), arguments=arguments, i=i)
        for i, function in enumerate(functions)
    ]
    schemas: list[tuple[str, dict[str, Any]]] = []
    for one in functions:
        schema = one.schema_ if strict or one.strict else {"type": "object"}
        schemas.append((f"the parameters of {one.name}", {**schema, **SPACES}))
    return grammars.lark(f"{text}call: {' | '.join(calls)}", schemas)

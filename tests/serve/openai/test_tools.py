"""Calls read out of an answer's text, however it is cut into pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast import flow
from hardcast.serve.openai.tools import Call, CallGate, form_of, takes_tools
from tests import tiny
from tests.serve.served import TOOL_TEMPLATE, Server, chat, server
from tests.tiny_vocabulary import CHAT_TEMPLATE

TAGGED = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
CALL = Call("f", '{"a": 1}')
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def read(form: str | None, text: str, cuts: list[int], forced: bool = False) -> Any:
    """(text, calls) of an answer that comes in pieces."""
    gate = CallGate(form, ["f", "g"], forced)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    said = [gate.push(text[a:b]) for a, b in zip(places, places[1:], strict=False)]
    rest, calls = gate.end()
    return "".join(said) + rest, calls


CASES: list[tuple[str | None, str, str, list[Call]]] = [
    ("tagged", TAGGED, "", [CALL]),
    ("tagged", f"Let me see. {TAGGED}\n{TAGGED}", "Let me see. ", [CALL, CALL]),
    ("tagged", TAGGED.removesuffix("</tool_call>"), "", [CALL]),
    ("tagged", "a < b <tool", "a < b <tool", []),
    ("tagged", "<tool_call>no JSON</tool_call>", "<tool_call>no JSON</tool_call>", []),
    ("tagged", TAGGED.replace('"f"', '"h"'), TAGGED.replace('"f"', '"h"'), []),
    ("tagged", "", "", []),
    ("bare", '{"name": "f", "parameters": {"a": 1}}', "", [CALL]),
    ("bare", ' \n{"name": "f", "parameters": "{\\"a\\": 1}"}', "", [CALL]),
    ("bare", '{"name": "f", "parameters": {"a"', '{"name": "f", "parameters": {"a"', []),
    ("bare", "The answer is {1}.", "The answer is {1}.", []),
    ("bare", "  ", "  ", []),
    (None, TAGGED, TAGGED, []),
]


@pytest.mark.parametrize("form, text, said, calls", CASES)
@given(cuts=st.lists(st.integers(0, 200), max_size=12))
def test_calls_do_not_depend_on_the_pieces(
    form: str | None, text: str, said: str, calls: list[Call], cuts: list[int]
) -> None:
    assert read(form, text, cuts) == (said, calls)


@given(text=st.text(alphabet='<tool_cal>/ {}"', max_size=40), cuts=st.lists(st.integers(0, 40)))
def test_what_is_no_call_is_all_said(text: str, cuts: list[int]) -> None:
    for form in ("tagged", "bare", None):
        assert read(form, text, cuts) == (text, [])


def test_a_call_that_the_grammar_made() -> None:
    assert read(None, '{"name": "f", "arguments": {"a": 1}}', [3], forced=True) == ("", [CALL])


def test_forms_are_told_by_the_template() -> None:
    assert form_of(TOOL_TEMPLATE) == "tagged"
    assert form_of('{{ tools }} {"name": function, "parameters": values}') == "bare"
    assert form_of("{{ tools }}") is None
    assert takes_tools("{{ tools }}")
    for template in (CHAT_TEMPLATE, None, "{{ toolset }}"):
        assert not takes_tools(template)
        assert form_of(template) is None


def test_tools_reach_the_prompt_unless_none_is_said(tools_server: Server) -> None:
    with tools_server.client() as client:

        def prompt_tokens(**more: Any) -> int:
            found = client.post("/v1/chat/completions", json=chat(**more)).json()
            return int(found["usage"]["prompt_tokens"])

        without = prompt_tokens()
        assert prompt_tokens(tools=[TOOL]) > without
        assert prompt_tokens(tools=[TOOL], tool_choice="none") == without


def test_a_call_goes_back_as_the_template_writes_it(tools_server: Server) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    ]
    with tools_server.client() as client:
        ids = client.post("/tokenize", json={"messages": messages}).json()["tokens"]
        text = client.post("/detokenize", json={"tokens": ids}).json()["prompt"]
    function = {"name": "f", "arguments": {"a": 1}}
    assert f"<tool_call>{json.dumps(function)}</tool_call>" in text
    assert "tool\ndone" in text


def test_a_template_of_its_own_for_tools(tmp_path: Path) -> None:
    """The default one has no place for them; transformers takes the one named tool_use."""
    templates = {"tokenizer.chat_template.tool_use": TOOL_TEMPLATE}
    model = tiny.write_gguf(tmp_path / "tiny.gguf", "llama", metadata=templates)
    flow.build(str(model), tmp_path / "tiny.image")
    with server(tmp_path / "tiny.image", "--threads", "1") as running, running.client() as client:
        answers = [
            client.post("/v1/chat/completions", json=chat(**more)).json()["usage"]
            for more in ({}, {"tools": [TOOL]}, {"tools": [TOOL], "tool_choice": "none"})
        ]
    without, shown, none = (usage["prompt_tokens"] for usage in answers)
    assert shown > without == none

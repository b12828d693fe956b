"""Calls read out of an answer's text, however it is cut into pieces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast import flow
from hardcast.numerics.sampling import SamplerSettings
from hardcast.serve.access.usage import Usage
from hardcast.serve.openai.calls import Call
from hardcast.serve.openai.chat import Chat
from hardcast.serve.openai.requests import ChatRequest
from hardcast.serve.openai.tools import CallGate, form_of, takes_tools
from hardcast.serve.scheduling.request import Finished, GenerationRequest, Token
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


@pytest.mark.parametrize("arguments", [
    "{}",
    '{ "a" :1 }',
    '{"a": 1e999, "b": 0.1234567890123456789, "a": -0.0}',
    '{"a": "\\ud800", "b": "\\u00e9"}',
    '{"a": ' + "9" * 5000 + "}",
    '{"a": "</tool_call>", "b": {"c": [null]}}',
])  # fmt: skip
@given(cuts=st.lists(st.integers(0, 200), max_size=3))
def test_arguments_are_the_text_that_was_written(arguments: str, cuts: list[int]) -> None:
    text = f'{{"name": "f", "arguments": {arguments}}}'
    for form, answer in (("tagged", f"<tool_call>\n{text}\n</tool_call>"), ("bare", text)):
        assert read(form, answer, cuts) == ("", [Call("f", arguments)])


@pytest.mark.parametrize("call", [
    '{"name": ["f"], "arguments": {}}',
    '{"name": {"f": 1}, "arguments": {}}',
    '{"name": null, "arguments": {}}',
    '{"name": 5, "arguments": {}}',
    '{"arguments": {}}',
    '{"name": "f", "arguments": [1]}',
    '{"name": "f", "arguments": null}',
    '{"name": "f", "arguments": {"a": NaN}}',
    '{"name": "f", "arguments": {"a": -Infinity}}',
    '{"name": "f", "arguments": "{\\"a\\": \\"\\ud800\\"}"}',
    '{"name": "f", "arguments": "words"}',
    '{"name": "f", "arguments": ' + "[" * 100_000,
    '["f"]',
])  # fmt: skip
def test_what_is_no_call_stays_text(call: str) -> None:
    for form, answer in (("tagged", f"<tool_call>{call}</tool_call>"), ("bare", call)):
        assert read(form, answer, []) == (answer, [])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("f"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
OBJECTS = st.fixed_dictionaries({"name": VALUES}, optional={"arguments": VALUES}).map(json.dumps)


@given(
    parts=st.lists(st.one_of(OBJECTS, st.text(), st.sampled_from(["<tool_call>", "</tool_call>"]))),
    form=st.sampled_from(["tagged", "bare"]),
    cuts=st.lists(st.integers(0, 200), max_size=3),
    forced=st.booleans(),
)
def test_any_answer_can_be_read_and_sent(
    parts: list[str], form: str, cuts: list[int], forced: bool
) -> None:
    text = "".join(parts)
    said, calls = read(form, text, cuts, forced)
    assert said in (text, "") or calls
    for call in calls:
        call.arguments.encode()
        assert not call.whole or isinstance(json.loads(call.arguments), dict)


def test_what_stands_between_calls_is_said() -> None:
    text = f"One: {TAGGED}\n{TAGGED} and two.{TAGGED}\n"
    assert read("tagged", text, [9, 50]) == ("One:  and two.", [CALL, CALL, CALL])


@pytest.mark.parametrize("text, said, arguments", [
    ('{"name"', '{"name"', None),
    ('{"name":"f"', "", ""),
    ('{"name": "f", "argum', "", ""),
    ('{"name": "f", "arguments": {"a": [1, "x', "", '{"a": [1, "x'),
    ('{"name": "f", "arguments": {"a": 1}', "", '{"a": 1}'),
    ('{"name": "f" ,"arguments" :{"a": 1} ', "", '{"a": 1}'),
    ('{"name": "h", "arguments": {', '{"name": "h", "arguments": {', None),
])  # fmt: skip
def test_a_required_call_that_is_cut(text: str, said: str, arguments: str | None) -> None:
    """OpenAI gives the beginning of its arguments; without a name there is no call."""
    calls = [] if arguments is None else [Call("f", arguments, whole=False)]
    assert read("tagged", text, [4], forced=True) == (said, calls)
    assert read("bare", text, [4]) == (text, [])


def test_a_required_call_that_is_cut_before_its_name() -> None:
    """There is one function that it can be."""
    gate = CallGate("tagged", ["f"], forced=True)
    assert gate.push('{ "na') == ""
    assert gate.end() == ("", [Call("f", "", whole=False)])


def test_a_cut_call_ends_for_what_cut_it(tools_server: Server) -> None:
    tools = [named("f", parameters=pointed(7))]
    for more, reason in (({"max_tokens": 25}, "length"), ({"stop": "who"}, "stop")):
        body = chat(tools=tools, tool_choice="required", **{"max_tokens": 90, **more})
        with tools_server.client() as client:
            (choice,) = client.post("/v1/chat/completions", json=body).json()["choices"]
            (call,) = choice["message"]["tool_calls"]
            assert choice["finish_reason"] == reason and choice["message"]["content"] is None
            assert "}" not in call["function"]["arguments"] and call["function"]["name"] == "f"


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
    flow.build(str(model), tmp_path / "tiny.image", recipe="4bit")
    with server(tmp_path / "tiny.image", "--threads", "1") as running, running.client() as client:
        answers = [
            client.post("/v1/chat/completions", json=chat(**more)).json()["usage"]
            for more in ({}, {"tools": [TOOL]}, {"tools": [TOOL], "tool_choice": "none"})
        ]
    without, shown, none = (usage["prompt_tokens"] for usage in answers)
    assert shown > without == none


def test_only_the_first_call_is_kept_where_one_is_allowed() -> None:
    for after, said in ((f"\n{TAGGED}", ""), ("<tool_call>cut", ""), (" and so on", " and so on")):
        gate = CallGate("tagged", ["f"], forced=False, most=1)
        assert gate.push(TAGGED + after) == ""
        assert gate.end() == (said, [CALL])


def scripted(text: str, **more: Any) -> Chat:
    """A reply to an answer of this text."""

    class Answers:
        usage = Usage(3, 0, 2)

        async def events(self) -> AsyncIterator[tuple[int, Any]]:
            yield 0, Token(text[:9], 5, None, None, 0.0)
            yield 0, Finished("stop", text[9:], 3, 0, 2, 0.0, 0.0)

    asked = ChatRequest.model_validate({**chat(), "tools": [TOOL], **more})
    service: Any = SimpleNamespace(
        tokenizer=SimpleNamespace(tool_template=TOOL_TEMPLATE),
        name="tiny",
        image=SimpleNamespace(digest="d"),
        extra=lambda usage, seed: {"silicon": None, "seed": seed},
    )
    answers: Any = Answers()
    return Chat(service, asked, [GenerationRequest((1,), SamplerSettings(), 8)], answers)


@pytest.mark.parametrize("parallel, count", [(False, 1), (True, 2), (None, 2)])
def test_parallel_tool_calls(parallel: bool | None, count: int) -> None:
    """Whole and streamed: false keeps the first call, which is a call like any other."""
    text = TAGGED + TAGGED.replace("1", "2")
    whole = asyncio.run(scripted(text, parallel_tool_calls=parallel).whole())
    (choice,) = whole["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    said = [call["function"]["arguments"] for call in choice["message"]["tool_calls"]]
    assert said == ['{"a": 1}', '{"a": 2}'][:count]

    async def read() -> list[bytes]:
        reply = scripted(text, parallel_tool_calls=parallel, stream=True)
        return [event async for event in reply.events()]

    chunks = [json.loads(event[6:]) for event in asyncio.run(read())[:-1]]
    calls = [c for chunk in chunks for c in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert [(c["index"], c["function"]["arguments"]) for c in calls] == [*enumerate(said)]


def pointed(number: int) -> dict[str, Any]:
    """Parameters whose one type has a name that others use too."""
    return {
        "type": "object",
        "properties": {"who": {"$ref": "#/$defs/P"}},
        "required": ["who"],
        "additionalProperties": False,
        "$defs": {"P": {"const": number}},
    }


def named(name: str, **parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **parameters}}


@pytest.mark.parametrize("choice, name, arguments", [
    ({"type": "function", "function": {"name": "g"}}, "g", {"who": 8}),
    ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named("g")]}},
     "g", {"who": 8}),
    ({"type": "function", "function": {"name": "bare"}}, "bare", {}),
])  # fmt: skip
def test_a_required_call_follows_its_own_schema(
    choice: Any, name: str, arguments: Any, tools_server: Server
) -> None:
    tools = [named("f", parameters=pointed(7)), named("g", parameters=pointed(8)), named("bare")]
    body = chat(tools=tools, tool_choice=choice, max_tokens=100, temperature=1, seed=3)
    with tools_server.client() as client:
        (found,) = client.post("/v1/chat/completions", json=body).json()["choices"]
    (call,) = found["message"]["tool_calls"]
    assert found["finish_reason"] == "tool_calls"
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == (
        name,
        arguments,
    )


def test_any_of_the_required_calls_may_come(tools_server: Server) -> None:
    tools = [named("f", parameters=pointed(7)), named("g", parameters=pointed(8))]
    found = set()
    with tools_server.client() as client:
        for seed in range(12):
            body = chat(
                tools=tools, tool_choice="required", max_tokens=100, temperature=3, seed=seed
            )
            (choice,) = client.post("/v1/chat/completions", json=body).json()["choices"]
            (call,) = choice["message"]["tool_calls"]
            function = call["function"]
            found.add((function["name"], function["arguments"]))
    assert found == {("f", '{"who": 7}'), ("g", '{"who": 8}')}


@pytest.mark.parametrize("more, words", [
    ({"tools": [named("f", parameters={"properties": {"a": {"$ref": "#/$defs/N"}}})],
      "tool_choice": "required"}, "the parameters of f: $ref '#/$defs/N'"),
    ({"tools": [named("f", parameters={"properties": {"a": {"$ref": "b.json"}}})],
      "tool_choice": "required"}, "'b.json'"),
    ({"response_format": {"type": "json_schema", "json_schema": {
        "schema": {"properties": {"a": {"$ref": "#/$defs/N"}}}}}}, "'#/$defs/N'"),
    ({"tools": [named("f", parameters={"type": "string"})]}, "'object'"),
    ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0]"),
    ({"tools": [named("f")], "tool_choice": {"type": "allowed_tools", "allowed_tools": {
        "mode": "auto", "tools": [named("g")]}}}, "'g'"),
])  # fmt: skip
def test_what_cannot_be_called_is_named(more: Any, words: str, tools_server: Server) -> None:
    with tools_server.client() as client:
        response = client.post("/v1/chat/completions", json=chat(**more))
    assert response.status_code == 400
    assert words in response.json()["error"]["message"]
    assert "\n" not in response.json()["error"]["message"]


def test_a_tool_that_is_not_allowed_is_not_called() -> None:
    allowed = {"mode": "auto", "tools": [named("g")]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    tools = [TOOL, named("g")]
    whole = asyncio.run(scripted(TAGGED, tools=tools, tool_choice=choice).whole())
    assert whole["choices"][0]["message"]["content"] == TAGGED
    call = TAGGED.replace('"f"', '"g"')
    whole = asyncio.run(scripted(call, tools=tools, tool_choice=choice).whole())
    assert whole["choices"][0]["finish_reason"] == "tool_calls"

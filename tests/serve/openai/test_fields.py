"""Every field of OpenAI's API is decided: it acts, or is taken where it asks for nothing."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
from pydantic import BaseModel

from hardcast.serve.openai import replies
from hardcast.serve.openai.fields import BOOKS, Only
from hardcast.serve.openai.requests import ChatRequest, CompletionRequest
from hardcast.tokenizer.chat_template import render_chat, variables_of
from tests.serve.served import Server, chat

PATHS = {ChatRequest: "/v1/chat/completions", CompletionRequest: "/v1/completions"}
# (values that ask for nothing, values that ask for what is not here) of each field taken so.
NOT_OFFERED: dict[str, tuple[list[Any], list[Any]]] = {
    "audio": ([], [{"voice": "alloy", "format": "mp3"}]),
    "modalities": ([["text"]], [["text", "audio"], ["audio"], []]),
    "functions": ([[]], [[{"name": "f"}]]),
    "function_call": (["none", "auto"], [{"name": "f"}]),
    "moderation": ([], [{"model": "omni-moderation-latest"}]),
    "prediction": ([], [{"type": "content", "content": "a"}]),
    "prompt_cache_options": ([{"mode": "implicit"}], [{"mode": "explicit"}, {"ttl": "30m"}]),
    "prompt_cache_retention": (["in_memory"], ["24h"]),
    "service_tier": (["auto", "default"], ["flex", "priority", "scale", "fast"]),
    "store": ([False], [True]),
    "verbosity": (["medium"], ["low", "high"]),
    "web_search_options": ([], [{}]),
    "suffix": ([""], [" and so on"]),
    "min_p": ([0, 0.0], [0.1, "0", True]),
}
BOOKKEEPING = {
    "user": "u1",
    "metadata": {"run": "7"},
    "safety_identifier": "s1",
    "prompt_cache_key": "k1",
}


def body(model: type[BaseModel], **more: Any) -> dict[str, Any]:
    if model is ChatRequest:
        return chat(max_tokens=3, **more)
    return {"prompt": "hello", "temperature": 0, "max_tokens": 3, **more}


def of(model: type[BaseModel], names: Any) -> list[str]:
    return sorted(set(names) & set(model.model_fields))


def test_every_field_of_the_openai_package_is_decided() -> None:
    """A field that a new version of the package brings has to be decided before this passes."""
    pytest.importorskip("openai", reason="the openai package is missing: it lists the fields")
    from openai.types import completion_create_params as of_text
    from openai.types.chat import completion_create_params as of_chat

    for params, model in ((of_chat, ChatRequest), (of_text, CompletionRequest)):
        streams = get_args(params.CompletionCreateParams)
        hints = {name for one in streams for name in get_type_hints(one)}
        assert {"model", "stream", "temperature"} <= hints
        assert hints - set(model.model_fields) == set()


def test_the_fields_that_are_taken_without_acting_are_these() -> None:
    """None else says in its description that nothing comes of it."""
    for model in PATHS:
        only = {n for n, f in model.model_fields.items() if any_only(f.metadata)}
        books = {n for n, f in model.model_fields.items() if f.description == BOOKS}
        assert only == set(of(model, NOT_OFFERED))
        assert books == set(of(model, BOOKKEEPING))


def any_only(metadata: list[Any]) -> bool:
    return any(isinstance(one, Only) for one in metadata)


@pytest.mark.parametrize("model", PATHS)
def test_what_asks_for_nothing_changes_nothing(model: type[BaseModel], tiny_server: Server) -> None:
    with tiny_server.client() as client:

        def said(**more: Any) -> Any:
            response = client.post(PATHS[model], json=body(model, **more))
            assert response.status_code == 200, (more, response.text)
            return response.json()["choices"]

        plain = said()
        for name in of(model, NOT_OFFERED):
            for value in (None, *NOT_OFFERED[name][0]):
                assert said(**{name: value}) == plain
        for name in of(model, BOOKKEEPING):
            for value in (None, BOOKKEEPING[name]):
                assert said(**{name: value}) == plain


@pytest.mark.parametrize("model", PATHS)
def test_what_is_not_offered_is_refused_by_name(
    model: type[BaseModel], tiny_server: Server
) -> None:
    with tiny_server.client() as client:
        for name in of(model, NOT_OFFERED):
            for value in NOT_OFFERED[name][1]:
                response = client.post(PATHS[model], json=body(model, **{name: value}))
                assert response.status_code == 400, (name, value)
                error = replies.Error.model_validate(response.json()).error
                assert error.param == name
                assert error.message.startswith(f"{name}: ") and "\n" not in error.message


def test_a_stream_that_should_be_obfuscated_is_refused(tiny_server: Server) -> None:
    with tiny_server.client() as client:
        for value, status in ((False, 200), (None, 200), (True, 400)):
            options = {"include_obfuscation": value}
            response = client.post(
                PATHS[ChatRequest], json=chat(stream=True, stream_options=options)
            )
            assert response.status_code == status


def test_top_p_of_nothing_is_the_likeliest_token(tiny_server: Server) -> None:
    with tiny_server.client() as client:
        for path, hot in (
            (PATHS[ChatRequest], chat(temperature=1.5, top_p=0, seed=4)),
            (PATHS[CompletionRequest], {"prompt": "a", "top_p": 0, "seed": 4}),
        ):
            cold = {**hot, "temperature": 0}
            del cold["top_p"]
            choices = [client.post(path, json=one).json()["choices"] for one in (hot, cold)]
            assert choices[0] == choices[1]


def test_an_effort_acts_through_the_template_or_is_refused() -> None:
    from hardcast.serve.errors import ApiError
    from hardcast.serve.openai.thinking import thinking_variables

    knows, switch = "{{ reasoning_effort }}", "{% if enable_thinking %}<think>{% endif %}"
    assert thinking_variables(None, knows) == {}
    assert thinking_variables("low", knows) == {"reasoning_effort": "low"}
    assert thinking_variables("none", switch) == {"enable_thinking": False}
    assert thinking_variables("none", "{{ messages }}") == {}
    for template in (switch, "{{ messages }}", "{{ my_reasoning_effort }}"):
        with pytest.raises(ApiError) as caught:
            thinking_variables("low", template)
        assert caught.value.param == "reasoning_effort"
        assert ("enable_thinking" in caught.value.message) == (template is switch)


@pytest.mark.parametrize("message, text", [
    ({"role": "assistant", "content": None, "refusal": "No."}, "assistant\nNo."),
    ({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, "assistant\nNo."),
    ({"role": "developer", "content": "Be brief."}, "system\nBe brief."),
    ({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
     "user\nab"),
    ({"role": "assistant", "content": "x", "function_call": None, "audio": None}, "assistant\nx"),
])  # fmt: skip
def test_what_a_message_says_reaches_the_prompt(
    message: dict[str, Any], text: str, tiny_server: Server
) -> None:
    with tiny_server.client() as client:
        ids = client.post("/tokenize", json={"messages": [message]}).json()["tokens"]
        assert text in client.post("/detokenize", json={"tokens": ids}).json()["prompt"]


@pytest.mark.parametrize("message", [
    {"role": "user"},
    {"role": "user", "content": None},
    {"role": "function", "name": "f", "content": "1"},
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
    {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
    {"role": "user", "content": [{"type": "file", "file": {}}]},
    {"role": "assistant", "content": "x", "function_call": {"name": "f", "arguments": "{}"}},
    {"role": "assistant", "content": "x", "audio": {"id": "a"}},
])  # fmt: skip
def test_what_a_message_cannot_say_is_refused(message: dict[str, Any], tiny_server: Server) -> None:
    with tiny_server.client() as client:
        response = client.post(PATHS[ChatRequest], json={"messages": [message]})
        assert response.status_code == 400
        assert "messages[0]" in replies.Error.model_validate(response.json()).error.message


@pytest.mark.parametrize("change, param, words", [
    ({"tool_choice": {"type": "function"}}, "tool_choice.function", "required"),
    ({"tool_choice": {"type": "custom", "custom": {}}}, None, ""),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
     "messages[0].content", "'image_url'"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
     "messages[0].content", "no images, sound or files"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]},
     "messages[0].content[0].text", "required"),
    ({"messages": [5]}, "messages[0]", "an object"),
    ({"response_format": 5}, "response_format", "an object"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {
        "properties": {"a": {"$ref": "#/$defs/N"}}}}}]}, None, "points nowhere"),
])  # fmt: skip
def test_no_class_of_ours_is_named(
    change: dict[str, Any], param: str | None, words: str, tools_server: Server
) -> None:
    with tools_server.client() as client:
        tool = {"type": "function", "function": {"name": "f"}}
        body = {"messages": [{"role": "user", "content": "x"}], "tools": [tool], **change}
        response = client.post("/v1/chat/completions", json=body)
    error = response.json()["error"]
    assert response.status_code == 400 and words in error["message"]
    assert param is None or error["param"] == param
    for name in (
        "NamedTool",
        "AllowedTools",
        "TextPart",
        "RefusalPart",
        "Format",
        "Message",
        "dict",
    ):
        assert name not in error["message"] + str(error["param"])


@pytest.mark.parametrize("name", [
    "self", "source", "template", "messages", "tools", "bos_token", "namespace", "loop",
    "raise_exception", "strftime_now", "m", "", "chat_template", "documents", "enable_thinking",
])  # fmt: skip
def test_a_template_variable_acts_or_is_refused(name: str, tools_server: Server) -> None:
    with tools_server.client() as client:
        body = chat(chat_template_kwargs={name: 1})
        error = client.post("/v1/chat/completions", json=body).json()["error"]
    assert error["param"] == "chat_template_kwargs" and repr(name)[1:-1] in error["message"]


def test_which_variables_a_template_reads() -> None:
    source = (
        "{%- if not style is defined %}{% set style = 'a' %}{% endif %}{% set n = namespace(x=1) %}"
        "{% for message in messages %}{{ loop.index }}{{ source }}{{ self }}{% endfor %}"
        "{{ raise_exception('x') if strict else strftime_now('%Y') }}{{ style }}"
    )
    assert variables_of(source) - {"self"} == {"style", "messages", "source", "strict"}
    text = "{{ source }}{{ messages[0] }}"
    assert render_chat(text, source="a", messages=["b"]) == "ab"

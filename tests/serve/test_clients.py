"""Clients as people use them: openai, litellm, LangChain, llm, curl. Each answer is the chip's."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.serve.served import Server, chat, server, wait_for

MESSAGES: list[Any] = [{"role": "user", "content": "hello there"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "light",
        "description": "switches a light",
        "parameters": {
            "type": "object",
            "properties": {"on": {"type": "boolean"}},
            "required": ["on"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def wanted(tiny_server: Server) -> str:
    """The chip's greedy answer of 8 tokens, asked for without any client package."""
    with tiny_server.client() as client:
        found = client.post("/v1/chat/completions", json=chat()).json()
    return str(found["choices"][0]["message"]["content"])


def openai_client(running: Server, **more: Any) -> Any:
    openai = pytest.importorskip("openai", reason="the openai package is missing")
    return openai.OpenAI(base_url=running.api, api_key="none", max_retries=0, **more)


def test_openai(tiny_server: Server, wanted: str) -> None:
    client = openai_client(tiny_server)
    assert [model.id for model in client.models.list()] == ["tiny"]
    options: Any = {"model": "tiny", "messages": MESSAGES, "temperature": 0, "max_tokens": 8}
    whole = client.chat.completions.create(**options)
    assert whole.choices[0].message.content == wanted
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    chunks = list(
        client.chat.completions.create(
            **options, stream=True, stream_options={"include_usage": True}
        )
    )
    said = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert said == wanted
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    with client.chat.completions.stream(**options) as stream:
        assert "".join(e.delta for e in stream if e.type == "content.delta") == wanted
    plain = client.completions.create(model="tiny", prompt="The capital", max_tokens=3)
    assert plain.usage.completion_tokens == 3
    top = client.chat.completions.create(**options, logprobs=True, top_logprobs=2)
    assert len(top.choices[0].logprobs.content[0].top_logprobs) == 2


def test_openai_errors_have_their_classes(tiny_server: Server) -> None:
    import_or_skip = pytest.importorskip("openai", reason="the openai package is missing")
    client = openai_client(tiny_server)
    with pytest.raises(import_or_skip.NotFoundError):
        client.chat.completions.create(model="gpt-9", messages=MESSAGES)
    with pytest.raises(import_or_skip.BadRequestError) as caught:
        client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "a b c d " * 200}]
        )
    assert caught.value.code == "context_length_exceeded"


def test_openai_async(tiny_server: Server, wanted: str) -> None:
    openai = pytest.importorskip("openai", reason="the openai package is missing")

    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=tiny_server.api, api_key="none") as client:

            async def one() -> str:
                stream = await client.chat.completions.create(
                    model="tiny", messages=MESSAGES, temperature=0, max_tokens=8, stream=True
                )
                return "".join([c.choices[0].delta.content or "" async for c in stream])

            return list(await asyncio.gather(*(one() for _ in range(12))))

    assert asyncio.run(ask()) == [wanted] * 12


def test_openai_structured_output(tiny_server: Server) -> None:
    pydantic = pytest.importorskip("pydantic", reason="the pydantic package is missing")

    class Chip(pydantic.BaseModel):
        name: Literal["alpha", "beta"]
        layers: Literal[3, 6]

    client = openai_client(tiny_server)
    found = client.chat.completions.parse(
        model="tiny", messages=MESSAGES, response_format=Chip, temperature=1, seed=5
    )
    assert isinstance(found.choices[0].message.parsed, Chip)


def test_openai_tools(tools_server: Server) -> None:
    client = openai_client(tools_server)
    found = client.chat.completions.create(
        model="tiny",
        messages=MESSAGES,
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "light"}},
    )
    (call,) = found.choices[0].message.tool_calls
    assert found.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "light"
    assert isinstance(json.loads(call.function.arguments)["on"], bool)
    # The call and its result go back into the conversation.
    result = {"role": "tool", "tool_call_id": call.id, "content": "done"}
    talk = [*MESSAGES, found.choices[0].message, result]
    options: Any = {"model": "tiny", "tools": [TOOL], "max_tokens": 4}
    assert client.chat.completions.create(messages=talk, **options).choices[0].message.content
    chunks = client.chat.completions.create(
        model="tiny", messages=MESSAGES, tools=[TOOL], tool_choice="required", stream=True
    )
    deltas = [chunk.choices[0].delta for chunk in chunks]
    (streamed,) = [delta.tool_calls[0] for delta in deltas if delta.tool_calls]
    assert streamed.function.name == "light"
    assert not any(delta.content for delta in deltas)


def test_litellm(tiny_server: Server, wanted: str) -> None:
    litellm = pytest.importorskip("litellm", reason="the litellm package is missing")
    options: Any = {
        "model": "openai/tiny",
        "api_base": tiny_server.api,
        "api_key": "none",
        "messages": MESSAGES,
        "temperature": 0,
        "max_tokens": 8,
    }
    assert litellm.completion(**options).choices[0].message.content == wanted
    chunks = litellm.completion(**options, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == wanted


def test_langchain(tiny_server: Server, wanted: str) -> None:
    module = pytest.importorskip("langchain_openai", reason="langchain-openai is missing")
    model = module.ChatOpenAI(
        model="tiny", base_url=tiny_server.api, api_key="none", temperature=0, max_tokens=8
    )
    assert model.invoke("hello there").content == wanted
    assert "".join(str(chunk.content) for chunk in model.stream("hello there")) == wanted
    free = module.ChatOpenAI(model="tiny", base_url=tiny_server.api, api_key="none", seed=2)
    schema = {
        "title": "chip",
        "type": "object",
        "properties": {"size": {"enum": ["small", "large"]}},
        "required": ["size"],
        "additionalProperties": False,
    }
    found = free.with_structured_output(schema, method="json_schema").invoke("hello there")
    assert found["size"] in ("small", "large")


def test_langchain_tools(tools_server: Server) -> None:
    module = pytest.importorskip("langchain_openai", reason="langchain-openai is missing")
    model = module.ChatOpenAI(model="tiny", base_url=tools_server.api, api_key="none")
    found = model.bind_tools([TOOL], tool_choice="light").invoke("hello there")
    assert found.tool_calls[0]["name"] == "light"


def test_llm(tiny_server: Server, wanted: str, tmp_path: Path) -> None:
    """The `llm` command, with the server as a model of its configuration."""
    pytest.importorskip("llm", reason="the llm package is missing")
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: chip\n  model_name: tiny\n  api_base: {tiny_server.api}\n"
    )
    options = ["-o", "temperature", "0", "-o", "max_tokens", "8"]
    for mode in ([], ["--no-stream"]):
        done = subprocess.run(
            [sys.executable, "-m", "llm", "-m", "chip", *options, *mode, "hello there"],
            env={"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none", "PATH": ""},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == wanted.strip()


def test_curl(tiny_server: Server, wanted: str) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is missing")
    command = [curl, "-sN", tiny_server.api + "/chat/completions"]
    command += ["-H", "Content-Type: application/json", "-d"]
    done = subprocess.run([*command, json.dumps(chat())], capture_output=True, timeout=60)
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == wanted
    done = subprocess.run(
        [*command, json.dumps(chat(stream=True))], capture_output=True, timeout=60
    )
    assert done.stdout.endswith(b"data: [DONE]\n\n")


def test_a_key_through_a_client(tiny_image: Path, tmp_path: Path) -> None:
    openai = pytest.importorskip("openai", reason="the openai package is missing")
    from hardcast.serve.access.keys import KeyStore

    path = tmp_path / "keys.sqlite3"
    store = KeyStore(path)
    key, text = store.create("Ada")
    with server(tiny_image, "--threads", "1", "--keys", "--keys-file", str(path)) as running:
        with pytest.raises(openai.AuthenticationError):
            openai_client(running).models.list()
        client = openai.OpenAI(base_url=running.api, api_key=text)
        name = next(iter(client.models.list())).id
        client.chat.completions.create(model=name, messages=MESSAGES, max_tokens=2)
        wait_for(lambda: bool(store.usage(key.id)), "usage")
    store.close()

"""The API over HTTP: what a client asks is what the chip answers, in OpenAI's shapes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import httpx
import pytest

from hardcast.commands.talk._talk import chat_ids, tokenizer_of
from hardcast.engine import Engine
from hardcast.generate import Generator, Result
from hardcast.image import open_image
from hardcast.numerics.sampling import SamplerSettings
from hardcast.serve.openai import replies
from hardcast.serve.openai.logprobs import token_name
from tests.serve.served import CONTEXT, Server, chat, events, metric, texts

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def alone(tiny_image: Path) -> Generator:
    """The same image, answering to nobody else."""
    image = open_image(tiny_image)
    return Generator(image, Engine(image, 1))


def expected(
    alone: Generator,
    content: str = "hello there",
    settings: SamplerSettings | None = None,
    max_tokens: int = 8,
    stop: tuple[str, ...] = (),
) -> Result:
    ids = chat_ids(alone.tokenizer, [{"role": "user", "content": content}])
    *_, result = alone.run(ids, settings or SamplerSettings(), max_tokens, stop)
    assert isinstance(result, Result)
    return result


def posted(server: Server, path: str, body: dict[str, Any]) -> Any:
    with server.client() as client:
        response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def refused(server: Server, path: str, body: dict[str, Any], status: int = 400) -> dict[str, Any]:
    with server.client() as client:
        response = client.post(path, json=body)
    assert response.status_code == status, response.text
    return replies.Error.model_validate(response.json()).error.model_dump()


def streamed(server: Server, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    with server.client() as client, client.stream("POST", path, json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(events(response))


def test_an_answer_is_the_chips(tiny_server: Server, alone: Generator, tiny_image: Path) -> None:
    found = replies.ChatCompletion.model_validate(posted(tiny_server, CHAT, chat(model="tiny")))
    wanted = expected(alone)
    assert found.choices[0].message.content == wanted.text
    assert found.choices[0].finish_reason == wanted.finish_reason
    assert found.usage.prompt_tokens == wanted.prompt_tokens
    assert found.usage.completion_tokens == len(wanted.token_ids)
    assert found.system_fingerprint == open_image(tiny_image).digest
    assert found.model == "tiny"


@pytest.mark.parametrize("sampling", [
    {"temperature": 0.9, "seed": 7},
    {"temperature": 1.5, "top_k": 20, "top_p": 0.8, "seed": 3},
    {"temperature": 1, "top_k": -1, "seed": 1.0},
    {"temperature": 0.5, "top_k": 1, "seed": 12},
])  # fmt: skip
def test_a_sampled_answer_is_the_chips(
    sampling: dict[str, Any], tiny_server: Server, alone: Generator
) -> None:
    settings = SamplerSettings.from_user(
        sampling["temperature"],
        max(sampling.get("top_k", 0), 0),
        sampling.get("top_p", 1.0),
        int(sampling["seed"]),
    )
    wanted = expected(alone, settings=settings, max_tokens=20)
    found = posted(tiny_server, CHAT, chat(max_tokens=20, **sampling))
    assert found["choices"][0]["message"]["content"] == wanted.text
    assert found["hardcast"]["seed"] == sampling["seed"]
    body = chat(max_tokens=20, stream=True, **sampling)
    assert texts(streamed(tiny_server, CHAT, body)) == wanted.text


def test_a_negative_seed_counts_from_the_top(tiny_server: Server, alone: Generator) -> None:
    settings = SamplerSettings.from_user(1.0, seed=(1 << 64) - 5)
    found = posted(tiny_server, CHAT, chat(temperature=1, seed=-5))
    assert found["choices"][0]["message"]["content"] == expected(alone, settings=settings).text


def test_without_a_seed_the_reply_names_the_one_drawn(tiny_server: Server) -> None:
    first = posted(tiny_server, CHAT, chat(temperature=2, max_tokens=30))
    seed = first["hardcast"]["seed"]
    again = posted(tiny_server, CHAT, chat(temperature=2, max_tokens=30, seed=seed))
    assert again["choices"] == first["choices"]
    other = posted(tiny_server, CHAT, chat(temperature=2, max_tokens=30))
    assert other["hardcast"]["seed"] != seed


def test_n_answers_have_following_seeds(tiny_server: Server) -> None:
    many = posted(tiny_server, CHAT, chat(temperature=1.5, seed=40, n=3, max_tokens=12))
    assert [choice["index"] for choice in many["choices"]] == [0, 1, 2]
    for index, choice in enumerate(many["choices"]):
        body = chat(temperature=1.5, seed=40 + index, max_tokens=12)
        one = posted(tiny_server, CHAT, body)
        assert choice["message"] == one["choices"][0]["message"]
    assert many["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]
    body = chat(temperature=1.5, seed=40, n=3, max_tokens=12, stream=True)
    found = streamed(tiny_server, CHAT, body)
    for index, choice in enumerate(many["choices"]):
        assert texts(found, index) == choice["message"]["content"]


def test_a_stream_has_openais_shape(tiny_server: Server) -> None:
    body = chat(stream=True, stream_options={"include_usage": True})
    first, *middle, last, usage = streamed(tiny_server, CHAT, body)
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in (first, *middle))
    assert last["choices"][0]["finish_reason"] in ("stop", "length")
    assert all(chunk["usage"] is None for chunk in (first, *middle, last))
    assert usage["choices"] == []
    whole = posted(tiny_server, CHAT, chat())
    assert {**usage["usage"], "prompt_tokens_details": None} == {
        **whole["usage"],
        "prompt_tokens_details": None,
    }
    replies.Extra.model_validate(usage["hardcast"])
    heads = {(c["id"], c["object"], c["model"]) for c in (first, *middle, last, usage)}
    assert len(heads) == 1
    plain = streamed(tiny_server, CHAT, chat(stream=True))
    assert all("usage" not in chunk for chunk in plain)


def test_stop_strings_end_the_text(tiny_server: Server, alone: Generator) -> None:
    text = expected(alone, max_tokens=30).text
    assert len(text) > 12
    stop = text[8:11]
    wanted = text[: text.index(stop)]
    for given in (stop, [stop, "never to be seen"]):
        found = posted(tiny_server, CHAT, chat(max_tokens=30, stop=given))
        assert found["choices"][0]["message"]["content"] == wanted
        assert found["choices"][0]["finish_reason"] == "stop"
        body = chat(max_tokens=30, stop=given, stream=True)
        assert texts(streamed(tiny_server, CHAT, body)) == wanted


def test_both_names_of_the_limit(tiny_server: Server) -> None:
    body = chat()
    del body["max_tokens"]
    found = posted(tiny_server, CHAT, {**body, "max_completion_tokens": 3})
    assert found["usage"]["completion_tokens"] == 3
    assert found["choices"][0]["finish_reason"] == "length"
    error = refused(tiny_server, CHAT, chat(max_tokens=3, max_completion_tokens=4))
    assert "differ" in error["message"]
    # Without a limit the context is one.
    unlimited = posted(tiny_server, CHAT, {**body, "logit_bias": {"0": -100, "2": -100}})
    usage = unlimited["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] == CONTEXT + 1


def test_logprobs(tiny_server: Server, alone: Generator) -> None:
    body = chat(logprobs=True, top_logprobs=3)
    found = posted(tiny_server, CHAT, body)
    choice = replies.ChatChoice.model_validate(found["choices"][0])
    assert choice.logprobs is not None
    wanted = expected(alone)
    spoken = [token for token in wanted.token_ids if token not in alone.tokenizer.eos_ids]
    raw = [list(alone.tokenizer.token_bytes(token, skip_special=False)) for token in spoken]
    assert [entry.bytes for entry in choice.logprobs.content] == raw
    for entry in choice.logprobs.content:
        top = [other.logprob for other in entry.top_logprobs]
        assert len(top) == 3
        assert top == sorted(top, reverse=True)
        assert entry.logprob == top[0]  # greedy
        assert 0 < sum(map(math.exp, top)) <= 1
    chunks = streamed(tiny_server, CHAT, {**body, "stream": True})
    entries = [
        entry
        for chunk in chunks
        if chunk["choices"][0]["logprobs"]
        for entry in chunk["choices"][0]["logprobs"]["content"]
    ]
    assert entries == found["choices"][0]["logprobs"]["content"]


def test_a_bias_forbids_and_forces(tiny_server: Server) -> None:
    text = posted(tiny_server, CHAT, chat(logprobs=True, top_logprobs=1))
    first = text["choices"][0]["logprobs"]["content"][0]["token"]
    ids = posted(tiny_server, "/tokenize", {"prompt": first})["tokens"]
    assert len(ids) == 1
    without = posted(tiny_server, CHAT, chat(logit_bias={str(ids[0]): -100}, logprobs=True))
    assert without["choices"][0]["logprobs"]["content"][0]["token"] != first
    forced = posted(tiny_server, CHAT, chat(logit_bias={"300": 100}, max_tokens=5))
    wanted = posted(tiny_server, "/detokenize", {"tokens": [300] * 5})["prompt"]
    assert forced["choices"][0]["message"]["content"] == wanted


def test_penalties_change_an_answer_that_repeats(tiny_server: Server) -> None:
    bias = {"logit_bias": {"300": 9}}
    plain = posted(tiny_server, CHAT, chat(max_tokens=20, **bias))
    other = posted(tiny_server, CHAT, chat(max_tokens=20, frequency_penalty=2, **bias))
    assert plain["choices"] != other["choices"]


def test_json_is_made_certain(tiny_server: Server) -> None:
    schema = {
        "type": "object",
        "properties": {"chip": {"enum": ["small", "large"]}, "dies": {"enum": [1, 2]}},
        "required": ["chip", "dies"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "chip", "schema": schema}}
    for seed in range(3):
        body = chat(response_format=form, temperature=1, seed=seed, max_tokens=60)
        found = json.loads(posted(tiny_server, CHAT, body)["choices"][0]["message"]["content"])
        assert found["chip"] in ("small", "large")
        assert found["dies"] in (1, 2)
    assert json.loads(texts(streamed(tiny_server, CHAT, {**body, "stream": True}))) == found
    body = chat(response_format={"type": "json_object"}, max_tokens=10)
    assert posted(tiny_server, CHAT, body)["choices"][0]["message"]["content"].startswith("{")


def test_a_schema_that_cannot_be_followed_is_refused(tiny_server: Server) -> None:
    for schema in ({"type": "no such type"}, {"$ref": "#/nowhere"}, {"pattern": "(?=x"}):
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        refused(tiny_server, CHAT, chat(response_format=form))


def test_plain_completions(tiny_server: Server, alone: Generator) -> None:
    ids = alone.tokenizer.encode("The capital of")
    *_, wanted = alone.run(ids, SamplerSettings(), 16)
    assert isinstance(wanted, Result)
    body = {"prompt": "The capital of", "temperature": 0}
    found = replies.Completion.model_validate(posted(tiny_server, TEXT, body))
    assert found.choices[0].text == wanted.text
    same = posted(tiny_server, TEXT, {**body, "prompt": ids, "echo": True})
    assert same["choices"][0]["text"] == "The capital of" + wanted.text
    several = posted(
        tiny_server, TEXT, {**body, "prompt": ["The capital of", "A chip"], "n": 2, "logprobs": 2}
    )
    assert [choice["index"] for choice in several["choices"]] == [0, 1, 2, 3]
    assert [c["text"] for c in several["choices"][:2]] == [wanted.text] * 2
    logprobs = replies.TextLogprobs.model_validate(several["choices"][0]["logprobs"])
    assert logprobs.tokens == [token_name(token, alone.tokenizer) for token in wanted.token_ids]
    assert all(len(top) == 2 for top in logprobs.top_logprobs)
    chunks = streamed(
        tiny_server, TEXT, {**body, "stream": True, "stream_options": {"include_usage": True}}
    )
    said = [choice["text"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(said) == wanted.text
    assert chunks[-1]["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize("body, param", [
    ({"messages": []}, "messages"),
    ({}, "messages"),
    (chat(temperature=-1), "temperature"),
    (chat(temperature="hot"), "temperature"),
    (chat(temperature=0.001), None),
    (chat(top_p=-0.1), "top_p"),
    (chat(top_p=1.1), "top_p"),
    (chat(top_k=257), "top_k"),
    (chat(min_p=0.1), "min_p"),
    (chat(n=0), "n"),
    (chat(max_tokens=0), "max_tokens"),
    (chat(max_tokens=1.5), "max_tokens"),
    (chat(stop=""), "stop"),
    (chat(stop=["a"] * 17), "stop"),
    (chat(logit_bias={"x": 1}), "logit_bias.x"),
    (chat(logit_bias={"5": 101}), None),
    (chat(logit_bias={"99999": 1}), None),
    (chat(top_logprobs=2), None),
    (chat(logprobs=True, top_logprobs=21), "top_logprobs"),
    (chat(stream_options={"include_usage": True}), None),
    (chat(response_format={"type": "json_schema"}), "response_format"),
    (chat(frobnicate=1), "frobnicate"),
    (chat(seed=1 << 65), "seed"),
    (chat(tools=[{"type": "function", "function": {"name": "f"}}]), "tools"),
    (chat(tool_choice="required"), "tool_choice"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, None),
])  # fmt: skip
def test_what_is_wrong_is_named(
    body: dict[str, Any], param: str | None, tiny_server: Server
) -> None:
    error = refused(tiny_server, CHAT, body)
    assert error["type"] == "invalid_request_error"
    assert param is None or error["param"] == param


def test_min_p_of_nothing_is_taken(tiny_server: Server) -> None:
    assert posted(tiny_server, CHAT, chat(min_p=0))["choices"]
    assert "no min_p" in refused(tiny_server, CHAT, chat(min_p=0.1))["message"]


def test_another_model_is_not_found(tiny_server: Server) -> None:
    error = refused(tiny_server, CHAT, chat(model="gpt-9"), 404)
    assert error["code"] == "model_not_found"
    with tiny_server.client() as client:
        assert client.get("/v1/models/gpt-9").status_code == 404
        listed = replies.ModelList.model_validate(client.get("/v1/models").json())
        assert [model.id for model in listed.data] == ["tiny"]
        assert client.get("/v1/models/tiny").json() == client.get("/v1/models").json()["data"][0]


def test_tokens_there_and_back(tiny_server: Server, tiny_image: Path) -> None:
    tokenizer = tokenizer_of(open_image(tiny_image))
    found = replies.Tokens.model_validate(
        posted(tiny_server, "/tokenize", {"prompt": "a chip's text, é"})
    )
    assert found.tokens == tokenizer.encode("a chip's text, é")
    assert found.count == len(found.tokens)
    assert found.max_model_len == CONTEXT
    back = posted(tiny_server, "/detokenize", {"tokens": found.tokens})
    assert back["prompt"] == "a chip's text, é"
    messages = [{"role": "user", "content": "hello there"}]
    talk = posted(tiny_server, "/tokenize", {"messages": messages})
    assert talk["tokens"] == chat_ids(tokenizer, messages)
    assert refused(tiny_server, "/detokenize", {"tokens": [1 << 20]})["param"] == "tokens"
    refused(tiny_server, "/tokenize", {"prompt": "x", "messages": messages})


def test_health_metrics_and_pages(tiny_server: Server) -> None:
    with tiny_server.client() as client:
        health = replies.Health.model_validate(client.get("/health").json())
        assert health.status == "ok"
        before = client.get("/metrics").text
        posted(tiny_server, CHAT, chat(max_tokens=4))
        after = client.get("/metrics").text
        for name, least in [
            ("completion_tokens_total", 4),
            ("answers_total", 1),
            ("time_to_first_token_seconds_count", 1),
            ("inter_token_seconds_count", 3),
            ("queue_seconds_count", 1),
            ("steps_total", 4),
        ]:
            full = f"hardcast_{name}"
            assert metric(after, full) - metric(before, full) == least, name
        for name in ("hardcast_running", "hardcast_waiting", "hardcast_kv_used_pages"):
            assert metric(after, name) >= 0
        page = client.get("/docs").text
        assert "/v1/chat/completions" in page
        assert "<script" not in page
        assert "//" not in page.replace("</", "").replace("<!", "")  # no other host
        assert client.get("/openapi.json").json()["openapi"] == "3.1.0"


def test_unknown_paths_and_methods_have_the_shape_too(tiny_server: Server) -> None:
    with tiny_server.client() as client:
        for response, status in [
            (client.get("/v1/nothing"), 404),
            (client.get("/v1/chat/completions"), 405),
            (client.put("/health"), 405),
        ]:
            assert response.status_code == status
            replies.Error.model_validate(response.json())
            assert response.headers["x-request-id"].startswith("req_")
        assert client.get("/v1/chat/completions").headers["allow"] == "POST"


def test_names_of_other_hosts_are_not_answered(tiny_server: Server) -> None:
    """A site whose name is pointed at this machine must not reach a server without keys."""
    for host, status in [("evil.example", 403), ("localhost:1", 200), ("127.0.0.1", 200)]:
        response = httpx.get(tiny_server.url + "/v1/models", headers={"Host": host})
        assert response.status_code == status


def test_a_form_of_another_site_is_not_read(tiny_server: Server) -> None:
    with tiny_server.client() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            response = client.post(CHAT, content=json.dumps(chat()), headers={"Content-Type": kind})
            assert response.status_code == 415


def test_the_silicon_is_named_or_null(tiny_server: Server) -> None:
    extra = posted(tiny_server, CHAT, chat())["hardcast"]
    assert replies.Extra.model_validate(extra).silicon is None  # no preset is for 96 channels

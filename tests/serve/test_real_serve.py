"""The server on the real model: how soon it answers, and that its answers make sense."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from hardcast import flow
from tests.real_model import smollm2
from tests.serve.served import READY, chat, server

pytestmark = pytest.mark.verify

START_LIMIT_S = 1.5  # from the command to the last word of the first answer
CHAT = "/v1/chat/completions"
SKY = "Why is the sky blue?"
FRANCE = "What is the capital of France?"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("real") / "image"
    flow.build(str(smollm2()), out)
    return out


def seconds_to_an_answer(image: Path) -> float:
    command = [sys.executable, "-m", "hardcast", "serve", str(image), "--port", "0"]
    with httpx.Client(timeout=30) as client:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            found = READY.search(process.stderr.readline())
            assert found is not None
            response = client.post(found[1] + CHAT, json=chat(SKY, max_tokens=32))
            seconds = time.perf_counter() - begun
            assert "scattering" in response.json()["choices"][0]["message"]["content"]
            return seconds
        finally:
            process.kill()
            process.wait()


def test_the_first_answer_comes_soon(image: Path) -> None:
    assert min(seconds_to_an_answer(image) for _ in range(5)) < START_LIMIT_S


def test_an_answer_in_json_and_the_silicon(image: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 40}},
        "required": ["city"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    with server(image) as running, running.client() as client:
        deadline = time.monotonic() + 30
        while True:
            body: dict[str, Any] = chat(FRANCE, max_tokens=60, response_format=form)
            found = client.post(CHAT, json=body).json()
            assert "Paris" in json.loads(found["choices"][0]["message"]["content"])["city"]
            if found["hardcast"]["silicon"] is not None:
                break
            assert time.monotonic() < deadline
        silicon = found["hardcast"]["silicon"]
        tokens = found["usage"]["completion_tokens"]
        assert silicon["seconds"] == pytest.approx(tokens / silicon["tokens_per_second"])
        assert silicon["millijoules"] > 0
        assert silicon["usd"] > 0

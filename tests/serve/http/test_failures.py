"""A mistake of ours, as a client and the log see it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hardcast.serve.app import make_app
from hardcast.serve.http.gate import Gate
from hardcast.serve.http.metrics import Metrics
from hardcast.serve.http.transport import EventStream, event_bytes
from hardcast.serve.openai import replies


async def before(request: Request) -> Response:
    raise RuntimeError("insides")


async def unsendable(request: Request) -> Response:
    return JSONResponse({"text": "\ud800"})


async def streamed(request: Request) -> Response:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield event_bytes({"a": 1})
        raise TypeError("insides")

    answers: Any = SimpleNamespace(close=lambda: None)
    return EventStream(broken(), answers, {})


@pytest.mark.parametrize("handler", [before, unsendable, streamed])
def test_a_mistake_of_ours_has_the_shape_of_an_error(
    handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    service: Any = SimpleNamespace()
    app = make_app(service)
    app.router.routes.insert(0, Route("/v1/models", handler))
    transport = httpx.ASGITransport(Gate(app, Metrics(), None, False, None))

    async def get() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/v1/models")

    with caplog.at_level(logging.ERROR):
        reply = asyncio.run(get())
    if handler is streamed:
        parts = reply.text.split("\n\n")
        assert parts[0] == 'data: {"a":1}' and parts[2:] == ["data: [DONE]", ""]
        body = json.loads(parts[1].removeprefix("data: "))
    else:
        assert reply.status_code == 500
        body = reply.json()
    error = replies.Error.model_validate(body).error
    assert error.type == "server_error" and error.code == "internal_error"
    assert reply.headers["x-request-id"] in error.message and "insides" not in reply.text
    assert [bool(record.exc_info) for record in caplog.records] == [True]

"""Replies on their way to a client: whole or as server-sent events, for as long as it is there."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hardcast.serve.errors import internal_error
from hardcast.serve.http.answers import Answers
from hardcast.serve.http.body import ClientGone

log = logging.getLogger("hardcast.serve")
T = TypeVar("T")
DONE = b"data: [DONE]\n\n"


def event_bytes(value: dict[str, Any]) -> bytes:
    """One server-sent event."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode("utf-8", "replace") + b"\n\n"


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client goes away: ClientGone then."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        for one in (task, gone):
            one.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await one


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events. Ends the answers when it ends itself, however that comes about.

    A client that reads slowly holds up `send`, so its answers wait in their bounded buffers and
    pause; one that has gone is noticed at once, even where nothing is being sent.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncGenerator[bytes, None], answers: Answers, headers: dict[str, str]
    ) -> None:
        unbuffered = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(headers={**headers, **unbuffered})
        del self.headers["content-length"]
        self._events, self._answers = events, answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends all events, or stops where the client went away."""
        sending = asyncio.ensure_future(self._send(scope, send))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            self._answers.close()
            for one in (sending, gone):
                one.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await one
            await self._events.aclose()

    async def _parts(self, call_id: str) -> AsyncGenerator[bytes, None]:
        """The events; a mistake of ours is one of its own, and the last."""
        try:
            async for part in self._events:
                yield part
        except Exception:
            log.exception("%s: a stream failed", call_id)
            yield event_bytes(internal_error(call_id).body())
            yield DONE

    async def _send(self, scope: Scope, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        async for part in self._parts(scope["call"].id):
            await send({"type": "http.response.body", "body": part, "more_body": True})
            # A backlog must neither hold up the others nor be sent on to somebody who has gone.
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

"""The chat page, the page that asks for access, and what they need: routes for a server to mount.

The pages are the files of page/, as they stand: no build step, and nothing from elsewhere. POST
/access/requests, to which the second page sends, belongs to the server and its keys.
"""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import Field, StrictStr
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hardcast.serve.access.accounts import Accounts
from hardcast.serve.http import body
from hardcast.serve.openai.fields import Strict
from hardcast.serve.page import facts, markdown

FOLDER = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Scripts and styles are this server's files and nothing else; text becomes HTML only through the
# one policy that page/js/markdown.js makes.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types hardcast"
)
HEADERS = {
    "Cache-Control": "no-cache",  # asked again each time, answered by 304
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
# Beside the event loop, so that a long text holds up nobody's answer, and one after the other.
RENDERER = ThreadPoolExecutor(1, "hardcast-markdown")
LONGEST_TEXT = 1 << 16  # letters of an answer that is shown as markdown


class Context(facts.Chip, Protocol):
    """What a server has: its Service. accounts: None where no keys are asked for."""

    accounts: Accounts | None


class RenderRequest(Strict):
    """POST /page/render."""

    text: Annotated[StrictStr, Field(max_length=LONGEST_TEXT)]


@dataclass(frozen=True)
class Served:
    """A file of the page in memory. tag: of its content, for If-None-Match."""

    content: bytes
    media_type: str
    tag: str


def routes() -> list[Route]:
    """All routes of the pages, for an application whose state.service is a Context.

    GET /, /access, /page/{file}: the files. GET /page/facts: what the page shows of the chip. POST
    /page/render {"text"}: {"html"}, or OpenAI's shape of an error.
    """
    files = load()

    def page(name: str) -> Route:
        async def send(request: Request) -> Response:
            return reply(request, files[name])

        return Route("/" if name == "index.html" else f"/{Path(name).stem}", send)

    async def send_file(request: Request) -> Response:
        found = files.get(request.path_params["name"])
        if found is None:
            return Response("no such file\n", 404, media_type="text/plain")
        return reply(request, found)

    async def send_facts(request: Request) -> Response:
        service: Context = request.app.state.service
        found = await run_in_threadpool(facts.facts, service, service.accounts is not None)
        return JSONResponse(found, headers={"Cache-Control": "no-cache"})

    return [
        page("index.html"),
        page("access.html"),
        Route("/page/facts", send_facts),
        Route("/page/render", render, methods=["POST"]),
        Route("/page/{name:path}", send_file),
    ]


async def render(request: Request) -> Response:
    """Markdown to HTML. Raises ApiError 400, 413 or 415, or ClientGone."""
    asked = await body.read(request, RenderRequest)
    loop = asyncio.get_running_loop()
    return JSONResponse({"html": await loop.run_in_executor(RENDERER, markdown.render, asked.text)})


def reply(request: Request, file: Served) -> Response:
    """A file, or 304 where the browser has it."""
    headers = {**HEADERS, "ETag": file.tag}
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


def load() -> dict[str, Served]:
    """The files of the page by their path in its folder: only these can ever be asked for."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix in TYPES:
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            name = path.relative_to(FOLDER).as_posix()
            found[name] = Served(content, TYPES[path.suffix], tag)
    return found

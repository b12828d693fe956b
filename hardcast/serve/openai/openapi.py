"""The OpenAPI document, made from the types of requests and replies, and a plain page of it.

The page needs no script and nothing from another host.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from hardcast import __version__
from hardcast.serve.openai import replies, requests


@dataclass(frozen=True)
class Operation:
    """One endpoint. request, reply: JSON bodies; kind: the reply's type where it is not JSON."""

    method: str
    path: str
    summary: str
    reply: type[BaseModel] | None
    request: type[BaseModel] | None = None
    kind: str = "application/json"
    status: int = 200
    errors: tuple[int, ...] = ()
    streams: bool = False
    key: bool = True


POSTED = (400, 401, 403, 404, 413, 415)
ANSWERED = (*POSTED, 429, 503)
OPERATIONS = [
    Operation(
        "post",
        "/v1/chat/completions",
        "Answers a conversation",
        replies.ChatCompletion,
        requests.ChatRequest,
        errors=ANSWERED,
        streams=True,
    ),
    Operation(
        "post",
        "/v1/completions",
        "Continues a text",
        replies.Completion,
        requests.CompletionRequest,
        errors=ANSWERED,
        streams=True,
    ),
    Operation("get", "/v1/models", "The model on the chip", replies.ModelList, errors=(401, 403)),
    Operation(
        "get", "/v1/models/{model}", "The model by name", replies.Model, errors=(401, 403, 404)
    ),
    Operation(
        "post",
        "/tokenize",
        "Token ids of a text or a conversation",
        replies.Tokens,
        requests.TokenizeRequest,
        errors=POSTED,
    ),
    Operation(
        "post",
        "/detokenize",
        "Text of token ids",
        replies.Detokenized,
        requests.DetokenizeRequest,
        errors=POSTED,
    ),
    Operation("get", "/tokenizer_info", "The tokenizer", replies.TokenizerInfo, errors=(401, 403)),
    Operation(
        "get", "/health", "Whether answers are made", replies.Health, errors=(403, 503), key=False
    ),
    Operation("get", "/metrics", "For Prometheus", None, kind="text/plain", errors=(401, 403)),
    Operation(
        "post",
        "/access/requests",
        "Asks for a key",
        replies.AccessQueued,
        requests.AccessRequest,
        status=202,
        errors=(400, 403, 404, 413, 415, 429, 503),
        key=False,
    ),
]


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    inward = [o.request for o in OPERATIONS if o.request]
    outward = [o.reply for o in OPERATIONS if o.reply] + [replies.Error]
    places, definitions = models_json_schema(
        [(model, "validation") for model in (*inward, *outward)],
        ref_template="#/components/schemas/{model}",
    )
    of = {model: schema for (model, _), schema in places.items()}
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hardcast",
            "version": __version__,
            "description": "The virtual chip, bit for bit the chip, behind OpenAI's API.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation, of: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {
        operation.kind: {"schema": of[operation.reply] if operation.reply else {"type": "string"}}
    }
    if operation.streams:
        content["text/event-stream"] = {"schema": EVENT}
    found: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": operation.path.strip("/")
        .replace("/", "_")
        .replace("{", "")
        .replace("}", ""),
        "responses": {
            str(operation.status): {"description": operation.summary, "content": content},
            **{
                str(status): {
                    "description": WORDS[status],
                    "content": {"application/json": {"schema": of[replies.Error]}},
                }
                for status in operation.errors
            },
        },
        "security": [{}, {"key": []}] if operation.key else [],
    }
    if operation.path == "/health":
        found["responses"]["503"]["content"]["application/json"]["schema"] = of[replies.Health]
    if operation.request is not None:
        found["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": of[operation.request]}},
        }
    if "{model}" in operation.path:
        schema = {"type": "string"}
        found["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": schema}]
    return found


EVENT = {
    "type": "object",
    "description": "an event; its data is a chunk of the answer as JSON, or [DONE]",
    "properties": {"data": {"type": "string"}},
    "required": ["data"],
}
WORDS = {
    400: "the request is wrong",
    401: "no key, or a wrong one",
    403: "this host name is not answered",
    404: "there is no such thing",
    413: "the request is too large",
    415: "the body has to be application/json",
    429: "a limit is reached or the queue is full: see Retry-After",
    503: "the server is about to end: see Retry-After",
}


async def document_reply(request: Request) -> Response:
    """GET /openapi.json."""
    return JSONResponse(document())


async def page_reply(request: Request) -> Response:
    """GET /docs."""
    return HTMLResponse(page(), headers={"Content-Security-Policy": POLICY})


POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code,td:first-child{font-family:ui-monospace,monospace}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;
padding:.25rem .75rem .25rem 0;border-bottom:1px solid #8884}
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}
"""


@lru_cache(maxsize=1)
def page() -> str:
    """The document as HTML: endpoints, then every type with its fields."""
    found = document()
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'><title>Hardcast API</title>",
        f"<style>{STYLE}</style><main><h1>Hardcast API</h1>",
        f"<p>{html.escape(found['info']['description'])} Machine-readable: ",
        "<a href=/openapi.json>openapi.json</a>.</p><h2>Endpoints</h2><table>",
    ]
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {}).get("content", {}).values()
            takes = "".join(f" takes {_type(c['schema'])}" for c in body)
            good = next(iter(operation["responses"].values()))["content"].values()
            gives = f", gives {_type(next(iter(good))['schema'])}"
            parts.append(
                f"<tr><td>{method.upper()} {html.escape(path)}</td>"
                f"<td>{html.escape(operation['summary'])}:{takes}{gives}</td></tr>"
            )
    parts.append("</table><h2>Types</h2>")
    for name, schema in sorted(found["components"]["schemas"].items()):
        parts.append(f"<h3 id='{name}'>{name}</h3><table>")
        needed = schema.get("required", [])
        for field, of in schema.get("properties", {}).items():
            note = of.get("description", "") + (" (required)" if field in needed else "")
            parts.append(
                f"<tr><td>{html.escape(field)}</td><td>{_type(of)}</td>"
                f"<td>{html.escape(note)}</td></tr>"
            )
        parts.append("</table>")
    return "".join([*parts, "</main></html>"])


def _type(schema: Any) -> str:
    """A schema in a few words of HTML."""
    if not isinstance(schema, dict):
        return "anything"
    if "$ref" in schema:
        name = html.escape(schema["$ref"].rsplit("/", 1)[-1])
        return f"<a href='#{name}'>{name}</a>"
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(_type(part) for part in schema[union])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return html.escape(", ".join(repr(value) for value in values))
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    low, high = schema.get("minimum"), schema.get("maximum")
    span = f" {low if low is not None else ''}..{high if high is not None else ''}"
    return html.escape(str(kind) + (span if (low, high) != (None, None) else ""))

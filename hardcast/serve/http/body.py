"""A request's body, unpacked up to a limit and checked: whatever is wrong in it is a 400 or 413."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from hardcast.serve.errors import ApiError, bad_request, too_large
from hardcast.serve.http.encoding import body_of

MOST_BYTES = 16 << 20  # some four million tokens
MOST_COMMAS = 1 << 19  # a bound on values: millions of small ones would hold up the event loop
SHOWN = 200  # letters of a refused value that an error repeats

Model = TypeVar("Model", bound=BaseModel)


class ClientGone(Exception):
    """Nobody is there any more to answer."""


async def read(request: Request, model: type[Model]) -> Model:
    """The body as `model`. Raises ApiError 400, 413 or 415, or ClientGone."""
    # Only this type: a page of another site may send text/plain or a form to a server on this
    # machine without asking, but not this.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "send the header Content-Type: application/json", "unsupported_media")
    body = body_of(", ".join(request.headers.getlist("content-encoding")), MOST_BYTES)
    if _stated_length(request) > MOST_BYTES:
        raise too_large(MOST_BYTES)
    try:
        async for chunk in request.stream():
            body.push(chunk)
    except ClientDisconnect:
        raise ClientGone from None
    return parse(body.end(), model)


def parse(body: bytes, model: type[Model]) -> Model:
    """JSON bytes as `model`. Raises ApiError 400 naming the first field that is wrong."""
    if body.count(b",") > MOST_COMMAS:
        raise bad_request(
            f"the body has more than {MOST_COMMAS} values or commas",
            None,
            "context_length_exceeded",
        )
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False, include_context=False), body) from None


def _stated_length(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    return int(text) if text.isdecimal() and len(text) < 20 else 0


def _refusal(found: list[Any], body: bytes) -> ApiError:
    # Of a union every member complains; the one that came furthest into the value says most.
    worst = max(found, key=_weight)
    if worst["type"] == "json_invalid":
        return bad_request(f"the body is not valid JSON: {worst['msg'][:SHOWN]}")
    where = _field(worst["loc"], from_json(body))
    if worst["type"] == "missing":
        where += f".{worst['loc'][-1]}" if where else worst["loc"][-1]
    if worst["type"] == "extra_forbidden":
        return bad_request(f"unrecognized request argument: {where}", where, "unknown_parameter")
    reason = worst["msg"].removeprefix("Value error, ")
    if worst["type"] in ("model_type", "dict_type"):  # these name classes of ours
        reason = "Input should be an object"
    code = "missing_required_parameter" if worst["type"] == "missing" else "invalid_value"
    value = "" if worst["type"] == "missing" or not where else f"; found {_shown(worst['input'])}"
    return bad_request(f"{where}: {reason}{value}" if where else reason, where or None, code)


def _weight(error: Any) -> tuple[bool, int, bool]:
    return (
        error["type"] == "extra_forbidden",
        len(error["loc"]),
        not error["type"].endswith("_type"),
    )


def _field(location: tuple[Any, ...], value: Any) -> str:
    """messages[0].content out of pydantic's path, in which members of a union have names too.

    value: the whole body. What it has at no such place is the name of a member.
    """
    text = ""
    for part in location:
        if isinstance(value, list) and isinstance(part, int) and part < len(value):
            text, value = f"{text}[{part}]", value[part]
        elif isinstance(value, dict) and part in value:
            text, value = f"{text}.{part}" if text else str(part), value[part]
    return text


def _shown(value: Any) -> str:
    text = repr(value if not isinstance(value, str) else value[:SHOWN])
    clipped = text if len(text) <= SHOWN else text[:SHOWN] + "..."
    # A lone surrogate could not be sent back as UTF-8.
    return clipped.encode("utf-8", "backslashreplace").decode()

"""Refusals in OpenAI's shape: {"error": {"message", "type", "param", "code"}}, and their codes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse


class ApiError(Exception):
    """A request that gets an error as its answer.

    status: of HTTP. code: OpenAI's word for what is wrong (context_length_exceeded, ...), or None.
    param: the field of the request that is to blame, or None. headers: of the reply (Retry-After).
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON object of the reply."""
        return error_body(self.status, self.message, self.code, self.param)

    def response(self) -> JSONResponse:
        """The reply."""
        return JSONResponse(self.body(), self.status, self.headers)


TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def error_body(
    status: int, message: str, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """The JSON object of an error."""
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the request is wrong and will be wrong again."""
    return ApiError(400, message, code, param)


def unauthorized(message: str) -> ApiError:
    """401: no key, or not one of ours."""
    return ApiError(401, message, "invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


def too_large(limit_bytes: int) -> ApiError:
    """413: a body that is not even read."""
    return ApiError(413, f"the request is larger than {limit_bytes >> 20} MiB", "request_too_large")


def rate_limited(message: str, seconds: float, code: str = "rate_limit_exceeded") -> ApiError:
    """429: try again after so many seconds."""
    return ApiError(429, message, code, headers=retry_after(seconds))


def unavailable(message: str, seconds: float) -> ApiError:
    """503: the server is about to end."""
    headers = {**retry_after(seconds), "Connection": "close"}
    return ApiError(503, message, "service_unavailable", headers=headers)


def internal_error(call_id: str) -> ApiError:
    """500: a mistake of ours. call_id: under which the log has more."""
    message = f"internal error; the server's log has more under {call_id}"
    return ApiError(500, message, "internal_error")


def retry_after(seconds: float) -> dict[str, str]:
    """The header that says when to come back: whole seconds, 1 or more."""
    return {"Retry-After": str(max(math.ceil(seconds), 1))}

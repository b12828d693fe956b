"""The application: its routes, and every failure in OpenAI's shape."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hardcast.serve import pages
from hardcast.serve.errors import ApiError, internal_error
from hardcast.serve.openai import endpoints, openapi
from hardcast.serve.openai.chat import create_chat_completion
from hardcast.serve.openai.completions import create_completion
from hardcast.serve.openai.service import Service

ROUTES = [
    Route("/v1/chat/completions", create_chat_completion, methods=["POST"]),
    Route("/v1/completions", create_completion, methods=["POST"]),
    Route("/v1/models", endpoints.list_models, methods=["GET"]),
    Route("/v1/models/{model:path}", endpoints.get_model, methods=["GET"]),
    Route("/tokenize", endpoints.tokenize, methods=["POST"]),
    Route("/detokenize", endpoints.detokenize, methods=["POST"]),
    Route("/tokenizer_info", endpoints.tokenizer_info, methods=["GET"]),
    Route("/health", endpoints.health, methods=["GET"]),
    Route("/metrics", endpoints.metrics, methods=["GET"]),
    Route("/access/requests", endpoints.request_access, methods=["POST"]),
    Route("/openapi.json", openapi.document_reply, methods=["GET"]),
    Route("/docs", openapi.page_reply, methods=["GET"]),
]


def make_app(service: Service) -> Starlette:
    """The application of one process, without its Gate."""
    app = Starlette(
        routes=[*ROUTES, *pages.routes()],
        exception_handlers={
            HTTPException: _http_error,
            ApiError: _api_error,
            Exception: _internal_error,
        },
    )
    app.state.service = service
    return app


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _internal_error(request: Request, error: Exception) -> Response:
    """A mistake of ours, which goes on to the gate's log."""
    return internal_error(request.scope["call"].id).response()


async def _http_error(request: Request, error: Exception) -> Response:
    """The router's own: no such path, no such method."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 404:
        return ApiError(404, f"there is no {path[:200]} here; see /docs", "not_found").response()
    if error.status_code == 405:
        message = f"{request.method} is not allowed on {path[:200]}"
        return ApiError(405, message, "method_not_allowed", headers=error.headers).response()
    return ApiError(error.status_code, error.detail).response()

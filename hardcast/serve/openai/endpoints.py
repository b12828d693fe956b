"""The small endpoints: models, tokens, health, metrics, requests for access."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hardcast import __version__
from hardcast.serve.errors import ApiError, bad_request
from hardcast.serve.http import body
from hardcast.serve.http.metrics import CONTENT_TYPE
from hardcast.serve.openai.requests import AccessRequest, DetokenizeRequest, TokenizeRequest
from hardcast.serve.openai.service import Service


def model_card(service: Service) -> dict[str, Any]:
    """The one model, as /v1/models lists it."""
    return {
        "id": service.name,
        "object": "model",
        "created": service.created,
        "owned_by": "hardcast",
        "max_model_len": service.image.context,
        "hardcast": {"digest": service.image.digest, "version": __version__},
    }


async def list_models(request: Request) -> Response:
    """GET /v1/models."""
    return JSONResponse({"object": "list", "data": [model_card(request.app.state.service)]})


async def get_model(request: Request) -> Response:
    """GET /v1/models/{model}."""
    service: Service = request.app.state.service
    service.check_model(request.path_params["model"])
    return JSONResponse(model_card(service))


async def tokenize(request: Request) -> Response:
    """POST /tokenize: token ids of a text or a conversation. A prompt too long is no error here."""
    service: Service = request.app.state.service
    asked = await body.read(request, TokenizeRequest)
    service.check_model(asked.model)
    if asked.messages is not None:
        variables = {"add_generation_prompt": asked.add_generation_prompt}
        ids = await service.aside(service.chat_ids, asked.messages, variables)
    else:
        bos = None if asked.add_special_tokens else False
        ids = await service.aside(service.tokenizer.encode, asked.prompt, True, bos)
    return JSONResponse({"tokens": ids, "count": len(ids), "max_model_len": service.image.context})


async def detokenize(request: Request) -> Response:
    """POST /detokenize: the text of token ids, special tokens included."""
    service: Service = request.app.state.service
    asked = await body.read(request, DetokenizeRequest)
    service.check_model(asked.model)
    vocab = service.image.program.shape.vocab_size
    wrong = next((token for token in asked.tokens if not 0 <= token < vocab), None)
    if wrong is not None:
        raise bad_request(f"token id {wrong} is outside the vocabulary of {vocab}", "tokens")
    return JSONResponse(
        {"prompt": await service.aside(service.tokenizer.decode, asked.tokens, False)}
    )


async def tokenizer_info(request: Request) -> Response:
    """GET /tokenizer_info: what vLLM says there, for programs that tokenise by this server."""
    tokenizer = request.app.state.service.tokenizer

    def text(token: int | None) -> str | None:
        return None if token is None else tokenizer.decode([token], skip_special=False)

    return JSONResponse(
        {
            "bos_token": text(tokenizer.bos_id),
            "eos_token": text(next(iter(tokenizer.eos_ids), None)),
            "chat_template": tokenizer.spec.chat_template,
        }
    )


async def health(request: Request) -> Response:
    """GET /health: 200 while answers are made, 503 otherwise."""
    service: Service = request.app.state.service
    stats = service.scheduler.stats()
    return JSONResponse(
        {
            "status": "ok" if stats.alive else "stopping",
            "model": service.name,
            "digest": service.image.digest,
            "version": __version__,
        },
        200 if stats.alive else 503,
    )


async def metrics(request: Request) -> Response:
    """GET /metrics, for Prometheus."""
    service: Service = request.app.state.service
    service.metrics.show(service.scheduler.stats())
    return Response(await service.aside(service.metrics.text), media_type=CONTENT_TYPE)


async def request_access(request: Request) -> Response:
    """POST /access/requests: asks for a key, which a person then approves or denies."""
    service: Service = request.app.state.service
    if service.accounts is None:
        raise ApiError(404, "this server needs no keys", "keys_off")
    asked = await body.read(request, AccessRequest)
    number = await service.accounts.request_access(asked.name, asked.email, asked.purpose)
    return JSONResponse({"id": number, "state": "pending"}, 202)

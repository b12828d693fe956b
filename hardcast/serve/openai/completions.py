"""POST /v1/completions: plain prompts, streamed or whole."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hardcast.serve.errors import ApiError
from hardcast.serve.http import body
from hardcast.serve.http.answers import Answers
from hardcast.serve.http.call import Call
from hardcast.serve.http.transport import DONE, EventStream, event_bytes, while_there
from hardcast.serve.openai.asked import generation_requests
from hardcast.serve.openai.logprobs import text_entries
from hardcast.serve.openai.requests import CompletionRequest
from hardcast.serve.openai.service import Service
from hardcast.serve.scheduling.request import Finished, GenerationRequest, Token

DEFAULT_TOKENS = 16  # as in OpenAI's API


async def create_completion(request: Request) -> Response:
    """Continues one text or several."""
    service: Service = request.app.state.service
    call: Call = request.scope["call"]
    asked = await body.read(request, CompletionRequest)
    service.check_model(asked.model)
    prompts = [await service.aside(service.text_ids, prompt) for prompt in asked.prompts()]
    requests = await service.aside(
        generation_requests,
        asked,
        prompts,
        asked.max_tokens or DEFAULT_TOKENS,
        call.owner,
        asked.logprobs,
    )
    lengths = [len(prompt) for prompt in prompts]
    headers = await call.admit(sum(lengths))
    answers = Answers(call, service.submit(requests), lengths, asked.n or 1)
    completion = Completion(service, asked, requests, answers)
    if asked.stream:
        return EventStream(completion.events(), answers, headers)
    try:
        return JSONResponse(await while_there(request, completion.whole()), headers=headers)
    finally:
        answers.close()


class Completion:
    """The reply to one request: events() or whole(), once."""

    def __init__(
        self,
        service: Service,
        asked: CompletionRequest,
        requests: list[GenerationRequest],
        answers: Answers,
    ) -> None:
        self._service, self._asked, self._answers = service, asked, answers
        self._seed = None if requests[0].settings.greedy else requests[0].settings.seed
        decode = service.tokenizer.decode
        self._echo = [decode(list(r.prompt_ids)) if asked.echo else "" for r in requests]
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": service.name,
            "system_fingerprint": service.image.digest,
        }

    async def whole(self) -> dict[str, Any]:
        """The JSON object of the reply. Raises ApiError for an answer that failed."""
        count = len(self._echo)
        texts = [[echo] for echo in self._echo]
        tokens: list[list[Token]] = [[] for _ in range(count)]
        reasons = [""] * count
        async for index, event in self._answers.events():
            texts[index].append(event.text)
            if isinstance(event, Finished):
                reasons[index] = event.reason
            else:
                tokens[index].append(event)
        usage = self._answers.usage
        return {
            **self._head,
            "choices": [
                self._choice(i, "".join(texts[i]), tokens[i], 0, reasons[i]) for i in range(count)
            ],
            "usage": usage.reply(),
            "hardcast": self._service.extra(usage, self._seed),
        }

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events. A failure in the middle is an event of its own, and the last."""
        offsets = [0] * len(self._echo)
        try:
            for index, echo in enumerate(self._echo):
                if echo:
                    yield self._chunk(self._choice(index, echo, [], 0, None))
            async for index, event in self._answers.events():
                ended = isinstance(event, Finished)
                tokens = [] if isinstance(event, Finished) else [event]
                if event.text or ended or self._asked.logprobs is not None:
                    reason = event.reason if isinstance(event, Finished) else None
                    choice = self._choice(index, event.text, tokens, offsets[index], reason)
                    yield self._chunk(choice)
                offsets[index] += len(event.text)
            if self._asked.include_usage:
                usage = self._answers.usage
                extra = self._service.extra(usage, self._seed)
                yield event_bytes(
                    {**self._head, "choices": [], "usage": usage.reply(), "hardcast": extra}
                )
        except ApiError as error:
            yield event_bytes(error.body())
        yield DONE

    def _choice(
        self, index: int, text: str, tokens: list[Token], offset: int, reason: str | None
    ) -> dict[str, Any]:
        wanted = self._asked.logprobs is not None
        logprobs = text_entries(tokens, self._service.tokenizer, offset) if wanted else None
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        usage = {"usage": None} if self._asked.include_usage else {}
        return event_bytes({**self._head, "choices": [choice], **usage})

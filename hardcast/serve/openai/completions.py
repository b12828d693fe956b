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
from hardcast.serve.openai.logprobs import TextLogprobs
from hardcast.serve.openai.requests import CompletionRequest
from hardcast.serve.openai.service import Service
from hardcast.serve.scheduling.request import Event, Finished, GenerationRequest, Prompt

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
        DEFAULT_TOKENS if asked.max_tokens is None else asked.max_tokens,
        call.owner,
        asked.logprobs,
        None,
        bool(asked.echo),
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
        tokenizer, echo = service.tokenizer, bool(asked.echo)
        self._prompts = [prompt for prompt in asked.prompts() for _ in range(asked.n or 1)]
        self._echo = [self._said(prompt) if echo else "" for prompt in self._prompts]
        self._wanted = asked.logprobs is not None
        self._logprobs = [TextLogprobs(tokenizer, len(text), echo) for text in self._echo]
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": service.name,
            "system_fingerprint": service.image.digest,
        }

    async def whole(self) -> dict[str, Any]:
        """The JSON object of the reply. Raises ApiError for an answer that failed."""
        choices = self._begun()
        async for index, event in self._answers.events():
            whole, part = choices[index], self._part(index, event)
            whole["text"] += part["text"]
            whole["finish_reason"] = part["finish_reason"]
            for name, entries in (part["logprobs"] or {}).items():
                whole["logprobs"][name] += entries
        usage = self._answers.usage
        return {
            **self._head,
            "choices": choices,
            "usage": usage.reply(),
            "hardcast": self._service.extra(usage, self._seed),
        }

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events. A failure in the middle is an event of its own, and the last."""
        try:
            for choice in self._begun():
                if choice["text"]:
                    yield self._chunk(choice)
            async for index, event in self._answers.events():
                part = self._part(index, event)
                if part["text"] or part["logprobs"] or part["finish_reason"]:
                    yield self._chunk(part)
            if self._asked.include_usage:
                usage = self._answers.usage
                extra = self._service.extra(usage, self._seed)
                yield event_bytes(
                    {**self._head, "choices": [], "usage": usage.reply(), "hardcast": extra}
                )
        except ApiError as error:
            yield event_bytes(error.body())
        yield DONE

    def _begun(self) -> list[dict[str, Any]]:
        """All choices before their first event: a prompt with logprobs comes with that."""
        return [
            _choice(
                index,
                "" if self._wanted else echo,
                self._logprobs[index].part([]) if self._wanted else None,
                None,
            )
            for index, echo in enumerate(self._echo)
        ]

    def _part(self, index: int, event: Event) -> dict[str, Any]:
        """What an event adds to a choice."""
        if isinstance(event, Prompt):
            return _choice(index, self._echo[index], self._of_prompt(index, event), None)
        if isinstance(event, Finished):
            said, reason = event.end, event.reason
        else:
            said, reason = event, None
        entries = self._logprobs[index].part([said] if said else []) if self._wanted else None
        return _choice(index, event.text, entries, reason)

    def _said(self, prompt: str | list[int]) -> str:
        """A prompt as text, special tokens of it too: a text as it was given."""
        if isinstance(prompt, str):
            return prompt
        return self._service.tokenizer.decode(prompt, skip_special=False)

    def _of_prompt(self, index: int, event: Prompt) -> dict[str, Any]:
        """The logprobs of a prompt. What the tokenizer put around a text is no part of it."""
        tokenizer, prompt, tokens = self._service.tokenizer, self._prompts[index], event.tokens
        before, after = 0, len(tokens)
        if isinstance(prompt, str):
            own = tokenizer.encode(prompt, add_bos=False)
            before = tokens[0].token_id == tokenizer.bos_id and own[:1] != [tokenizer.bos_id]
            after = before + len(own)
        said = TextLogprobs(tokenizer, spoken=True)
        added = TextLogprobs(tokenizer)
        parts = [added.part(tokens[:before]), said.part(tokens[before:after])]
        parts.append(TextLogprobs(tokenizer, said.offset).part(tokens[after:]))
        return {name: [one for part in parts for one in part[name]] for name in parts[0]}

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        usage = {"usage": None} if self._asked.include_usage else {}
        return event_bytes({**self._head, "choices": [choice], **usage})


def _choice(
    index: int, text: str, logprobs: dict[str, Any] | None, reason: str | None
) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}

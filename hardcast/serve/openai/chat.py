"""POST /v1/chat/completions, streamed or whole."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hardcast.serve.errors import ApiError, bad_request
from hardcast.serve.http import body
from hardcast.serve.http.answers import Answers
from hardcast.serve.http.call import Call
from hardcast.serve.http.transport import DONE, EventStream, event_bytes, while_there
from hardcast.serve.openai.asked import constraint_of, generation_requests, spoken_tags
from hardcast.serve.openai.logprobs import chat_entry
from hardcast.serve.openai.requests import ChatRequest
from hardcast.serve.openai.service import Service
from hardcast.serve.openai.thinking import thinking_variables
from hardcast.serve.openai.tools import MOST_CALLS, CallGate, form_of, takes_tools
from hardcast.serve.scheduling.request import Finished, GenerationRequest, Token
from hardcast.tokenizer.chat_template import variables_of

OURS = ("messages", "tools", "bos_token", "eos_token")  # variables that no client sets


async def create_chat_completion(request: Request) -> Response:
    """Answers a conversation."""
    service: Service = request.app.state.service
    call: Call = request.scope["call"]
    asked = await body.read(request, ChatRequest)
    service.check_model(asked.model)
    check_tools(service, asked)
    variables = await service.aside(template_variables, service, asked)
    ids = await service.aside(service.chat_ids, asked.messages, variables)
    constraint = await service.aside(constraint_of, service, asked)
    requests = await service.aside(
        generation_requests,
        asked,
        [ids],
        asked.most_tokens or service.image.context,
        call.owner,
        (asked.top_logprobs or 0) if asked.logprobs else None,
        constraint,
        False,
        spoken_tags(service, asked),
    )
    headers = await call.admit(len(ids))
    answers = Answers(call, service.submit(requests), [len(ids)], len(requests))
    chat = Chat(service, asked, requests, answers)
    if asked.stream:
        return EventStream(chat.events(), answers, headers)
    try:
        return JSONResponse(await while_there(request, chat.whole()), headers=headers)
    finally:
        answers.close()


def check_tools(service: Service, asked: ChatRequest) -> None:
    """Raises ApiError 400 for tools that the model's template would not show to it."""
    if asked.tool_choice not in (None, "none", "auto") and not asked.tools:
        raise bad_request("tool_choice needs tools", "tool_choice")
    if not asked.tools or asked.tool_choice == "none":
        return
    if not takes_tools(service.tokenizer.tool_template):
        raise bad_request(
            "this model's chat template has no place for tools; leave them out or set "
            "tool_choice to none",
            "tools",
            "unsupported_parameter",
        )
    known = [tool.function.name for tool in asked.tools]
    for name in asked.chosen or ():
        if name not in known:
            raise bad_request(f"no tool is named {name!r:.140}", "tool_choice")
    if asked.response_format is not None and asked.response_format.type != "text":
        if asked.must_call:
            raise bad_request(
                "a required call leaves no answer for response_format; leave one of them out",
                "tool_choice",
            )


def template_variables(service: Service, asked: ChatRequest) -> dict[str, Any]:
    """What the template gets beside the messages. ApiError 400 for what cannot be set."""
    tools, tokenizer = asked.tools and asked.tool_choice != "none", service.tokenizer
    template = tokenizer.tool_template if tools else tokenizer.spec.chat_template
    extra = thinking_variables(asked.reasoning_effort, template)
    given = asked.chat_template_kwargs or {}
    known = variables_of(template) if given and template else frozenset()
    for name in given:
        if name in OURS:
            raise bad_request(f"chat_template_kwargs: {name} cannot be set", "chat_template_kwargs")
        if name not in known:
            raise bad_request(
                f"chat_template_kwargs: this model's chat template reads no {name!r:.100}",
                "chat_template_kwargs",
            )
    extra |= given
    if tools:
        extra["tools"] = [tool.model_dump(exclude_none=True) for tool in asked.tools or ()]
    return extra


@dataclass
class Choice:
    """One answer as it grows."""

    gate: CallGate
    text: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    reason: str = ""


class Chat:
    """The reply to one request: events() or whole(), once."""

    def __init__(
        self,
        service: Service,
        asked: ChatRequest,
        requests: list[GenerationRequest],
        answers: Answers,
    ) -> None:
        self._service, self._asked, self._answers = service, asked, answers
        self._seed = None if requests[0].settings.greedy else requests[0].settings.seed
        form = form_of(service.tokenizer.tool_template) if asked.callable else None
        names = [tool.function.name for tool in asked.callable]
        most = 1 if asked.parallel_tool_calls is False else MOST_CALLS
        gates = [CallGate(form, names, asked.must_call, most) for _ in requests]
        self._choices = [Choice(gate) for gate in gates]
        self._head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion.chunk" if asked.stream else "chat.completion",
            "created": int(time.time()),
            "model": service.name,
            "system_fingerprint": service.image.digest,
        }

    async def whole(self) -> dict[str, Any]:
        """The JSON object of the reply. Raises ApiError for an answer that failed."""
        async for index, event in self._answers.events():
            choice = self._choices[index]
            if isinstance(event, Finished):
                self._finish(choice, event)
            elif isinstance(event, Token):
                choice.text.append(choice.gate.push(event.text))
                if self._asked.logprobs:
                    choice.logprobs.append(chat_entry(event, self._service.tokenizer))
        usage = self._answers.usage
        return {
            **self._head,
            "choices": [self._whole_choice(i, c) for i, c in enumerate(self._choices)],
            "usage": usage.reply(),
            "service_tier": "default",
            "hardcast": self._service.extra(usage, self._seed),
        }

    def _whole_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        text = "".join(choice.text)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if choice.calls:
            message |= {"content": text or None, "tool_calls": choice.calls}
        logprobs = {"content": choice.logprobs, "refusal": None} if self._asked.logprobs else None
        return {
            "index": index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": choice.reason,
        }

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events. A failure in the middle is an event of its own, and the last."""
        try:
            for index in range(len(self._choices)):
                yield self._chunk(index, {"role": "assistant", "content": "", "refusal": None})
            async for index, event in self._answers.events():
                choice = self._choices[index]
                if isinstance(event, Finished):
                    if text := self._finish(choice, event):
                        yield self._chunk(index, {"content": text})
                    if choice.calls:
                        calls = [{"index": i, **c} for i, c in enumerate(choice.calls)]
                        yield self._chunk(index, {"tool_calls": calls})
                    yield self._chunk(index, {}, reason=choice.reason)
                if not isinstance(event, Token):
                    continue
                text = choice.gate.push(event.text)
                if self._asked.logprobs:
                    entry = chat_entry(event, self._service.tokenizer)
                    logprobs = {"content": [entry], "refusal": None}
                    yield self._chunk(index, {"content": text}, logprobs)
                elif text:
                    yield self._chunk(index, {"content": text})
            if self._asked.include_usage:
                usage = self._answers.usage
                extra = self._service.extra(usage, self._seed)
                yield event_bytes(
                    {**self._head, "choices": [], "usage": usage.reply(), "hardcast": extra}
                )
        except ApiError as error:
            yield event_bytes(error.body())
        yield DONE

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        logprobs: dict[str, Any] | None = None,
        reason: str | None = None,
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        usage = {"usage": None} if self._asked.include_usage else {}
        return event_bytes({**self._head, "choices": [choice], **usage})

    def _finish(self, choice: Choice, event: Finished) -> str:
        """Ends an answer; returns the text that was held back."""
        before = choice.gate.push(event.text)
        held, calls = choice.gate.end()
        choice.text += [before, held]
        choice.calls = [call.reply() for call in calls]
        # A call that was cut is handed on as it is, under the reason that cut it.
        whole = bool(calls) and all(call.whole for call in calls)
        choice.reason = "tool_calls" if whole else event.reason
        return before + held

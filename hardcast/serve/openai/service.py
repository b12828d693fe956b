"""What all handlers of one server share: the chip, its scheduler, its names, its prompts."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from hardcast.errors import HardcastError
from hardcast.image import Image
from hardcast.serve.access.accounts import Accounts
from hardcast.serve.access.usage import Usage
from hardcast.serve.errors import ApiError, bad_request, rate_limited, unavailable
from hardcast.serve.http.metrics import Metrics
from hardcast.serve.openai.calls import arguments_object
from hardcast.serve.openai.messages import Message
from hardcast.serve.page.silicon import Silicon
from hardcast.serve.scheduling.constrain import Grammars
from hardcast.serve.scheduling.request import Draining, GenerationRequest, QueueFull
from hardcast.serve.scheduling.scheduler import Scheduler, Stream
from hardcast.tokenizer import Tokenizer

T = TypeVar("T")


@dataclass
class Service:
    """One process of a server.

    accounts: of the keys; None where none are asked for. name: the model's id.
    """

    image: Image
    tokenizer: Tokenizer
    scheduler: Scheduler
    metrics: Metrics
    silicon: Silicon
    accounts: Accounts | None = None
    name: str = "hardcast"
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self._silicon_known = False
        self.grammars = Grammars(self.tokenizer, self.image.program.shape.vocab_size)
        # Templates and long texts would hold up every stream if the event loop ran them.
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "hardcast-prompt")

    @cached_property
    def _longest_token(self) -> int:
        """Bytes of the longest token: no text has fewer tokens than its bytes over this."""
        text_of, count = self.tokenizer.token_bytes, self.tokenizer.vocab_size
        return max(len(text_of(token, skip_special=False)) for token in range(count))

    async def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs a function beside the event loop. HardcastError becomes a 400."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, function, *arguments)
        except HardcastError as error:
            raise bad_request(str(error)) from None

    def check_model(self, asked: str | None) -> None:
        """Raises ApiError 404 for a model that is not the one on the chip."""
        if asked is not None and asked not in (self.name, self.image.digest):
            raise ApiError(
                404,
                f"the model {asked!r:.100} does not exist here; this chip is {self.name!r}",
                "model_not_found",
                "model",
            )

    def chat_ids(self, messages: list[Message], variables: dict[str, Any]) -> list[int]:
        """Token ids of a conversation. Raises HardcastError (of the template), ApiError."""
        self.check_length(sum(len(message.text) for message in messages), "messages")
        text = self.tokenizer.chat_prompt([plain(message) for message in messages], **variables)
        return self.check_context(self.tokenizer.encode(text, add_bos=False), "messages")

    def text_ids(self, prompt: str | list[int], name: str = "prompt") -> list[int]:
        """Token ids of a text. Raises HardcastError, ApiError."""
        if isinstance(prompt, str):
            self.check_length(len(prompt), name)
            prompt = self.tokenizer.encode(prompt)
        return self.check_context(prompt, name)

    def check_length(self, letters: int, name: str) -> None:
        """Refuses what no tokenizer could bring into the context, before it is tokenised."""
        # Looked up only for a text that is suspect: the vocabulary is long.
        if letters > self.image.context * 8 and (
            letters > self.image.context * self._longest_token
        ):
            raise self._too_long(f"{letters} letters", name)

    def check_context(self, ids: list[int], name: str) -> list[int]:
        """Raises ApiError 400 unless the prompt leaves room for a token; returns it."""
        if len(ids) > self.image.context:
            raise self._too_long(f"{len(ids)} tokens", name)
        return ids

    def _too_long(self, amount: str, name: str) -> ApiError:
        return bad_request(
            f"the prompt has {amount}, and this chip's maximum context length is "
            f"{self.image.context} tokens; shorten the {name}",
            name,
            "context_length_exceeded",
        )

    def submit(self, requests: list[GenerationRequest]) -> list[Stream]:
        """Hands requests to the scheduler, all or none. Raises ApiError 400, 429 or 503."""
        loop = asyncio.get_running_loop()
        streams: list[Stream] = []
        try:
            streams += (self.scheduler.submit(request, loop) for request in requests)
        except BaseException as error:
            for stream in streams:
                stream.cancel()
            match error:
                case Draining():
                    raise unavailable(str(error), error.retry_after_seconds) from None
                case QueueFull():
                    self.metrics.refused.inc()
                    raise rate_limited(
                        str(error), error.retry_after_seconds, "queue_full"
                    ) from None
                case HardcastError():
                    raise bad_request(str(error)) from None
            raise
        return streams

    def warm(self) -> None:
        """Reckons in a thread what replies say of the silicon; until then they say null."""

        def reckon() -> None:
            self.silicon.warm()
            self._silicon_known = True

        threading.Thread(target=reckon, name="hardcast-silicon", daemon=True).start()

    def extra(self, usage: Usage, seed: int | None) -> dict[str, Any]:
        """The field `hardcast` of a reply: what the silicon would take, and the seed that was."""
        known = self.silicon.answer(usage.completion_tokens) if self._silicon_known else None
        return {"silicon": known, "seed": seed}

    def close(self) -> None:
        """Ends the helper threads, and closes the file of keys once all usage is in it."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self.accounts is not None:
            self.accounts.close()


def plain(message: Message) -> dict[str, Any]:
    """A message as chat templates expect it: text for content, objects for arguments."""
    role = "system" if message.role == "developer" else message.role
    found: dict[str, Any] = {"role": role, "content": message.text}
    if message.name is not None:
        found["name"] = message.name
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    if message.reasoning_content is not None:
        found["reasoning_content"] = message.reasoning_content
    if message.tool_calls:
        found["tool_calls"] = [
            {
                "id": call.id or "",
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": arguments_object(call.function.arguments),
                },
            }
            for call in message.tool_calls
        ]
    return found

"""Requests to a tiny chip, and the answers of the Generator that they are held against."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hardcast import flow
from hardcast.engine import Engine
from hardcast.generate import Generator, Result
from hardcast.image import Image, open_image
from hardcast.numerics.sampling import SamplerSettings
from hardcast.serve.scheduling.request import Event, Finished, GenerationRequest, Token
from hardcast.serve.scheduling.stream import Stream
from hardcast.tokenizer import Tokenizer, TokenizerSpec
from tests import tiny

CONTEXT = 256


def build_image(folder: Path, context: int = CONTEXT) -> Image:
    """A tiny model as an image."""
    model = tiny.write_safetensors(folder / "m", "llama", max_position_embeddings=context)
    flow.build(str(model), folder / "i", context=context, recipe="4bit")
    return open_image(folder / "i")


def tokenizer_of(image: Image) -> Tokenizer:
    """The image's own."""
    return Tokenizer(TokenizerSpec.from_json(image.tokenizer_json()))


def prompt(length: int, seed: int = 0) -> tuple[int, ...]:
    """Token ids drawn from the tiny vocabulary, none of them special."""
    return tuple(int(t) for t in np.random.default_rng(seed).integers(3, 1009, length))


def ask(
    prompt: Sequence[int],
    max_tokens: int = 8,
    temperature: float = 0.0,
    seed: int = 0,
    top_p: float = 1.0,
    **more: Any,
) -> GenerationRequest:
    """A request by what users say."""
    settings = SamplerSettings.from_user(temperature, top_p=top_p, seed=seed)
    return GenerationRequest(tuple(prompt), settings, max_tokens, **more)


@dataclass
class Answer:
    """An answer as its reader got it."""

    tokens: list[Token]
    end: Finished

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(token.text for token in self.tokens) + self.end.text

    @property
    def said(self) -> tuple[list[int], str, str, int]:
        """What must not depend on anything but the request."""
        ids = [token.token_id for token in self.tokens]
        return ids, self.text, self.end.reason, self.end.completion_tokens


def answer_of(events: Sequence[Event]) -> Answer:
    """Holds the order of events: tokens, then one end."""
    *tokens, end = events
    assert isinstance(end, Finished)
    assert all(isinstance(token, Token) for token in tokens)
    return Answer([token for token in tokens if isinstance(token, Token)], end)


async def read(stream: Stream) -> Answer:
    """The whole answer, within five minutes."""
    async with asyncio.timeout(300):
        return answer_of([event async for event in stream])


class Alone:
    """Answers of a Generator that does nothing else, remembered. Without bias or grammar."""

    def __init__(self, image: Image) -> None:
        self._image, self._engine = image, Engine(image, threads=1)
        self._eos = tokenizer_of(image).eos_ids
        self.said = lru_cache(maxsize=None)(self._said)

    def _said(
        self,
        prompt: tuple[int, ...],
        settings: SamplerSettings,
        max_tokens: int,
        stop: tuple[str, ...],
    ) -> tuple[list[int], str, str, int]:
        *_, result = Generator(self._image, self._engine).run(prompt, settings, max_tokens, stop)
        assert isinstance(result, Result)
        ids = [token for token in result.token_ids if token not in self._eos]
        return ids, result.text, result.finish_reason, len(result.token_ids)

    def to(self, request: GenerationRequest) -> tuple[list[int], str, str, int]:
        """As Answer.said."""
        return self.said(request.prompt_ids, request.settings, request.max_tokens, request.stop)

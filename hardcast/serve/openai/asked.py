"""Requests in OpenAI's words turned into the scheduler's."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

from hardcast.numerics.sampling import SamplerSettings
from hardcast.serve.openai.call_grammar import SPACES, required_call, schema_or_calls, strict_calls
from hardcast.serve.openai.fields import Sampling
from hardcast.serve.openai.requests import ChatRequest
from hardcast.serve.openai.service import Service
from hardcast.serve.openai.tools import form_of, special_tags
from hardcast.serve.scheduling.constrain import Constraint
from hardcast.serve.scheduling.request import GenerationRequest

SEEDS = 1 << 64


def settings_of(asked: Sampling) -> SamplerSettings:
    """The sampler's integers. Raises HardcastError for what it cannot do.

    OpenAI's defaults: temperature 1. Without a seed one is drawn, and the reply names it.
    """
    temperature = 1.0 if asked.temperature is None else float(asked.temperature)
    seed = secrets.randbits(63) if asked.seed is None else asked.seed % SEEDS
    top_p = 1.0 if asked.top_p is None else float(asked.top_p)
    if top_p == 0:  # the least mass that holds a token: the likeliest alone
        temperature, top_p = 0.0, 1.0
    return SamplerSettings.from_user(temperature, max(asked.top_k or 0, 0), top_p, seed)


def generation_requests(
    asked: Sampling,
    prompts: Sequence[list[int]],
    max_tokens: int,
    owner: str,
    top_logprobs: int | None,
    constraint: Constraint | None = None,
    echo: bool = False,
    spoken: frozenset[int] = frozenset(),
) -> list[GenerationRequest]:
    """n requests a prompt, one after the other; answer i has the seed + i. Raises HardcastError.

    top_logprobs: None for no logprobs. echo: the answer comes after its prompt, and so do logprobs.
    spoken: special tokens that leave their text.
    """
    settings = settings_of(asked)
    bias = {int(token): float(value) for token, value in (asked.logit_bias or {}).items()}
    return [
        GenerationRequest(
            prompt_ids=tuple(prompt),
            settings=replace(settings, seed=(settings.seed + index) % SEEDS),
            max_tokens=max_tokens,
            stop=asked.stops,
            top_logprobs=top_logprobs,
            logit_bias=bias,
            presence_penalty=float(asked.presence_penalty or 0),
            frequency_penalty=float(asked.frequency_penalty or 0),
            constraint=constraint,
            owner=owner,
            score_prompt=echo and top_logprobs is not None,
            continuation=echo,
            spoken=spoken,
        )
        for prompt in prompts
        for index in range(asked.n or 1)
    ]


def spoken_tags(service: Service, asked: ChatRequest) -> frozenset[int]:
    """The special tokens that the answer's text needs: the tags of its calls."""
    if not asked.callable or form_of(service.tokenizer.tool_template) != "tagged":
        return frozenset()
    return frozenset(special_tags(service.tokenizer).values())


def constraint_of(service: Service, asked: ChatRequest) -> Constraint | None:
    """The grammar that the answer must follow. Raises HardcastError for one that cannot be.

    Every schema is looked at, that of a function which nothing holds to it too.
    """
    grammars = service.grammars
    functions = [tool.function for tool in asked.callable]
    for function in functions:
        grammars.check(f"the parameters of {function.name}", function.schema_)
    if asked.must_call:
        return required_call(grammars, functions)
    form = asked.response_format
    written = form_of(service.tokenizer.tool_template) if functions else None
    parallel = asked.parallel_tool_calls is not False
    if form is None or form.type == "text":
        if written is None or not any(function.strict for function in functions):
            return None
        return strict_calls(grammars, written, functions, parallel)
    given = form.json_schema.schema_ if form.json_schema is not None else None
    schema = {"type": "object"} if given is None else given
    if written is not None:
        return schema_or_calls(grammars, written, functions, parallel, schema)
    if isinstance(schema, dict):
        schema = {**schema, **SPACES}
    return grammars.json_schema(schema)

"""What the server replies, as types: the OpenAPI document is made from them, and tests check them.

Handlers write plain dictionaries: a token must not cost a validation.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Reply(BaseModel):
    """A part of a reply; nothing unsaid may be in it."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class ErrorDetail(Reply):
    message: str
    type: str
    param: str | None
    code: str | None


class Error(Reply):
    error: ErrorDetail


class CachedTokens(Reply):
    cached_tokens: int


class UsageReply(Reply):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class SiliconAnswer(Reply):
    """What the chip would have taken for the answer's tokens: a prediction."""

    model_config = ConfigDict(extra="allow")
    kind: Literal["prediction"]
    node: str
    preset: str
    tokens_per_second: float
    seconds: float
    millijoules: float
    usd: float
    source: str


class Extra(Reply):
    """What only a chip adds. silicon: null where no chip suits the model, or not known yet."""

    silicon: SiliconAnswer | None
    seed: int | None = Field(description="that gives the same answer again; null when greedy")


class FunctionReply(Reply):
    name: str
    arguments: str


class ToolCallReply(Reply):
    id: str
    type: Literal["function"]
    function: FunctionReply


class MessageReply(Reply):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCallReply] | None = None


class TopLogprob(Reply):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(Reply):
    content: list[TokenLogprob]
    refusal: None


class ChatChoice(Reply):
    index: int
    message: MessageReply
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(Reply):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str = Field(description="the digest of the chip image")
    choices: list[ChatChoice]
    usage: UsageReply
    service_tier: str
    hardcast: Extra


class TextLogprobs(Reply):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class TextChoice(Reply):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"]


class Completion(Reply):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: UsageReply
    hardcast: Extra


class Model(Reply):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int
    hardcast: dict[str, Any]


class ModelList(Reply):
    object: Literal["list"]
    data: list[Model]


class Tokens(Reply):
    tokens: list[int]
    count: int
    max_model_len: int


class Detokenized(Reply):
    prompt: str


class TokenizerInfo(Reply):
    bos_token: str | None
    eos_token: str | None
    chat_template: str | None


class Health(Reply):
    status: Literal["ok", "stopping"]
    model: str
    digest: str
    version: str


class AccessQueued(Reply):
    id: str
    state: Literal["pending"]

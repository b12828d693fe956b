"""What a client may ask, in OpenAI's words: the fields, their types and ranges.

A field that stands here either acts or says that it is accepted and changes nothing, because
clients send it unasked. Any other is refused by name: a setting that does nothing misleads.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

from hardcast.numerics.sampling import MAX_TEMPERATURE, MAX_TOP_K
from hardcast.serve.scheduling.request import MOST_BIAS, MOST_LOGPROBS, MOST_PENALTY

MOST_CHOICES = 16  # answers to one prompt
MOST_STOPS = 16
MOST_PROMPTS = 64  # of one /v1/completions request
MOST_TOKENS = 1 << 24
MOST_IDS = 1 << 19  # token ids of a prompt

Number = StrictFloat | StrictInt
Penalty = Annotated[Number, Field(ge=-MOST_PENALTY, le=MOST_PENALTY)]
Text = Annotated[StrictStr, Field(min_length=1, max_length=1 << 16)]


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 1.0 is as good as 1 where a whole number is wanted."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[StrictInt, BeforeValidator(_whole)]


class Strict(BaseModel):
    """A part of a request. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class StreamOptions(Strict):
    include_usage: StrictBool = False
    include_obfuscation: StrictBool = False  # accepted: there is nothing to hide the length of


class Sampling(Strict):
    """The fields that chat and plain completions share."""

    model: StrictStr | None = Field(None, description="as /v1/models lists it; the only one here")
    temperature: Annotated[Number, Field(ge=0, le=MAX_TEMPERATURE)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    top_k: Annotated[Whole, Field(ge=-1, le=MAX_TOP_K)] | None = Field(
        None, description="0 or -1: off"
    )
    min_p: Annotated[Number, Field(json_schema_extra={"minimum": 0, "maximum": 0})] | None = Field(
        None, description="the chip's sampler has none: only 0 is taken"
    )
    seed: Annotated[Whole, Field(ge=-(1 << 63), lt=1 << 64)] | None = None
    n: Annotated[Whole, Field(ge=1, le=MOST_CHOICES)] | None = None
    max_tokens: Annotated[Whole, Field(ge=1, le=MOST_TOKENS)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=MOST_STOPS)] | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: (
        Annotated[
            dict[
                Annotated[str, Field(pattern=r"^[0-9]{1,9}$")],
                Annotated[Number, Field(ge=-MOST_BIAS, le=MOST_BIAS)],
            ],
            Field(max_length=1 << 16),
        ]
        | None
    ) = Field(None, description="by token id")
    user: StrictStr | None = Field(None, description="accepted; changes nothing")

    @field_validator("min_p")
    @classmethod
    def _no_min_p(cls, value: float | None) -> float | None:
        if value:
            raise ValueError("the chip's sampler has no min_p: leave it out, or use top_p or top_k")
        return value

    @model_validator(mode="after")
    def _only_when_streaming(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream: true")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of usage."""
        return self.stream_options is not None and self.stream_options.include_usage


class TextPart(Strict):
    type: Literal["text"]
    text: StrictStr


class FunctionCall(Strict):
    name: Text
    arguments: StrictStr = "{}"


class ToolCall(Strict):
    id: StrictStr | None = None
    index: Whole | None = None
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(Strict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: StrictStr | list[TextPart] | None = None
    name: StrictStr | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: StrictStr | None = None
    refusal: StrictStr | None = None
    reasoning_content: StrictStr | None = None
    # What replies carry and clients hand back; none of it reaches the template.
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None

    @property
    def text(self) -> str:
        """The content, parts joined."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class Function(Strict):
    name: Annotated[StrictStr, Field(pattern=r"^[a-zA-Z0-9_.-]{1,128}$")]
    description: StrictStr | None = None
    parameters: dict[str, Any] | None = None
    strict: StrictBool | None = None


class Tool(Strict):
    type: Literal["function"]
    function: Function


class FunctionName(Strict):
    name: Text


class NamedTool(Strict):
    type: Literal["function"]
    function: FunctionName


class JsonSchema(Strict):
    name: StrictStr = "answer"
    description: StrictStr | None = None
    schema_: dict[str, Any] | StrictBool | None = Field(None, alias="schema")
    strict: StrictBool | None = None


class ResponseFormat(Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _schema_where_named(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema stands with type json_schema, and only there")
        return self


class ChatRequest(Sampling):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1 << 14)]
    max_completion_tokens: Annotated[Whole, Field(ge=1, le=MOST_TOKENS)] | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[Whole, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=256)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="further variables of the model's chat template (enable_thinking, ...)"
    )
    # Accepted so that clients which always send them work; none changes the answer.
    parallel_tool_calls: StrictBool | None = Field(None, description="accepted; changes nothing")
    store: StrictBool | None = Field(None, description="accepted; nothing is stored")
    metadata: dict[str, Any] | None = Field(None, description="accepted; changes nothing")
    service_tier: StrictStr | None = Field(None, description="accepted; there is one tier")
    safety_identifier: StrictStr | None = Field(None, description="accepted; changes nothing")
    prompt_cache_key: StrictStr | None = Field(None, description="accepted; prompts are matched")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if None not in (self.max_tokens, self.max_completion_tokens) and (
            self.max_tokens != self.max_completion_tokens
        ):
            raise ValueError("max_tokens and max_completion_tokens differ; give one of them")
        return self

    @property
    def most_tokens(self) -> int | None:
        """Tokens of an answer at most, None for as many as the context holds."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


TokenIds = Annotated[list[StrictInt], Field(min_length=1, max_length=MOST_IDS)]
Prompt = (
    StrictStr
    | TokenIds
    | Annotated[list[StrictStr], Field(min_length=1, max_length=MOST_PROMPTS)]
    | Annotated[list[TokenIds], Field(min_length=1, max_length=MOST_PROMPTS)]
)


class CompletionRequest(Sampling):
    """POST /v1/completions."""

    prompt: Prompt
    logprobs: Annotated[Whole, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    echo: StrictBool = False
    best_of: Annotated[Whole, Field(ge=1, le=MOST_CHOICES)] | None = Field(
        None, description="accepted where it equals n"
    )
    suffix: Literal[""] | None = Field(None, description="not offered: only null or empty")

    @model_validator(mode="after")
    def _best_is_n(self) -> Self:
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise ValueError("best_of is offered only where it equals n")
        if self.echo and self.logprobs is not None:
            raise ValueError("echo with logprobs is not offered: prompts have no logprobs here")
        return self

    def prompts(self) -> list[str | list[int]]:
        """The prompts, one or more."""
        given = self.prompt
        if isinstance(given, str):
            return [given]
        ids = [part for part in given if isinstance(part, int)]
        return [ids] if ids else [part for part in given if not isinstance(part, int)]


class TokenizeRequest(Strict):
    """POST /tokenize: a text, or a conversation through the chat template."""

    model: StrictStr | None = None
    prompt: StrictStr | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=1 << 14)] | None = None
    add_special_tokens: StrictBool = Field(True, description="begin with the model's own bos token")
    add_generation_prompt: StrictBool = True

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give prompt or messages, one of them")
        return self


class DetokenizeRequest(Strict):
    """POST /detokenize."""

    model: StrictStr | None = None
    tokens: Annotated[list[StrictInt], Field(max_length=MOST_IDS)]


class AccessRequest(Strict):
    """POST /access/requests: asks for a key."""

    name: Annotated[StrictStr, Field(min_length=1, max_length=200)]
    email: Annotated[StrictStr, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
    purpose: Annotated[StrictStr, Field(min_length=1, max_length=2000)]

"""What a client may ask, in OpenAI's words: the bodies of all endpoints."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, StrictInt, StrictStr, model_validator

from hardcast.serve.access.keys import EMAIL, LONGEST_EMAIL
from hardcast.serve.openai.fields import (
    BOOKS,
    MOST_CHOICES,
    MOST_TOKENS,
    Only,
    Sampling,
    Strict,
    Whole,
)
from hardcast.serve.openai.messages import (
    AllowedTools,
    Message,
    NamedTool,
    ResponseFormat,
    Tool,
)
from hardcast.serve.scheduling.request import MOST_LOGPROBS

MOST_PROMPTS = 64  # of one /v1/completions request
MOST_IDS = 1 << 19  # token ids of a prompt


class ChatRequest(Sampling):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1 << 14)]
    max_tokens: Annotated[Whole, Field(ge=1, le=MOST_TOKENS)] | None = None
    max_completion_tokens: Annotated[Whole, Field(ge=1, le=MOST_TOKENS)] | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[Whole, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=256)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | AllowedTools | None = None
    parallel_tool_calls: StrictBool | None = Field(
        None, description="false: one call at most, the first"
    )
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        Field(None, description="where the model's chat template knows it")
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="further variables of the model's chat template (enable_thinking, ...)"
    )
    # What is not offered.
    audio: Annotated[Any, Only("this chip writes text, no sound")] = None
    modalities: Annotated[Any, Only("this chip writes text and nothing else", ["text"])] = None
    functions: Annotated[Any, Only("the old form of tools: use tools", [])] = None
    function_call: Annotated[
        Any, Only("the old form of tool_choice: use tool_choice", "none", "auto")
    ] = None
    moderation: Annotated[Any, Only("nothing is moderated here")] = None
    prediction: Annotated[Any, Only("predicted outputs are not offered")] = None
    prompt_cache_options: Annotated[
        Any,
        Only("prompts that begin alike are matched by themselves", {}, {"mode": "implicit"}),
    ] = None
    prompt_cache_retention: Annotated[
        Any, Only("prompts are kept in memory alone, for as long as there is room", "in_memory")
    ] = None
    service_tier: Annotated[Any, Only("there is one tier: default", "auto", "default")] = None
    store: Annotated[Any, Only("nothing is stored here: leave it out or false", False)] = None
    verbosity: Annotated[
        Any, Only("the model has no such setting: say it in a message", "medium")
    ] = None
    web_search_options: Annotated[Any, Only("this chip searches no web")] = None
    metadata: dict[str, Any] | None = Field(None, description=BOOKS)
    safety_identifier: StrictStr | None = Field(None, description=BOOKS)
    prompt_cache_key: StrictStr | None = Field(None, description=BOOKS)

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

    @property
    def chosen(self) -> list[str] | None:
        """The names of the tools that tool_choice lists; None where it lists none."""
        match self.tool_choice:
            case NamedTool(function=function):
                return [function.name]
            case AllowedTools(allowed_tools=allowed):
                return [tool.function.name for tool in allowed.tools]
        return None

    @property
    def callable(self) -> list[Tool]:
        """The tools that the answer may call."""
        if self.tool_choice == "none":
            return []
        names, tools = self.chosen, self.tools or []
        return [tool for tool in tools if names is None or tool.function.name in names]

    @property
    def must_call(self) -> bool:
        """Whether the answer has to be a call."""
        if isinstance(self.tool_choice, AllowedTools):
            return self.tool_choice.allowed_tools.mode == "required"
        return self.tool_choice == "required" or isinstance(self.tool_choice, NamedTool)


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
    max_tokens: Annotated[Whole, Field(ge=0, le=MOST_TOKENS)] | None = None
    logprobs: Annotated[Whole, Field(ge=0, le=MOST_LOGPROBS)] | None = Field(
        None, description="with echo, of the prompt too"
    )
    echo: StrictBool | None = None
    best_of: Annotated[Whole, Field(ge=1, le=MOST_CHOICES)] | None = Field(
        None, description="taken where it equals n"
    )
    suffix: Annotated[Any, Only("text is continued here, not filled in", "")] = None

    @model_validator(mode="after")
    def _best_is_n(self) -> Self:
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise ValueError("best_of is offered only where it equals n")
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
    email: Annotated[StrictStr, Field(max_length=LONGEST_EMAIL, pattern=EMAIL)]
    purpose: Annotated[StrictStr, Field(min_length=1, max_length=2000)]

"""What the fields of a request are made of, and those that chat and plain completions share.

A field either acts, or is taken only where it asks for nothing (`Only`), or is OpenAI's own
bookkeeping (`Books`), on which no answer depends by OpenAI's own definition. Any other is refused
by name: a setting that does nothing misleads.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from hardcast.numerics.sampling import MAX_TEMPERATURE, MAX_TOP_K
from hardcast.serve.scheduling.request import MOST_BIAS, MOST_PENALTY

MOST_CHOICES = 16  # answers to one prompt
MOST_STOPS = 16
MOST_TOKENS = 1 << 24
BOOKS = "for OpenAI's books: no answer depends on it"


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 1.0 is as good as 1 where a whole number is wanted."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[StrictInt, BeforeValidator(_whole)]
Number = StrictFloat | StrictInt
Penalty = Annotated[Number, Field(ge=-MOST_PENALTY, le=MOST_PENALTY)]
Text = Annotated[StrictStr, Field(min_length=1, max_length=1 << 16)]


class Only:
    """Of a field that is taken at null and at these values, which ask for nothing.

    why: what an error says of any other value.
    """

    def __init__(self, why: str, *neutral: Any) -> None:
        self._why, self._neutral = why, neutral

    def _check(self, value: Any) -> Any:
        same = (type(value) is type(one) and value == one for one in self._neutral)
        if value is not None and not any(same):
            raise ValueError(self._why)
        return value

    def __get_pydantic_core_schema__(self, kind: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"enum": [None, *self._neutral], "description": self._why}


class Strict(BaseModel):
    """A part of a request. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class StreamOptions(Strict):
    include_usage: StrictBool = False
    include_obfuscation: Annotated[
        Any, Only("streams are not obfuscated here: leave it out or false", False)
    ] = None


class Sampling(Strict):
    """The fields that chat and plain completions share."""

    model: StrictStr | None = Field(None, description="as /v1/models lists it; the only one here")
    temperature: Annotated[Number, Field(ge=0, le=MAX_TEMPERATURE)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        None, description="0: the likeliest token, as with temperature 0"
    )
    top_k: Annotated[Whole, Field(ge=-1, le=MAX_TOP_K)] | None = Field(
        None, description="0 or -1: off"
    )
    min_p: Annotated[
        Any,
        Only("the chip's sampler has no min_p: leave it out, or use top_p or top_k", 0, 0.0),
    ] = None
    seed: Annotated[Whole, Field(ge=-(1 << 63), lt=1 << 64)] | None = None
    n: Annotated[Whole, Field(ge=1, le=MOST_CHOICES)] | None = None
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
    user: StrictStr | None = Field(None, description=BOOKS)

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

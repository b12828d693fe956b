"""A conversation and its tools, as clients send them: messages, calls, functions, choices."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, StrictStr, field_validator, model_validator

from hardcast.serve.openai.fields import Only, Strict, Text, Whole
from hardcast.serve.scheduling.references import as_object


class TextPart(Strict):
    type: Literal["text"]
    text: StrictStr


class RefusalPart(Strict):
    type: Literal["refusal"]
    refusal: StrictStr


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
    content: StrictStr | list[TextPart | RefusalPart] | None = None
    name: StrictStr | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: StrictStr | None = None
    refusal: StrictStr | None = Field(None, description="what an assistant said instead of content")
    reasoning_content: StrictStr | None = None
    # What replies carry and clients hand back with them.
    annotations: list[Any] | None = Field(None, description="of an earlier reply; no part of it")
    audio: Annotated[Any, Only("this chip reads text, no sound")] = None
    function_call: Annotated[Any, Only("the old form of a call: use tool_calls")] = None

    @field_validator("content", mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        for part in value if isinstance(value, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(kind, str) and kind not in ("text", "refusal"):
                raise ValueError(
                    f"this chip reads text, no images, sound or files: parts of type text, not "
                    f"{kind!r:.100}"
                )
        return value

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.content is None and self.role != "assistant":
            raise ValueError(f"a message of {self.role} needs content")
        return self

    @property
    def text(self) -> str:
        """The content, parts joined; of an assistant who refused, what it said."""
        if isinstance(self.content, list):
            return "".join(p.text if isinstance(p, TextPart) else p.refusal for p in self.content)
        return self.content or self.refusal or ""


class Function(Strict):
    name: Annotated[StrictStr, Field(pattern=r"^[a-zA-Z0-9_.-]{1,128}$")]
    description: StrictStr | None = None
    parameters: dict[str, Any] | None = Field(None, description="left out: it takes none")
    strict: StrictBool | None = None

    @field_validator("parameters")
    @classmethod
    def _are_an_object(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        kind = (value or {}).get("type", "object")
        if kind != "object" and not (isinstance(kind, list) and "object" in kind):
            raise ValueError("arguments are a JSON object, so the schema's type must be 'object'")
        return value

    @property
    def schema_(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        if self.parameters is None:
            return {"type": "object", "properties": {}, "additionalProperties": False}
        return as_object(self.parameters)


class Tool(Strict):
    type: Literal["function"]
    function: Function


class FunctionName(Strict):
    name: Text


class NamedTool(Strict):
    type: Literal["function"]
    function: FunctionName


class AllowedNames(Strict):
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=256)]


class AllowedTools(Strict):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedNames


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

"""Which chat templates a model has: one for conversations, maybe another for those with tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hardcast.errors import HardcastError

DEFAULT, TOOL_USE = "default", "tool_use"  # the two names that transformers chooses by itself
GGUF = "tokenizer.chat_template"
ALONE = "chat_template.jinja"  # the file of the default template


def templates_of(source: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Name -> (file, Jinja source) of the templates of Checkpoint.tokenizer_source().

    In a folder the .jinja files win over all that tokenizer_config.json has, and chat_template.json
    (older, and of processors) counts where there is nothing else.
    Raises HardcastError if a template that would be used is no text.
    """
    where = Path(source["path"])
    if source["kind"] == "gguf":
        metadata, prefix = source["metadata"], GGUF + "."
        named = {k.removeprefix(prefix): v for k, v in metadata.items() if k.startswith(prefix)}
        if GGUF in metadata:
            named[DEFAULT] = metadata[GGUF]
        return _used({name: (str(where), text) for name, text in named.items()}, GGUF)
    if source.get("template_files"):
        found = {
            DEFAULT if file == ALONE else Path(file).stem: (str(where.parent / file), text)
            for file, text in source["template_files"].items()
        }
        return _used(found, "it")
    for file, part in (
        ("tokenizer_config.json", "tokenizer_config"),
        ("chat_template.json", "chat_template_json"),
    ):
        value = (source.get(part) or {}).get("chat_template")
        if value is not None:
            place = str(where.with_name(file))
            named = _named(place, value)
            return _used({name: (place, text) for name, text in named.items()}, "chat_template")
    return {}


def _named(where: str, value: Any) -> dict[str, Any]:
    """One template, a list of {name, template}, or an object of them."""
    if isinstance(value, list):
        try:
            return {template["name"]: template["template"] for template in value}
        except (KeyError, TypeError):
            raise HardcastError(f"{where}: chat_template is no list of named templates") from None
    return value if isinstance(value, dict) else {DEFAULT: value}


def _used(found: dict[str, tuple[str, Any]], what: str) -> dict[str, tuple[str, str]]:
    """The two that are used; the others are for programs that ask for them by name."""
    used = {name: found[name] for name in (DEFAULT, TOOL_USE) if name in found}
    for file, text in used.values():
        if not isinstance(text, str):
            raise HardcastError(f"{file}: {what} is no text")
    if TOOL_USE in used and DEFAULT in used and used[TOOL_USE][1] == used[DEFAULT][1]:
        del used[TOOL_USE]
    return used


def said_anew(
    named: dict[str, str], derived: dict[str, str], templates: dict[str, tuple[str, str]]
) -> dict[str, str] | None:
    """The named tokens that the templates mention, or None where `derived` says the same.

    named: as templates get them. derived: what the spec's bos_id and eos_ids give by themselves.
    """
    text = " ".join(source for _, source in templates.values())
    mentioned = {name: token for name, token in named.items() if name in text}
    given = {name: token for name, token in derived.items() if name in text}
    return None if mentioned == given else mentioned

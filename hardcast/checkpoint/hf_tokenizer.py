"""The files of a Hugging Face folder that say how text becomes token ids, read, not yet judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hardcast.checkpoint.base import read_json
from hardcast.errors import HardcastError

TEMPLATE, MORE_TEMPLATES = "chat_template.jinja", "additional_chat_templates"
IDS = ("bos_token_id", "eos_token_id")


def hf_tokenizer_source(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """tokenizer.json as text, and what the files beside it say about it.

    config: the folder's config.json. A file that is not there is an empty object; template_files
    maps the .jinja files, by their place in the folder, to their text.
    Raises HardcastError if tokenizer.json is missing, or a file cannot be read or is no JSON.
    """
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise HardcastError(
            f"{tokenizer}: not found; write one with: AutoTokenizer.from_pretrained(folder)"
            f".save_pretrained(folder)"
        )
    read_json(tokenizer)  # size and form

    def beside(name: str) -> dict[str, Any]:
        return read_json(folder / name) if (folder / name).is_file() else {}

    generation = beside("generation_config.json")
    return {
        "kind": "hf",
        "path": str(tokenizer),
        "tokenizer_json": _text(tokenizer),
        "tokenizer_config": beside("tokenizer_config.json"),
        "special_tokens_map": beside("special_tokens_map.json"),
        "added_tokens": beside("added_tokens.json"),
        "template_files": _templates(folder),
        "chat_template_json": beside("chat_template.json"),
        "config": {key: config.get(key) for key in (*IDS, "model_type", "tokenizer_class")},
        "generation_config": {key: generation.get(key) for key in IDS},
    }


def _templates(folder: Path) -> dict[str, str]:
    files = [folder / TEMPLATE, *sorted((folder / MORE_TEMPLATES).glob("*.jinja"))]
    return {f.relative_to(folder).as_posix(): _text(f) for f in files if f.is_file()}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError as error:
        raise HardcastError(f"{path}: cannot be read: {error.strerror}") from None

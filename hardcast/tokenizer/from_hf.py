"""A tokenizer from Hugging Face's files: tokenizer.json as it is, and the facts beside it."""

from __future__ import annotations

import json
from typing import Any

from hardcast.errors import HardcastError
from hardcast.tokenizer.spec import TokenizerSpec


def spec_from_hf(source: dict[str, Any]) -> TokenizerSpec:
    """Builds the spec from tokenizer.json, tokenizer_config.json and the configs' token ids.

    Raises HardcastError if tokenizer.json is not one that `tokenizers` writes.
    """
    where = str(source["path"])
    config = source.get("tokenizer_config") or {}
    definition = json.loads(source["tokenizer_json"])
    ids = _token_ids(where, definition)
    bos_id = _first_id(source, "bos_token_id", len(ids))
    bos_text = _text(config.get("bos_token"))
    if bos_text in ids:
        bos_id = ids[bos_text]
    return TokenizerSpec(
        definition=definition,
        bos_id=bos_id,
        eos_ids=_eos_ids(source, ids, _text(config.get("eos_token"))),
        add_bos=bos_id is not None and _adds_bos(definition, config, bos_text),
        chat_template=_template(where, config),
    )


def _token_ids(where: str, definition: dict[str, Any]) -> dict[str, int]:
    """Text of every token -> id, of the model's vocabulary and of the added tokens."""
    try:
        ids = dict(definition["model"]["vocab"])
        for token in definition.get("added_tokens") or []:
            ids[token["content"]] = token["id"]
    except (KeyError, TypeError, ValueError):
        raise HardcastError(
            f"{where}: no tokenizer.json of a BPE model (model.vocab is missing)"
        ) from None
    if not all(isinstance(i, int) and isinstance(token, str) for token, i in ids.items()):
        raise HardcastError(f"{where}: model.vocab must map texts to whole numbers")
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        # Marks of another kind of BPE, which decoding here would leave in the text.
        if definition["model"].get(name):
            raise HardcastError(f"{where}: model.{name} is not supported")
    return ids


def _text(token: Any) -> str | None:
    """tokenizer_config.json writes a special token as text or as an object with `content`."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _ids(source: dict[str, Any], name: str) -> list[int]:
    """Token ids under `name` in generation_config.json and config.json: a number or a list."""
    found: list[int] = []
    for part in ("generation_config", "config"):
        value = (source.get(part) or {}).get(name)
        values = value if isinstance(value, list) else [value]
        found += [v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 0]
    return found


def _first_id(source: dict[str, Any], name: str, count: int) -> int | None:
    return next((token for token in _ids(source, name) if token < count), None)


def _eos_ids(source: dict[str, Any], ids: dict[str, int], eos: str | None) -> tuple[int, ...]:
    known = set(ids.values())
    found = [token for token in _ids(source, "eos_token_id") if token in known]
    if eos in ids:
        found.append(ids[eos])
    return tuple(dict.fromkeys(found))


def _adds_bos(definition: dict[str, Any], config: dict[str, Any], bos: str | None) -> bool:
    """Whether transformers would begin a text with BOS: by the flag, or by the post-processor."""
    flag = config.get("add_bos_token")
    if isinstance(flag, bool):
        return flag
    post = definition.get("post_processor")
    if not isinstance(post, dict):
        return False
    for part in [post, *(post.get("processors") or [])]:
        single = part.get("single") if isinstance(part, dict) else None
        if isinstance(single, list) and single and isinstance(single[0], dict):
            first = single[0].get("SpecialToken")
            if isinstance(first, dict) and first.get("id") == bos:
                return True
    return False


def _template(where: str, config: dict[str, Any]) -> str | None:
    """The chat template; of several named ones, the one named default."""
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
        template = named.get("default")
    if template is not None and not isinstance(template, str):
        raise HardcastError(f"{where}: chat_template in tokenizer_config.json is no text")
    return template

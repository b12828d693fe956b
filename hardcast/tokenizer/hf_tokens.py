"""Special tokens as transformers puts them together from the files of a folder.

tokenizer.json encodes, but the files beside it name tokens that it lacks and describe others anew.
Which file wins is transformers' rule, step by step (5.24: PreTrainedTokenizerBase._from_pretrained
and TokenizersBackend.__init__); docs/tokenizer.md has it as a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardcast.errors import HardcastError
from hardcast.tokenizer.hf_class import DEFAULTS, QWEN2

NAMES = tuple(f"{name}_token" for name in "bos eos unk sep pad cls mask".split())
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
EXTRA, OLD_EXTRA = "extra_special_tokens", "additional_special_tokens"
CONFIG, MAP, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"


@dataclass(frozen=True)
class SpecialTokens:
    """named: text of each named token (bos_token, pad_token, image_token, ...), for templates.

    added: added_tokens of tokenizer.json, with what the other files say of them.
    """

    named: dict[str, str]
    added: list[dict[str, Any]]


def put_together(
    source: dict[str, Any],
    vocab: dict[str, int],
    added: list[dict[str, Any]],
    name: str | None,
    pad: str | None,
) -> SpecialTokens:
    """Reads the folder's files together.

    source: see checkpoint/hf_tokenizer.py. vocab, added: tokenizer.json's own. name: the
    tokenizer's class, of hf_class.class_of. pad: of hf_definition.read_definition.
    Raises HardcastError naming the file for what is no token, or has an id that cannot be.
    """
    where = Path(source["path"])
    texts = {*vocab, *(token["content"] for token in added)}
    defaults = DEFAULTS.get(name or "", {})
    given: dict[str, Any] = {k: v for k, v in defaults.items() if v is None or v in texts}
    if pad is not None:
        given.setdefault("pad_token", pad)
    stated, values, extra = _collect(where, source, added, given)
    named = {name: token["content"] for name, token in values.items()}
    wanted: list[tuple[int | None, dict[str, Any]]] = []
    for index, token in sorted(stated.items()):
        special = token["special"] or token["content"] in named.values()
        wanted.append((index, {**token, "special": special}))
    known = {token["content"] for token in [*added, *stated.values()]}
    for token in [{**token, "special": True} for token in values.values()] + extra:
        if token["content"] not in known:  # named twice, the last one's flags count
            wanted.append((None, token))
    if name is not None:  # a class that adds the stated tokens to none: what they say counts alone
        again = {token["content"] for token in stated.values()}
        added = [{**t, "special": False} if t["content"] in again else t for t in added]
    if name == QWEN2:
        bare = [*named.values(), *(token["content"] for token in extra)]
        wanted += [(None, _token(where, text, text)) for text in bare]
    return SpecialTokens(named, _add(where, vocab, added, wanted))


def _collect(
    where: Path, source: dict[str, Any], added: list[dict[str, Any]], given: dict[str, Any]
) -> tuple[dict[int, dict[str, Any]], dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Tokens stated with their ids, named tokens, and special tokens without a name.

    given: names for which no file has a key.
    """
    config = dict(source.get("tokenizer_config") or {})
    if OLD_EXTRA in config and not config.get(EXTRA):
        config[EXTRA] = config.pop(OLD_EXTRA)
    own = {k: config.pop(k) for k in list(config) if _own_name(k) and isinstance(config[k], str)}
    own |= _named_extra(config)
    decoder, files = config.get("added_tokens_decoder"), dict.fromkeys(config, CONFIG)
    if decoder is not None:
        stated = _stated(where.with_name(CONFIG), decoder)
    else:  # an older export: only then do the two other files count
        for key, value in (source.get("special_tokens_map") or {}).items():
            more = key == EXTRA and isinstance(value, list) and isinstance(config.get(key), list)
            config[key], files[key] = [*config[key], *value] if more else value, MAP
        own |= _named_extra(config)
        special = [*(config.get(name) for name in NAMES), *_listed(where, config)]
        stated = _older(where.with_name(ADDED), source.get("added_tokens") or {}, special)
        stated |= {token["id"]: token for token in added}
    if OLD_EXTRA in config:
        config.setdefault(EXTRA, config[OLD_EXTRA])
    config = given | config
    others = {k: v for k, v in config.items() if _own_name(k) and isinstance(v, str | dict)}
    named = {name: config.get(name) for name in NAMES} | others | own
    values = {
        name: _token(where.with_name(files.get(name, CONFIG)), name, value)
        for name, value in named.items()
        if value is not None
    }
    place = where.with_name(files.get(EXTRA, CONFIG))
    return stated, values, [_token(place, EXTRA, value) for value in _listed(where, config)]


def _older(where: Path, ids: dict[str, Any], special: list[Any]) -> dict[int, dict[str, Any]]:
    """added_tokens.json: text -> id. special: tokens that other files name, as they write them."""
    texts = [token.get("content") if isinstance(token, dict) else token for token in special]
    if not all(type(index) is int for index in ids.values()):
        raise HardcastError(f"{where}: does not map tokens to ids")
    return {index: _token(where, text, text, text in texts) for text, index in ids.items()}


def _own_name(key: str) -> bool:
    """Whether a key names a token of this model alone (image_token, ...)."""
    return key.endswith("_token") and key not in NAMES


def _named_extra(config: dict[str, Any]) -> dict[str, Any]:
    """Takes extra_special_tokens out if they have names."""
    return config.pop(EXTRA) if isinstance(config.get(EXTRA), dict) else {}


def _listed(where: Path, config: dict[str, Any]) -> list[Any]:
    """extra_special_tokens that have no names."""
    extra = config.get(EXTRA) or []
    if not isinstance(extra, list):
        raise HardcastError(f"{where.with_name(CONFIG)}: {EXTRA} is no list of tokens")
    return extra


def _stated(where: Path, decoder: Any) -> dict[int, dict[str, Any]]:
    """added_tokens_decoder: id, as text, -> token."""
    try:
        return {
            int(index): _token(where, f"added_tokens_decoder {index}", token, False)
            for index, token in decoder.items()
        }
    except (AttributeError, ValueError):
        raise HardcastError(f"{where}: added_tokens_decoder does not map ids to tokens") from None


def _token(where: Path, name: str, value: Any, special: bool = True) -> dict[str, Any]:
    """A token written as text or as an object, with all its flags. special: unless it says so."""
    token = {"content": value} if isinstance(value, str) else value
    if not isinstance(token, dict) or not isinstance(token.get("content"), str):
        raise HardcastError(f"{where}: {name:.60} is no token but {value!r:.60}")
    special = bool(token.get("special", special))
    default = {**dict.fromkeys(FLAGS, False), "normalized": not special, "special": special}
    flags = {name: bool(token.get(name, default[name])) for name in FLAGS}
    return {"content": token["content"], **flags}


def _add(
    where: Path,
    vocab: dict[str, int],
    added: list[dict[str, Any]],
    wanted: list[tuple[int | None, dict[str, Any]]],
) -> list[dict[str, Any]]:
    """added with the wanted tokens, numbered as `tokenizers` does: (stated id or None, token)."""
    found = {token["content"]: token for token in added}
    taken = {*vocab.values(), *(token["id"] for token in added)}
    for stated, token in wanted:
        text = token["content"]
        if not text:
            continue
        old = found.get(text)
        if old is not None:  # once special, always special
            special = token["special"] or bool(old.get("special"))
            found[text] = {**old, **token, "special": special}
            continue
        index = vocab.get(text)
        if index is None:
            index = max([len(vocab) - 1, *(other["id"] for other in found.values())]) + 1
            if index in taken or stated not in (None, index):
                raise HardcastError(
                    f"{where.with_name(CONFIG)}: token {text!r:.60} cannot have the id "
                    f"{index if stated is None else stated}: {where.name} lacks it and the next "
                    f"free id is {max(taken, default=-1) + 1}; add it to {where.name}"
                )
            taken.add(index)
        found[text] = {"id": index, **token}
    return list(found.values())

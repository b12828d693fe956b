"""Any value anywhere in a folder's tokenizer files gives a tokenizer or one line, no traceback."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast.checkpoint.hf_tokenizer import hf_tokenizer_source
from hardcast.errors import HardcastError
from hardcast.tokenizer import usable_tokenizer
from tests.tokenizer import hf_folder
from tests.tokenizer.hf_folder import BEGIN, CHAT, END, FIRST, NEW, PAD, TURN, added, around

ROWS = 400
TOKEN = {"content": TURN, "lstrip": True, "special": True}
FILES: dict[str, Any] = {
    "tokenizer.json": hf_folder.tokenizer_json(
        post_processor={"type": "Sequence", "processors": [around([BEGIN], [END])]},
        padding={"pad_token": PAD, "strategy": "BatchLongest"},
        truncation={"max_length": 3},
    ),
    "tokenizer_config.json": {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": TOKEN,
        "image_token": TURN,
        "add_prefix_space": False,
        "split_special_tokens": False,
        "added_tokens_decoder": {str(FIRST): {k: v for k, v in added(0, PAD).items() if k != "id"}},
        "extra_special_tokens": [NEW[0]],
        "additional_special_tokens": [TURN],
        "chat_template": [{"name": "default", "template": CHAT}],
    },
    "special_tokens_map.json": {"eos_token": TOKEN, "extra_special_tokens": [NEW[1], TOKEN]},
    "added_tokens.json": {NEW[0]: FIRST + 4},
    "generation_config.json": {"bos_token_id": 301, "eos_token_id": [302]},
    "config.json": {"model_type": "llama", "eos_token_id": [302, 303], "tokenizer_class": None},
}
OLDER = copy.deepcopy(FILES)  # without added_tokens_decoder the other files count
del OLDER["tokenizer_config.json"]["added_tokens_decoder"]
CLASSES = ("PreTrainedTokenizerFast", "LlamaTokenizer", "Qwen2Tokenizer", "GPT2Tokenizer")
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from([-1, 1 << 40, "\ud800", "ByteLevel", "Sequence", "Metaspace", NEW[2], "{{"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "content", "id", "decoders", "pretokenizers", "name"]), inner
        )
    ),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every node; of long lists and objects (the vocabulary) the first two items."""
    yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for count, (key, inner) in enumerate(items):
            if count < 2 or len(value) < 20:
                yield from places(inner, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


def read(folder: Path, files: dict[str, Any]) -> None:
    """As `build` does, as far as an image's bytes; raises HardcastError."""
    hf_folder.write(folder, files)
    tokenizer = usable_tokenizer(hf_tokenizer_source(folder, files["config.json"]), ROWS)
    stored = tokenizer.spec.to_json()
    json.dumps(stored, sort_keys=True, ensure_ascii=False).encode()
    assert all(0 <= token < ROWS for token in tokenizer.eos_ids)
    assert tokenizer.decode(tokenizer.encode("hello"))


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_value_anywhere(folder: Path, data: st.DataObject) -> None:
    files = dict(data.draw(st.sampled_from([FILES, OLDER])))
    named = {"tokenizer_class": data.draw(st.sampled_from(CLASSES))}
    files["tokenizer_config.json"] = {**files["tokenizer_config.json"], **named}
    name = data.draw(st.sampled_from(sorted(files)))
    path = data.draw(st.sampled_from([p for p in places(files[name]) if p]))
    files[name] = replaced(files[name], path, data.draw(ODD))
    try:
        read(folder, files)
    except HardcastError as error:
        assert str(folder) in str(error)
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "change, wanted",
    [
        ({"merges": [None]}, "model.merges has None, expected two parts"),
        ({"merges": [["a", None]]}, "model.merges has \\['a', None\\], expected two parts"),
        ({"merges": ["a b c"]}, "model.merges has 'a b c', expected two parts"),
        ({"merges": [{}]}, "model.merges has {}, expected two parts"),
        ({"merges": True}, "model.merges is no list"),
        ({"vocab": []}, "model.vocab is missing"),
        ({"vocab": {BEGIN: None}}, "model.vocab must map texts to whole numbers"),
        ({"vocab": {"a": True}}, "model.vocab must map texts to whole numbers"),
        ({"vocab": {"a": -1}}, "model.vocab must map texts to whole numbers"),
        ({"type": "WordPiece"}, "model.type is 'WordPiece'; BPE is supported"),
    ],
)
def test_a_damaged_model(folder: Path, change: dict[str, Any], wanted: str) -> None:
    """BEGIN is an added token too, whose own id must not hide what the vocabulary says."""
    whole = FILES["tokenizer.json"]
    damaged = {**whole, "model": {**whole["model"], **change}}
    with pytest.raises(HardcastError, match=f"tokenizer.json: .*{wanted}"):
        read(folder, {**FILES, "tokenizer.json": damaged})


def test_a_byte_order_mark(folder: Path) -> None:
    read(folder, {**FILES, "tokenizer.json": "\ufeff" + json.dumps(FILES["tokenizer.json"])})

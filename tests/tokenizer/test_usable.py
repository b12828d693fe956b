"""What cannot be used is refused by `build` before a weight is read, in one line with its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hardcast import flow
from hardcast.checkpoint import open_checkpoint
from hardcast.checkpoint.safetensors import SafetensorsCheckpoint
from hardcast.errors import HardcastError
from hardcast.tokenizer import Tokenizer, usable_tokenizer
from tests import tiny, tiny_vocabulary


def change_json(path: Path, change: dict[str, Any]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), "utf-8")


def folder(path: Path, file: str, change: str | dict[str, Any]) -> Path:
    """A tiny model's folder with one file written anew, or keys of it replaced."""
    made = tiny.write_safetensors(path, "llama")
    if isinstance(change, str):
        (made / file).parent.mkdir(exist_ok=True)
        (made / file).write_text(change, "utf-8")
    else:
        change_json(made / file, change)
    return made


def model(**changes: Any) -> dict[str, Any]:
    """The section `model` of the tiny tokenizer.json with keys replaced."""
    return {"model": {**json.loads(tiny_vocabulary.tokenizer_json(1009))["model"], **changes}}


WRONG = [
    ("tokenizer.json", {"decoder": None}, "decoder .* is not supported"),
    ("tokenizer.json", {"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True}}, "Word"),
    ("tokenizer.json", {"pre_tokenizer": {"type": "Nonsense"}}, "its definition cannot be used"),
    ("tokenizer.json", model(merges=[["h", "zz"]]), "'h' and 'zz' make 'hzz', but 'zz' is no"),
    ("tokenizer.json", model(merges=["h z"]), "'h' and 'z' make 'hz', but 'hz' is no token"),
    (
        "tokenizer.json",
        {**model(vocab={"Ā": 0}, merges=[]), "added_tokens": []},
        "no letter of 'Hello",
    ),
    ("tokenizer.json", {"post_processor": {"type": "Nonsense"}}, "post_processor 'Nonsense' is"),
    ("tokenizer_config.json", {"split_special_tokens": True}, "split_special_tokens is true"),
    ("tokenizer_config.json", {"added_tokens_decoder": {"x": {}}}, "added_tokens_decoder"),
    (
        "tokenizer_config.json",
        {"added_tokens_decoder": {"1011": {"content": "<|far|>"}}},
        "'<|far|>' cannot have the id 1011: tokenizer.json lacks it and the next free id is 1009",
    ),
    ("tokenizer_config.json", {"bos_token": 5}, "bos_token is no token but 5"),
    ("tokenizer_config.json", {"extra_special_tokens": 5}, "extra_special_tokens is no list"),
    ("tokenizer_config.json", {"chat_template": "{% if %}"}, "chat template: TemplateSyntaxError"),
    ("tokenizer_config.json", {"chat_template": "{{ 1 / 0 }}"}, "ZeroDivisionError"),
    ("tokenizer_config.json", {"chat_template": "<|new|>", "pad_token": "<|new|>"}, "token 1009"),
    ("tokenizer_config.json", {"chat_template": [{"name": "x"}]}, "no list of named templates"),
    ("chat_template.jinja", "{{ 'x' | nonsense }}", "No filter named 'nonsense'"),
    ("additional_chat_templates/tool_use.jinja", "{{ tools | nonsense }}", "No filter named"),
    ("special_tokens_map.json", '{"bos_token": 5}', "bos_token is no token but 5"),
    ("added_tokens.json", '{"<|new|>": "x"}', "does not map tokens to ids"),
]


@pytest.mark.parametrize("file, change, wanted", WRONG)
def test_a_folder_is_refused_before_its_weights(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    change: str | dict[str, Any],
    wanted: str,
) -> None:
    made = folder(tmp_path / "model", file, change)

    def no_weight(*arguments: Any) -> None:
        raise AssertionError("a weight was read")

    monkeypatch.setattr(SafetensorsCheckpoint, "tensor", no_weight)
    with pytest.raises(HardcastError, match=wanted) as refused:
        flow.build(str(made), tmp_path / "image", recipe="4bit")
    assert str(made / file) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "image").exists()


def test_a_gguf_file_is_refused_too(tmp_path: Path) -> None:
    """llama.cpp loads such a merge, and then spells what it makes by bytes."""
    tokens, merges = tiny_vocabulary.vocabulary(1009)
    assert "zq" not in tokens
    changes = {"tokenizer.ggml.merges": [" ".join(pair) for pair in merges] + ["z q"]}
    path = tiny.write_gguf(tmp_path / "m.gguf", "llama", metadata=changes)
    with pytest.raises(HardcastError, match="m.gguf.*merges: 'z' and 'q' make 'zq', but 'zq' is"):
        flow.build(str(path), tmp_path / "image", recipe="4bit")
    path = tiny.write_gguf(
        tmp_path / "m.gguf", "llama", metadata={"tokenizer.chat_template": "{% if %}"}
    )
    with pytest.raises(HardcastError, match="m.gguf: chat template: TemplateSyntaxError"):
        flow.build(str(path), tmp_path / "image", recipe="4bit")


@pytest.mark.parametrize(
    "template",
    [
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}x",
        "{% if messages[0].role != 'system' %}{{ raise_exception('system first') }}{% endif %}x",
        "{% if messages | length < 3 %}{{ raise_exception('longer, please') }}{% endif %}x",
        "{{ date_of_today + 'x' }}",  # a variable of its own, for chat_template_kwargs
        "{{ raise_exception('documents only') if not documents }}x",
        "",
    ],
)
def test_a_template_that_wants_another_conversation_is_usable(
    tmp_path: Path, template: str
) -> None:
    made = folder(tmp_path, "tokenizer_config.json", {"chat_template": template})
    source = open_checkpoint(made).tokenizer_source()
    assert isinstance(usable_tokenizer(source, 1009), Tokenizer)


def test_a_token_beyond_the_embedding_is_no_fault_until_used(tmp_path: Path) -> None:
    """Fine-tunes add a pad token that no prompt holds."""
    made = folder(tmp_path, "tokenizer_config.json", {"pad_token": "[PAD]"})
    tokenizer = usable_tokenizer(open_checkpoint(made).tokenizer_source(), 1009)
    assert tokenizer.encode("[PAD]") == [1009]

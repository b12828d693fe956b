"""Ids that a folder's JSON files give to the beginning and end of an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardcast import flow
from hardcast.engine import Engine
from hardcast.generate import Generator, Result
from hardcast.image import Image, open_image
from hardcast.numerics.sampling import SamplerSettings
from hardcast.serve.scheduling.constrain import Grammars
from hardcast.tokenizer import usable_tokenizer
from tests import tiny, tiny_vocabulary

ROWS, TEXTS, PAD = 512, 500, 507  # PAD: a row of the embedding that no text has


def source(tokens: int = TEXTS, named: str | None = None, **ids: Any) -> dict[str, Any]:
    """A folder's files; named: its eos_token. ids: keys of config.json."""
    config = {"bos_token": "<|im_start|>", **({} if named is None else {"eos_token": named})}
    return {
        "kind": "hf",
        "path": "f/tokenizer.json",
        "tokenizer_json": tiny_vocabulary.tokenizer_json(tokens),
        "tokenizer_config": {**config, "chat_template": tiny_vocabulary.CHAT_TEMPLATE},
        "config": ids,
    }


def test_an_end_token_without_a_text() -> None:
    tokenizer = usable_tokenizer(source(eos_token_id=[2, PAD]), ROWS)
    assert tokenizer.eos_ids == (2, PAD)
    assert tokenizer.spec.notes == ()
    for skip in (False, True):
        assert tokenizer.decode([PAD], skip) == ""
    first = usable_tokenizer(source(eos_token_id=PAD), ROWS)
    assert "assistant" in first.chat_prompt([{"role": "user", "content": "a"}])


@pytest.mark.parametrize("value", [-1, ROWS, "2", True, 2.0, [[2]], {}, [None, "x"]])
@pytest.mark.parametrize("name", ["eos_token_id", "bos_token_id"])
def test_what_is_no_token_is_told(name: str, value: Any) -> None:
    tokenizer = usable_tokenizer(source(named="<|im_end|>", **{name: value}), ROWS)
    assert (tokenizer.bos_id, tokenizer.eos_ids) == (1, (2,))
    (note,) = tokenizer.spec.notes
    assert note.startswith(f"f/config.json: {name} has ")
    assert "none of the model's 512 tokens" in note


def test_no_end_token_is_told() -> None:
    (note,) = usable_tokenizer(source(eos_token_id=None), ROWS).spec.notes
    assert note.startswith("f/tokenizer.json: no token of the model ends an answer")


def test_an_end_token_beyond_the_model() -> None:
    """A fine-tune named a new token, and its embedding never grew."""
    tokenizer = usable_tokenizer(source(ROWS, "<|new|>", eos_token_id=2), ROWS)
    assert tokenizer.eos_ids == (2,)
    (note,) = tokenizer.spec.notes
    assert note == (
        "f/tokenizer.json: the end token is 512, and the model has 512: no answer can end by it"
    )


@pytest.fixture(scope="module")
def ending(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """A model whose answer to anything begins with PAD, which config.json alone names."""
    folder = tmp_path_factory.mktemp("ending")
    shape = {"vocab_size": ROWS, "tie_word_embeddings": False}
    head = tiny.tensors("llama", **shape)["lm_head.weight"]
    # Every row but PAD's is zero: its logit is the largest where it is positive, so both signs.
    gain, rows = np.zeros(96, np.float32), np.zeros_like(head)
    gain[0] = 1.0
    rows[PAD, 0], rows[PAD - 1, 0] = 1.0, -1.0
    weights = {"lm_head.weight": rows, "model.norm.weight": gain}
    model = tiny.write_safetensors(folder / "m", "llama", weights=weights, **shape)
    (model / "tokenizer.json").write_text(tiny_vocabulary.tokenizer_json(TEXTS), "utf-8")
    config = json.loads((model / "config.json").read_text())
    config["eos_token_id"] = [2, PAD, PAD - 1]
    (model / "config.json").write_text(json.dumps(config))
    report = flow.build(str(model), folder / "image", recipe="4bit")
    assert report.notes == ()
    return open_image(folder / "image")


def test_an_answer_ends_by_it(ending: Image) -> None:
    generator = Generator(ending, Engine(ending, 1))
    prompt = generator.tokenizer.encode("Hello")
    *text, result = generator.run(prompt, SamplerSettings(), 8)
    assert isinstance(result, Result)
    assert (text, result.finish_reason, len(result.token_ids)) == ([], "stop", 1)
    assert result.token_ids[0] >= TEXTS


@pytest.mark.parametrize("ids", [[2, PAD], [PAD]])
def test_a_grammar_ends_by_it(ids: list[int]) -> None:
    pytest.importorskip("llguidance", reason="not installed: the serve extra")
    tokenizer = usable_tokenizer(source(eos_token_id=ids), ROWS)
    matcher = Grammars(tokenizer, ROWS).regex("a+").start()
    (token,) = tokenizer.encode("a")
    assert not matcher.allowed()[ids].any()
    matcher.push(token)
    assert matcher.allowed()[[token, *ids]].all()
    whole = Grammars(tokenizer, ROWS).regex("<.*").start()
    whole.push(tokenizer.encode("<")[0])
    assert not whole.allowed()[PAD + 1 :].any()


def test_notes_reach_the_report(tmp_path: Path) -> None:
    model = tiny.write_safetensors(tmp_path / "m", "llama", bos_token_id=5000)
    said: list[str] = []
    report = flow.build(str(model), tmp_path / "image", note=said.append, recipe="4bit")
    assert list(report.notes) == said
    assert f"{model}/config.json: bos_token_id has 5000" in said[0]

"""Token ids equal to llama.cpp's on the same GGUF, on 2,000 drawn texts each: `make verify`.

llama.cpp's source package carries the vocabularies of real models; its own tool reads them. They
are held against transformers here as well.
"""

from __future__ import annotations

import json
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from benchmarks.build_llama_cpp import VOCABULARIES, build_llama_cpp
from hardcast.checkpoint.gguf_header import read_header
from hardcast.console import Bars
from hardcast.errors import HardcastError
from hardcast.tokenizer import Tokenizer, spec_from_source
from tests import real_model
from tests.tokenizer import parity

pytestmark = pytest.mark.verify

CONTROL = 3


@pytest.fixture(scope="module")
def llama_cpp() -> Path:
    """The folder of llama.cpp's tools and vocabularies; minutes of compiling the first time."""
    try:
        return build_llama_cpp(Bars(False))
    except HardcastError as error:
        pytest.skip(f"llama.cpp cannot be built here: {error}")


def read_metadata(path: Path) -> dict[str, Any]:
    """Of the header alone: a vocabulary is no checkpoint."""
    return read_header(path).metadata


def theirs(tool: Path, model: Path, texts: list[str], metadata: dict[str, Any]) -> list[list[int]]:
    """llama-tokenize's ids of each text: one run, a control token between the texts."""
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    end = next(i for i, kind in enumerate(types) if kind == CONTROL and len(tokens[i]) > 3)
    assert not any(tokens[end] in text for text in texts)
    # As bytes through stdin: no newline is translated, nothing is stripped.
    command = [str(tool), "-m", str(model), "--stdin", "--ids", "--no-bos", "--no-escape"]
    done = subprocess.run(
        [*command, "--log-disable"],
        input=tokens[end].join(texts).encode(),
        capture_output=True,
        check=True,
    )
    found: list[list[int]] = [[]]
    for token in json.loads(done.stdout.splitlines()[-1]):
        if token == end:
            found.append([])
        else:
            found[-1].append(token)
    assert len(found) == len(texts)
    return found


def compared(metadata: dict[str, Any]) -> list[str]:
    """The drawn texts less what llama.cpp is known to take otherwise; see docs/tokenizer.md."""
    texts = list(parity.texts())
    if metadata.get("tokenizer.ggml.pre") == "qwen2":
        texts = [unicodedata.normalize("NFC", text) for text in texts]
    if metadata["tokenizer.ggml.model"] == "gpt2":
        texts = [text for text in texts if parity.spelled_by(metadata, text)]
    assert len(texts) > 1500
    return texts


def check(tool: Path, model: Path) -> None:
    metadata = read_metadata(model)
    source = {"kind": "gguf", "path": str(model), "metadata": metadata}
    ours = Tokenizer(spec_from_source(source))
    texts = compared(metadata)
    expected = theirs(tool, model, texts, metadata)
    wrong = [
        (text, ids)
        for text, ids in zip(texts, expected, strict=True)
        if ours.encode(text, add_bos=False) != ids
    ]
    assert wrong == []


@pytest.mark.parametrize("name", VOCABULARIES)
def test_vocabularies_of_real_models(llama_cpp: Path, name: str) -> None:
    check(llama_cpp / "llama-tokenize", llama_cpp / name)


def test_smollm2(llama_cpp: Path) -> None:
    check(llama_cpp / "llama-tokenize", real_model.smollm2())


@pytest.mark.parametrize("name", VOCABULARIES)
def test_transformers_on_the_same_vocabularies(llama_cpp: Path, name: str) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed: reference extra")
    metadata = read_metadata(llama_cpp / name)
    source = {"kind": "gguf", "path": name, "metadata": metadata}
    ours = Tokenizer(spec_from_source(source))
    reference = parity.transformers_tokenizer(metadata)
    texts = list(parity.texts())
    if metadata["tokenizer.ggml.model"] == "llama":
        texts = [text for text in texts if not text.startswith((" ", "▁"))]
    wrong = [
        text
        for text in texts
        if ours.encode(text, add_bos=False) != reference.encode(text, add_special_tokens=False)
    ]
    assert wrong == []

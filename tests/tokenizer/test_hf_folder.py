"""A folder of Hugging Face's tokenizer files means to us what it means to transformers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast.checkpoint.hf_tokenizer import hf_tokenizer_source
from hardcast.errors import HardcastError
from hardcast.tokenizer import Tokenizer, TokenizerSpec, spec_from_source
from tests.tokenizer import hf_folder
from tests.tokenizer.hf_folder import BEGIN, DEFAULT, END, NEW, PAD, TURN

transformers = pytest.importorskip("transformers", reason="not installed: the reference extra")

TEXTS = st.lists(
    st.sampled_from([BEGIN, END, TURN, PAD, DEFAULT, *NEW, "hello", " ", "  a", "é", "\n"]),
    max_size=6,
).map("".join)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
USER, SYSTEM = {"role": "user", "content": "a"}, {"role": "system", "content": "hello é"}


def both(folder: Path, files: dict[str, Any]) -> tuple[Tokenizer, Any]:
    """Our tokenizer, by way of what an image stores, and AutoTokenizer's."""
    hf_folder.write(folder, files)
    spec = spec_from_source(hf_tokenizer_source(folder, files["config.json"]))
    stored = TokenizerSpec.from_json(spec.to_json())
    assert stored == spec
    return Tokenizer(stored), transformers.AutoTokenizer.from_pretrained(folder)


def rendered(call: Any) -> str | None:
    """A conversation's text; None if there is no template for it."""
    try:
        return str(call())
    except (HardcastError, ValueError):
        return None


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(hf_folder.folders(), st.lists(TEXTS, min_size=3, max_size=3), st.booleans())
def test_drawn_folders(files: dict[str, Any], texts: list[str], generation: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        ours, theirs = both(Path(name), files)
    for text in texts:
        plain = ours.encode(text, add_bos=False)
        assert plain == theirs.encode(text, add_special_tokens=False)
        # A text that begins with BOS gets no second one here, which transformers gives it.
        if plain[:1] != [ours.bos_id]:
            assert ours.encode(text) == theirs.encode(text)
        for skip in (False, True):
            assert ours.decode(plain, skip) == theirs.decode(plain, skip_special_tokens=skip)
    for tools in (None, [TOOL]):
        for messages in ([USER], [SYSTEM, USER]):
            mine = rendered(lambda: ours.chat_prompt(messages, generation, tools=tools))  # noqa: B023
            options = {"tools": tools, "add_generation_prompt": generation}
            assert mine == rendered(
                lambda: theirs.apply_chat_template(messages, tokenize=False, **options)  # noqa: B023
            )
            if mine is not None:
                assert ours.encode(mine, add_bos=False) == theirs.apply_chat_template(
                    messages, return_dict=False, **options
                )

"""What GGUF metadata say beside the vocabulary, held to what llama.cpp makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from hardcast.errors import HardcastError
from hardcast.tokenizer import Tokenizer, TokenizerSpec, spec_from_source
from hardcast.tokenizer.end_tokens import END_TOKENS
from tests.tokenizer.test_byte_level_tokenizer import metadata
from tests.tokenizer.test_sentencepiece_tokenizer import vocabulary

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
TOOL = {"type": "function", "function": {"name": "f"}}
USER = [{"role": "user", "content": "a"}]


def spec(*more: tuple[str, int], **changes: Any) -> TokenizerSpec:
    """The tiny vocabulary (1009 tokens) with more (text, type), as an image stores it."""
    base = metadata("smollm")
    tokens = base["tokenizer.ggml.tokens"] + [text for text, _ in more]
    types = base["tokenizer.ggml.token_type"] + [kind for _, kind in more]
    changed = metadata("smollm", tokens=tokens, token_type=types)
    changed |= {key.replace("__", "."): value for key, value in changes.items()}
    made = spec_from_source({"kind": "gguf", "path": "m.gguf", "metadata": changed})
    assert TokenizerSpec.from_json(made.to_json()) == made
    return made


@pytest.mark.parametrize("kind", [NORMAL, CONTROL, USER_DEFINED, UNUSED])
@pytest.mark.parametrize("text", sorted(END_TOKENS - {"<|endoftext|>", "<|im_end|>"}))
def test_what_looks_like_an_end_of_turn_is_one(text: str, kind: int) -> None:
    made = spec((text, kind))
    assert made.eos_ids == (2, 0, 1009)
    tokenizer = Tokenizer(made)
    assert tokenizer.encode("a" + text)[-1] == 1009
    assert tokenizer.decode([1009]) == ""


def test_a_token_that_merges_make_is_text() -> None:
    """`</s>` strikes text through in HTML: a vocabulary may have learned it."""
    base = metadata("smollm")
    parts = ["</", "s>", "</s>"]
    merges = [*base["tokenizer.ggml.merges"], "< /", "s >", "</ s>"]
    made = spec(*((text, NORMAL) for text in parts), tokenizer__ggml__merges=merges)
    assert made.eos_ids == (2, 0)
    assert Tokenizer(made).decode([1011]) == "</s>"


def test_end_tokens_of_a_part_of_an_answer() -> None:
    """Harmony's and Gemma's: what ends a message there ends no answer."""
    harmony = [(text, CONTROL) for text in ("<|end|>", "<|return|>", "<|call|>")]
    assert spec(*harmony).eos_ids == (2, 0, 1010, 1011)
    gemma = [(text, CONTROL) for text in ("</s>", "<|tool_response>")]
    assert spec(*gemma).eos_ids == (2, 0, 1010)


def test_fill_in_the_middle_ends_nothing() -> None:
    assert spec(("<|fim_pad|>", CONTROL), ("<|file_sep|>", CONTROL)).eos_ids == (2, 0)


def test_a_named_end_token_of_another_kind_stays_text() -> None:
    """A file may end its answers by a line's end; that must still be encoded as one."""
    newline = metadata()["tokenizer.ggml.tokens"].index("Ċ")
    made = spec(tokenizer__ggml__eos_token_id=newline)
    assert made.eos_ids == (newline, 0, 2)
    assert Tokenizer(made).decode(Tokenizer(made).encode("a\n")) == "a\n"


def test_user_defined_words_with_accents() -> None:
    words = ("naïve", "čaj", "¿qué?", "漢字", "Ġx", "plain")
    tokenizer = Tokenizer(spec(*((word, USER_DEFINED) for word in words)))
    text = " and ".join(words)
    ids = tokenizer.encode(text)
    assert [i for i in ids if i >= 1009] == list(range(1009, 1015))
    assert tokenizer.decode(ids) == text


def test_named_templates() -> None:
    key = "tokenizer.chat_template"
    both = spec(**{key: "plain", f"{key}.tool_use": "tools", f"{key}.rag": "rag"})
    assert (both.chat_template, both.tool_template) == ("plain", "tools")
    tokenizer = Tokenizer(both)
    assert tokenizer.chat_prompt(USER) == "plain"
    assert tokenizer.chat_prompt(USER, tools=[TOOL]) == "tools"
    only = Tokenizer(spec(**{f"{key}.tool_use": "tools"}))
    assert not only.has_chat_template
    assert only.chat_prompt(USER, tools=[TOOL]) == "tools"
    with pytest.raises(HardcastError, match="has no chat template without tools"):
        only.chat_prompt(USER)
    with pytest.raises(HardcastError, match=r"m.gguf: tokenizer.chat_template is no text"):
        spec(**{f"{key}.tool_use": 5})


def test_a_text_may_be_ended() -> None:
    """llama.cpp puts EOS after a text where the file says so; a conversation's prompt gets none."""
    made = spec(tokenizer__ggml__add_eos_token=True)
    tokenizer = Tokenizer(made)
    plain = tokenizer.encode("hi", add_bos=False)
    assert tokenizer.encode("hi") == [*plain, 2]
    assert spec(tokenizer__ggml__add_eos_token=False).suffix == ()


def test_named_tokens_of_a_template() -> None:
    template = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token is defined }}"
    key = "tokenizer.chat_template"
    made = spec(**{key: template, "tokenizer.ggml.padding_token_id": 0})
    assert Tokenizer(made).chat_prompt(USER) == "<|im_start|>|<|im_end|>|<|endoftext|>|False"
    # A file with an end of turn and no EOS: the template writes none.
    none = {"tokenizer.ggml.eos_token_id": None, "tokenizer.ggml.eot_token_id": 2}
    assert Tokenizer(spec(**{key: template, **none})).chat_prompt(USER) == "<|im_start|>|||False"


def test_what_says_nothing_new_is_not_stored() -> None:
    """The digest of an image covers the stored form."""
    template = "{{ bos_token }}{{ eos_token }}"
    made = spec(**{"tokenizer.chat_template": template, "tokenizer.ggml.padding_token_id": 0})
    assert (made.named, made.tool_template, made.suffix) == (None, None, ())
    assert sorted(made.to_json()) == [
        "add_bos", "bos_id", "chat_template", "eos_ids", "format", "tokenizer",
    ]  # fmt: skip
    assert made.to_json()["format"] == 1
    assert spec(tokenizer__ggml__add_eos_token=True).to_json()["format"] == 2


def test_no_pre_tokenizer_is_told() -> None:
    """llama.cpp warns of it, and cuts by a rule of its own."""
    missing = metadata("smollm")
    del missing["tokenizer.ggml.pre"]
    for found in (missing, missing | {"tokenizer.ggml.pre": ""}):
        made = spec_from_source({"kind": "gguf", "path": "m.gguf", "metadata": found})
        assert [note for note in made.notes if "m.gguf: tokenizer.ggml.pre is missing" in note]
    assert spec(tokenizer__ggml__pre="default").notes == ()


@pytest.mark.parametrize("count", [2, 300])
def test_a_sentencepiece_file_that_names_no_token(count: int) -> None:
    """llama.cpp starts from unknown 0, BOS 1 and EOS 2 there; a key says otherwise."""
    tokens, scores, types = (part[:count] for part in vocabulary())
    template = "{{ bos_token }}|{{ eos_token }}|{{ unk_token }}"
    values = {"model": "llama", "tokens": tokens, "scores": scores, "token_type": types}
    source = {f"tokenizer.ggml.{key}": value for key, value in values.items()}
    source["tokenizer.chat_template"] = template

    def made(**keys: int) -> TokenizerSpec:
        metadata = source | {f"tokenizer.ggml.{key}": value for key, value in keys.items()}
        return spec_from_source({"kind": "gguf", "path": "m.gguf", "metadata": metadata})

    if count == 2:  # there is no token 2
        assert (made().bos_id, made().eos_ids, made().add_bos) == (1, (), True)
        return
    assert made() == made(bos_token_id=1, eos_token_id=2, unknown_token_id=0)
    assert (made().bos_id, made().eos_ids, made().add_bos) == (1, (2,), True)
    assert Tokenizer(made()).chat_prompt(USER) == "|".join(tokens[i] for i in (1, 2, 0))
    other = made(bos_token_id=2, eos_token_id=5, unknown_token_id=1)
    assert (other.bos_id, other.eos_ids) == (2, (5, 2))
    assert Tokenizer(other).chat_prompt(USER) == "|".join(tokens[i] for i in (2, 5, 1))


def test_end_tokens_of_a_sentencepiece_file() -> None:
    tokens, scores, types = vocabulary()
    values = {
        "model": "llama",
        "tokens": [*tokens, "<|im_end|>"],
        "scores": [*scores, 0.0],
        "token_type": [*types, USER_DEFINED],
        "eos_token_id": 2,
    }
    source = {f"tokenizer.ggml.{key}": value for key, value in values.items()}
    made = spec_from_source({"kind": "gguf", "path": "m.gguf", "metadata": source})
    assert made.eos_ids == (2, len(tokens))
    assert Tokenizer(made).decode([len(tokens)]) == ""

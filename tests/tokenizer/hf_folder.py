"""Folders of Hugging Face's tokenizer files, drawn: who says what, in which file, in which form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from hardcast.tokenizer import byte_level
from tests.tiny_vocabulary import byte_letters

BEGIN, END, TURN, PAD = "<|begin|>", "<|end|>", "<|turn|>", "<|pad|>"
DEFAULT = "<|endoftext|>"  # what some classes take for a token that no file names
FIRST = 300  # id of BEGIN; the ones after it follow
NEW = ("<|new0|>", "<|new1|>", "<|new2|>")  # in no vocabulary
CHAT = (
    "{{ bos_token }}{% for m in messages %}<|turn|>{{ m.role }}: {{ m.content }}{{ eos_token }}"
    "{% endfor %}{% if pad_token is defined %}[{{ pad_token }}]{% endif %}"
    "{% if image_token %}{{ image_token }}{% endif %}{{ unk_token }}"
    "{% if add_generation_prompt %}<|turn|>assistant: {% endif %}"
)
PLAIN = ("PreTrainedTokenizerFast", "TokenizersBackend", "LlamaTokenizerFast")
REBUILT = ("GPT2TokenizerFast", "Qwen2Tokenizer")
QWEN3 = ("qwen3", None)
MODELS = ("llama", "mistral", "qwen2", "qwen3")
NAMES = ("bos_token", "eos_token", "pad_token", "unk_token")


def tokenizer_json(**changes: Any) -> dict[str, Any]:
    """A byte-level BPE: 256 bytes, a few merges, and at FIRST and on the special tokens above.

    PAD and DEFAULT are entries of the vocabulary only. changes: keys to replace.
    """
    letters = byte_letters()
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "hello"), ("Ġ", "a")]
    tokens = letters + ["".join(pair) for pair in merges]
    vocab = {token: index for index, token in enumerate(tokens)}
    vocab |= {f"<filler{index}>": index for index in range(len(tokens), FIRST)}
    del vocab[f"<filler{FIRST - 1}>"]
    vocab |= {DEFAULT: FIRST - 1, PAD: FIRST}
    spelled = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added(FIRST + 1 + i, text) for i, text in enumerate((BEGIN, END, TURN))],
        "normalizer": None,
        "pre_tokenizer": {**spelled, "use_regex": True},
        "post_processor": None,
        "decoder": {**spelled, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [list(pair) for pair in merges],
        },
        **changes,
    }


def added(index: int, content: str, **flags: bool) -> dict[str, Any]:
    """An entry of added_tokens; special unless the flags say otherwise."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": index, "content": content, **plain, "special": True, **flags}


def around(before: list[str], after: list[str]) -> dict[str, Any]:
    """A TemplateProcessing that puts tokens around a text."""
    ids = {BEGIN: FIRST + 1, END: FIRST + 2, TURN: FIRST + 3}

    def pieces(tokens: list[str]) -> list[dict[str, Any]]:
        return [{"SpecialToken": {"id": token, "type_id": 0}} for token in tokens]

    text = [{"Sequence": {"id": "A", "type_id": 0}}]
    both = [*text, {"Sequence": {"id": "B", "type_id": 1}}]
    return {
        "type": "TemplateProcessing",
        "single": [*pieces(before), *text, *pieces(after)],
        "pair": both,
        "special_tokens": {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in before + after},
    }


def write(folder: Path, files: dict[str, Any]) -> None:
    """Writes each file, JSON or text; None leaves it out."""
    for name, content in files.items():
        if content is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_text(text, encoding="utf-8")


_SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
QWEN2 = {
    "type": "Sequence",
    "pretokenizers": [
        {**_SPLIT, "pattern": {"Regex": byte_level.QWEN2}},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ],
}
_FLAGS = st.fixed_dictionaries(
    {}, optional={name: st.booleans() for name in ("special", "rstrip", "lstrip", "normalized")}
)
_TRIM = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
_POST = st.sampled_from(
    [
        None,
        _TRIM,
        around([BEGIN], []),
        around([BEGIN], [END]),
        around([], [END]),
        {"type": "Sequence", "processors": [_TRIM, around([TURN], [])]},
        {
            "type": "RobertaProcessing",
            "sep": [END, FIRST + 2],
            "cls": [BEGIN, FIRST + 1],
            "trim_offsets": True,
            "add_prefix_space": False,
        },
    ]
)
_TRAINING = st.fixed_dictionaries(
    {},
    optional={
        "truncation": st.just(
            {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
        ),
        "padding": st.just(
            {
                "strategy": {"Fixed": 12},
                "direction": "Left",
                "pad_to_multiple_of": None,
                "pad_id": FIRST + 2,
                "pad_type_id": 0,
                "pad_token": END,
            }
        ),
    },
)
_TEXT = st.sampled_from([BEGIN, END, TURN, PAD, NEW[0], "hello"])


@st.composite
def _named(draw: st.DrawFn, objects: bool) -> dict[str, Any]:
    """bos_token, ... as text, null, or (objects) as special_tokens_map.json's objects."""
    found: dict[str, Any] = {}
    for name in NAMES:
        form = draw(st.sampled_from(["absent", "absent", "text", "null", "object"]))
        text = draw(_TEXT)
        if form == "text" or (form == "object" and not objects):
            found[name] = text
        elif form == "object":
            found[name] = {k: v for k, v in added(0, text).items() if k not in ("id", "special")}
        elif form == "null":
            found[name] = None
    return found


@st.composite
def folders(draw: st.DrawFn) -> dict[str, Any]:
    """File name -> content of one folder that transformers can load."""
    definition = tokenizer_json(post_processor=draw(_POST), **draw(_TRAINING))
    definition["added_tokens"] = [{**token, **draw(_FLAGS)} for token in definition["added_tokens"]]
    model_type = draw(st.sampled_from(MODELS))
    named_class = draw(st.sampled_from([None, *PLAIN, *REBUILT]))
    # These classes take vocabulary and merges out of tokenizer.json and lose its added tokens where
    # added_tokens_decoder does not repeat them: transformers' fault, and not drawn.
    repeats = model_type in ("qwen2", "qwen3") or named_class in REBUILT
    if model_type == "qwen2" or named_class == REBUILT[1] or (model_type, named_class) == QWEN3:
        definition["pre_tokenizer"] = QWEN2  # and they make their own cuts: the same ones here
    config = {
        **({} if named_class is None else {"tokenizer_class": named_class}),
        **draw(_named(objects=False)),
        **draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "add_bos_token": st.booleans(),
                    "add_eos_token": st.booleans(),
                    "add_prefix_space": st.booleans(),
                    "clean_up_tokenization_spaces": st.booleans(),
                    "image_token": st.sampled_from([TURN, PAD, NEW[1]]),
                    "additional_special_tokens": st.lists(_TEXT, max_size=2, unique=True),
                    "extra_special_tokens": st.one_of(
                        st.lists(st.sampled_from([NEW[1], TURN]), max_size=2, unique=True),
                        st.just({"image_token": TURN, "audio_token": NEW[2]}),
                    ),
                },
            )
        ),
    }
    if draw(st.booleans()):
        own = definition["added_tokens"]
        stated = {t["id"]: {**t, **draw(_FLAGS)} for t in own}
        stated[FIRST] = {**added(FIRST, PAD), **draw(_FLAGS)}
        stated[FIRST + 4] = {**added(FIRST + 4, NEW[0]), **draw(_FLAGS)}
        kept = draw(st.sets(st.sampled_from(sorted(stated))))
        kept |= {token["id"] for token in own if repeats}
        config["added_tokens_decoder"] = {
            str(index): {k: v for k, v in token.items() if k != "id"}
            for index, token in stated.items()
            if index in kept
        }
    one, two = CHAT, "TOOLS {{ tools | tojson if tools else 'none' }}" + CHAT
    listed = [{"name": "default", "template": one}, {"name": "tool_use", "template": two}]
    template = draw(st.sampled_from([None, one, listed, listed[::-1], listed[1:], listed[:1]]))
    if template is not None:
        config["chat_template"] = template
    maybe = st.booleans()
    return {
        "config.json": {"model_type": model_type, "vocab_size": 400},
        "tokenizer.json": definition,
        "tokenizer_config.json": config,
        "special_tokens_map.json": draw(st.none() | _named(objects=True)),
        "added_tokens.json": draw(st.none() | st.just({NEW[0]: FIRST + 4})),
        "chat_template.jinja": "file " + CHAT if draw(maybe) else None,
        "additional_chat_templates/tool_use.jinja": "file " + two if draw(maybe) else None,
        "additional_chat_templates/rag.jinja": "rag" if draw(maybe) else None,
    }

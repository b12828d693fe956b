"""Logprobs of /v1/completions: no entry is lost, and every offset is a place in the text."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.engine import Engine
from hardcast.evaluate.likelihood import score
from hardcast.image import open_image
from hardcast.serve.openai import replies
from hardcast.serve.openai.logprobs import TextLogprobs, token_name
from hardcast.serve.scheduling.request import Token
from hardcast.tokenizer import Tokenizer
from hardcast.tokenizer.stream import TokenStream
from tests.serve.asking import tokenizer_of
from tests.serve.served import CONTEXT, Server, events

TEXT = "/v1/completions"
# Tokens of many kinds: letters, parts of letters, equal texts, and one that spells another's name.
PIECES = [
    b"a", b" a", "é".encode(), b"\xc3", b"\xa9", b" \xf0\x9f", b"\x98\x80", "😀".encode(), b"a",
    b"\\", b"<|end|>", b"<|end|>", "�".encode(), rb"bytes:\xc3", b"token_id:8", b"token_id:11", b"",
    b"\xc3",
]  # fmt: skip


class Pieces:
    """A tokenizer that is a list of byte strings."""

    vocab_size = len(PIECES)

    def token_bytes(self, token: int, skip_special: bool = True) -> bytes:
        return PIECES[token]

    def stream(self, skip_special: bool = True, continuation: bool = False) -> TokenStream:
        return TokenStream(self.token_bytes, 0)


TOKENIZER: Any = Pieces()
IDS = st.integers(0, len(PIECES) - 1)


def test_a_part_of_a_letter_is_named_by_its_bytes() -> None:
    """As OpenAI's API wrote them; what is a letter is left."""
    names = [token_name(token, TOKENIZER) for token in range(len(PIECES))]
    assert names[2:8] == [
        "é",
        r"bytes:\xc3",
        r"bytes:\xa9",
        r"bytes: \xf0\x9f",
        r"bytes:\x98\x80",
        "😀",
    ]
    assert names[12] == "�"


@settings(max_examples=300)
@given(rows=st.lists(st.tuples(IDS, st.lists(IDS, unique=True, max_size=len(PIECES))), max_size=8))
def test_no_entry_of_a_dictionary_hides_another(rows: list[tuple[int, list[int]]]) -> None:
    tokens = [
        Token("", chosen, -0.5 - chosen, tuple((i, -0.5 - i) for i in top), 0.0)
        for chosen, top in rows
    ]
    found = TextLogprobs(TOKENIZER).part(tokens)
    text = "".join(stream_of([chosen for chosen, _ in rows]))
    for (chosen, top), name, value, shown, offset in zip(
        rows, *(found[k] for k in ("tokens", "token_logprobs", "top_logprobs", "text_offset")),
        strict=True,
    ):  # fmt: skip
        assert len(shown) == len({*top, chosen})
        assert sorted(shown.values()) == sorted(-0.5 - i for i in {*top, chosen})
        assert shown[name] == value == -0.5 - chosen
        assert name == token_name(chosen, TOKENIZER)
        assert 0 <= offset <= len(text)


def stream_of(ids: list[int]) -> list[str]:
    stream = TOKENIZER.stream()
    return [*(stream.push(token) for token in ids), stream.flush()]


def test_offsets_are_those_of_letters() -> None:
    ids = [0, 3, 4, 5, 6, 1]  # "aé 😀 a", two letters in two parts
    tokens = [Token("", i, -1.0, (), 0.0) for i in ids]
    split = TextLogprobs(TOKENIZER, offset=10)
    whole = TextLogprobs(TOKENIZER, offset=10).part(tokens)
    assert whole["text_offset"] == [10, 11, 11, 12, 13, 14]
    parts = [split.part([token]) for token in tokens]
    for name, entries in whole.items():
        assert [entry for part in parts for entry in part[name]] == entries


# Through the server


@given(ids=st.lists(IDS, max_size=8))
def test_a_whole_token_stands_at_its_offset(ids: list[int]) -> None:
    """Also where it ends a letter that was never whole."""
    text = "".join(stream_of(ids)) + TokenStream(TOKENIZER.token_bytes, 0).flush()
    part = TextLogprobs(TOKENIZER).part([Token("", i, None, None, 0.0) for i in ids])
    for token, offset in zip(ids, part["text_offset"], strict=True):
        try:
            own = PIECES[token].decode()
        except UnicodeDecodeError:
            continue
        assert text[offset : offset + len(own)] == own


@pytest.mark.parametrize("prompt", ["a<|im_end|>b", "<|im_start|>a", "é<|endoftext|>", "plain"])
def test_an_echoed_prompt_is_what_was_sent(
    prompt: str, tiny_server: Server, tokenizer: Tokenizer
) -> None:
    ids = tokenizer.encode(prompt, add_bos=False)
    for given_ in (prompt, ids):
        for more in ({"max_tokens": 0, "logprobs": 1}, {"max_tokens": 3, "logprobs": 0}, {}):
            (choice,) = asked(tiny_server, prompt=given_, echo=True, **more)
            assert choice["text"].startswith(prompt)
            if more:
                said = choice["logprobs"]
                for name, offset in [*zip(said["tokens"], said["text_offset"], strict=True)][
                    : len(ids)
                ]:
                    assert name.startswith("bytes:") or choice["text"].startswith(name, offset)


def asked(server: Server, **more: Any) -> list[dict[str, Any]]:
    with server.client() as client:
        response = client.post(TEXT, json={"temperature": 0, **more})
    assert response.status_code == 200, response.text
    found = replies.Completion.model_validate(response.json())
    return [choice.model_dump() for choice in found.choices]


def streamed(server: Server, **more: Any) -> list[dict[str, Any]]:
    """The same, put together from the events of a stream."""
    body = {"temperature": 0, "stream": True, **more}
    choices: dict[int, dict[str, Any]] = {}
    with server.client() as client, client.stream("POST", TEXT, json=body) as response:
        for event in events(response):
            for part in event["choices"]:
                whole = choices.setdefault(part["index"], {**part, "text": "", "logprobs": None})
                whole["text"] += part["text"]
                whole["finish_reason"] = part["finish_reason"]
                for name, entries in (part["logprobs"] or {}).items():
                    whole["logprobs"] = whole["logprobs"] or {}
                    whole["logprobs"].setdefault(name, []).extend(entries)
    return [choices[index] for index in sorted(choices)]


@pytest.fixture(scope="module")
def tokenizer(tiny_image: Path) -> Tokenizer:
    return tokenizer_of(open_image(tiny_image))


PROMPTS: list[Any] = [
    "The capital of",
    ["The capital of", "A chip é 😀"],
    [5, 6, 7],
    [[5], [300, 3, 200], list(range(3, 60))],
    "😀",
]


@pytest.mark.parametrize("prompt", PROMPTS, ids=repr)
@pytest.mark.parametrize("count", [0, 1, 6])
def test_echo_says_the_prompts_logprobs(
    prompt: Any, count: int, tiny_server: Server, tiny_image: Path, tokenizer: Tokenizer
) -> None:
    found = asked(tiny_server, prompt=prompt, echo=True, logprobs=2, max_tokens=count)
    plain = asked(tiny_server, prompt=prompt, echo=True, max_tokens=count)
    assert streamed(tiny_server, prompt=prompt, echo=True, logprobs=2, max_tokens=count) == found
    assert [c["text"] for c in found] == [c["text"] for c in plain]
    prompts = prompt if isinstance(prompt, list) and not isinstance(prompt[0], int) else [prompt]
    engine = Engine(open_image(tiny_image), 1)
    for choice, one in zip(found, prompts, strict=True):
        ids = tokenizer.encode(one) if isinstance(one, str) else one
        logprobs, text = choice["logprobs"], choice["text"]
        if not count:
            assert text == tokenizer.decode(ids)
            assert (len(logprobs["tokens"]), choice["finish_reason"]) == (len(ids), "length")
        assert logprobs["tokens"][: len(ids)] == [token_name(i, tokenizer) for i in ids]
        assert logprobs["token_logprobs"][0] is None and logprobs["top_logprobs"][0] is None
        assert len(logprobs["tokens"]) <= len(ids) + count
        pairs = [(ids[:at], ids[at : at + 1]) for at in range(1, len(ids))]
        for at, wanted in enumerate(score(engine, pairs), 1):
            top, name = logprobs["top_logprobs"][at], logprobs["tokens"][at]
            assert top[name] == logprobs["token_logprobs"][at]
            assert top[name] == pytest.approx(wanted.log_probability, abs=1e-12)
            assert (top[name] == max(top.values())) == wanted.greedy
            assert len(top) == (2 if name in list(top)[:2] else 3)
        for name, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
            if not name.startswith(("bytes:", "<|")):
                assert text.startswith(name, offset)


def test_answers_after_one_prompt_echo_alike(tiny_server: Server) -> None:
    body = {
        "prompt": "hello there",
        "echo": True,
        "logprobs": 1,
        "n": 2,
        "temperature": 1,
        "seed": 3,
    }
    one, other = asked(tiny_server, **body)
    count = len(asked(tiny_server, **{**body, "n": 1, "max_tokens": 0})[0]["logprobs"]["tokens"])
    for name in ("tokens", "token_logprobs", "text_offset"):
        assert one["logprobs"][name][:count] == other["logprobs"][name][:count]
    assert one["text"] != other["text"]


def test_nothing_is_made_where_no_token_is_asked_for(tiny_server: Server) -> None:
    (choice,) = asked(tiny_server, prompt="hello", max_tokens=0)
    assert (choice["text"], choice["finish_reason"]) == ("", "length")
    with tiny_server.client() as client:
        body = {"prompt": [5] * CONTEXT, "max_tokens": 0, "echo": True, "logprobs": 0}
        found = client.post(TEXT, json=body).json()
        assert found["usage"]["completion_tokens"] == 0
        assert len(found["choices"][0]["logprobs"]["tokens"]) == CONTEXT
        assert client.post(TEXT, json={"prompt": "a", "max_tokens": -1}).status_code == 400


def test_the_token_that_ends_an_answer_has_its_logprob(
    tiny_server: Server, tokenizer: Tokenizer
) -> None:
    """So that the answer's entries are as many as its tokens, as clients count them."""
    end = tokenizer.eos_ids[0]
    body = {"prompt": "hello", "logprobs": 0, "logit_bias": {str(end): 100}, "max_tokens": 4}
    for found in (asked(tiny_server, **body), streamed(tiny_server, **body)):
        (choice,) = found
        assert (choice["text"], choice["finish_reason"]) == ("", "stop")
        assert choice["logprobs"]["tokens"] == [token_name(end, tokenizer)]


def test_the_token_drawn_is_among_its_alternatives(tiny_server: Server) -> None:
    (choice,) = asked(tiny_server, prompt="a", logprobs=1, temperature=3, seed=1, max_tokens=12)
    sizes = set()
    logprobs = choice["logprobs"]
    for name, value, top in zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
    ):
        assert top[name] == value
        sizes.add(len(top))
    assert sizes == {1, 2} or sizes == {2}


# lm-eval's own client


def choice_task(folder: Path) -> None:
    """A task of the harness, with its data beside it: nothing comes from a network."""
    rows = [
        {"q": "What is the capital of France?", "choices": ["Paris", "Berlin then"], "answer": 0},
        {"q": "The quick brown fox", "choices": ["jumps over", "sleeps 😀"], "answer": 1},
    ]
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    task = {
        "task": "served_choice",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "Q: {{q}}\nA:",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (folder / "served_choice.yaml").write_text(json.dumps(task), "utf-8")


@pytest.mark.parametrize("tokenized", [True, False])
def test_lm_eval_runs_against_the_server(
    tokenized: bool, tiny_server: Server, tiny_image: Path, tmp_path: Path
) -> None:
    """local-completions gives the log-likelihoods of `hardcast eval --tasks` on the same image."""
    pytest.importorskip("lm_eval", reason="the lm-eval extra is not installed: hardcast[lm-eval]")
    for package in ("aiohttp", "tenacity", "requests"):
        pytest.importorskip(package, reason=f"{package} is missing: pip install 'lm-eval[api]'")
    importlib.import_module("lm_eval.models")  # its own clients: else it knows ours alone
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from hardcast.evaluate.lm_harness import HardcastLM

    choice_task(tmp_path)
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)

    def evaluated(model: Any, **more: Any) -> list[Any]:
        found = simple_evaluate(
            model, tasks=["served_choice"], task_manager=manager, log_samples=True, **more
        )
        assert found is not None
        return [sample["filtered_resps"] for sample in found["samples"]["served_choice"]]

    served = evaluated(
        "local-completions",
        model_args={
            "model": "tiny",
            "base_url": tiny_server.url + TEXT,
            "tokenized_requests": tokenized,
            "num_concurrent": 2,
            "max_length": CONTEXT,
        },
    )
    own = evaluated(HardcastLM(Engine(open_image(tiny_image), 1)))
    for one, other in zip(served, own, strict=True):
        for (likelihood, greedy), (wanted, likeliest) in zip(one, other, strict=True):
            assert likelihood == pytest.approx(wanted, abs=1e-9)
            assert greedy == likeliest

"""generate, chat, eval and bench through the command line, on tiny images."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from hardcast import cli
from hardcast.commands.talk import chat
from hardcast.commands.talk._talk import tokenizer_of
from hardcast.console import Console
from hardcast.image import open_image
from tests import tiny

CONTEXT = 128


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf", "llama")


@pytest.fixture(scope="module")
def image(model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny chip image with a chat template and room for 128 positions."""
    out = tmp_path_factory.mktemp("image") / "tiny.image"
    assert (
        cli.main(
            ["build", str(model), "--recipe", "4bit", "-o", str(out), "--context", str(CONTEXT)]
        )
        == 0
    )
    return str(out)


def answered(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one JSON object of a command that must succeed, and say nothing else."""
    capsys.readouterr()
    assert cli.main([*argv, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.count("\n") == 1
    values = json.loads(captured.out)
    assert isinstance(values, dict)
    return values


def failed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that must fail as the user's mistake."""
    capsys.readouterr()
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("hardcast: ")
    assert captured.err.count("\n") == 1
    return captured.err


def say(image: str, *options: str) -> list[str]:
    return ["generate", image, "--prompt", "hello there", "--max-tokens", "12", *options]


def test_generate_gives_the_fixed_keys(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    values = answered(say(image), capsys)
    assert {
        "text",
        "token_ids",
        "digest",
        "executor",
        "decode_tokens_s",
        "prefill_tokens_s",
    } <= set(values)
    assert values["executor"] == "engine"
    assert 1 <= len(values["token_ids"]) <= 12
    assert values["prefill_tokens_s"] > 0


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--temperature", "0.9", "--seed", "7"],
        [
            "--temperature",
            "1.5",
            "--top-k",
            "20",
            "--top-p",
            "0.8",
            "--seed",
            "18446744073709551615",
        ],
    ],
)
def test_golden_and_engine_say_the_same(
    options: list[str], image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = answered(say(image, *options, "--threads", "2"), capsys)
    golden = answered(say(image, *options, "--executor", "golden"), capsys)
    assert (engine["token_ids"], engine["text"]) == (golden["token_ids"], golden["text"])
    assert (engine["executor"], golden["executor"]) == ("engine", "golden")


def test_a_seed_decides(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    def drawn(seed: int) -> list[int]:
        options = ["--temperature", "2", "--seed", str(seed)]
        return list(answered(say(image, *options), capsys)["token_ids"])

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_text_for_people_is_the_text(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = answered(say(image), capsys)["text"]
    assert cli.main(say(image)) == 0
    assert capsys.readouterr().out == text + "\n"


def test_streaming_to_a_terminal_prints_the_same_text(
    image: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = answered(say(image), capsys)["text"]
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.main(say(image)) == 0
    assert terminal.getvalue() == text + "\n"


def test_raw_leaves_the_template_out(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    raw = answered(say(image, "--raw"), capsys)
    templated = answered(say(image, "--chat", "--system", "be brief"), capsys)
    assert raw["prompt_tokens"] < templated["prompt_tokens"]


def test_a_stop_text_ends_before_itself(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--temperature", "2", "--seed", "3"]
    text = str(answered(say(image, *options), capsys)["text"])
    middle = text[len(text) // 2 : len(text) // 2 + 2]
    assert middle
    stopped = answered(say(image, *options, "--stop", "\0never", "--stop", middle), capsys)
    assert stopped["text"] == text[: text.index(middle)]
    assert stopped["finish_reason"] == "stop"


TIMES = {"decode_tokens_s": 0, "prefill_tokens_s": 0}


def test_prompt_from_stdin(
    image: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answered(say(image), capsys)["token_ids"]
    argv = ["generate", image, "--prompt", "-", "--max-tokens", "12"]

    def given(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))

    for data in (b"hello there", b"\xef\xbb\xbfhello there"):
        given(data)
        assert answered(argv, capsys)["token_ids"] == expected
    for text in ("a\r\nb\rc\n", "ü\u2028"):  # line ends stay what they are
        given(text.encode())
        asked = ["generate", image, "--prompt", text, "--max-tokens", "12"]
        assert (
            answered([*argv, "--raw"], capsys) | TIMES
            == answered([*asked, "--raw"], capsys) | TIMES
        )
    given(b"caf\xe9")
    assert "stdin: not UTF-8 (byte 3)" in failed(argv, capsys)


def test_generation_ends_where_the_context_does(
    image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["generate", image, "--prompt", "a b c", "--raw", "--max-tokens", "1000"]
    values = answered(argv, capsys)
    assert len(values["token_ids"]) <= CONTEXT
    assert values["finish_reason"] in ("stop", "length")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--temperature", "-1"], "temperature"),
        (["--temperature", "1e30"], "temperature"),
        (["--temperature", "nan"], "temperature"),
        (["--temperature", "inf"], "temperature"),
        (["--temperature", "hot"], "temperature"),
        (["--temperature", "1e-9"], "temperature"),
        (["--top-k", "-1"], "top-k"),
        (["--top-k", "99999999999999999999"], "top-k"),
        (["--top-p", "0"], "top-p"),
        (["--top-p", "1.1"], "top-p"),
        (["--top-p", "nan"], "top-p"),
        (["--seed", "-1"], "seed"),
        (["--seed", "18446744073709551616"], "seed"),
        (["--max-tokens", "0"], "max-tokens"),
        (["--max-tokens", "-5"], "max-tokens"),
        (["--threads", "0"], "threads"),
        (["--threads", "100000"], "threads"),
        (["--path", "abacus"], "abacus"),
        (["--stop", ""], "--stop"),
        (["--executor", "oracle"], "oracle"),
        (["--executor", "golden", "--threads", "2"], "golden"),
        (["--raw", "--system", "x"], "--system"),
        (["--raw", "--chat"], "--raw"),
    ],
)
def test_bad_options(
    options: list[str], says: str, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in failed(say(image, *options), capsys)


@pytest.mark.parametrize(
    ("prompt", "says"),
    [("", "empty"), ("word " * 500, f"holds {CONTEXT}"), ("\udcff", "Unicode")],
)
def test_bad_prompts(
    prompt: str, says: str, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in failed(["generate", image, "--prompt", prompt], capsys)


def converse(image: str, lines: str, monkeypatch: pytest.MonkeyPatch, *options: str) -> list[str]:
    """The command line of a chat whose person types `lines`."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    return ["chat", image, "--max-tokens", "4", *options]


def test_chat_keeps_the_conversation(
    image: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = converse(image, "hi\n\nand you\n", monkeypatch, "--system", "be kind")
    messages = answered(argv, capsys)["messages"]
    roles = [message["role"] for message in messages]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert [message["content"] for message in messages[1::2]] == ["hi", "and you"]


def test_a_turn_is_answered_as_a_fresh_context_would(
    image: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second turn reuses the first one's KV cache, and must not be told apart."""
    sampling = ["--temperature", "0.7", "--top-p", "0.9", "--seed", "5"]
    messages = answered(converse(image, "hi\nand you\n", monkeypatch, *sampling), capsys)[
        "messages"
    ]
    prompt = tokenizer_of(open_image(image)).chat_prompt(messages[:-1])
    argv = ["generate", image, "--prompt", prompt, "--raw", "--max-tokens", "4", *sampling]
    assert answered(argv, capsys)["text"] == messages[-1]["content"]


def test_reset_forgets(
    image: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    after = answered(converse(image, "a\n/reset\nb\n", monkeypatch), capsys)["messages"]
    fresh = answered(converse(image, "b\n", monkeypatch), capsys)["messages"]
    assert after == fresh


def test_chat_commands(
    image: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = converse(image, "/help\n/frobnicate\n/quit\nnever read\n", monkeypatch)
    assert cli.main(argv) == 0
    text = capsys.readouterr().out
    assert text.count("/reset") == 3  # greeting, /help, unknown command
    assert "no command /frobnicate" in text


def test_chat_says_when_the_context_is_full_and_goes_on(
    image: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = converse(image, "word " * 500 + "\nhi\n", monkeypatch, "--json")
    assert cli.main(argv) == 0
    captured = capsys.readouterr()
    assert "/reset" in captured.err and captured.err.count("\n") == 1
    messages = json.loads(captured.out)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"]


def test_ctrl_c_stops_an_answer_and_not_the_chat(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> Any:
        yield "half an"
        raise KeyboardInterrupt

    assert chat.speak(Console(), interrupted()) == "half an"
    assert capsys.readouterr().out == "half an (stopped)\n"


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 30, "utf-8")
    return str(path)


def test_eval_measures_chip_and_float(
    image: str, model: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["eval", image, "--text", text, "--context", "48", "--windows", "2"]
    alone = answered(argv, capsys)
    both = answered([*argv, "--against", str(model)], capsys)
    golden = answered([*argv, "--executor", "golden"], capsys)
    assert alone["tokens"] == both["tokens"] == 2 * 47
    assert alone["perplexity"] == both["perplexity"] == golden["perplexity"]
    assert alone["perplexity_float"] is None
    assert math.isfinite(both["perplexity_float"])
    assert 0 < both["kl_mean"] < 1
    assert 0 < both["top1_agreement"] <= 1
    assert both["increase"] == both["perplexity"] / both["perplexity_float"] - 1


def test_eval_keeps_the_line_ends_of_a_text(
    image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CRLF and CR are other tokens than LF; a byte order mark is none."""
    line = "the quick brown fox\n"
    counts = []
    for end, mark in (("\n", b""), ("\r\n", b""), ("\r", b""), ("\n", b"\xef\xbb\xbf")):
        path = tmp_path / "text.txt"
        text = line.replace("\n", end) * 6
        path.write_bytes(mark + text.encode())
        tokenizer = tokenizer_of(open_image(image))
        tokens = tokenizer.encode(text, special=False, add_bos=False)
        argv = ["eval", image, "--text", str(path), "--context", str(len(tokens)), "--windows", "1"]
        counts.append((answered(argv, capsys)["tokens"], answered(argv, capsys)["perplexity"]))
        assert counts[-1][0] == len(tokens) - 1
    assert counts[1] != counts[0] != counts[2] and counts[3] == counts[0]


def test_eval_refuses_what_it_cannot_measure(
    image: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9")
    other = tiny.write_safetensors(tmp_path / "other", "llama", num_hidden_layers=1)
    for argv, says in (
        (["--text", str(tmp_path / "none.txt")], "none.txt"),
        (["--text", str(tmp_path)], str(tmp_path)),
        (["--text", str(latin)], "not UTF-8"),
        (["--text", text, "--context", str(CONTEXT + 1)], f"2..{CONTEXT}"),
        (["--text", text, "--context", "1"], "--context"),
        (["--text", text, "--context", "8", "--against", str(other)], "not the model of"),
    ):
        assert says in failed(["eval", image, *argv], capsys)


def test_bench_gives_the_fixed_keys(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--prefill", "32", "--decode", "8", "--runs", "2", "--threads", "1"]
    values = answered(["bench", image, *sizes], capsys)
    assert values["decode_tokens_s"] > 0 and values["prefill_tokens_s"] > 0
    assert values["threads"] == 1
    forced = answered(["bench", image, *sizes, "--path", "portable"], capsys)
    assert forced["path"] == "portable"


def test_bench_refuses_more_than_the_context(
    image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for asked in (["--prefill", str(CONTEXT + 1)], ["--decode", str(CONTEXT)]):
        assert str(CONTEXT) in failed(["bench", image, *asked], capsys)


def test_defaults_fit_a_small_chip(
    image: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose context is less than the usual sizes: nobody asked for more."""
    usual = answered(["eval", image, "--text", text], capsys)
    assert usual == answered(["eval", image, "--text", text, "--context", str(CONTEXT)], capsys)
    assert answered(["bench", image, "--runs", "1"], capsys)["prefill_tokens_s"] > 0

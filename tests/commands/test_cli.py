"""The command line around the verbs: help, exit codes, one line a mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hardcast import __version__, cli
from hardcast.commands._parameters import whole
from hardcast.console import Console, amount, table


def hardcast(*argv: str) -> list[str]:
    """The command as a process, so that start-up, exit code and streams are the real ones."""
    return [sys.executable, "-m", "hardcast", *argv]


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_verb(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    for verb in cli.verbs():
        summary = cli.docstring(verb).splitlines()[0]
        assert any(line.split()[:1] == [verb] and summary in line for line in lines)


def test_the_verbs_of_this_release_are_there() -> None:
    expected = {"demo", "fetch", "models", "build", "inspect", "generate", "chat", "eval", "bench"}
    assert expected <= set(cli.verbs())


def test_help_is_quick_because_it_imports_no_verb() -> None:
    code = (
        "import sys; from hardcast.cli import main; main(['--help']); "
        "sys.exit(any(m in sys.modules for m in ('numpy', 'rich', 'tokenizers', 'jinja2')))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize("verb", cli.verbs())
def test_every_verb_explains_itself_with_an_example(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert "--json" in text
    assert f"hardcast {verb}" in text.partition("example:")[2]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"hardcast {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["biuld"], "did you mean build?"),
        (["frobnicate"], "there are: "),
        (["build"], "required"),
        (["build", "x", "-o", "y", "--contxt", "3"], "--contxt"),
        (["generate", "x", "--prompt", "y", "--max-tokens", "many"], "expected a whole number"),
        (["inspect", "no such folder"], "not a chip image"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("hardcast: ")
    assert captured.err.count("\n") == 1
    assert says in captured.err


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """As in `hardcast models | head -0`: no traceback, and no complaint at interpreter exit."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        ended = subprocess.run(hardcast("models"), stdout=closed, stderr=subprocess.PIPE)
    assert ended.returncode == 141
    assert ended.stderr == b""


def test_ctrl_c_is_exit_code_130_wherever_it_strikes() -> None:
    """Inside exec() it marks the interpreter to end by a signal, which would be code -2."""
    code = (
        "from hardcast import cli; cli.dispatch = lambda _: exec('raise KeyboardInterrupt'); "
        "cli.entry()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "hardcast: interrupted\n"


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[str]:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "verbs", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["models"])


def test_an_operating_systems_error_is_a_mistake_only_if_it_is_about_the_users_paths(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = OSError(28, os.strerror(28), "image")

    def failing(_: list[str]) -> int:
        raise failure

    monkeypatch.setattr(cli, "dispatch", failing)
    assert cli.main([]) == 2
    assert capsys.readouterr().err == (
        f"hardcast: image: {os.strerror(28)}; free some space or name a folder on another disk\n"
    )
    failure = OSError(22, os.strerror(22))
    with pytest.raises(OSError, match="22"):
        cli.main([])


@pytest.mark.parametrize("text", ["-1", "0", "65", "1e3", "", "1_0", "9" * 5000, "nan"])
def test_whole_numbers_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(Exception, match="expected a whole number, 1 to 64"):
        whole(1, 64)(text)


def test_whole_numbers_within_range_are_taken() -> None:
    assert [whole(1, 64)(text) for text in ("1", "64")] == [1, 64]
    assert whole(0)("123456789") == 123456789


def test_json_is_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(as_json=True)
    console.print("for people")
    with console.progress() as progress:
        progress("step", 1, None)
    console.result({"text": "é"})
    assert capsys.readouterr().out == '{"text": "é"}\n'


def test_an_error_message_of_many_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    Console().error("first\n  second")
    assert capsys.readouterr().err == "first second\n"


def test_amounts_and_tables() -> None:
    assert [amount(n) for n in (0, 1023, 1024, 98362432)] == [
        "0 bytes",
        "1023 bytes",
        "1.0 KiB",
        "93.8 MiB",
    ]
    assert table(["a", "bb"], [["ccc", "1"]]) == "a    bb\nccc   1"


def test_module_runs_from_anywhere(tmp_path: Path) -> None:
    ended = subprocess.run(hardcast("models", "--json"), cwd=tmp_path, capture_output=True)
    assert ended.returncode == 0, ended.stderr


EMPTY = "expected a name or path; found an empty text"


@pytest.mark.parametrize(
    "argv",
    [
        ["build", "", "-o", "x"],
        ["build", "--synthetic", "", "-o", "x"],
        ["build", "m", "-o", ""],
        ["build", "m", "-o", "x", "--calibrate", ""],
        ["demo", "-o", ""],
        ["fetch", ""],
        ["inspect", ""],
        ["generate", "", "--prompt", "p"],
        ["chat", ""],
        ["bench", ""],
        ["eval", "", "--text", "t"],
        ["eval", "x", "--text", ""],
        ["eval", "x", "--text", "t", "--against", ""],
        ["eval", "x", "--tasks", "t", "--include-path", ""],
        ["rtl", "", "-o", "x"],
        ["rtl", "x", "-o", ""],
        ["simulate", "", "--prompt", "p"],
        ["simulate", "x", "--prompt", "p", "--trace", ""],
        ["simulate", "x", "--prompt", "p", "--checkpoint", ""],
        ["chip", ""],
        ["compare", ""],
        ["explore", ""],
        ["explore", "x", "--space", ""],
        ["explore", "x", "--journal", ""],
        ["explore", "x", "-o", ""],
        ["report", "", "-o", "x.html"],
        ["report", "x", "-o", ""],
        ["report", "x", "-o", "x.html", "--quality", ""],
        ["synth", "", "--pdk", "asap7", "--block", "tile"],
        ["synth", "--pdk", "asap7", "--block", "tile", "--save", ""],
        ["serve", ""],
        ["serve", "x", "--access-log", ""],
        ["keys", "list", "--keys-file", ""],
    ],
)
def test_an_empty_path_is_not_the_current_folder(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A shell gives one for a variable that is not set."""
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert EMPTY in captured.err


@pytest.mark.parametrize("name", ["two\nlines", "a\r\nb", "\u2028x\x85"])
def test_a_name_of_two_lines_is_told_in_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["build", name, "-o", "x"], ["inspect", name], ["chip", name]):
        assert cli.main(argv) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1

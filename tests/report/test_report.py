"""`hardcast report`: the file, --json, dates, and every way to ask for it wrongly."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from hardcast import cli
from hardcast.image import open_image
from hardcast.report.save import MARK
from tests.report import pages
from tests.report.pages import DATE, HOSTILE, Page

pytestmark = pytest.mark.usefixtures("drawing")
MODEL = "smollm2-135m"


def failed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Runs a command that must be refused; returns its one line."""
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("hardcast: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_the_verb_writes_a_page_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.html"
    argv = ["report", MODEL, "--date", DATE, "--json", "-o", str(path)]
    assert cli.main(argv) == 0
    captured = capsys.readouterr()
    values = json.loads(captured.out)
    data = path.read_bytes()
    assert captured.err == ""
    assert values["path"] == str(path)
    assert values["size_bytes"] == len(data)
    assert values["sha256"] == hashlib.sha256(data).hexdigest()
    assert values["digest"] is None and values["model"] == MODEL and values["date"] == DATE
    assert MARK in data[:1024]
    page = Page(data.decode("utf-8"))
    assert f"hardcast report {MODEL} --date {DATE} -o a.html" in page.words
    # The same command gives the same file; an older datasheet is replaced without a word.
    assert cli.main(argv) == 0
    assert path.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


def test_the_footers_command_makes_the_page_again(tmp_path: Path) -> None:
    path = tmp_path / "b.html"
    words = [MODEL, "--node", "sg13g2", "--users", "2", "--systems", "50", "--utilisation", "0.25"]
    words += ["--position", "7", "--clock-ghz", "0.1", "--lora-rank", "8", "--date", DATE]
    assert cli.main(["report", *words, "-o", str(path)]) == 0
    first = path.read_text("utf-8")
    page = Page(first)
    command = page.words[page.words.index("hardcast report " + MODEL) :].partition(" With ")[0]
    assert cli.main([*command.split()[1:-1], str(path)]) == 0
    assert path.read_text("utf-8") == first


def test_an_image_is_named_by_its_digest(image: Path) -> None:
    page = Page(pages.html(str(image), "--preset", "tiny"))
    assert open_image(image).digest in page.words


def test_the_date_is_the_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["report", MODEL, "--json", "-o", str(tmp_path / "a.html")]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert cli.main(argv) == 0
    assert json.loads(capsys.readouterr().out)["date"] == "1970-01-02"
    for bad in ("soon", "9" * 30):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", bad)
        assert "SOURCE_DATE_EPOCH is" in failed(argv, capsys)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["llama-3.1-8x"], "did you mean llama-3.1-8b?"),
        ([MODEL, "--node", "n66"], "did you mean n6?"),
        ([MODEL, "--preset", "hc2"], "no chip preset 'hc2'"),
        ([MODEL, "--date", "yesterday"], "expected a date as 2026-01-31; found yesterday"),
        ([MODEL, "--utilisation", "1.5"], "expected a share above 0, at most 1; found 1.5"),
        ([MODEL, "--utilisation", "0"], "expected a number above 0; found 0"),
        ([MODEL, "--systems", "0"], "expected a whole number, 1 or more; found 0"),
        ([MODEL, "--position", "9999"], "position 9999 is beyond the context"),
        (["llama-3.1-70b", "--stages", "1"], "beyond the reticle's 858 mm2: make it"),
        ([MODEL, "--quality", "missing.json"], "missing.json: No such file"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = failed(["report", *words, "-o", str(tmp_path / "a.html")], capsys)
    assert expected in said
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is a folder" in failed(["report", MODEL, "-o", str(tmp_path)], capsys)
    missing = str(tmp_path / "no" / "a.html")
    assert "there is no folder" in failed(["report", MODEL, "-o", missing], capsys)
    own = tmp_path / "thesis.html"
    own.write_text("years of work")
    assert "--force" in failed(["report", MODEL, "-o", str(own)], capsys)
    assert own.read_text() == "years of work"
    assert cli.main(["report", MODEL, "-o", str(own), "--force"]) == 0
    assert MARK in own.read_bytes()


def test_a_full_or_forbidden_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import errno
    import tempfile

    def forbidden(**_: object) -> tuple[int, str]:
        raise OSError(errno.EACCES, "Permission denied", str(tmp_path / "a.html"))

    monkeypatch.setattr(tempfile, "mkstemp", forbidden)
    said = failed(["report", MODEL, "-o", str(tmp_path / "a.html")], capsys)
    assert "a.html: Permission denied; mend its permissions, or name a path that" in said


def test_a_measurement_of_another_image_is_refused(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pages.quality(tmp_path, "f" * 64)
    argv = ["report", str(image), "--preset", "tiny", "--quality", str(path)]
    said = failed([*argv, "-o", str(tmp_path / "a.html")], capsys)
    assert "is of another image: its digest begins ffffffffffffffff" in said
    said = failed(["report", MODEL, "--quality", str(path), "-o", str(tmp_path / "a.html")], capsys)
    assert "a shape has no weights" in said


def test_a_name_that_is_no_utf8(image: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/odd\xff.image"))
    shutil.copytree(image, odd)
    path = tmp_path / "a.html"
    assert cli.main(["report", str(odd), "--preset", "tiny", "-o", str(path)]) == 0
    assert "odd?.image" in Page(path.read_text("utf-8")).words


def test_a_hostile_name_reaches_the_page_as_text(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.html"
    assert cli.main(["report", str(image), "--preset", "tiny", "-o", str(path)]) == 0
    text = path.read_text("utf-8")
    assert "<img" not in text and text.count("<script>") == 1
    assert HOSTILE in Page(text).words

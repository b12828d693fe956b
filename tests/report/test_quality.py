"""Reading what `hardcast eval --json` wrote."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hardcast.cli import parser
from hardcast.commands.silicon import report
from hardcast.errors import HardcastError
from hardcast.report.quality import joined, read_quality
from tests.report import pages


def test_a_measurement_is_read(tmp_path: Path) -> None:
    found = read_quality(pages.quality(tmp_path, "abc", text="held_out.txt"))
    assert found.digest == "abc"
    assert found.text == "held_out.txt"
    assert found.numbers["perplexity"] == 18.5
    assert found.increase == pytest.approx(18.5 / 17.25 - 1)


def test_the_float_model_need_not_have_been_measured(tmp_path: Path) -> None:
    found = read_quality(
        pages.quality(tmp_path, "abc", perplexity_float=None, kl_mean=None, top1_agreement=None)
    )
    assert set(found.numbers) == {"perplexity", "tokens"}
    assert found.increase is None


def test_scores_of_tasks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    metrics = {"alias": "arc_easy", "acc,none": 0.5, "acc_stderr,none": 0.02}
    data = {"tasks": {"arc_easy": metrics}, "questions": {"arc_easy": 200}, "digest": "abc"}
    path.write_text(json.dumps(data))
    (task,) = read_quality(path).tasks
    assert (task.name, task.metric, task.value) == ("arc_easy", "acc", 0.5)
    assert (task.error, task.questions) == (0.02, 200)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("not json", "no measurement"),
        ("[1]", "no measurement"),
        ("{}", "no measurement"),
        ("[" * 100_000, "no measurement"),
        ('{"perplexity": 2, "tokens": 3}', "digest is missing"),
        ('{"perplexity": "<b>", "tokens": 3, "digest": "a"}', "perplexity is '<b>'"),
        ('{"perplexity": NaN, "tokens": 3, "digest": "a"}', "perplexity is nan"),
        ('{"perplexity": 0.5, "tokens": 3, "digest": "a"}', "perplexity is 0.5"),
        ('{"perplexity": 2, "digest": "a"}', "tokens is None"),
        ('{"perplexity": 2, "tokens": true, "digest": "a"}', "tokens is True"),
        ('{"perplexity": 2, "tokens": 3, "top1_agreement": 2, "digest": "a"}', "top1_agreement"),
        (f'{{"perplexity": {10**400}, "tokens": 3, "digest": "a"}}', "perplexity is 10000"),
        ('{"perplexity": 2, "tokens": Infinity, "digest": "a"}', "tokens is inf"),
        (f'{{"tasks": {{"a": {{"acc,none": {10**400}}}}}, "digest": "a"}}', "a acc,none is 1000"),
        ('{"tasks": {"a": {"acc": 1, "acc_stderr": -1}}, "digest": "a"}', "a acc error is -1"),
        ('{"tasks": {"a": {"acc": 1, "acc_stderr": NaN}}, "digest": "a"}', "a acc error is nan"),
        (
            '{"tasks": {"a": {"acc": 1}}, "questions": {"a": -4}, "digest": "a"}',
            "questions of a is -4",
        ),
        ('{"tasks": 3, "digest": "a"}', "tasks is 3"),
        ('{"tasks": {"a": 3}, "digest": "a"}', "task 'a'"),
        ('{"tasks": {}, "comparison": 3, "digest": "a"}', "comparison is 3"),
        ('{"tasks": {}, "comparison": {"tasks": {}}, "digest": "a"}', "comparison of 'together'"),
        (
            '{"tasks": {}, "digest": "a", "comparison": {"together": {}, "tasks": {"t": {"acc": '
            '{"low": -2, "high": 0, "p": 1, "chip_stderr": 0, "lost": 1, "questions": 3, '
            '"chip": 0, "source": 0, "difference": 0}}}}}',
            "t acc low is -2",
        ),
    ],
)
def test_anything_else_is_refused_in_a_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "q.json"
    path.write_text(text)
    with pytest.raises(HardcastError) as refused:
        read_quality(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert expected in str(refused.value)


def test_what_is_no_plain_file_is_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(HardcastError, match="where a file is expected"):
            read_quality(path)
    (tmp_path / "long.json").write_bytes(b" " * (1 << 20) + b'{"tasks": {}, "digest": "a"}')
    with pytest.raises(HardcastError, match="no measurement"):
        read_quality(tmp_path / "long.json")


@pytest.mark.usefixtures("drawing")
def test_nothing_of_a_measurement_is_lost_on_the_page(image: Path, tmp_path: Path) -> None:
    from hardcast.image import open_image

    digest = open_image(image).digest
    given: dict[str, Any] = {"text": "held_out.txt"}
    path = pages.quality(tmp_path, digest, **given)
    page = pages.Page(pages.html(str(image), "--preset", "tiny", "--quality", str(path)))
    (rows,) = [rows for rows in page.tables.values() if rows and rows[0][:1] == ["measured"]]
    assert rows[1:] == [
        ["perplexity of the chip", "18.5000"],
        ["perplexity of the float model", "17.2500"],
        ["lost by casting", "+7.25 %"],
        ["KL to the float model, nats a token", "0.03125"],
        ["same first choice as the float model", "91.5 %"],
        ["predictions", "1,022"],
    ]
    assert "Perplexity on held_out.txt" in page.words


def test_losses_are_read(tmp_path: Path) -> None:
    found = read_quality(pages.compared(tmp_path, "abc")).losses
    assert [(loss.name, loss.metric, loss.shares) for loss in found] == [
        ("basics_a", "acc", True),
        ("basics_a", "margin", False),
        ("basics_b", "acc", True),
        ("together", "acc", True),
        ("together", "margin", False),
    ]
    assert (found[0].difference, found[0].questions, found[0].p) == (-0.4, 20, 2 / 2**8)
    assert found[0].p_holm == 4 / 2**8 and found[3].p_holm is None


def test_a_score_of_one_question_has_no_loss(tmp_path: Path) -> None:
    """Nothing is shown that one question cannot tell."""
    path = pages.compared(tmp_path, "abc")
    data = json.loads(path.read_text("utf-8"))
    data["comparison"]["tasks"]["basics_a"]["margin"]["low"] = None
    path.write_text(json.dumps(data), "utf-8")
    assert len(read_quality(path).losses) == 4


def test_measurements_are_joined(tmp_path: Path) -> None:
    text, tasks = (
        read_quality(pages.quality(tmp_path, "abc")),
        read_quality(pages.compared(tmp_path, "abc")),
    )
    for parts in ([text, tasks], [tasks, text]):
        both = joined(parts)
        assert both.numbers == text.numbers and both.losses == tasks.losses
        assert both.tasks == tasks.tasks
        assert set(both.file.split(", ")) == {"quality.json", "tasks.json"}
    for twice, what in ((text, "perplexity"), (tasks, "task basics_")):
        with pytest.raises(HardcastError, match=f"{what}.* is measured twice"):
            joined([twice, twice])


@pytest.mark.usefixtures("drawing")
def test_the_page_shows_losses_beside_the_silicon(image: Path, tmp_path: Path) -> None:
    from hardcast.image import open_image

    digest = open_image(image).digest
    files = [pages.quality(tmp_path, digest), pages.compared(tmp_path, digest)]
    given = [word for path in files for word in ("--quality", str(path))]
    html = pages.html(str(image), "--preset", "tiny", *given)
    page = pages.Page(html)
    (rows,) = [
        rows
        for rows in page.tables.values()
        if rows and rows[0][1:2] == ["metric"] and "95 %" in rows[0]
    ]
    assert rows[1][:7] == ["basics_a", "acc, %", "20", "100.0", "60.0", "11.2", "-40.0"]
    assert rows[1][8:] == ["0.008", "0.016"]
    assert [row[:2] for row in rows[2:]] == [
        ["basics_b", "acc, %"],
        ["together", "acc, %"],
        ["together", "margin"],
    ]
    # What was not compared stands alone; what was, stands once.
    (others,) = [rows for rows in page.tables.values() if rows and rows[0][-2:] == ["score", "±"]]
    assert [row[:2] for row in others[1:]] == [["basics_a", "other"]]
    assert page.tables["data-losses"][1:] == [
        ["basics_a", "-40.0", *page.tables["data-losses"][1][2:]],
        ["basics_b", "+0.0", *page.tables["data-losses"][2][2:]],
        ["together", "-20.0", *page.tables["data-losses"][3][2:]],
    ]
    assert page.tables["data-scores"][1][:2] == ["basics_a", "60.0"]
    assert "perplexity +7.25 % beside its float source; 80.0 % of 40 questions right" in page.words
    command = report.command(
        parser("report", report).parse_args([str(image), *given, "-o", "x.html"])
    )
    assert command.count("--quality") == 2

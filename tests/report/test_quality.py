"""Reading what `hardcast eval --json` wrote."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hardcast.errors import HardcastError
from hardcast.report.quality import read_quality
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
        ('{"tasks": 3, "digest": "a"}', "tasks is 3"),
        ('{"tasks": {"a": 3}, "digest": "a"}', "task 'a'"),
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

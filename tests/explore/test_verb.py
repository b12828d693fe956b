"""`hardcast explore` as it is called: answers, files, mistakes, kills and interrupts."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from hardcast import cli
from hardcast.explore.objectives import DEFAULT, QUANTITIES

SPACE = """
dies = ["fit", "2x1"]
columns = 8
tile_rows = [32, 64, 128]
slices = [3, 9, 12]
users = [1, 4]
positions = [4, 8]
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "space.toml"
    file.write_text(SPACE)
    return file


def asked(capsys: pytest.CaptureFixture[str], *argv: object) -> dict[str, Any]:
    """What --json says. Warnings and errors fail."""
    code = cli.main(["explore", *map(str, argv), "--json", "--jobs", "1"])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    found: dict[str, Any] = json.loads(captured.out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """The one line of a mistake."""
    assert cli.main(["explore", *map(str, argv)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("hardcast: ") and captured.err.count("\n") == 1
    return captured.err


def test_the_answer(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "smollm2-135m", "--space", own)
    assert found["points"] == found["space_size"] == 72
    assert found["feasible"] + sum(found["reasons"].values()) == 72
    assert found["reasons"] == {
        "N lanes finish N blocks a cycle, which do not divide its N slices": 16
    }
    assert found["objectives"] == list(DEFAULT)
    assert found["nodes"] == ["n6"] and found["position"] == 1023
    assert found["seconds"] > 0
    assert 1 < len(found["front"]) < found["feasible"]
    for point in found["front"]:
        assert set(point["figures"]) == set(QUANTITIES)
        assert point["parameters"]["slices"] in (3, 9, 12)
    speeds = [point["figures"]["tokens_s_user"] for point in found["front"]]
    assert speeds == sorted(speeds, reverse=True)


def test_text(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explore", "smollm2-135m", "--space", str(own), "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "smollm2-135m on n6: 72 points of a space of 72" in said
    rows = [line for line in said.splitlines() if re.match(r" *\d+ x \d+ ", line)]
    assert 1 < len(rows) <= 25
    assert all(name in said for name in ("best in", "tokens_s_user", "usd_per_million"))
    assert "16  N lanes finish N blocks a cycle" in said


def test_objectives_and_limits(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = "--objectives", "tokens_s_user"
    fastest = asked(capsys, "smollm2-135m", "--space", own, *only)["front"]
    assert len(fastest) == 1
    area = fastest[0]["figures"]["area_mm2"]
    limit = "--max-area-mm2", area * 0.9, "--max-dies", 1
    smaller = asked(capsys, "smollm2-135m", "--space", own, *only, *limit)
    figures = smaller["front"][0]["figures"]
    assert figures["area_mm2"] <= area * 0.9 and figures["dies"] == 1
    assert figures["tokens_s_user"] < fastest[0]["figures"]["tokens_s_user"]
    assert smaller["within"] < smaller["feasible"] == 56
    assert set(smaller["limits"]) == {"--max-area-mm2", "--max-dies"}
    none = asked(capsys, "smollm2-135m", "--space", own, "--min-tokens-s-user", 1e9)
    assert none["front"] == [] and none["within"] == 0
    assert none["reasons"]["under --min-tokens-s-user 1e+09"] == 56


def test_nodes_and_recipes(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    several = "--node", "n6,sg13g2", "--recipe", "4bit,3bit"
    found = asked(capsys, "smollm2-135m", "--space", own, *several)
    assert found["points"] == 4 * 72
    assert found["nodes"] == ["n6", "sg13g2"] and found["recipes"] == ["4bit", "3bit"]
    # Held against what it costs, neither recipe wins everything.
    assert "weight_bits" in found["objectives"]
    assert {point["parameters"]["recipe"] for point in found["front"]} == {"4bit", "3bit"}


def test_drawn_points_are_the_same_again(capsys: pytest.CaptureFixture[str]) -> None:
    one, again, other = (
        asked(capsys, "smollm2-135m", "--points", 60, "--seed", seed) for seed in (3, 3, 4)
    )
    assert one["points"] == 60 < one["space_size"]
    assert one["front"] == again["front"] != other["front"]


def test_files(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / f"all.{kind}" for kind in ("csv", "json")]
    outputs = [word for file in files for word in ("-o", file)]
    found = asked(capsys, "smollm2-135m", "--space", own, *outputs)
    front = [point["point"] for point in found["front"]]
    rows = list(csv.DictReader(files[0].open(encoding="utf-8")))
    assert [int(row["point"]) for row in rows] == list(range(72))
    assert {int(row["point"]) for row in rows if row["front"] == "1"} == set(front)
    assert sum(bool(row["reason"]) for row in rows) == 16
    best = next(row for row in rows if int(row["point"]) == front[0])
    assert float(best["tokens_s_user"]) == found["front"][0]["figures"]["tokens_s_user"]
    whole = json.loads(files[1].read_text())
    assert whole["front"] == front and len(whole["results"]) == 72
    assert whole["results"][front[0]] == found["front"][0]


def test_pictures(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("vl_convert", reason="pictures need the extra report")
    files = [tmp_path / f"front.{kind}" for kind in ("svg", "html")]
    outputs = [word for file in files for word in ("-o", file)]
    found = asked(capsys, "smollm2-135m", "--space", own, *outputs)
    svg = ET.fromstring(files[0].read_text())
    assert svg.tag.endswith("svg") and "chips of the front" in svg.attrib["aria-label"]
    page = files[1].read_text()
    assert page.count("<svg") == len(DEFAULT) - 1
    assert page.count("<tr>") == 1 + len(found["front"])
    assert "http" not in page.replace("http://www.w3.org/", "")
    one = "--objectives", "area_mm2"
    asked(capsys, "smollm2-135m", "--space", own, *one, "-o", files[1], "--force")
    assert files[1].read_text().count("<svg") == 1


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["llama-3.1-8c"], "did you mean llama-3.1-8b"),
        (["smollm2-135m", "--node", "n6,n66"], "no process node 'n66'; did you mean n6"),
        (["smollm2-135m", "--node", "n6,n6"], "node: 'n6' stands twice"),
        (["smollm2-135m", "--recipe", "5bit"], "'5bit'"),
        (["smollm2-135m", "--preset", "hc2"], "no chip preset 'hc2'"),
        (["smollm2-135m", "--objectives", "speed"], "no objective 'speed'"),
        (["smollm2-135m", "--space", "none.toml"], "none.toml: No such file"),
        (["smollm2-135m", "--position", "99999"], "--position 99999 is beyond the context"),
        (["smollm2-135m", "--utilisation", "1.5"], "at most 1"),
        (["smollm2-135m", "--max-dies", "0"], "expected a number above 0"),
        (["smollm2-135m", "--points", "0"], "expected a whole number, 1 or more"),
        (["smollm2-135m", "--points", "2000000"], "2,000,000 points are more than"),
        (["smollm2-135m", "-o", "front.png"], "-o writes .csv, .json, .svg, .html"),
        (["smollm2-135m", "-o", "no/such/folder.csv"], "a folder that is there"),
        (["smollm2-135m", "--scheduler", "x", "--jobs", "2"], "not with --scheduler"),
    ],
)
def test_mistakes(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in refused(capsys, *argv)


def test_files_that_are_there_are_kept(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("mine")
    assert "--force replaces it" in refused(capsys, "smollm2-135m", "-o", file)
    assert file.read_text() == "mine"
    asked(capsys, "smollm2-135m", "--space", own, "-o", file, "--force")
    assert file.read_text().startswith("point,")


def test_a_journal_of_another_space(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "search.jsonl"
    asked(capsys, "smollm2-135m", "--space", own, "--journal", file)
    own.write_text(SPACE.replace("[1, 4]", "[1, 2]"))
    line = refused(capsys, "smollm2-135m", "--space", own, "--journal", file)
    assert "the journal of a search with another space" in line


def heed_ctrl_c() -> None:
    """A test run in the background of a script inherits SIGINT ignored, and so would the search."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


LONG = ["llama-3.1-8b", "--points", "1500", "--jobs", "2"]


def begun(file: Path, points: int) -> subprocess.Popen[str]:
    """A long search that has written some points down."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hardcast", "explore", *LONG, "--journal", str(file), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
    )
    while not file.exists() or file.read_bytes().count(b"\n") < points:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


def children(process: subprocess.Popen[str]) -> list[Path]:
    """Its workers, in /proc."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [Path(f"/proc/{child}") for child in listed]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_a_killed_search_goes_on_to_the_same_front(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "search.jsonl"
    process = begun(file, 200)
    workers = children(process)
    assert workers
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = file.read_bytes().count(b"\n") - 1
    assert 200 <= kept < 1500
    end = time.monotonic() + 20
    while any(worker.exists() for worker in workers):  # nobody waits for ever for a dead parent
        assert time.monotonic() < end
        time.sleep(0.05)
    file.write_bytes(file.read_bytes()[:-30])  # and the disk lost the end of a line
    assert cli.main(["explore", *LONG, "--journal", str(file)]) == 0
    assert f"{file} has {kept - 1:,} points already" in capsys.readouterr().out
    resumed = asked_of(capsys, "--journal", str(file))
    whole = asked_of(capsys)
    for name in ("front", "points", "feasible", "reasons"):
        assert resumed[name] == whole[name], name
    assert len(whole["front"]) > 10


def asked_of(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert cli.main(["explore", *LONG, *argv, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    file = tmp_path / "search.jsonl"
    process = begun(file, 100)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers too
    said, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == ""
    kept = file.read_bytes().count(b"\n") - 1
    assert error == (
        f"hardcast: interrupted; {file} has {kept:,} points (of 1,500): the same command goes on\n"
    )


def test_ctrl_c_while_the_processes_begin() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "hardcast", "explore", *LONG],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
    )
    assert process.stdout is not None and "points of a space" in process.stdout.readline()
    time.sleep(0.15)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error.startswith("hardcast: interrupted; nothing is kept") and error.count("\n") == 1


def test_ctrl_c_without_a_journal() -> None:
    """Interrupted before anything is done."""
    code = (
        "import os, signal, sys; from hardcast import cli\n"
        "from hardcast.commands.silicon import explore\n"
        "def stop(*_): os.kill(os.getpid(), signal.SIGINT)\n"
        "explore.search = stop\n"
        "sys.exit(cli.main(['explore', 'smollm2-135m']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=heed_ctrl_c
    )
    assert done.returncode == 130
    assert done.stderr == (
        "hardcast: interrupted; nothing is kept; with --journal FILE it could go on\n"
    )

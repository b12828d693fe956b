"""The verb chip: a shape or an image as numbers, with bands."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from hardcast import cli
from hardcast.commands.silicon.chip import HEADLINES
from tests import tiny


def answered(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main(["chip", *argv, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert isinstance(values, dict)
    return values


def printed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert cli.main(["chip", *argv]) == 0
    return capsys.readouterr().out


def failed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert cli.main(["chip", *argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def test_a_shape_is_priced_without_weights(capsys: pytest.CaptureFixture[str]) -> None:
    values = answered(["llama-3.1-8b"], capsys)
    assert (values["preset"], values["recipe"], values["node"]) == ("hc1", "3/6", "n6")
    assert (values["dies"], values["digest"], values["over_reticle"]) == (1, None, False)
    assert [p["position"] for p in values["points"]] == [0, 128, 1023]
    assert values["position"] == 1023
    for name in HEADLINES:
        band = values[name]
        assert set(band) >= {"low", "point", "high"}
        assert band["low"] < band["point"] < band["high"], name
    for p in values["points"]:
        assert sum(p["share"].values()) == pytest.approx(1)
        assert p["tokens_s_user"] * p["cycles"] == pytest.approx(values["clock_ghz"]["point"] * 1e9)
        assert p["mj_per_token"] * p["tokens_s_user"] == pytest.approx(p["power_w"] * 1e3)
    cycles = [p["cycles"] for p in values["points"]]
    assert cycles == sorted(cycles)
    last = values["points"][-1]
    for name in ("tokens_s_user", "power_w", "mj_per_token"):
        assert values[name]["point"] == last[name]
    areas = sum(group["area_mm2"] for group in values["groups"].values())
    assert areas == pytest.approx(values["area_mm2"]["point"])
    watts = sum(group["power_w"] + group["leakage_w"] for group in values["groups"].values())
    ports = values["assumptions"]["node.io_power"]["value"]  # one die: no links
    assert watts + ports == pytest.approx(values["power_w"]["point"])
    assert 0 < values["over_reticle_share"] < 1


def test_every_figure_that_was_read_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    values = answered(["smollm2-135m"], capsys)
    for figure in values["assumptions"].values():
        assert figure["source"] and figure["unit"] and figure["kind"]
    text = printed(["smollm2-135m", "--assumptions"], capsys)
    listed = set(re.findall(r"^((?:chip|node)\.\w+) ", text, re.MULTILINE))
    assert listed == set(values["assumptions"]) and len(listed) > 30
    assert "chip.idle_clock" not in printed(["smollm2-135m"], capsys)


def test_a_given_clock_has_no_band(capsys: pytest.CaptureFixture[str]) -> None:
    values = answered(["llama-3.1-8b", "--clock-ghz", "1", "--position", "0"], capsys)
    assert values["clock_limit"] == "given"
    assert values["clock_ghz"]["low"] == values["clock_ghz"]["high"] == 1
    (only,) = values["points"]
    assert values["tokens_s_user"]["low"] == pytest.approx(1e9 / only["cycles"])
    assert values["power_w"]["low"] < values["power_w"]["high"]
    assert "clock 1 GHz, as asked" in printed(["llama-3.1-8b", "--clock-ghz", "1"], capsys)


def test_a_parameter_replaces_the_presets(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["llama-3.1-8b", "--users", "2", "--context", "512", "--slices", "32", "--positions"]
    values = answered([*argv, "16", "--broadcast-stages", "4", "--gather-stages", "0"], capsys)
    expected = {"users": 2, "context": 512, "slices": 32, "positions": 16, "tile_rows": 128}
    expected |= {"broadcast_stages": 4, "gather_stages": 0, "bits": 3}
    assert expected.items() <= values["parameters"].items()
    assert values["tokens_s"]["point"] == pytest.approx(2 * values["tokens_s_user"]["point"])
    assert [p["position"] for p in values["points"]] == [0, 128]
    assert answered(["llama-3.1-8b", "--recipe", "4bit"], capsys)["parameters"]["bits"] == 4
    assert answered(["smollm2-135m", "--preset", "smollm2"], capsys)["preset"] == "smollm2"


def test_what_is_larger_than_a_reticle_goes_on_several_dies(
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = answered(["llama-3.1-70b"], capsys)
    assert values["dies"] == values["stages"] * values["pieces"] > 1
    assert values["area_mm2"]["point"] == pytest.approx(values["dies"] * values["die_mm2"]["point"])
    text = printed(["llama-3.1-70b"], capsys)
    assert f"over the reticle (858): {values['dies']} dies instead" in text


def test_dies_that_were_asked_for_are_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(["llama-3.1-8b", "--stages", "2", "--pieces", "3"], capsys)
    assert "6 dies (2 in a row, each cut into 3), as asked" in text
    assert "one die would be" not in text
    too_large = printed(["llama-3.1-70b", "--stages", "2"], capsys)
    assert "a die is larger than the reticle (858 mm2): it cannot be made" in too_large


def test_an_image_is_priced_by_its_own_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny.write_gguf(tmp_path / "tiny.gguf", "qwen2")
    image = str(tmp_path / "tiny.image")
    assert cli.main(["build", str(model), "--recipe", "4bit", "-o", image, "--context", "64"]) == 0
    chip = ["--preset", "tiny", "--context", "48", "--tile-rows", "4"]
    values = answered([image, *chip], capsys)
    assert len(values["digest"]) == 64 and values["recipe"] == "4bit"
    assert values["model"] == "tiny.image" and values["parameters"]["tile_rows"] == 4
    assert [p["position"] for p in values["points"]] == [0]
    assert "no --recipe" in failed([image, *chip, "--recipe", "3/6"], capsys)


def test_a_node_of_the_users_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (resources.files("hardcast.technology") / "nodes" / "n6.toml").read_text("utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text(re.sub(r"(?m)^io_area = \{ value = \d+", "io_area = { value = 18", text))
    argv = ["llama-3.1-8b", "--stages", "1", "--node"]
    values, usual = (answered([*argv, node], capsys) for node in (str(mine), "n6"))
    assert values["node"] == "mine"
    more = values["die_mm2"]["point"] - usual["die_mm2"]["point"]
    assert more == pytest.approx(18 - usual["assumptions"]["node.io_area"]["value"])


def table_of(heading: str) -> list[list[str]]:
    """Rows of the table of docs/chip.md whose first heading begins so."""
    text = (Path(__file__).parents[2] / "docs" / "chip.md").read_text("utf-8")
    (found,) = re.findall(
        rf"^\| {re.escape(heading)}[^\n]*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE
    )
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in found.splitlines()]


def test_the_page_has_the_cycles_of_hc1(capsys: pytest.CaptureFixture[str]) -> None:
    usual = answered(["llama-3.1-8b"], capsys)["points"]
    fast = answered(["llama-3.1-8b", "--clock-ghz", "1"], capsys)["points"]
    rows = table_of("`hc1`, llama-3.1-8b")
    assert len(rows) == 3
    for row, at_node, at_one in zip(rows, usual, fast, strict=True):
        shares = [f"{at_node['share'][k]:.1%}" for k in ("matvec", "attention", "vector", "wires")]
        assert row == [
            f"position {at_node['position']}",
            f"{at_node['cycles']:,}",
            f"{at_one['tokens_s_user']:,.0f}",
            f"{at_node['tokens_s_user']:,.0f}",
            *(share.replace("%", " %") for share in shares),
        ]


def test_the_page_has_what_comes_out(capsys: pytest.CaptureFixture[str]) -> None:
    rows = table_of("`hardcast chip`")
    assert len(rows) == 10
    for row in rows:
        values = answered(row[0].strip("`").split(), capsys)
        expected = [f"{values['dies']}: {values['stages']} x {values['pieces']}"]
        for name, form in (
            ("area_mm2", ",.0f"),
            ("clock_ghz", ".3f"),
            ("tokens_s_user", ",.0f"),
            ("tokens_s", ",.0f"),
            ("power_w", ",.1f"),
            ("mj_per_token", ",.2f"),
        ):
            expected.append(format(values[name]["point"], form))
        assert row[1:] == expected, row[0]


def test_the_page_has_the_bands_of_hc1(capsys: pytest.CaptureFixture[str]) -> None:
    values = answered(["llama-3.1-8b"], capsys)
    rows = table_of("llama-3.1-8b on `hc1` in N6, position 1023")
    for row, (name, (what, unit, form)) in zip(rows, HEADLINES.items(), strict=True):
        ends = (values[name][key] for key in ("point", "low", "median", "high"))
        assert row == [what, *(format(value, form) for value in ends), unit]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["llama-9"], "no known shape"),
        (["llama-3.1-8b", "--position", "1024"], "position 1024 is beyond the context of 1024"),
        (["llama-3.1-8b", "--node", "n4"], "no process node 'n4'"),
        (["llama-3.1-8b", "--preset", "hc2"], "no chip preset 'hc2'"),
        (["llama-3.1-8b", "--recipe", "5/10"], "recipe '5/10' is not known"),
        (["llama-3.1-8b", "--bits", "2"], "choose --bits 3 or another recipe"),
        (["llama-3.1-8b", "--columns", "2"], "no tile of 2 columns was measured"),
        (["llama-3.1-8b", "--stages", "33"], "33 stages: the model has 32 layers"),
        (["llama-3.1-8b", "--pieces", "129"], "129 pieces: the chip has 128 tile rows"),
        (["llama-3.1-8b", "--users", "65"], "users is 65"),
        (["llama-3.1-8b", "--clock-ghz", "0"], "expected a number above 0"),
    ],
)
def test_what_cannot_be_is_one_line(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in failed(argv, capsys)

"""The comparison: both truths from the packaged data, and every cell with its kind and source."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast import cli
from hardcast.commands.silicon import compare as verb
from hardcast.economics import cells
from hardcast.economics.cells import FACT, NONE, Cell, number, of_band, quotient, times
from hardcast.economics.compare import COLUMNS, ChipFigures, Row, compare, truths
from hardcast.economics.cost_figures import cost_figures
from hardcast.economics.rival_cells import rival_cells
from hardcast.economics.rivals import get_rival, rival_names
from hardcast.economics.serving import serving_cost
from hardcast.errors import HardcastError
from hardcast.models.shapes import NamedShape, get_shape
from hardcast.technology.figure import KINDS, parse_figure
from tests.random_image import config, write_random_image

EIGHT = "llama-3.1-8b"


def around(value: float) -> tuple[float, float, float]:
    return 0.8 * value, value, 1.25 * value


def chip(users: int) -> ChipFigures:
    """A die whose every further user brings the first one's tokens again."""
    return ChipFigures(
        name=f"chip of {users}",
        node="n6",
        dies=1,
        users=users,
        area_mm2=around(800 + 60 * users),
        power_w=around(250.0),
        tokens_s_user=around(16_000.0),
        tokens_s_die=around(16_000.0 * users),
        mj_per_token=around(250 / 16 / users),
        price_usd=around(2000.0),
        unit_usd=around(1500.0),
        nre_usd=around(35e6),
        usd_per_million_tokens=around(0.01 / users),
        systems=1000,
    )


def by_name(rows: list[Row]) -> dict[str, Row]:
    return {row.name: row for row in rows}


def value(row: Row, column: str) -> float:
    found = row.cells[column].value
    assert found is not None
    return found


@pytest.mark.parametrize("shape", [EIGHT, "llama-3.1-70b", "llama-3.1-405b", "smollm2-135m"])
def test_every_cell_says_what_it_is(shape: str) -> None:
    rows = compare(shape, [chip(1)], cost_figures())
    assert [row.name for row in rows[1:]] != rival_names()  # by speed, not by name
    assert sorted(row.name for row in rows[1:]) == rival_names()
    for row in rows:
        assert list(row.cells) == list(COLUMNS)
        for column, cell in row.cells.items():
            assert cell.source, (row.name, column)
            assert cell.kind in {*KINDS, NONE, FACT}
            if cell.kind == NONE:
                assert cell.value is None and cell.note, (row.name, column)
            elif cell.kind == FACT:
                assert cell.text and column in ("cooling", "infrastructure")
            else:
                assert cell.low is not None and cell.high is not None and cell.value is not None
                assert 0 < cell.low <= cell.value <= cell.high, (row.name, column)
                assert cell.unit
            if cell.kind == "derived" and cell.source == cells.HERE:
                assert cell.note, (row.name, column)


def test_a_column_has_one_unit() -> None:
    rows = compare(EIGHT, [chip(1)], cost_figures())
    for column in COLUMNS:
        units = {row.cells[column].unit for row in rows if row.cells[column].value is not None}
        assert len(units) <= 1, (column, units)


def test_both_truths_of_hc1() -> None:
    rows = compare(EIGHT, [], cost_figures())
    hc1 = by_name(rows)["taalas-hc1"]
    one, full = hc1.cells["times_user"], hc1.cells["times_device"]
    # About a hundredfold for one user: 79 against an H100's fp8, 113 against its bf16.
    assert one.value is not None and 70 <= one.value <= 130
    assert one.low is not None and one.high is not None and one.low <= 100 <= one.high
    # And about one H100 at full load in all its tokens.
    assert full.value is not None and 1.0 <= full.value <= 1.3
    said = next(line for line in truths(rows) if line.startswith("Taalas HC1"))
    assert f"{number(one.value)} times an H100 for one user" in said
    assert f"{number(full.value)} times the tokens" in said


def test_users_a_read_change_the_total_and_nothing_for_one() -> None:
    rows = compare(EIGHT, [chip(users) for users in (1, 2, 4, 8)], cost_figures())[:4]
    assert [row.kind for row in rows] == ["chip"] * 4
    assert len({value(row, "times_user") for row in rows}) == 1
    first = value(rows[0], "times_device")
    for users, row in zip((1, 2, 4, 8), rows, strict=True):
        assert value(row, "times_device") == pytest.approx(users * first)
        assert f"{users} user" in row.cells["tokens_s_device"].note


def test_multipliers_are_against_the_h100_of_the_same_table() -> None:
    rows = by_name(compare("qwen3-8b", [chip(2)], cost_figures()))
    h100 = rows["h100"]
    assert value(h100, "times_user") == value(h100, "times_device") == 1
    for row in rows.values():
        for column, of in (("times_user", "tokens_s_user"), ("times_device", "tokens_s_device")):
            if row.cells[of].value is None:
                assert row.cells[column].value is None
            else:
                expected = value(row, of) / value(h100, of)
                assert value(row, column) == pytest.approx(expected)


def test_a_chip_of_several_dies_has_the_tokens_of_all() -> None:
    many = dataclasses.replace(chip(1), dies=9)
    row = compare("llama-3.1-70b", [many], cost_figures())[0]
    system, die = row.cells["tokens_s_system"], row.cells["tokens_s_device"]
    for end in ("low", "value", "high"):
        assert getattr(system, end) == pytest.approx(9 * getattr(die, end))
    assert value(row, "devices") == 9


def test_cost_of_an_h100_by_hand() -> None:
    row = by_name(compare(EIGHT, [], cost_figures(), 0.5))["h100"]
    assert value(row, "price_usd") == pytest.approx(320_000 / 8)
    assert value(row, "power_w") == pytest.approx(10_200 / 8)
    assert value(row, "mj_per_token") == pytest.approx(10_200 / 8 / 15_220 * 1e3)
    by_hand = serving_cost(40_000, 1275, 15_220, cost_figures(), 0.5).usd_per_million_tokens
    assert value(row, "usd_per_million_tokens") == pytest.approx(float(by_hand))


def test_several_gpus_share_their_tokens_and_add_their_power() -> None:
    row = by_name(compare("llama-3.1-70b", [], cost_figures()))["h100"]
    assert value(row, "devices") == 4
    assert value(row, "tokens_s_system") == pytest.approx(4 * 2209)
    assert value(row, "power_w") == pytest.approx(10_200 / 2)
    assert value(row, "mj_per_token") == pytest.approx(10_200 / 2 / (4 * 2209) * 1e3)


def test_utilisation_moves_costs_and_leaves_prices_of_services() -> None:
    half, full = (by_name(compare(EIGHT, [], cost_figures(), load)) for load in (0.5, 1.0))
    column = "usd_per_million_tokens"
    assert value(half["h100"], column) > 1.5 * value(full["h100"], column)
    assert "50% of full load" in half["h100"].cells[column].note
    assert value(half["groq"], column) == value(full["groq"], column) == 0.08
    with pytest.raises(HardcastError, match=r"utilisation is 1\.5"):
        compare(EIGHT, [], cost_figures(), 1.5)


def test_what_is_cast_for_one_model_is_written_off_with_it() -> None:
    price = {"value": 40_000, "unit": "USD", "kind": "claim", "source": "a test"}
    hc1 = get_rival("taalas-hc1")
    figures = {**hc1.figures, "device.price_usd": parse_figure("price", "price", price)}
    priced = dataclasses.replace(hc1, figures=figures)
    shape, a = get_shape(EIGHT), cost_figures()
    cast = rival_cells(priced, shape, a, 0.5, (1000, 1000))["usd_per_million_tokens"]
    lasting = serving_cost(40_000, 250, 16_960, a, 0.5).usd_per_million_tokens
    assert cast.value is not None and cast.value > 2 * float(lasting)
    assert "as long as the model" in cast.note


def test_a_chip_cast_for_another_model_has_no_figures() -> None:
    row = by_name(compare("qwen3-8b", [], cost_figures()))["taalas-hc1"]
    for column in ("tokens_s_user", "tokens_s_device", "mj_per_token", "devices"):
        assert row.cells[column].value is None
        assert row.cells[column].note == "cast for another model"


def test_unknown_shape_suggests_the_nearest() -> None:
    with pytest.raises(HardcastError, match=r"no shape named 'lama-3\.1-8b'; did you mean llama"):
        compare("lama-3.1-8b", [], cost_figures())


bands = st.tuples(st.floats(0.1, 1), st.floats(1, 10), st.floats(10, 100))


@given(bands, bands)
def test_a_quotient_spans_the_quotients_of_all_ends(
    one: tuple[float, float, float], other: tuple[float, float, float]
) -> None:
    found = quotient(
        of_band(one, "a", "claim", "s"), of_band(other, "b", "claim", "s"), "ratio", "here", "why"
    )
    assert found.low is not None and found.high is not None and found.kind == "derived"
    for x in one:
        for y in other:
            assert found.low * (1 - 1e-12) <= x / y <= found.high * (1 + 1e-12)


def test_a_multiple_of_an_estimate_is_an_estimate() -> None:
    guess = of_band((1, 2, 3), "USD", "estimated", "us")
    assert times(guess, 2, "two of it").kind == "estimated"
    assert times(of_band((1, 2, 3), "USD", "claim", "them"), 2, "two").kind == "derived"
    assert times(guess, 1, "one of it") is guess
    missing = cells.none("USD", "them", "not published")
    assert times(missing, 2, "two") is missing
    assert quotient(guess, missing, "ratio", "here", "why").note == "not published"


def test_json_of_a_cell_has_a_value_even_if_none() -> None:
    found = cells.none("USD", "them", "not published").to_json()
    assert found == {
        "unit": "USD",
        "kind": NONE,
        "source": "them",
        "note": "not published",
        "value": None,
    }
    assert Cell("", FACT, "them", text="air").to_json()["text"] == "air"


def test_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "smollm2-135m", "--users", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shape"] == "smollm2-135m" and found["node"] == "n6"
    assert [row["kind"] for row in found["rows"]][0] == "chip"
    ours = found["rows"][0]["cells"]
    assert ours["tokens_s_system"]["value"] >= ours["tokens_s_user"]["value"]
    assert ours["usd_per_million_tokens"]["low"] < ours["usd_per_million_tokens"]["high"]


def test_the_usual_position_fits_a_small_chip(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["compare", "smollm2-135m", "--preset", "tiny", "--users", "1", "--json"]
    assert cli.main(argv) == 0
    assert json.loads(capsys.readouterr().out)["position"] == 255


def test_every_number_of_the_verb_has_a_footnote(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "smollm2-135m"]) == 0
    text = capsys.readouterr().out
    for users in (1, 2, 4, 8):
        assert f"this chip, {users} user" in text
    tables, notes = text.split("\n[1] ", 1)
    used = {int(place) for place in re.findall(r"\[(\d+)\]", tables)}
    given_ = {1, *(int(place) for place in re.findall(r"^\[(\d+)\] ", notes, re.M))}
    assert used == given_
    assert re.search(r"^\[\d+\] claim: NVIDIA", notes, re.M)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["smollm2-135"], "did you mean smollm2-135m"),
        (["smollm2-135m", "--node", "n66"], "n6"),
        (["smollm2-135m", "--utilisation", "0"], "utilisation is 0"),
        (["smollm2-135m", "--position", "999999"], "beyond the context"),
    ],
)
def test_mistakes_are_one_line(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", *argv]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]


def test_an_image_counts_as_the_shape_of_its_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_random_image(tmp_path / "image", config(), context=64).path
    assert cli.main(["compare", str(folder)]) == 2
    assert "no shape of `hardcast models` has the image's sizes" in capsys.readouterr().err
    twin = NamedShape("twin", config(), 1, "a test")
    monkeypatch.setattr(verb, "shape_names", lambda: ["llama-3.1-8b", "twin"])
    monkeypatch.setattr(verb, "get_shape", lambda name: twin if name == "twin" else get_shape(name))
    assert verb.shape_name(str(folder)) == "twin"
    assert verb.shape_name("llama-3.1-8b") == "llama-3.1-8b"

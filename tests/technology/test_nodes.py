"""Nodes: every file in nodes/ is whole and plausible; another one is refused with its reason."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from hardcast.chip.measured import libraries
from hardcast.errors import HardcastError
from hardcast.technology.figure import KINDS
from hardcast.technology.node import (
    CURVES,
    LIBRARIES,
    TEXTS,
    UNITS,
    get_node,
    load_node,
    node_names,
)

WANTED = {"sg13g2", "sky130", "n28", "n16", "n7", "n6", "n5", "n3e", "asap7"}
FOUNDRY = ["n28", "n16", "n7", "n6", "n5", "n3e"]  # TSMC's, from the oldest
"""What these share: 300 mm wafers, a scanner's field, the library asap7."""

ROWS = [32, 64, 128, 256, 512, 1024, 2048]  # where n6 has its rom_read
CURVE = 'at = [1, 2], over = "mm", value = [1, 2], low = [1, 2], high = [1, 2]'

each_node = pytest.mark.parametrize("name", node_names())


def text_of(name: str) -> str:
    return resources.files("hardcast.technology").joinpath("nodes", f"{name}.toml").read_text()


def points(figure: str, names: list[str]) -> list[float]:
    return [float(get_node(name)[f"node.{figure}"]) for name in names]


def test_the_wanted_nodes_are_there() -> None:
    assert set(node_names()) >= WANTED
    assert node_names() == sorted(node_names())


@each_node
def test_a_node_has_every_figure_in_its_unit(name: str) -> None:
    node = get_node(name)
    assert set(node.figures) == {f"node.{figure}" for figure in UNITS}
    for key, figure in node.figures.items():
        assert figure.name == key
        assert figure.unit == UNITS[key.removeprefix("node.")]
        assert figure.kind in KINDS
        assert len(figure.source) > 5
    assert node.texts["node.name"] == name
    assert {f"node.{text}" for text in TEXTS} < set(node.texts)


def test_every_library_is_one_that_blocks_were_measured_with() -> None:
    assert sorted(LIBRARIES) == libraries()


@each_node
def test_shares_and_factors_are_shares_and_factors(name: str) -> None:
    node = get_node(name)
    for figure in ("rom_efficiency", "sram_efficiency", "cell_utilisation"):
        assert max(node.figures[f"node.{figure}"].high) < 1
    assert min(node.figures["node.logic_margin"].low) >= 1
    assert min(node.figures["node.rom_column_mux"].low) >= 1


@each_node
def test_a_deeper_macro_is_denser_slower_and_costs_more_a_bit(name: str) -> None:
    node = get_node(name)
    for figure in CURVES:
        found = node.figures[f"node.{figure}"]
        for band in (found.low, found.value, found.high):
            assert list(band) == sorted(band), figure
    assert node.figures["node.rom_efficiency"].at[0] <= 1024
    assert node.figures["node.rom_efficiency"].at[-1] >= 8192
    assert node.figures["node.sram_efficiency"].at[0] <= 256


@each_node
def test_a_rom_cell_is_smaller_than_an_sram_cell_and_cheaper_to_read(name: str) -> None:
    node = get_node(name)
    ratio = node["node.rom_bitcell"] / node["node.sram_bitcell"]
    assert 0.1 < ratio < 0.4  # 0.13 at 130 nm, 0.33 from a 7 nm compiler
    assert node.at("node.rom_read", 128) < node.at("node.sram_read", 1024)


@each_node
def test_a_model_costs_more_masks_than_a_variant(name: str) -> None:
    node = get_node(name)
    assert node["node.mask_pair"] < 0.1 * node["node.mask_set"]
    assert node["node.respin_weeks"] < node["node.fab_weeks"]
    field = node["node.reticle_width"] * node["node.reticle_height"]
    assert 300 < field < 900


@each_node
def test_a_node_can_be_sampled(name: str) -> None:
    node = get_node(name).sampled(200)
    for key, figure in node.figures.items():
        value = node.at(key, 512) if figure.at else node[key]
        assert np.isfinite(value).all() and np.min(value) > 0
        assert np.shape(value) == (() if figure.is_certain else (200,))


def test_a_denser_node_has_smaller_cells() -> None:
    names = sorted(WANTED - {"asap7"}, key=lambda name: points("logic_density", [name])[0])
    assert names == ["sg13g2", "sky130", *FOUNDRY]
    for figure in ("rom_bitcell", "sram_bitcell"):
        found = points(figure, names)
        assert found == sorted(found, reverse=True), figure


def test_a_newer_node_is_faster_cooler_and_dearer() -> None:
    for figure in ("logic_area_factor", "logic_delay_factor", "logic_energy_factor"):
        found = points(figure, FOUNDRY)
        assert found == sorted(found, reverse=True), figure
    for figure in ("wafer_price", "mask_set", "mask_pair", "fab_weeks", "logic_leakage"):
        found = points(figure, FOUNDRY)
        assert found == sorted(found), figure


def test_areas_of_logic_follow_densities() -> None:
    """A cell's area times the node's density: the same for all, as far as sources agree."""
    products = np.array(points("logic_density", FOUNDRY)) * points("logic_area_factor", FOUNDRY)
    assert products.max() / products.min() < 1.05


def test_what_needs_no_factor_has_none() -> None:
    for name in LIBRARIES:
        node = get_node(name)
        assert node.texts["node.library"] == name
        for figure in ("logic_area_factor", "logic_delay_factor", "logic_energy_factor"):
            assert node.figures[f"node.{figure}"].is_certain and node[f"node.{figure}"] == 1


@pytest.mark.parametrize(
    ("asked", "nearest"), [("n66", "n6"), ("N5", "n5"), ("7nm", "n7"), ("28nm", "n28")]
)
def test_an_unknown_node_names_the_nearest_and_all(asked: str, nearest: str) -> None:
    with pytest.raises(HardcastError) as error:
        get_node(asked)
    assert f"{asked!r}; did you mean {nearest}?" in str(error.value)
    assert all(name in str(error.value) for name in node_names())


def test_a_name_like_none_lists_all() -> None:
    with pytest.raises(HardcastError, match="'granite'; there are: asap7, "):
        get_node("granite")


def test_a_users_own_node(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text_of("n6"))
    node = get_node(str(path))
    assert node.texts["node.name"] == "mine"
    assert node["node.wafer_price"] == get_node("n6")["node.wafer_price"]
    with pytest.raises(HardcastError, match="nowhere.toml: cannot be read"):
        get_node(str(tmp_path / "nowhere.toml"))


def edited(tmp_path: Path, old: str, new: str) -> Path:
    """n6's file with one text replaced."""
    text = text_of("n6")
    assert old in text
    path = tmp_path / "x.toml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('unit = "ps/mm"', 'unit = "ns/mm"', "wire_delay is in ns/mm, expected ps/mm"),
        ('unit = "ps/mm", ', "", "wire_delay has no unit"),
        ("wire_delay =", "wire_dealy =", "unknown figure wire_dealy; did you mean wire_delay?"),
        ("wire_delay =", "# wire_delay =", "wire_delay is missing: a node needs it, in ps/mm"),
        ("wire_delay =", "wire_colour =", "unknown figure wire_colour"),
        ("wafer_diameter = {", "wafer_diameter = 300 #", "wafer_diameter is a bare 300"),
        ("value = 150, low = 100", "value = 0, low = 0", "wire_delay reaches 0"),
        ("value = 150, low = 100", "value = 150, low = 160", "does not lie within"),
        (f'at = {ROWS}, over = "rows", value = ', "value = 5 #", "cannot be read as TOML"),
        ("value = 150, low = 100, high = 250", CURVE, "wire_delay must be one value"),
        ('library = "asap7"', 'library = "asap8"', "library is 'asap8'"),
        ('library = "asap7"\n', "", "library is missing"),
        ('library = "asap7"', 'library = "asap7"\nfoundry = "x"', "unknown text foundry"),
        ('over = "rows"', 'over = "words"', "rom_read is over words, expected rows"),
    ],
)
def test_refuses(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(HardcastError) as error:
        load_node(edited(tmp_path, old, new))
    assert "x.toml: " in str(error.value) and said in str(error.value)


def test_a_curve_that_is_one_value_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    lines = [
        'sram_read = { value = 5, unit = "fJ/bit", kind = "claim", source = "s" }'
        if line.startswith("sram_read")
        else line
        for line in text_of("n6").splitlines()
    ]
    path.write_text("\n".join(lines))
    with pytest.raises(HardcastError, match=r"x\.toml: sram_read must be a curve over words"):
        load_node(path)


def plain(value: float) -> str:
    """As the tables of docs/technology.md write a figure."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


@each_node
def test_the_page_says_what_the_file_says(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "technology.md").read_text("utf-8")
    node = get_node(name)

    def joined(*figures: str, scale: float = 1.0) -> str:
        return " / ".join(plain(float(node[f"node.{figure}"]) / scale) for figure in figures)

    rom = node.at("node.rom_efficiency", 8192) / node["node.rom_bitcell"]
    sram = node.at("node.sram_efficiency", 2048) / node["node.sram_bitcell"]
    reads = [float(node.at("node.rom_read", rows)) for rows in (128, 1024)]
    silicon = [
        node.texts["node.library"],
        joined("logic_density"),
        joined("logic_area_factor", "logic_delay_factor", "logic_energy_factor"),
        plain(float(rom)),
        " / ".join(map(plain, reads)),
        plain(float(sram)),
        plain(float(node.at("node.sram_read", 1024))),
        joined("wire_delay", "wire_energy"),
    ]
    money = [
        joined("wafer_price"),
        joined("defect_density"),
        joined("mask_set", scale=1e6),
        joined("mask_pair", scale=1e3),
        joined("fab_weeks", "respin_weeks", "test_weeks"),
    ]
    for cells in (silicon, money):
        assert f"| {name} | {' | '.join(cells)} |" in page.splitlines()


def test_the_page_explains_every_figure() -> None:
    page = (Path(__file__).parents[2] / "docs" / "technology.md").read_text("utf-8")
    assert [figure for figure in UNITS if f"`{figure}`" not in page] == []

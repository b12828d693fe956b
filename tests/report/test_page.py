"""The page: complete, self-contained, every number one that the modules gave."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hardcast.chip.estimate import estimate
from hardcast.economics.cells import NONE
from hardcast.economics.validate import validate
from hardcast.report.form import number, spread
from hardcast.report.page import SECTIONS, environment, read, script_hash
from hardcast.report.sections.matrices import matrices
from hardcast.report.study import USERS, Study
from hardcast.technology.uncertainty import bands
from tests.report.pages import HOSTILE, Page, case, html

pytestmark = pytest.mark.usefixtures("drawing")
MODEL = ("llama-3.1-8b",)


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(html(*MODEL))


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(case(*MODEL))


def test_every_section_is_there_in_order(page: Page) -> None:
    found = [text for level, text in page.headings if level == 2]
    assert found == [f"{i} {title}" for i, (_, title, _) in enumerate(SECTIONS, 1)]
    assert [text for level, text in page.headings if level == 1] == ["llama-3.1-8b"]


def test_headings_go_down_a_level_at_a_time(page: Page) -> None:
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in zip(levels[:-1], levels[1:], strict=True))


def test_identifiers_are_unique_and_links_lead_to_them(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)


def test_nothing_is_brought_from_elsewhere(page: Page) -> None:
    for tag, name, value in page.attributes:
        if name in ("src", "href", "srcset", "action", "data", "poster"):
            assert value.startswith("#") or value == "data:,", (tag, name, value)
    text = html(*MODEL)
    assert "@import" not in text and "<iframe" not in text
    assert not re.search(r"url\((?!#)", text)
    assert f"script-src '{script_hash(read('script.js'))}'" in text
    assert f"<script>{read('script.js')}</script>" in text


def test_it_is_small() -> None:
    assert len(html(*MODEL).encode()) < 1 << 20


def test_every_picture_has_words_and_every_plot_its_numbers(page: Page) -> None:
    labels = [
        value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label"
    ]
    pictures = [1 for tag, name, _ in page.attributes if tag == "svg" and name == "role"]
    assert len(labels) == len(pictures) > 10
    assert all(len(label) > 20 for label in labels)
    figures = [name.removeprefix("figure-") for name in page.ids if name.startswith("figure-")]
    assert len(figures) > 10
    for name in figures:
        rows = page.tables[f"data-{name}"]
        assert len(rows) > 1 and len({len(row) for row in rows}) == 1, name


def test_headlines_are_the_modules(page: Page, study: Study) -> None:
    rows = [row for rows in page.tables.values() for row in rows if len(row) == 5]
    for key, label, unit in (
        ("die_mm2", "area of a die", "mm²"),
        ("tokens_s_user", "tokens/s, one user", ""),
        ("power_w", "dies", "W"),
        ("usd_per_million_tokens", "a million tokens", "USD"),
    ):
        made = spread(study.headlines[key], unit)
        assert [label, made.low, made.point, made.high, made.unit] in rows


def test_speed_against_position_is_the_cycle_model_and_its_band(page: Page, study: Study) -> None:
    header, *rows = page.tables["data-speed"]
    assert header == ["position", "cycles", "low", "point", "high"]
    assert rows[0][0] == "0" and rows[-1][0] == "1,023"
    c = study.case
    for row in rows:
        position = int(row[0].replace(",", ""))
        made = estimate(c.design, c.assumptions, position)
        assert row[1] == f"{made.cycles.total:,}"
        assert row[3] == number(made.tokens_s_user)
    band = bands(lambda a: {"s": estimate(c.design, a, 1023).tokens_s_user}, c.assumptions)["s"]
    assert [rows[-1][2], rows[-1][4]] == [number(band.low), number(band.high)]


def test_shares_of_cycles_sum_to_one(page: Page) -> None:
    for row in page.tables["data-cycles"][1:]:
        assert sum(float(cell.removesuffix(" %")) for cell in row[1:]) == pytest.approx(
            100, abs=0.21
        )


def test_parts_sum_to_the_whole(page: Page, study: Study) -> None:
    (table,) = [
        t for t in page.tables.values() if t and t[0][:2] == ["part", "mm²"] and len(t[0]) == 7
    ]
    last = table[-1]
    assert last[0] == "together"
    assert last[1] == number(study.estimate.area_mm2)
    assert last[6] == number(study.estimate.mj_per_token)
    power = sum(float(cell.replace(",", "")) for cell in last[3:5])
    assert power == pytest.approx(float(study.estimate.power_w), rel=0.01)


def test_build_up_of_prices_ends_at_their_sum(page: Page, study: Study) -> None:
    assert page.tables["data-unit"][-1][1] == number(study.quote.unit.system_usd)
    total = float(study.quote.first.total_usd) / 1e6
    assert page.tables["data-nre"][-1][1] == number(total)


def test_costs_against_load_and_volume_meet_at_the_headline(page: Page, study: Study) -> None:
    point = number(study.headlines["usd_per_million_tokens"].point)
    (half,) = [row for row in page.tables["data-load"] if row[0] == "50 %"]
    systems = f"{study.case.systems:,}"
    (shared,) = [row for row in page.tables["data-volume"] if row[0] == systems]
    assert half[2] == shared[2] == point
    assert study.rival is not None
    assert half[4] == number(
        study.rival.serving(study.case.assumptions, 0.5).usd_per_million_tokens
    )


def test_both_truths_are_told(page: Page, study: Study) -> None:
    mine = study.rows[0].cells
    lead = page.words[page.words.index("For one user") :][:400]
    for name in ("times_user", "times_device"):
        value = mine[name].value
        assert value is not None and f"{number(value)} times" in lead


def test_every_rival_and_every_footnote_is_there(page: Page, study: Study) -> None:
    speed, cost = [rows for rows in page.tables.values() if rows and rows[0][:1] == ["machine"]]
    assert [row[0] for row in speed[1:]] == [row[0] for row in cost[1:]]
    assert [row[0] for row in speed[1:]] == [row.title for row in study.rows]
    notes = [name for name in page.ids if name.startswith("note-")]
    assert {f"#{name}" for name in notes} == {link for link in page.links if "#note-" in link}
    cells = [cell for row in study.rows for cell in row.cells.values() if cell.kind == NONE]
    assert all(cell.source in page.words for cell in cells)


def test_every_check_is_there_and_every_miss_explained(page: Page) -> None:
    (rows,) = [rows for rows in page.tables.values() if rows and rows[0][:1] == ["chip"]]
    found = validate()
    assert [row[7] for row in rows[1:]] == ["pass" if r.passes else "miss" for r in found]
    assert f"{sum(r.passes for r in found)} of {len(found)}" in page.words
    for residual in found:
        if not residual.passes and residual.remedy:
            assert " ".join(str(residual.remedy).split()) in page.words


def test_every_figure_that_was_read_is_listed_with_its_source(page: Page, study: Study) -> None:
    study_page = {row[0]: row for row in page.tables["figures"][1:]}
    for headline in (study.headlines, study.swings, study.along, study.by_users):
        assert headline
    a = study.case.assumptions
    assert a.read and a.read <= set(study_page)
    for name in a.read:
        figure = a.figures[name]
        assert study_page[name][4] == figure.kind
        assert " ".join(figure.source.split()) in study_page[name][5]


def test_bits_of_a_shape_are_the_recipes(study: Study) -> None:
    from hardcast.quantize import recipe

    code = recipe.get("3/6")
    shapes = study.case.subject.program.matrices()
    assert sum(matrix.rom_bits for matrix in matrices(study)) == code.rom_bits(shapes)


def test_bits_of_an_image_are_the_images(image: Path) -> None:
    study = Study(case(str(image), "--preset", "tiny"))
    assert study.case.image is not None
    assert sum(matrix.rom_bits for matrix in matrices(study)) == study.case.image.rom_bits


def test_why_there_are_several_dies_is_said_only_where_it_is_true() -> None:
    assert "one die would be" in Page(html("llama-3.1-70b")).words
    assert "one die would be" not in Page(html("smollm2-135m", "--stages", "2")).words
    assert "one die would be" not in Page(html("llama-3.1-8b")).words


def test_several_dies_are_drawn_and_their_limits_said() -> None:
    page = Page(html("llama-3.1-70b"))
    assert "Several dies exist as a model only." in page.words
    assert re.search(r"\d dies to one scale", page.words)


def test_users_that_no_dies_can_hold_are_left_out_and_named() -> None:
    words = ("smollm2-135m", "--node", "sg13g2", "--context", "24000", "--tile-rows", "32")
    page = Page(html(*words))
    left = sorted(set(USERS) - set(Study(case(*words)).by_users))
    assert left, "choose a larger context: every design can be made"
    assert f"With {' or '.join(map(str, left))} users a read it cannot be made" in page.words
    shown = [row[0] for row in page.tables["data-users-tokens-s-user"][1:]]
    assert not {f"{users} users" for users in left} & set(shown)


def test_a_model_without_rivals_says_so(image: Path) -> None:
    text = html(str(image), "--preset", "tiny")
    page = Page(text)
    assert "No speed of a GPU is known for a model of these sizes" in page.words
    assert "data-load" in page.tables
    assert page.headings[0] == (1, HOSTILE)


def test_names_of_the_users_are_words_not_markup(image: Path) -> None:
    text = html(str(image), "--preset", "tiny")
    assert "<img" not in text and "&lt;img src=x" in text
    assert text.count("<script>") == 1
    assert environment().autoescape is True


def test_an_image_without_measurement_says_how_to_measure(image: Path) -> None:
    page = Page(html(str(image), "--preset", "tiny"))
    assert "Nothing was measured of this image" in page.words
    assert f"hardcast eval {HOSTILE} --text" in page.words


def test_the_template_holds_no_numbers_of_its_own() -> None:
    """Figures come from the modules; percentiles are named by technology/uncertainty.py's."""
    folder = Path(environment().get_template("page.html").filename or "").parent / "sections"
    for path in sorted(folder.glob("*.html")):
        text = path.read_text("utf-8").replace("10th and 90th percentile", "")
        text = re.sub(r"\{[{%].*?[}%]\}|<[^>]*>|&\w+;", " ", text, flags=re.DOTALL)
        assert not re.search(r"\d", text), path.name

"""A point's figures are the chip room's and economics' own, and every refusal has a name."""

from __future__ import annotations

import dataclasses

import pytest

from hardcast.chip import silicon
from hardcast.chip.design import Design
from hardcast.chip.estimate import estimate
from hardcast.chip.fit import fit
from hardcast.chip.parameters import Chip
from hardcast.economics.quote import quote
from hardcast.explore.evaluate import Task, evaluate, evaluate_all, reason_of
from hardcast.explore.objectives import QUANTITIES
from tests.explore.small import subject, task


def chip_of(parameters: dict[str, object]) -> Chip:
    names = {field.name for field in dataclasses.fields(Chip)}
    return Chip("x", **{n: v for n, v in parameters.items() if n in names})  # type: ignore[arg-type]


def design_of(result: object) -> Design:
    of = dict(result.parameters)  # type: ignore[attr-defined]
    chip = chip_of(of)
    return Design(subject(of["recipe"]), chip, of["stages"], of["pieces"], of["lora_rank"])


@pytest.mark.parametrize("dies", ["fit", "1x1", "2x1", "1x2", "3x2"])
def test_figures_are_those_of_the_chip_that_the_parameters_name(dies: str) -> None:
    small = task(dies=(dies,), slices=(9,), tile_rows=(64,), broadcast_stages=("auto", 1))
    a = small.assumptions["n6"]
    for result in evaluate_all(small, range(small.space.size)):
        assert not result.reason
        design = design_of(result)
        asked = quote(design, a, small.position, small.systems)
        made = asked.estimate
        assert result.figures["tokens_s_user"] == made.tokens_s_user
        assert result.figures["tokens_s_die"] == made.tokens_s / design.dies
        assert result.figures["area_mm2"] == made.die_mm2 * design.dies
        assert result.figures["power_w"] == made.power_w
        assert result.figures["mj_per_token"] == made.mj_per_token
        assert result.figures["dies"] == design.dies
        cost = asked.serving.usd_per_million_tokens
        assert result.figures["usd_per_million_tokens"] == pytest.approx(cost, rel=1e-12)
        assert list(result.figures) == list(QUANTITIES)
        if dies != "fit":
            assert f"{design.stages}x{design.pieces}" == dies


def test_fit_takes_the_dies_that_the_chip_room_takes() -> None:
    small = task(
        node=("sg13g2",), dies=("fit",), slices=(9,), tile_rows=(64,), users=(1,), columns=(8,),
        broadcast_stages=(3,), gather_stages=(2,),
    )  # fmt: skip
    result = evaluate(small, 0)
    plain = Design(subject(), chip_of(dict(result.parameters)))
    expected = fit(plain, small.assumptions["sg13g2"])
    assert expected.dies > 1
    assert (result.parameters["stages"], result.parameters["pieces"]) == (
        expected.stages,
        expected.pieces,
    )


@pytest.mark.parametrize("node", ["n6", "n28", "n3e"])
def test_matched_stages_are_the_fewest_with_which_wires_do_not_set_the_clock(node: str) -> None:
    small = task(node=(node,), dies=("1x1", "2x1"), slices=(9, 24))
    a, checked = small.assumptions[node], 0
    for result in evaluate_all(small, range(small.space.size)):
        if result.reason:
            continue
        design = design_of(result)
        stages = {n: int(result.parameters[n]) for n in ("broadcast_stages", "gather_stages")}

        def wires(stages: dict[str, int], of: Design = design) -> tuple[float, float]:
            one = dataclasses.replace(of, chip=dataclasses.replace(of.chip, **stages))
            made = estimate(one, a, 0)
            limits = silicon.clock_limits_ps(one, a, made.width_mm, made.height_mm)
            found = {name: float(ps) for name, ps in limits.items()}
            return found.pop("wires"), max(found.values())

        own, others = wires(stages)
        assert own <= others * 1.005  # the registers themselves make the die a hair larger
        for name in stages:
            if stages[name]:
                own, others = wires({**stages, name: stages[name] - 1})
                assert own > others
                checked += 1
    assert checked


def test_where_wires_always_set_the_clock_a_hop_is_as_long_as_a_register_takes() -> None:
    """A node whose registers are slower than its logic: no number of them is enough."""
    small = task(dies=("1x1",), slices=(9,), tile_rows=(64,), users=(1,), columns=(8,))
    slow = small.assumptions["n6"].scaled("chip.register_time", 20.0)
    result = evaluate(dataclasses.replace(small, assumptions={"n6": slow}), 0)
    assert not result.reason
    assert 0 <= int(result.parameters["broadcast_stages"]) <= 64


@pytest.mark.parametrize(
    ("lists", "position", "reason"),
    [
        ({"tile_rows": (128,), "slices": (9,)}, 100, "do not divide its N slices"),
        ({"node": ("sg13g2",), "dies": ("1x1",)}, 100, "a die is larger than the reticle"),
        ({"context": (64,)}, 100, "the context does not reach the position"),
        ({"dies": ("64x1",)}, 100, "N stages: the model has N layers"),
        ({"dies": ("1x64",), "tile_rows": (32,)}, 100, "N pieces: the chip has N tile rows"),
        ({"columns": (32,)}, 100, "no tile of N columns was measured"),
    ],
)
def test_what_cannot_be_made_says_why(lists: dict, position: int, reason: str) -> None:  # type: ignore[type-arg]
    small = task(position, **{"slices": (12,), **lists})
    for result in evaluate_all(small, range(small.space.size)):
        assert reason in result.reason
        assert not result.figures and not result.parameters


def test_a_reason_has_no_numbers_and_no_advice() -> None:
    said = "chip explored: 128 lanes finish 2 blocks a cycle, which do not divide its 9 slices"
    assert reason_of(said) == ("N lanes finish N blocks a cycle, which do not divide its N slices")
    assert reason_of("x: a die of 1,024.5 mm2 is too large: make it 3 dies") == (
        "x: a die of N mm2 is too large"
    )
    assert reason_of("qwen3-8b on explored in n6: one row of 3 tiles is too large; choose") == (
        "one row of N tiles is too large"
    )
    assert reason_of("no tile of 32 columns was measured; there are: 4, 8") == (
        "no tile of N columns was measured"
    )


def test_more_systems_make_cheaper_tokens() -> None:
    few, many = task(), task()
    few = dataclasses.replace(few, systems=100)
    pairs = zip(evaluate_all(few, range(20)), evaluate_all(many, range(20)), strict=True)
    costs = [
        (one.figures["usd_per_million_tokens"], other.figures["usd_per_million_tokens"])
        for one, other in pairs
        if not one.reason
    ]
    assert costs and all(one > other for one, other in costs)


def test_utilisation_counts() -> None:
    half: Task = dataclasses.replace(task(), utilisation=0.25)
    whole = dataclasses.replace(task(), utilisation=1.0)
    name = "usd_per_million_tokens"
    assert evaluate(half, 0).figures[name] > evaluate(whole, 0).figures[name]

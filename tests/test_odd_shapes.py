"""Every recipe on shapes that nothing divides: built, said, and golden equals the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hardcast import flow
from hardcast.engine import Engine
from hardcast.golden import Golden
from hardcast.image import open_image
from hardcast.quantize import calibration_text
from hardcast.quantize import recipe as recipes
from hardcast.quantize.recipe import GPTQ
from tests import tiny

ODD = st.fixed_dictionaries(
    {
        "hidden_size": st.integers(5, 130),
        "intermediate_size": st.integers(3, 200),
        "head_dim": st.integers(1, 33).map(lambda half: 2 * half),
        "num_attention_heads": st.sampled_from([2, 4, 6]),
        "num_key_value_heads": st.sampled_from([1, 2]),
        "tie_word_embeddings": st.booleans(),
        "attention_bias": st.booleans(),
    }
)
NAMED = {  # no size is a multiple of 32
    "hidden_size": 36,
    "intermediate_size": 100,
    "head_dim": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "attention_bias": False,
}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Little more than the least tokens that a calibration text must have."""
    path = tmp_path_factory.mktemp("text") / "text"
    path.write_text(calibration_text.read(None)[:3000], encoding="utf-8")
    return path


@pytest.mark.parametrize("name", [name for name in recipes.names() if name != recipes.DEFAULT])
def test_every_recipe_builds_odd_shapes(
    name: str, text: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One scale a row where groups do not divide it, said at once and in the report."""

    @example(sizes=NAMED)
    @given(sizes=ODD)
    @settings(max_examples=3, deadline=None, derandomize=True)
    def check(sizes: dict[str, Any]) -> None:
        build_odd(name, sizes, text, tmp_path_factory.mktemp("odd"))

    check()


def build_odd(name: str, sizes: dict[str, Any], text: Path, tmp_path: Path) -> None:
    sizes = {"num_hidden_layers": 1, "vocab_size": 400, **sizes}
    model = tiny.write_safetensors(tmp_path / "m", "llama", max_position_embeddings=64, **sizes)
    recipe, said = recipes.get(name), list[str]()
    report = flow.build(
        str(model),
        tmp_path / "i",
        recipe=name,
        calibrate=text if recipe.rounding == GPTQ else None,
        # A row's own multiplier weighs more in a short row.
        bits=None if recipe.wide is None else 12.0,
        note=said.append,
    )
    assert list(report.notes) == said
    image = open_image(tmp_path / "i")
    image.verify()
    assert report.rom_bits == image.rom_bits
    fallen: set[tuple[int, str]] = set()
    for matrix, (_, columns) in image.program.matrices().items():
        found, code = image.matrix(matrix), recipe.code(matrix)
        if recipe.wide is not None and found.planes == 2:
            code = recipe.wider(matrix)
        if columns % code.group_size and not recipe.import_grids:
            fallen.add((code.group_size, f" {matrix.rpartition('.')[2]} ({columns} inputs)"))
            assert found.groups == 1
        else:
            assert found.group_size == code.group_size
    for line in said:
        size = next(size for size, _ in fallen if f"groups of {size} do not divide" in line)
        assert line.count(" inputs)") == sum(each == size for each, _ in fallen)
        assert all(role in line for each, role in fallen if each == size)
    assert len(said) == len({size for size, _ in fallen})
    tokens = np.random.default_rng(0).integers(0, 400, 20).tolist()
    logits = Golden(image).session().forward(tokens, "all")
    assert logits.std() > 100
    np.testing.assert_array_equal(Engine(image, 1).session().forward(tokens, "all"), logits)

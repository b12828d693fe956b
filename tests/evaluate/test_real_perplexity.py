"""What the integers cost the real model, on text that no build has seen: `make verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hardcast import flow, models
from hardcast.checkpoint import open_checkpoint
from hardcast.engine import Engine
from hardcast.evaluate.perplexity import Perplexity, measure
from hardcast.image import open_image
from hardcast.quantize.float_forward import FloatModel
from hardcast.quantize.folding import Plain
from hardcast.tokenizer import Tokenizer, TokenizerSpec
from tests.real_model import brought

pytestmark = pytest.mark.verify

DOCS = Path(__file__).parents[2] / "docs"
WINDOWS = 8


def perplexity(
    folder: Path, model: str = "smollm2-135m", windows: int = WINDOWS, **options: Any
) -> Perplexity:
    """The chip against the float model on this project's own documentation: English prose."""
    checkpoint = open_checkpoint(brought(model))
    flow.build(str(checkpoint.path), folder / "image", **options)
    image = open_image(folder / "image")
    program = models.build_program(checkpoint.config)
    tensor = Plain(checkpoint, program).tensor
    reference = FloatModel(program, checkpoint.config, tensor, cache=True)
    text = "\n".join(page.read_text("utf-8") for page in sorted(DOCS.rglob("*.md")))
    ids = Tokenizer(TokenizerSpec.from_json(image.tokenizer_json())).encode(text)
    return measure(Engine(image), ids, reference=reference, windows=windows)


@pytest.mark.parametrize(("bits", "most"), [(8, 0.02), (10, 0.005)])
def test_perplexity_stays_near_the_float_models(tmp_path: Path, bits: int, most: float) -> None:
    """8-bit activations within 2 %; with 10 bits within 0.5 %: nothing else loses anything."""
    result = perplexity(tmp_path, activation_bits=bits)
    print(f"{bits} bits: {result}")
    assert result.tokens == WINDOWS * 511
    assert result.increase is not None and abs(result.increase) < most
    assert result.top1_agreement is not None and result.top1_agreement > 0.9


@pytest.mark.parametrize(("recipe", "most"), [("file", 0.03), ("4bit", 0.12)])
def test_qwen_keeps_its_mind(tmp_path: Path, recipe: str, most: float) -> None:
    """A model whose key biases drown the rest of a head where they are not balanced (KL 0.11 and
    0.17): with the file's precision kept, and rounded to the nearest of 4 bits.
    """
    result = perplexity(tmp_path, "qwen2.5-coder-0.5b", 4, recipe=recipe)
    print(f"{recipe}: {result}")
    assert result.kl_mean is not None and result.kl_mean < most


@pytest.mark.parametrize(("recipe", "most"), [("file", 0.05), ("4keep", 0.15)])
def test_gemma_keeps_its_mind(tmp_path: Path, recipe: str, most: float) -> None:
    """Norms behind attention and MLP with gains over a thousand: the file's precision kept, and
    by the default recipe. Runs for who has accepted Gemma's terms.
    """
    result = perplexity(tmp_path, "gemma-3-270m", 2, recipe=recipe)
    print(f"{recipe}: {result}")
    assert result.kl_mean is not None and result.kl_mean < most


@pytest.mark.parametrize(("recipe", "most"), [("4gptq", 0.15), ("3/6", 0.25), ("3bit", 0.5)])
def test_low_bit_recipes_keep_the_models_mind(tmp_path: Path, recipe: str, most: float) -> None:
    """Far from the calibration's kind of text: wide enough for that, far below a broken build."""
    result = perplexity(tmp_path, recipe=recipe)
    print(f"{recipe}: {result}")
    assert result.increase is not None and result.increase < most

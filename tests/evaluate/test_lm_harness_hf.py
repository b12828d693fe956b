"""lm-eval's own class for transformers on the same tiny float model: equal boundaries and scores.

Needs the extras lm-eval and reference, and what HFLM itself asks for (accelerate).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hardcast import models
from hardcast.checkpoint import open_checkpoint
from hardcast.numerics.sampling import SamplerSettings
from hardcast.quantize.float_forward import FloatModel
from hardcast.tokenizer import spec_from_source
from tests import tiny, tiny_vocabulary

for package in ("lm_eval", "torch", "transformers", "accelerate"):
    pytest.importorskip(package, reason=f"{package} is not installed: HFLM cannot run")

import torch  # noqa: E402  (only where it is installed)
import transformers  # noqa: E402
from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402

from hardcast.evaluate.lm_harness import HardcastLM  # noqa: E402

CONTEXT = 96
TEXT = tiny_vocabulary.TEXT
PAIRS = [
    ("The capital of France is", " Paris."),
    ("The capital of France is ", "Paris."),
    ("The capital of", " Germany is Berlin"),
    ("The capi", "tal of France is Paris."),
    ("Each lane\n\n", "selects 123 multiples"),
    ("", "The quick brown fox"),
    ("<|im_start|>user\nhi<|im_end|>\n", "<|im_start|>assistant\n🙂 é"),
    (TEXT * 2, " the end"),
    (TEXT[:300], TEXT[300:420]),
]
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("The capital of France is", {"until": ["\n\n"], "max_gen_toks": 12}),
    (TEXT, {"until": ["zzz"], "max_gen_toks": 10}),
]


class FloatExecutor:
    """The float model with an executor's surface, so that scores compare with no quantisation."""

    def __init__(self, folder: Path) -> None:
        checkpoint = open_checkpoint(folder)
        self.program = models.build_program(checkpoint.config)
        spec = spec_from_source(checkpoint.tokenizer_source())
        self.image = SimpleNamespace(
            context=CONTEXT,
            points=SimpleNamespace(logits=0),
            program=self.program,
            path=folder,
            digest="float",
            tokenizer_json=spec.to_json,
        )
        self.model = FloatModel(
            self.program,
            checkpoint.config,
            lambda name: checkpoint.tensor(models.checkpoint_name(name)),
            cache=True,
        )

    def session(self) -> FloatSession:
        return FloatSession(self.model)

    def sample(self, logits: np.ndarray, settings: SamplerSettings, position: int) -> int:
        return int(logits.argmax())


class FloatSession:
    def __init__(self, model: FloatModel) -> None:
        self.model = model
        self.tokens: list[int] = []

    def forward(self, tokens: Sequence[int], logits: str = "last") -> np.ndarray:
        self.tokens += tokens
        count = {"all": len(tokens), "last": 1, "none": 0}[logits]
        return self.model.logits(self.tokens)[len(self.tokens) - count :]

    def truncate(self, length: int) -> None:
        del self.tokens[length:]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[HardcastLM, Any]:
    folder = tiny.write_safetensors(tmp_path_factory.mktemp("hf"), "llama")
    theirs = HFLM(
        pretrained=transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        tokenizer=transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"),
            bos_token="<|im_start|>",
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
        ),
        max_length=CONTEXT,
        batch_size=1,
    )
    return HardcastLM(FloatExecutor(folder)), theirs  # type: ignore[arg-type]


def asked(kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, one, index) for index, one in enumerate(arguments)]


def test_pairs_are_cut_at_the_same_token(both: tuple[HardcastLM, Any]) -> None:
    ours, theirs = both
    for context, continuation in PAIRS:
        if context:
            assert ours._encode_pair(context, continuation) == theirs._encode_pair(
                context, continuation
            )


def test_log_likelihoods(both: tuple[HardcastLM, Any]) -> None:
    ours, theirs = (model.loglikelihood(asked("loglikelihood", PAIRS)) for model in both)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
    assert [value for value, _ in ours] == pytest.approx([v for v, _ in theirs], rel=1e-4)


def test_rolling_log_likelihoods(both: tuple[HardcastLM, Any]) -> None:
    texts = [(TEXT,), ("short",)]
    ours, theirs = (m.loglikelihood_rolling(asked("loglikelihood_rolling", texts)) for m in both)
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_answers(both: tuple[HardcastLM, Any]) -> None:
    ours, theirs = (model.generate_until(asked("generate_until", ASKED)) for model in both)
    assert ours == theirs
    end = ours[0][3:5]
    cut = [(prompt, {**options, "until": [end]}) for prompt, options in ASKED]
    ours, theirs = (model.generate_until(asked("generate_until", cut)) for model in both)
    assert ours == theirs and len(ours[0]) == 3

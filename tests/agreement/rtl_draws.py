"""Tiny models and chips to run in simulation, and the comparison of a chip with golden."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from hardcast.chip.geometry import Geometry
from hardcast.chip.parameters import Chip
from hardcast.errors import HardcastError
from hardcast.golden import Golden
from hardcast.image import Image
from hardcast.numerics.sampling import SamplerSettings
from hardcast.rtl import emit
from hardcast.simulate.session import LINT, RtlChip, simulated
from hardcast.simulate.verilate import Options
from tests.random_image import (
    FORMS,
    LOCAL,
    Form,
    config,
    some_biases,
    some_layers,
    write_random_image,
)

FAST = Options(optimisation=1, arguments=LINT)
REPORT = 12  # logits of every token that are compared
SETTINGS = (
    SamplerSettings(),
    SamplerSettings(5909, 0, 1 << 16, 77),
    SamplerSettings(4000, 5, 1 << 16, (1 << 63) + 5),
    SamplerSettings(8000, 0, 50000, 3),
)


@dataclass(frozen=True)
class Case:
    """A drawn model on a drawn chip. runs: token of each user in each run, None where he waits."""

    model: dict[str, object]
    forms: tuple[Form, ...]
    chip: Chip
    image: dict[str, object]
    runs: tuple[tuple[int | None, ...], ...]
    settings: tuple[SamplerSettings, ...]

    def write(self, path: Path) -> Image:
        """The image; weights depend on the case alone."""
        return write_random_image(path, config(**self.model), forms=self.forms, **self.image)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Sizes that no block, tile or slice divides, every form of weights, every parameter."""
    kv_heads = draw(st.sampled_from([1, 2, 3]))
    users = draw(st.sampled_from([1, 1, 2, 4]))
    lanes = draw(st.sampled_from([1, 2, 4, 8]))
    # head_dim / 2 is a multiple of the lanes, or a power of two below them
    head_dim = draw(st.sampled_from([d for d in (2, 8, 16, 48, 64, 128) if fits(d // 2, lanes)]))
    forms = tuple(
        draw(st.lists(st.sampled_from(list(FORMS.values())), min_size=1, max_size=3, unique=True))
    )
    vocabulary = draw(st.sampled_from([33, 131]))
    count = draw(st.sampled_from([1, 2, 3]))
    model = {
        "architecture": draw(st.sampled_from(["llama", "qwen2", "qwen3", "gemma3"])),
        "hidden_size": draw(st.sampled_from([32, 70, 96, 192])),
        "intermediate_size": draw(st.sampled_from([33, 64, 200])),
        "num_hidden_layers": count,
        "num_attention_heads": kv_heads * draw(st.sampled_from([1, 2, 3])),
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": vocabulary,
        "rms_norm_eps": draw(st.sampled_from([1e-5, 1e-2])),
        "tie_word_embeddings": draw(st.booleans()),
        "sliding_window": draw(st.sampled_from([None, None, 1, 3, 31, 70])),
        "biases": draw(some_biases()),
        "layers": draw(some_layers(count)),
        "local_rope": LOCAL,
    }
    chip = Chip(
        "drawn",
        bits=max(form.bits for form in forms),
        columns=draw(st.sampled_from([1, 4, 8, 16])),
        slices=draw(st.sampled_from([1, 2, 3])),
        tile_rows=lanes,
        users=users,
        positions=draw(st.sampled_from([1, 2, 4])),
        broadcast_stages=draw(st.sampled_from([0, 1, 3])),
        gather_stages=draw(st.sampled_from([0, 2])),
        context=draw(st.sampled_from([8, 17, 40])),
    )
    image = {
        "seed": draw(st.integers(0, 1000)),
        "gain": draw(st.sampled_from([1.5, 1.5, 2.0**6])),
        "skew": draw(st.sampled_from([0, 6])),
        "activation_bits": draw(st.sampled_from([8, 8, 9, 13])),
        "head_activation_bits": draw(st.sampled_from([8, 10, 15])),
        "context": 40,
    }
    token = st.integers(0, vocabulary - 1)
    user = st.one_of(st.none(), token, token, token)
    run = st.tuples(*[token if u == 0 else user for u in range(users)])
    runs = tuple(draw(st.lists(run, min_size=4, max_size=6)))
    settings = tuple(draw(st.sampled_from(SETTINGS)) for _ in range(users))
    return Case(model, forms, chip, image, runs, settings)


def fits(half: int, lanes: int) -> bool:
    """Whether a chip of so many lanes takes heads of so many pairs (Geometry says the same)."""
    return half % lanes == 0 or (half & (half - 1) == 0 and half <= lanes)


def design(case: Case, folder: Path) -> emit.Design:
    """The case's image on its chip."""
    made = emit.design(case.write(folder / "drawn.image"), case.chip)
    assert isinstance(made.geometry, Geometry)
    return made


def differences(case: Case, folder: Path) -> list[str]:
    """Runs the case in RTL and golden. What differs, in words; empty where all is equal."""
    made = design(case, folder)
    found: list[str] = []
    with simulated(made, FAST) as chip:
        compare(chip, case, found)
    return found


def compare(chip: RtlChip, case: Case, found: list[str]) -> None:
    """Appends to `found` what differs between the chip and golden over all runs of the case."""
    if chip.digest != chip.design.image.digest:
        found.append("the ID registers differ")
    for user, settings in enumerate(case.settings):
        chip.settings(user, settings, REPORT)
    compare_runs(chip, chip.design, case.runs, case.settings, found)


def compare_runs(
    chip: RtlChip,
    made: emit.Design,
    runs: tuple[tuple[int | None, ...], ...],
    settings: tuple[SamplerSettings, ...],
    found: list[str],
) -> None:
    """Appends to `found` what differs from golden and from the cycle model in each run."""
    golden = Golden(made.image)
    sessions = [golden.session() for _ in settings]
    for number, tokens in enumerate(runs):
        active = [u for u, token in enumerate(tokens) if token is not None]
        positions = [sessions[u].length for u in active]
        wants = number % 3 != 1  # some runs fill the cache only
        try:
            outcome = chip.run(tokens, logits=wants)
        except HardcastError as error:
            found.append(f"run {number}: {error}")
            return
        model = made.model.token(
            positions,
            logits=wants,
            settings=[settings[u] for u in active],
            report=[REPORT] * len(active),
        )
        if (outcome.cycles, outcome.by_kind) != (model.total, model.by_kind):
            found.append(
                f"run {number}: {outcome.cycles} cycles {outcome.by_kind}, "
                f"model {model.total} {model.by_kind}"
            )
        for user in active:
            token = tokens[user]
            assert token is not None
            row = sessions[user].forward([token])[0]
            if not wants:
                continue
            kept = min(settings[user].candidates or REPORT, len(row))
            order = np.lexsort((np.arange(len(row)), -row.astype(np.int64)))[:kept]
            if outcome.top[user] != [(int(i), int(row[i])) for i in order]:
                found.append(f"run {number}, user {user}: logits differ")
            best = golden.sample(row, settings[user], sessions[user].length)
            if outcome.tokens[user] != best:
                found.append(f"run {number}, user {user}: token {outcome.tokens[user]}, not {best}")

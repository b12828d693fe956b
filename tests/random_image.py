"""Random chip images, written without a checkpoint: any sizes, any weight form, any magnitudes.

`build` only makes the forms of its recipes; the image format, golden and the engine promise more.
Here each matrix is drawn in the chip's own integers, so a test reaches what no recipe does yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from hardcast import models
from hardcast.checkpoint.config import ATTENTION, MLP, Layer, LocalRope, ModelConfig
from hardcast.golden.bounds import FRACTION, Bounds
from hardcast.image import Image, open_image
from hardcast.image.matrix import LEAST_SHIFT, MOST_SHIFT, Matrix, pack_codes
from hardcast.image.writer import ImageWriter
from hardcast.models import units
from hardcast.numerics import rope, tables
from hardcast.numerics.points import Points
from hardcast.numerics.rope import RopeScaling
from hardcast.program import step as kinds
from hardcast.program.program import Program


@dataclass(frozen=True)
class Form:
    """How a matrix's weights are written. codebook: None for 0, 1, 2 ... (centred if 2 planes)."""

    bits: int = 4
    planes: int = 1
    group_size: int = 32
    offsets: bool = True
    codebook: tuple[int, ...] | None = None

    def values(self) -> np.ndarray:
        """int16[2^bits]."""
        if self.codebook is not None:
            return np.array(self.codebook, np.int16)
        values = np.arange(1 << self.bits, dtype=np.int16)
        return values - np.int16(1 << (self.bits - 1)) if self.planes == 2 else values


FORMS = {
    "4 bits, offsets": Form(),
    "4 bits, group 64": Form(group_size=64),
    "two planes of 4": Form(planes=2, offsets=False),
    "two planes of 4, offsets": Form(planes=2, group_size=64),
    "3-bit codebook": Form(
        bits=3, group_size=64, offsets=False, codebook=(-8, -5, -3, -1, 1, 3, 5, 8)
    ),
    "3-bit codebook, group 32": Form(bits=3, offsets=False, codebook=(1, -1, 3, -3, 5, -5, 8, -8)),
    "two planes of 3": Form(bits=3, planes=2, group_size=64, offsets=False),
    "two planes of 3, offsets": Form(bits=3, planes=2),
    "2 bits, offsets": Form(bits=2, group_size=64),
    "two planes of 2": Form(bits=2, planes=2, offsets=False),
    "3-bit codebook, long groups": Form(
        bits=3, group_size=96, offsets=False, codebook=(-8, -5, -3, -1, 1, 3, 5, 8)
    ),
    "two planes of 4, a scale a row": Form(planes=2, group_size=256, offsets=False),
    "whole int8": Form(offsets=False, codebook=tuple(range(-128, 127, 17))[:15] + (127,)),
}


LOCAL = LocalRope(500.0, RopeScaling("linear", 2.5))


def config(architecture: str = "llama", **overrides: Any) -> ModelConfig:
    """Sizes of a small model; overrides replace any field of ModelConfig."""
    fields: dict[str, Any] = {
        "architecture": architecture,
        "hidden_size": 96,
        "intermediate_size": 160,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 24,
        "vocab_size": 211,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tie_word_embeddings": True,
        "sliding_window": None,
    }
    return ModelConfig(**{**fields, **overrides})


def draw_matrix(
    rng: np.random.Generator,
    name: str,
    shape: tuple[int, int],
    form: Form,
    gain: float = 1.0,
    skew: int = 0,
) -> Matrix:
    """A matrix whose rows multiply a vector's length by about `gain`.

    skew: rows and groups differ in scale by up to 2^skew.
    """
    out_features, in_features = shape
    groups = -(-in_features // form.group_size)
    codebook = form.values()
    codes = rng.integers(0, 1 << form.bits, (form.planes, *shape), dtype=np.uint8)
    high = codebook.astype(np.int32) << (form.bits if form.planes == 2 else 0)
    centre = int(high.mean() + (((1 << form.bits) - 1) / 2 if form.planes == 2 else 0))
    scales = 255 >> rng.integers(0, min(skew, 7) + 1, (out_features, groups))
    scales -= rng.integers(0, scales // 2 + 1)
    offsets = None
    if form.offsets:
        noise = rng.integers(-40, 41, scales.shape)
        offsets = (-centre * scales + noise).astype(np.int16)
    # The typical |integer| of a row is 128 * the spread of the codebook.
    spread = max(float(high.std()), 1.0) * 160
    wanted = gain / np.sqrt(in_features) / spread / 190
    shift = round(-np.log2(wanted))
    shifts = shift + rng.integers(-(skew // 2), skew // 2 + 1, out_features)
    return Matrix(
        name,
        out_features,
        in_features,
        form.bits,
        form.planes,
        form.group_size,
        codebook,
        pack_codes(codes, form.bits),
        scales.astype(np.uint8),
        offsets,
        rng.integers(128, 256, out_features).astype(np.uint8),
        np.clip(shifts, LEAST_SHIFT, MOST_SHIFT).astype(np.int16),
    )


def write_random_image(
    path: Path,
    model: ModelConfig,
    *,
    seed: int = 0,
    forms: tuple[Form, ...] = (Form(), Form(planes=2, offsets=False)),
    activation_bits: int = 8,
    head_activation_bits: int = 10,
    context: int = 300,
    gain: float = 1.5,
    skew: int = 0,
    gate: str | None = None,
) -> Image:
    """Draws every weight of `model` and writes an image; matrices take the forms in turn.

    gain: of each matrix, as in draw_matrix; 2.0**30 makes every buffer saturate.
    gate: the table of its gates in place of the architecture's.
    """
    rng = np.random.default_rng(seed)
    points = Points()
    program = models.build_program(model, activation_bits, head_activation_bits)
    if gate is not None:
        steps = program.steps
        gated = [replace(s, table=gate) if isinstance(s, kinds.GateMul) else s for s in steps]
        program = replace(program, steps=tuple(gated))
    bounds = Bounds(program, points)
    with ImageWriter(path, replace=True) as writer:
        for name, build_table in tables.needed(program.gate_tables()).items():
            writer.add_tensor(name, build_table())
        for name in program.rope_tables():
            frequencies = tuple(model.frequencies(name))
            for level, table in zip(("coarse", "fine"), _angles(frequencies, context), strict=True):
                writer.add_tensor(f"{name}_{level}", table)
        matrices: dict[str, Matrix] = {}
        for step in program.steps:
            _write_step(writer, bounds, program, step, matrices, rng, forms, gain, skew)
        chip = {
            "program": program.to_json(),
            "context": context,
            "points": points.to_json(),
            "constants": units.constants(model, program, points),
            "widths": bounds.widths(),
            "recipe": {"name": "random", "activation_bits": activation_bits},
        }
        writer.finish(chip, {}, {})
    return open_image(path)


@cache
def _angles(frequencies: tuple[Decimal, ...], context: int) -> tuple[np.ndarray, np.ndarray]:
    return rope.rope_tables(list(frequencies), context)


def _write_step(
    writer: ImageWriter,
    bounds: Bounds,
    program: Program,
    step: kinds.Step,
    matrices: dict[str, Matrix],
    rng: np.random.Generator,
    forms: tuple[Form, ...],
    gain: float,
    skew: int,
) -> None:
    match step:
        case kinds.Embed() | kinds.Matvec():
            if step.matrix not in matrices:
                form = forms[len(matrices) % len(forms)]
                shape = program.matrices()[step.matrix]
                matrix = draw_matrix(rng, step.matrix, shape, form, gain, skew)
                writer.add_matrix(matrix)
                matrices[step.matrix] = matrix
            bias = None
            if isinstance(step, kinds.Matvec) and step.bias is not None:
                point = bounds.points.of(step.dst)
                most = 1 << point
                integers = rng.integers(-most, most, program.shape.width(step.dst))
                writer.add_tensor(step.bias, integers.astype(np.int32))
                bias = np.abs(integers) << (FRACTION - point)
            bounds.step(step, matrix=matrices[step.matrix], bias=bias)
        case kinds.Norm() | kinds.HeadNorm():
            size = program.shape.hidden_size
            if isinstance(step, kinds.HeadNorm):
                size = program.part(step)
            one = np.sqrt(size) * (1 << bounds.points.gain)
            gains = (one * (1 + (rng.integers(-256, 257, size) / 512))).astype(np.int32)
            writer.add_tensor(step.gain, gains)
            bounds.step(step, gain=gains.astype(np.int64))
        case _:
            bounds.step(step)


@st.composite
def model_configs(draw: st.DrawFn, architectures: tuple[str, ...] | None = None) -> ModelConfig:
    """Small models of every architecture, with sizes that no block or tile divides."""
    kv_heads = draw(st.sampled_from([1, 2, 3]))
    count = draw(st.sampled_from([1, 2, 3]))
    return config(
        draw(st.sampled_from(architectures or tuple(models.architectures()))),
        hidden_size=draw(st.sampled_from([32, 96, 100, 192, 70])),
        intermediate_size=draw(st.sampled_from([64, 160, 200, 33])),
        num_hidden_layers=count,
        num_attention_heads=kv_heads * draw(st.sampled_from([1, 2, 3])),
        num_key_value_heads=kv_heads,
        head_dim=draw(st.sampled_from([2, 16, 24, 64, 80])),
        vocab_size=draw(st.sampled_from([33, 257, 1009])),
        rms_norm_eps=draw(st.sampled_from([1e-5, 1e-6, 1e-2])),
        tie_word_embeddings=draw(st.booleans()),
        sliding_window=draw(st.sampled_from([None, None, 1, 5])),
        biases=draw(some_biases()),
        layers=draw(some_layers(count)),
        local_rope=LOCAL,
    )


def some_layers(count: int) -> st.SearchStrategy[tuple[Layer, ...]]:
    """Mostly layers of one kind; sometimes each with a window and a table, or none, of its own."""
    kinds_of_rope = st.sampled_from(["rope", "rope", "rope_local", None])
    layer = st.builds(Layer, st.sampled_from([None, 1, 5]), kinds_of_rope)
    return st.one_of(st.just(()), st.lists(layer, min_size=count, max_size=count).map(tuple))


def some_biases() -> st.SearchStrategy[tuple[str, ...]]:
    """Matrices of a layer that add a bias: mostly none, sometimes all."""
    names = ATTENTION + MLP
    some = st.lists(st.sampled_from(names), max_size=3, unique=True).map(tuple)
    return st.one_of(st.just(()), st.just(names), some)


def some_forms() -> st.SearchStrategy[tuple[Form, ...]]:
    """One to three forms for the matrices of a model to take in turn."""
    return st.lists(st.sampled_from(list(FORMS.values())), min_size=1, max_size=3).map(tuple)

"""Rooflines: what a machine with a memory and a peak rate can do at most with a model.

A published speed above its roofline is impossible as published; one far below says how much of the
machine the software reaches. Figures: roofline.toml. Everything is elementwise arithmetic.

Source: Williams and others, Roofline, CACM 52(4), 2009; for decoding Pope and others, Efficiently
Scaling Transformer Inference, MLSys 2023.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from hardcast.economics.rivals import ANY, PRECISIONS, ROM, Claim, Rival
from hardcast.errors import HardcastError
from hardcast.models.shapes import NamedShape, get_shape, shape_names
from hardcast.technology.assumptions import Assumptions, Real
from hardcast.technology.figure import load_figures

FIGURES = Path(str(resources.files(__package__))) / "roofline.toml"
LENGTHS = (1000, 1000)  # tokens in and out of a user, where nothing else is said


@cache
def roofline_figures() -> Assumptions:
    """The figures of roofline.toml: memory.*, bits.*, kv_bits.*."""
    return Assumptions(load_figures(FIGURES)[1])


def stored_bytes(shape: NamedShape, bits: Real) -> Real:
    """Bytes of all weights at `bits` a weight."""
    return shape.parameters * bits / 8


def read_weights(shape: NamedShape) -> int:
    """Weights that a token needs: all but the embedding's other rows."""
    c = shape.config
    embedding = 0 if c.tie_word_embeddings else c.vocab_size * c.hidden_size
    return shape.parameters - embedding


def kv_bytes(shape: NamedShape, bits: Real) -> Real:
    """Bytes of a token's keys and values."""
    c = shape.config
    return 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * bits / 8


def operations(shape: NamedShape, lengths: tuple[int, int]) -> Real:
    """Operations (two a multiply-add) for one token of output, its share of the input's included.

    lengths: tokens in and out. The head works for tokens of output alone.
    """
    c = shape.config
    given, made = lengths
    head = c.vocab_size * c.hidden_size
    body = read_weights(shape) - head
    seen = (given**2 / 2 + made * (given + made / 2)) / made  # positions attended
    attention = 4 * c.num_hidden_layers * c.num_attention_heads * c.head_dim * seen
    return 2 * body * (given + made) / made + 2 * head + attention


@dataclass(frozen=True)
class Machine:
    """Devices that work together on a model.

    memory_bytes, memory_bytes_s, peak_op_s: of one device. bits, kv_bits: of a weight and of a
    value in the KV cache.
    """

    devices: Real
    memory_bytes: Real
    memory_bytes_s: Real
    peak_op_s: Real
    bits: Real
    kv_bits: Real


def one_user_bound(shape: NamedShape, machine: Machine, context: int = 0) -> Real:
    """Tokens/s of one user at most: weights, and keys and values of `context`, over bandwidth."""
    read = read_weights(shape) * machine.bits / 8 + context * kv_bytes(shape, machine.kv_bits)
    return machine.devices * machine.memory_bytes_s / read


def batched_bound(shape: NamedShape, machine: Machine, lengths: tuple[int, int]) -> Real:
    """Tokens/s of output of one device at most, as many users at once as their KV has room for.

    The lesser of what memory allows (weights once a step, KV of each user) and of what arithmetic
    allows; 0 where the weights fill the memory. lengths: tokens in and out of each user.
    """
    given, made = lengths
    user = kv_bytes(shape, machine.kv_bits) * (given + made / 2)  # mean over a user's output
    memory = machine.devices * machine.memory_bytes
    users = np.maximum(0.0, memory - stored_bytes(shape, machine.bits)) / user
    step = read_weights(shape) * machine.bits / 8 + users * user
    by_memory = users * machine.memory_bytes_s / step  # a device's share: devices cancel out
    by_arithmetic = machine.peak_op_s / operations(shape, lengths)
    return np.minimum(by_memory, by_arithmetic)


def devices_needed(
    shape: NamedShape, memory_bytes: Real, bits: Real, kv_bits: Real, context: int
) -> Real:
    """Devices whose memory holds all weights and one user's keys and values of `context`."""
    need = stored_bytes(shape, bits) + context * kv_bytes(shape, kv_bits)
    return np.ceil(need / memory_bytes)


def can_bound(rival: Rival) -> bool:
    """Whether there is a memory whose bandwidth is published."""
    return {"device.memory_bytes", "device.memory_bytes_s"} <= set(rival.figures)


def served_precision(rival: Rival, precision: str) -> str:
    """A precision; for ANY the one of fewest bits that the rival has a peak for."""
    if precision != ANY:
        return precision
    a = roofline_figures()
    known = [p for p in PRECISIONS if f"device.peak_{p}" in rival.figures]
    return min(known, key=lambda p: float(a[f"bits.{p}"]), default="bf16")


def machine(
    rival: Rival,
    precision: str,
    devices: float | None = None,
    shape: NamedShape | None = None,
    at_best: bool = True,
) -> Machine:
    """The rival's devices at work on weights of a precision.

    devices: that work together; without, as many as the shape needs with LENGTHS. at_best: its
    figures at their high ends, which no published speed may exceed; else at their points.
    Raises HardcastError for a rival without a published memory and for a precision without a peak.
    """
    a, precision = roofline_figures(), served_precision(rival, precision)
    if not can_bound(rival):
        raise HardcastError(f"{rival.name} has no memory with a published bandwidth: no roofline")
    if f"device.peak_{precision}" not in rival.figures:
        raise HardcastError(f"{rival.name} has no peak for {precision}")

    device, sustained = rival.figures, a.figures["memory.sustained"]
    bits, kv = a.figures[f"bits.{precision}"], a.figures[f"kv_bits.{precision}"]
    size, rate, peak = (
        device[f"device.{name}"] for name in ("memory_bytes", "memory_bytes_s", f"peak_{precision}")
    )
    if at_best:
        found = Machine(
            0.0,
            size.high[0],
            rate.high[0] * sustained.high[0],
            peak.high[0],
            bits.low[0],
            kv.low[0],
        )
    else:
        found = Machine(
            0.0,
            size.value[0],
            rate.value[0] * sustained.value[0],
            peak.value[0],
            bits.value[0],
            kv.value[0],
        )
    if devices is None:
        if shape is None:
            raise HardcastError("without a shape the number of devices must be given")
        devices = float(
            devices_needed(shape, found.memory_bytes, found.bits, found.kv_bits, sum(LENGTHS))
        )
    return dataclasses.replace(found, devices=devices)


def bound_of(rival: Rival, claim: Claim) -> float | None:
    """The roofline of a published speed in tokens/s; None where there is none to reckon.

    That is for models without a named shape, in ROM, and where memory or peak are not published.
    """
    if claim.model not in shape_names() or claim.precision == ROM or not can_bound(rival):
        return None
    shape = get_shape(claim.model)
    precision = served_precision(rival, claim.precision)
    if f"device.peak_{precision}" not in rival.figures:
        return None
    devices = claim.devices.high[0] if claim.devices else None
    found = machine(rival, precision, devices, shape)
    if claim.lengths is None:
        return float(one_user_bound(shape, found))
    return float(batched_bound(shape, found, claim.lengths))


@dataclass(frozen=True)
class Reckoned:
    """A speed that nobody published: tokens/s, with a band, and how it was reckoned."""

    low: float
    value: float
    high: float
    note: str


def reckon_one_user(rival: Rival, shape: NamedShape) -> Reckoned | None:
    """One user's tokens/s: weights over bandwidth, and the rival's own time for each layer.

    None without a published bandwidth and speeds that its time a layer was taken from.
    """
    layer = rival.figures.get("device.layer_us")
    if layer is None or not can_bound(rival):
        return None
    precision, layers = rival.texts["precision"], shape.config.num_hidden_layers
    found = machine(rival, precision, shape=shape, at_best=False)
    reading = 1 / float(one_user_bound(shape, found))
    low, value, high = (
        1 / (reading + layers * us[0] * 1e-6) for us in (layer.high, layer.value, layer.low)
    )
    together = "one device" if found.devices == 1 else f"{found.devices:g} devices"
    note = (
        f"{precision} weights read in {reading * 1e3:.3g} ms by {together}, "
        f"{layers} layers of {layer.value[0]:g} us"
    )
    return Reckoned(low, value, high, note)


def reckon_batched(
    rival: Rival, shape: NamedShape, lengths: tuple[int, int] = LENGTHS
) -> Reckoned | None:
    """A device's tokens/s at full load: the share of its roofline that it reaches elsewhere.

    None without a published bandwidth and speeds that this share was taken from.
    """
    share = rival.figures.get("device.batched_share")
    if share is None or not can_bound(rival):
        return None
    precision = rival.texts["precision"]
    bound = float(batched_bound(shape, machine(rival, precision, shape=shape), lengths))
    if bound == 0:
        return None
    low, value, high = (bound * part[0] for part in (share.low, share.value, share.high))
    note = (
        f"{share.value[0]:g} of its roofline of {bound:,.0f} tokens/s "
        f"({precision} weights, {lengths[0]:,} in, {lengths[1]:,} out)"
    )
    return Reckoned(low, value, high, note)

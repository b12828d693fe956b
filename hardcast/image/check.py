"""Holds a manifest against itself: whatever an executor relies on must be there and must fit.

The digest only says that nothing was changed since someone computed it. A file from a stranger
may be consistent with its digest and still name a matrix that is too small; native code would
read beyond it. So every size, index, type and binary point is checked before anything runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from hardcast.numerics.points import Points
from hardcast.numerics.rope import FINE, TABLE_BITS
from hardcast.program import step as kinds
from hardcast.program.program import Program, Shape

DTYPES = ("uint8", "int8", "uint16", "int16", "int32")
SIZE_LIMIT = 1 << 24  # of any one size: far above every model, far below an overflow
SUM_BITS_LIMIT = 25  # a row's sum times a 37-bit activation fits int64
EPSILON_LIMIT = 1 << 62
MATRIX_FIELDS = ("out_features", "in_features", "bits", "planes", "group_size")
TABLES = {  # of numerics/tables.py; making them anew takes too long for every opening
    "exp2": ("uint16", [256]),
    "rsqrt": ("int32", [25]),
    "reciprocal": ("int32", [256]),
    "sigmoid": ("int32", [65]),
    "log2": ("int32", [257]),
    "tail": ("int32", [257]),
}
GATE_TABLE = ("int32", [65])
OPERANDS = {  # what a MATVEC may read and write
    "h": ("q", "k", "v", "g", "u", "x", "logits"),
    "a": ("y",),
    "f": ("y",),
}


class Malformed(ValueError):
    """What does not fit, in one line; the reader adds the file's name."""


def need(condition: bool, what: str) -> None:
    """Raises Malformed(what) unless the condition holds."""
    if not condition:
        raise Malformed(what)


def integer(value: Any, least: int, most: int, what: str) -> int:
    """The value, if it is an int (no bool, no float) within least..most."""
    if type(value) is not int or not least <= value <= most:
        raise Malformed(f"{what} is {value!r:.40}, expected an integer in {least}..{most}")
    return value


def check_tensors(tensors: Any, rom_bytes: int) -> None:
    """Every tensor has a known dtype, a shape of integers, and lies within rom.bin."""
    need(isinstance(tensors, dict), "tensors is no object")
    for name, entry in tensors.items():
        need(entry["dtype"] in DTYPES, f"tensor {name:.80}: dtype {entry['dtype']!r:.40}")
        need(isinstance(entry["shape"], list), f"tensor {name:.80}: its shape is no list")
        for size in entry["shape"]:
            integer(size, 0, 1 << 48, f"tensor {name:.80}: a size of its shape")
        size = np.dtype(entry["dtype"]).itemsize * math.prod(entry["shape"])
        end = integer(entry["offset"], 0, rom_bytes, f"tensor {name:.80}: offset") + size
        need(end <= rom_bytes, f"tensor {name:.80} does not lie within the ROM's {rom_bytes} bytes")
        need(
            re.fullmatch("[0-9a-f]{64}", entry["sha256"]) is not None,
            f"tensor {name:.80}: sha256 {entry['sha256']!r:.40}",
        )


def check_matrices(matrices: Any, program: Program) -> None:
    """The matrices are those of the program, in its sizes; Matrix.check does the arrays later."""
    need(isinstance(matrices, dict), "matrices is no object")
    for name, entry in matrices.items():
        for field in MATRIX_FIELDS:
            integer(entry[field], 1, SIZE_LIMIT, f"matrix {name:.80}: {field}")
        integer(entry["sum_bits"], 0, SUM_BITS_LIMIT, f"matrix {name:.80}: sum_bits")
        integer(entry["rom_bits"], 0, 1 << 62, f"matrix {name:.80}: rom_bits")
        need(isinstance(entry["codebook"], list), f"matrix {name:.80}: codebook is no list")
        for value in entry["codebook"]:
            integer(value, -128, 127, f"matrix {name:.80}: a value of its codebook")
    shape = program.shape
    for step in program.steps:  # not Program.matrices(): two steps may claim two sizes for one name
        if isinstance(step, kinds.Embed):
            sizes = (shape.vocab_size, shape.hidden_size)
        elif isinstance(step, kinds.Matvec):
            sizes = (shape.width(step.dst), shape.width(step.src))
        else:
            continue
        name = step.matrix
        need(name in matrices, f"the program names matrix {name!r:.80}, which is not there")
        found = (matrices[name]["out_features"], matrices[name]["in_features"])
        need(found == sizes, f"matrix {name:.80} is {list(found)}, the program needs {list(sizes)}")


def check_points(points: Points) -> None:
    """Binary points are small, and no formula of the steps shifts by a negative amount."""
    for name, value in points.to_json().items():
        least = -8 if name == "norm_extra" else 0
        integer(value, least, 16, f"point {name}")
    shifts = {
        "norm": points.gain - points.norm_extra,
        "head_norm": points.normed + points.gain - points.qk,
        "norm behind": points.normed + points.gain - points.residual,
        "rope": TABLE_BITS + points.qk - points.rope,
        "score": 2 * points.rope - points.score,
        "attend": points.v + 27 - points.a,  # Z has at least 12 bits
        "gate": points.gate - 4,  # 16 entries a unit at most
        "silu": 12 + points.gate - points.silu,
        "f": points.silu + points.gate - points.f,
    }
    for name, shift in shifts.items():
        need(shift >= 0, f"the binary points make {name} shift by {shift}")


def check_constants(constants: Any, program: Program) -> None:
    """The norms' epsilons are there, and small enough for a sum of squares to stay exact."""
    need(isinstance(constants, dict), "constants is no object")
    norms = [s for s in program.steps if isinstance(s, kinds.Norm | kinds.HeadNorm)]
    for name in ("norm_epsilon", "head_epsilon", *map(program.epsilon, norms)):
        integer(constants[name], 0, EPSILON_LIMIT, name)


def check_program(program: Program) -> None:
    """Sizes are sane and every step names what its kind may name (verify did the order)."""
    shape = program.shape
    for name, value in shape.__dict__.items():
        integer(value, 1, SIZE_LIMIT, name)
    need(shape.head_dim % 2 == 0, f"head_dim {shape.head_dim} is odd")
    need(
        shape.num_attention_heads % shape.num_key_value_heads == 0,
        f"{shape.num_attention_heads} heads share {shape.num_key_value_heads} key/value heads",
    )
    cached: list[int] = []
    for index, step in enumerate(program.steps):
        need(_fits(step, shape, cached), f"program step {index} ({step!r:.120}) is malformed")
        if isinstance(step, kinds.KvWrite):
            cached.append(step.layer)
    need(cached == list(range(shape.num_hidden_layers)), "not one KvWrite a layer, in order")
    at_end = [type(step) for step in program.steps[-3:]]
    need(
        at_end[0] in (kinds.Norm, kinds.Quantize) and at_end[1:] == [kinds.Matvec, kinds.Sample],
        "the program does not end with Norm or Quantize, Matvec, Sample",
    )
    heads = [s for s in program.steps if isinstance(s, kinds.Matvec) and s.dst == "logits"]
    need(heads == [program.steps[-2]], "the program does not make its logits once, at the end")


def _fits(step: kinds.Step, shape: Shape, cached: list[int]) -> bool:
    """Whether the step's operands are those of its kind. cached: layers written so far."""
    rotated = {"q": shape.num_attention_heads, "k": shape.num_key_value_heads}
    bits = getattr(step, "activation_bits", 8)
    if type(bits) is not int or not 8 <= bits <= 15:
        return False
    match step:
        case kinds.Embed(matrix=str(), dst="x") | kinds.Add(src="y", dst="x"):
            return True
        case kinds.Norm(gain=str(), src="x", dst="h") | kinds.Sample(src="logits"):
            return True
        case kinds.Quantize(src="x", dst="h"):
            return True
        case kinds.HeadNorm(gain=str(), buffer=("q" | "k") as buffer, num_heads=int(heads)):
            return heads in (1, rotated[buffer])
        case kinds.HeadNorm(gain=str(), buffer="y", num_heads=1):
            return True
        case kinds.Rope(buffer=("q" | "k") as buffer, num_heads=int(heads), table=None | str()):
            return heads == rotated[buffer] and step.table in (None, *kinds.ROPE_TABLES)
        case kinds.Matvec(matrix=str(), src=str(src), dst=str(dst), bias=None | str()):
            return dst in OPERANDS.get(src, ())
        case kinds.KvWrite(layer=layer):
            return type(layer) is int
        case kinds.Attend(layer=layer, dst="a", window=window):
            whole = window is None or type(window) is int and 1 <= window <= SIZE_LIMIT
            return type(layer) is int and cached[-1:] == [layer] and whole
        case kinds.GateMul(table=str(table), gate="g", up="u", dst="f"):
            return table in kinds.GATE_TABLES
    return False


def check_contents(tensors: dict[str, Any], program: Program, context: int) -> None:
    """Tables, gains and biases are there, in the dtype and shape that the steps read."""
    for name, (dtype, shape) in _expected_tensors(program, context):
        need(name in tensors, f"tensor {name:.80} is missing")
        found = (tensors[name]["dtype"], tensors[name]["shape"])
        need(
            found == (dtype, shape),
            f"tensor {name:.80} is {found[0]}{found[1]}, not {dtype}{shape}",
        )


def _expected_tensors(
    program: Program, context: int
) -> Iterator[tuple[str, tuple[str, list[int]]]]:
    """Every tensor besides those of matrices that a step reads: name, (dtype, shape)."""
    shape = program.shape
    pairs = [shape.head_dim // 2, 2]
    yield from TABLES.items()
    yield from ((name, GATE_TABLE) for name in program.gate_tables())
    for name in program.rope_tables():
        yield f"{name}_coarse", ("int16", [-(-context // FINE), *pairs])
        yield f"{name}_fine", ("int16", [FINE, *pairs])
    for step in program.steps:
        match step:
            case kinds.Norm():
                yield step.gain, ("int32", [shape.hidden_size])
            case kinds.HeadNorm():
                yield step.gain, ("int32", [program.part(step)])
            case kinds.Matvec(bias=str(bias)):
                yield bias, ("int32", [shape.width(step.dst)])

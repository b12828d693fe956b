"""The whole chip but its sampler in Icarus Verilog: logits of some tokens equal golden's.

Icarus 11 does not read the sampler. In its place stands one that keeps the logits for the host.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardcast.chip.parameters import Chip
from hardcast.golden import Golden
from hardcast.rtl import emit
from hardcast.simulate.session import ACTIVE, INDEX, LOGIT, POSITION, TOKEN, USER_BASE, USER_SIZE
from tests.random_image import Form, config, write_random_image
from tests.rtl.icarus import Module

pytestmark = pytest.mark.skipif(
    shutil.which("iverilog") is None,
    reason="needs Icarus Verilog (Debian, Ubuntu: apt install iverilog)",
)

READ, WRITE, RUN = range(3)
ANSWERED = 8  # cycles that a read or write takes at most, with its response
VOCABULARY = 35
KEEPER = """\
module hc_sample #(
  parameter int TR = 4, parameter int VOCAB = 1, parameter int LOGIT_POINT = 10,
  parameter int SL = 4
) (
  input wire clk, input wire rst_n, input wire in_valid, input wire in_first, input wire in_last,
  input wire [31:0] in_index, input wire [TR*32-1:0] in_word, input wire start, output reg done,
  input wire [31:0] inverse_temperature, input wire [8:0] top_k, input wire [16:0] top_p,
  input wire [63:0] seed, input wire [63:0] position, input wire [8:0] report_k,
  output wire [31:0] token, input wire [7:0] rd_index, output reg [31:0] rd_logit,
  output wire [31:0] rd_token, output wire [8:0] rd_count
);
  reg [31:0] kept[0:255];
  integer i;
  assign token = 32'd0;
  assign rd_token = 32'd0;
  assign rd_count = 9'd0;
  always @(posedge clk) begin
    done <= start && rst_n;
    rd_logit <= kept[rd_index];
    if (in_valid)
      for (i = 0; i < TR; i = i + 1)
        if (in_index + i < VOCAB) kept[in_index + i] <= in_word[32 * i +: 32];
  end
endmodule
"""

CASES: dict[str, tuple[dict[str, Any], tuple[Form, ...], Chip]] = {
    "two planes, offsets": (
        {"hidden_size": 96, "head_dim": 16},
        (Form(), Form(planes=2, offsets=False)),
        Chip("a", tile_rows=4, slices=2, columns=16, positions=2, context=8),
    ),
    "head norm, 2 users, 3 bits": (
        {"architecture": "qwen3", "hidden_size": 64, "head_dim": 8},
        (Form(3, 1, 64, False, (-8, -5, -3, -1, 1, 3, 5, 8)), Form(3, 2, 64)),
        Chip("b", bits=3, tile_rows=2, columns=32, users=2, broadcast_stages=1, context=8),
    ),
    "norms behind, tanh-GELU": (
        {"architecture": "gemma3", "hidden_size": 70, "head_dim": 16},
        (Form(),),
        Chip("c", tile_rows=4, slices=2, columns=32, positions=2, context=8),
    ),
}


def cycles_of(design: emit.Design, position: int) -> int:
    """At least what a run takes: the sampler here is quicker than the chip's."""
    return design.model.token([position] * design.geometry.chip.users).total + 64


@pytest.mark.parametrize("case", CASES)
def test_logits(case: str, tmp_path: Path) -> None:
    sizes, forms, chip = CASES[case]
    model = config(
        intermediate_size=100,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=VOCABULARY,
        **sizes,
    )
    made = emit.design(write_random_image(tmp_path / "a.image", model, forms=forms), chip)
    (tmp_path / "rom").mkdir()
    emit.write_rom(made, tmp_path / "rom")
    rng = np.random.default_rng(5)
    tokens = rng.integers(0, VOCABULARY, (3, chip.users))

    requests: list[tuple[int, int, int, int]] = []  # op, address, data, cycles
    for position, row in enumerate(tokens):
        for user, token in enumerate(row):
            base = USER_BASE + USER_SIZE * user
            requests.append((WRITE, base + ACTIVE, 1, ANSWERED))
            requests.append((WRITE, base + TOKEN, int(token), ANSWERED))
        requests.append((RUN, 0, 1, cycles_of(made, position)))
        for user in range(chip.users):
            base = USER_BASE + USER_SIZE * user
            requests.append((READ, base + POSITION, 0, ANSWERED))
            for index in range(VOCABULARY):
                requests.append((WRITE, base + INDEX, index, ANSWERED))
                requests.append((READ, base + LOGIT, 0, ANSWERED))
    stimuli = {
        "rst_n": [0] * 4,
        "req_valid": [0] * 4,
        "req_op": [0] * 4,
        "req_addr": [0] * 4,
        "req_data": [0] * 4,
    }
    for op, address, data, length in requests:
        idle = [0] * (length - 1)
        for name, value in (
            ("rst_n", 1), ("req_valid", 1), ("req_op", op), ("req_addr", address),
            ("req_data", data),
        ):  # fmt: skip
            stimuli[name] += [value, *([1] * len(idle) if name == "rst_n" else idle)]
    stimuli["rsp_ready"] = [1] * len(stimuli["rst_n"])
    texts = {name: text for name, text in emit.source_texts(made).items() if "_pkg" in name}
    inputs = {"rst_n": 1, "req_valid": 1, "req_op": 2, "req_addr": 16, "req_data": 32}
    module = Module(
        emit.TOP,
        texts | {"hc_sample.sv": KEEPER},
        inputs | {"rsp_ready": 1},
        {"req_ready": 1, "rsp_valid": 1, "rsp_data": 32, "rsp_error": 8},
        variants=made.contents.variants,
    )
    seen = module.run(stimuli, tmp_path)
    answers = [
        (seen["rsp_data"][n], seen["rsp_error"][n])
        for n, valid in enumerate(seen["rsp_valid"])
        if valid == 1
    ]
    assert len(answers) == len(requests)
    assert {error for _, error in answers} == {0}

    sessions = [Golden(made.image).session() for _ in range(chip.users)]
    read = iter(data for (op, *_), (data, _) in zip(requests, answers, strict=True) if op == READ)
    for position, row in enumerate(tokens):
        for session, token in zip(sessions, row, strict=True):
            logits = session.forward([int(token)])[0]
            assert next(read) == position + 1
            found = np.array([next(read) for _ in range(VOCABULARY)], np.uint32).view(np.int32)
            assert np.array_equal(found, logits)

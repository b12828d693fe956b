"""What formal.py proves, and that each proof can fail: a planted bug is refuted."""

from __future__ import annotations

import dataclasses

import pytest
from _pytest.mark import ParameterSet

from hardcast.errors import HardcastError
from hardcast.formal.formal import Proof, prove
from hardcast.formal.proofs import PROOFS

pytest.importorskip("pyosys", reason="needs yosys: pip install 'hardcast[rtl]'")

SEQUENCER = "sequencer: 32 columns, 32 lanes, 2 users"

# proof, file, what stands there, what a mistake would be
BUGS = [
    # the lane that is synthesised
    ("lane 0: 2 bits, 1 columns", "hc_tile", "(1 << B) + q))", "(1 << B) + (q ^ 1)))"),
    ("lane 0: 3 bits, 1 columns", "hc_tile", "$signed(x_a[u][k*8 +: 8]));", "x_a[u][k*8 +: 8]);"),
    ("lane 1: 2 bits, 4 columns", "hc_tile", "codes_a[(r*K+k)*B +: B]]", "codes_a[(r*K)*B +: B]]"),
    ("lane 1: 4 bits, 4 columns", "hc_tile", "(a & b) | (a & c)", "(a & b)"),
    ("lane 1: 4 bits, 4 columns", "hc_tile", "t[i+BELOW/3]", "t[i]"),
    # the tile
    ("tile sweep: group 64, 2 rows", "hc_tile", "first_b ? '0 : acc[r]", "acc[r]"),
    ("tile sweep: group 64, 2 rows", "hc_tile", ".W(SCALE_W), .N(R + 2)", ".W(SCALE_W), .N(R + 1)"),
    ("tile sweep: group 64, 2 rows", "hc_tile", "if (drain && !(valid_b && last_b))", "if (drain)"),
    ("tile sweep: group 64, 2 rows", "hc_tile", "xsum_a  <= xsum[u]", "xsum_a  <= xsum[u] + 1'b1"),
    ("tile scale: group 64", "hc_tile", "[SUM_W+8:0]   scaled0", "[SUM_W+7:0]   scaled0"),
    ("tile scale: group 64", "hc_tile", "ACC_W'(part) << shift_e", "ACC_W'(part) << shift_d"),
    ("tile scale: group 32, offsets", "hc_tile", "[XSUM_W+15:0] offset0", "[XSUM_W+14:0] offset0"),
    ("tile scale: group 32, offsets", "hc_tile", "offset(scale_d, G - 1)", "offset(scale_d, 0)"),
    # pipelines
    ("delay: 5 cycles", "hc_delay", "i < N; i++", "i < N - 1; i++"),
    ("delay: 5 cycles, reset", "hc_delay", "'0 : regs[i-1]", "regs[i-1] : regs[i-1]"),
    ("sum: 5 by 4", "hc_sum", "i * RADIX + j < N", "i * RADIX + j < N - 1"),
    ("sum: 7 by 2", "hc_sum", ".en(en_q)", ".en"),
    ("sum: 17 by 4", "hc_max", "> $signed(d[2*i", "< $signed(d[2*i"),
    # rounding, clamps
    ("rows 0", "hc_rows", "k > 11'sd62 ? 8'sd62", "k > 11'sd63 ? 8'sd63"),
    ("rows 0", "hc_rows", "drop_full < 0 ? 6'd0", "drop_full < -1 ? 6'd0"),
    ("rows 1", "hc_rows", "(k - 6'd1)) + 64'sd1", "(k - 6'd1)) + 64'sd0"),
    ("rows 1", "hc_rows", "k == 0 ? v :", "k == 63 ? v :"),
    ("rows 2", "hc_rows", "35'($signed(w[34:0]) >>> 1) + 35'(w[0])", "35'($signed(w[34:0]) >>> 1)"),
    ("rows 2", "hc_rows", ": v_6 <<< (8'sd1 - k_6);", ": v_6 <<< -k_6;"),
    ("rows 2", "hc_rows", "w[33:0] == '1", "w[32:0] == '1"),
    ("rows 3", "hc_rows", "v[34:31] == '0 ||", ""),
    ("quant: 12 bits", "hc_quant", "length < 7'(bits)", "length <= 7'(bits)"),
    ("quant: 12 bits", "hc_quant", "c < ~top ? CODE_W'(~top)", "c < -top ? CODE_W'(-top)"),
    ("quant: 12 bits", "hc_quant", "$signed(half_e[i])) + (W+2)'(1)", "$signed(half_e[i]))"),
    ("quant: 12 bits", "hc_quant", "(first_1 ? '0 : block_2[b])", "block_2[b]"),
    ("quant: for heads", "hc_quant", "length > 7'(MAG)", "length > 7'(MAG + 1)"),
    # control
    ("host 0: 1 users", "hc_host", "if (rsp_valid && rsp_ready)", "if (rsp_valid)"),
    ("host 0: 1 users", "hc_host", "assign req_ready = !busy &&", "assign req_ready ="),
    ("host 0: 1 users", "hc_host", "reading   <= 3'd4;", "reading   <= 3'd5;"),
    ("host 1: 1 users", "hc_host", "if (writable)\n", "\n"),
    ("host 1: 1 users", "hc_host", "busy  <= 1'b1;\n", "busy  <= 1'b1; token_r <= '0;\n"),
    ("host 1: 1 users", "hc_host", "position_r[u] >= 32'(CTX)", "position_r[u] > 32'(CTX)"),
    ("host 1: 2 users", "hc_host", "if (active[u]) position_r[u]", "position_r[u]"),
    ("host 2: 1 users", "hc_host", "read_addr <= req_addr;", "read_addr <= req_addr | 2;"),
    ("host 2: 2 users", "hc_host", "(read_addr - 16'h100) >> 5)", "(read_addr - 16'h100) >> 4)"),
    (SEQUENCER, "hc_seq", "last_fold ? '0 : fold_n + 1'b1", "fold_n + 1'b1"),
    (SEQUENCER, "hc_seq", "pass <= last_pass ? '0 : pass + 10'd1", "pass <= pass + 10'd1"),
    (SEQUENCER, "hc_seq", "'0 : in_block + 16'd1;\n              second", "'0 : '0;\n second"),
    (SEQUENCER, "hc_seq", "row_base <= row_base + WORD_AW'(R)", "row_base <= row_base + 1'b1"),
    (SEQUENCER, "hc_seq", "finished <= 1'b1;\n            state <= IDLE", "finished <= 1'b1"),
    (SEQUENCER, "hc_seq", "if (start) state <= FETCH", "state <= FETCH"),
]  # fmt: skip


def marked(name: str, *values: str) -> ParameterSet:
    """A case that `make test` leaves out if its proof is slow."""
    marks = [pytest.mark.verify] if PROOFS[name].slow else []
    return pytest.param(name, *values, marks=marks)


@pytest.mark.parametrize("name", [marked(name) for name in PROOFS])
def test_proved(name: str) -> None:
    result = prove(PROOFS[name])
    assert result.verdict == "proved", result.counterexample


def planted(proof: Proof, file: str, right: str, wrong: str) -> dict[str, str]:
    text = proof.sources()[f"{file}.sv"]
    assert right in text, f"{file}.sv has no {right!r} any more: plant another bug"
    return {f"{file}.sv": text.replace(right, wrong, 1)}


@pytest.mark.parametrize(("name", "file", "right", "wrong"), [marked(*bug) for bug in BUGS])
def test_a_planted_bug_is_refuted(name: str, file: str, right: str, wrong: str) -> None:
    result = prove(PROOFS[name], planted(PROOFS[name], file, right, wrong), hunt=True)
    assert result.verdict == "refuted"
    assert result.counterexample


def test_every_kind_of_proof_has_a_planted_bug() -> None:
    assert {PROOFS[name].top for name, *_ in BUGS} == {proof.top for proof in PROOFS.values()}


def test_a_time_limit_gives_no_verdict() -> None:
    assert prove(PROOFS["lane 0: 4 bits, 4 columns"], limit_s=1).verdict == "unknown"


def test_errors_are_told() -> None:
    proof = PROOFS["delay: 1 cycles"]
    with pytest.raises(HardcastError, match="yosys|python|rror"):
        prove(proof, {"hc_delay.sv": "module nothing; endmodule"})
    with pytest.raises(HardcastError, match="no constant NOTHING"):
        prove(dataclasses.replace(proof, constants={"NOTHING": 1}))

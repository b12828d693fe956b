"""How long hc_sample takes to choose a token: exact, and never a question of the data."""

from __future__ import annotations

MODES = ("greedy", "noise", "candidates")


def sampler_cycles(
    vocab_size: int, lanes: int, sampler_lanes: int, mode: str, candidates: int
) -> int:
    """Cycles from the one in which `start` is high to the one in which `done` is.

    lanes, sampler_lanes: hc_sample's TR and SL. mode: "greedy", "noise" or "candidates", as the
    settings choose it. candidates: SamplerSettings.candidates in the last mode, report_k in the
    others (0: no selection). Raises ValueError for another mode, or the last without candidates.
    """
    if mode not in MODES or (mode == "candidates" and not candidates):
        raise ValueError(f"no sampler mode {mode!r} with {candidates} candidates")
    levels = lanes.bit_length() - 1
    cycles = levels + 2  # the last word passes the comparators; the token is written
    if mode == "noise":
        width = min(sampler_lanes, lanes)
        cycles += -(-vocab_size // width) + 43 + width.bit_length() - 1
    if candidates:
        kept = min(candidates, vocab_size)
        words = min(-(-vocab_size // lanes), candidates)  # that the selection reads
        stages = max(-(-levels // 3), 1)  # of the counting tree
        cycles += 8 * (words + 6 + stages) + words + kept + 7  # hc_select
        cycles += kept + 54  # hc_draw
    return cycles

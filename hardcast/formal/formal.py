"""Proofs about the RTL, by yosys' SAT solver: what holds for every input, not for those of a test.

A proof is a module of formal/*.sv: it holds the block under proof, a plain specification beside it,
and assertions. It reads the block's registers by their names; it cannot write them. Two ways:

* `steps` > 0: the block starts in ANY state and runs so many cycles; the assertions about what came
  in since then must hold. For a pipeline that forgets its past this is a proof for all time.
* `steps` = 0: induction from a reset; the assertions hold in every reachable state.

`cut`: once equal parts are merged, the outputs of multipliers are free. What is proved then holds
for any product, and only if both sides multiply the same numbers.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Literal

from hardcast import toolchain
from hardcast.errors import HardcastError
from hardcast.rtl.modules import modules
from hardcast.rtl.package import package
from hardcast.rtl.tables import tables_package
from hardcast.synthesis.blocks import LINEAR, Options

Verdict = Literal["proved", "refuted", "unknown"]
LIMIT_S = 900
SEARCH = 12  # cycles after a reset that are searched where induction fails
IDENTITY = "".join(f"{word:08x}\n" for word in range(8))  # of a chip: rom/id.mem

SCRIPT = """\
read_slang -D SYNTHESIS {parameters} --top {top} {files}
{prepare}
memory_nordff
memory_map
async2sync
chformal -lower
dffunmap
setundef -anyseq
opt -fast
sat -prove-asserts -set-assumes -timeout {limit} -show-inputs {mode} {top}
"""
CUT = """\
opt -full
wreduce
opt -full
cutpoint t:$mul
"""


@dataclass(frozen=True)
class Proof:
    """A claim. top: its module in formal/. modules: of the design, that it needs.

    constants: of hardcast_pkg, that a smaller block has. parameters: of the module. codebooks,
    group, asymmetric: of the tiles. select: hc_tile_select is there too, the tile as it is
    synthesised. slow: takes more than some seconds.
    """

    name: str
    what: str
    top: str
    modules: tuple[str, ...]
    steps: int
    parameters: Mapping[str, int] = field(default_factory=dict)
    constants: Mapping[str, int] = field(default_factory=dict)
    codebooks: tuple[tuple[int, ...], ...] = ((0, 1, 2, 3),)
    group: int = 64
    asymmetric: bool = False
    bias: bool = True
    options: Options = Options(bits=2, recipe=LINEAR, context=64, positions=4)
    cut: bool = False
    select: bool = False
    slow: bool = False

    def sources(self) -> dict[str, str]:
        """Every file that yosys reads, by name, packages first and the proof's module last."""
        contents = replace(
            self.options.contents(),
            codebooks=self.codebooks,
            group=self.group,
            asymmetric=self.asymmetric,
            bias=self.bias,
        )
        text = package(self.options.geometry(), contents)
        for name, value in self.constants.items():
            text, found = re.subn(rf"( int {name} =) -?\d+;", rf"\1 {value};", text)
            if found != 1:
                raise HardcastError(f"{self.name}: hardcast_pkg has no constant {name}")
        texts = {"hc_tables_pkg.sv": tables_package(), "hardcast_pkg.sv": text}
        for module in self.modules:
            texts[f"{module}.sv"] = modules()[f"{module}.sv"]
        proof = resources.files(__package__).joinpath(f"{self.top}.sv")
        return {**texts, f"{self.top}.sv": proof.read_text("utf-8"), "rom/id.mem": IDENTITY}


@dataclass(frozen=True)
class Result:
    """What became of a proof. counterexample: inputs, cycle by cycle, if it is refuted."""

    proof: Proof
    verdict: Verdict
    seconds: float
    counterexample: str = ""


def prove(
    proof: Proof,
    sources: Mapping[str, str] | None = None,
    limit_s: int = LIMIT_S,
    hunt: bool = False,
) -> Result:
    """Runs a proof. sources: files by name that replace the proof's own (a planted bug).

    limit_s: of the solver; then the verdict is "unknown". hunt: a counterexample is looked for
    before an induction is tried, which is quicker where there is one. Raises HardcastError: pyosys
    is missing, or what yosys says is wrong with the sources.
    """
    started = time.monotonic()
    texts = {**proof.sources(), **(sources or {})}
    if proof.select:
        tile = re.sub(r"\bmodule hc_tile\b", "module hc_tile_select", texts["hc_tile.sv"])
        texts["hc_tile_select.sv"] = f"`define HC_SELECT\n{tile}\n`undef HC_SELECT\n"
    induct, search = "-tempinduct -maxsteps 3", f"-tempinduct-baseonly -maxsteps {SEARCH}"
    modes = [search, induct] if hunt else [induct, search]
    if proof.steps:
        modes = [f"-seq {proof.steps}"]
    for mode in modes:
        log = _run(proof, texts, mode, limit_s)
        verdict = _verdict(log)
        if verdict != "unknown":
            break
    found = log.partition("Signal Name")[2] if verdict == "refuted" else ""
    return Result(proof, verdict, time.monotonic() - started, found)


def _run(proof: Proof, texts: Mapping[str, str], mode: str, limit_s: int) -> str:
    with toolchain.yosys_folder() as folder:
        (folder / "rom").mkdir()
        for file, text in texts.items():
            (folder / file).write_text(text)
        script = SCRIPT.format(
            parameters=" ".join(f"-G {key}={value}" for key, value in proof.parameters.items()),
            top=proof.top,
            files=" ".join(file for file in texts if file.endswith(".sv")),
            prepare=CUT if proof.cut else "opt_clean",
            limit=limit_s,
            mode=mode,
        )
        (folder / "script.ys").write_text(script)
        return toolchain.run_yosys(folder)


def _verdict(log: str) -> Verdict:
    if "SAT proof finished - no model found: SUCCESS!" in log:
        return "proved"
    if "Induction step proven: SUCCESS!" in log:
        return "proved"
    if re.search(r"proof finished - model found.*: FAIL!", log):
        return "refuted"
    return "unknown"

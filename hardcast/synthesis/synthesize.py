"""A block through yosys with a real cell library: its netlist, and from that its figures.

The script below is all that shapes a netlist. In words: multipliers become Booth's, sums of many
become carry-save trees, adders Sklansky's, enables of GATED or more flip-flops become clock gates,
and abc maps to the library (&dch, &nf), buffers and sizes for MARGIN of the clock: the rest is for
flip-flops, ports and fan-out. One yosys process a block: an error of yosys ends its process.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hardcast import __version__, toolchain
from hardcast.cells.activity import measure
from hardcast.cells.energy import Energy, energy
from hardcast.cells.libraries import Library
from hardcast.cells.netlist import Netlist, read_netlist
from hardcast.cells.timing import Route, Timing, analyse, opensta
from hardcast.synthesis.blocks import MEMORIES, Block, Options, sources
from hardcast.synthesis.stimuli import stimulus_of

GATED = 8  # flip-flops with one enable that are worth a clock gate
MARGIN = 0.85  # of the clock that abc sizes for
STEPS = 4  # of the progress bar
WARM, CYCLES = 24, 40  # of the simulation that energy is measured in; each counts 64 times
NETLIST, VERILOG = "netlist.json", "netlist.v"

ABC = """\
strash
&get -n
&st
&dch
&nf
&put
{buffer}
topo
stime -p
upsize -D {target}
dnsize -D {target}
stime -p
"""

SCRIPT = """\
read_slang --top {top} --allow-use-before-declare --ignore-assertions --ignore-initial \
-D SYNTHESIS -D HC_SELECT {boxes} {parameters} {files}
hierarchy -check -top {top}
flatten
expose -evert {boxed}
proc
opt_expr
opt_clean
check
opt -nodffe -nosdff
wreduce
peepopt
opt_clean
booth
alumacc
arith_tree
opt
memory -nomap
opt_clean
opt -fast -full
memory_map
opt -full
techmap -map +/techmap.v -map +/choices/sklansky.v
opt -fast
clockgate -pos {clock_gate} {clock_gate_low} -min_net_size {gated}
dfflegalize -cell $_DFF_P_ x
techmap
opt_expr
opt_clean
rename -wire t:$_DFF_P_
techmap -map flipflop.v
techmap
opt_expr
opt_clean
abc -script abc.script -constr abc.constr {liberty} {avoid}
opt_clean -purge
hilomap -hicell {high} -locell {low}
setundef -zero
splitnets -ports -format .
clean -purge
rename -top block
rename -enumerate -pattern n% w:$*
rename -enumerate -pattern c% c:$*
write_json netlist.json
write_verilog -noattr -noexpr -nohex -nodec netlist.v
"""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Mapped:
    """A block as cells. verilog: the netlist as text. abc_ps: abc's delay of the logic alone."""

    block: Block
    options: Options
    library: Library
    clock_ps: int
    netlist: Netlist
    verilog: str
    abc_ps: float
    version: str  # of yosys


@dataclass(frozen=True)
class Result:
    """What one block costs. um2, ps, nW, fJ; kind of every figure: synthesised, not placed.

    used: the options that shape the block. critical_path_ps: the clock that it needs, without
    wires, as OpenSTA finds it (our own analysis where there is no OpenSTA: own_path_ps).
    wired_path_ps: own, each pin with the library's estimate of a wire; nothing was sized for it.
    start, end: of the longest path. routes: the longest between every two registers.
    energy, energy_wired: fJ a cycle; None if they were not asked for. ops: operations a cycle.
    source: the tools.
    """

    block: Block
    used: dict[str, Any]
    library: Library
    clock_ps: int
    cells: int
    area_um2: float
    flip_flops: int
    flip_flop_area_um2: float
    clock_gates: int
    leakage_nw: float
    critical_path_ps: float
    own_path_ps: float
    wired_path_ps: float
    abc_ps: float
    routes: list[Route]
    ops: int
    energy: Energy | None
    energy_wired: Energy | None
    source: str

    @property
    def fmax_ghz(self) -> float:
        """The fastest clock, without wires."""
        return 1000 / self.critical_path_ps

    @property
    def energy_fj_per_op(self) -> float | None:
        """Of a cycle, shared out over its operations."""
        return None if self.energy is None else self.energy.total / self.ops

    @property
    def meets(self) -> bool:
        """Whether the block closes at the clock that it was made for."""
        return self.critical_path_ps <= self.clock_ps


def synthesize(
    block: Block,
    options: Options,
    library: Library,
    clock_ps: int | None = None,
    with_energy: bool = True,
    progress: Progress | None = None,
) -> Result:
    """A block's figures. clock_ps: that it is made for (the library's by default).

    Raises HardcastError: pyosys is missing, options that no chip can have, or what a tool says.
    """
    tell = progress or (lambda *_: None)
    tell(block.name, 0, STEPS)
    mapped = map_block(block, options, library, clock_ps)
    return evaluate(mapped, with_energy, tell)


def evaluate(mapped: Mapped, with_energy: bool = True, tell: Progress | None = None) -> Result:
    """The figures of a netlist. Raises HardcastError: what a tool says."""
    tell = tell or (lambda *_: None)
    block, options, library = mapped.block, mapped.options, mapped.library
    netlist = mapped.netlist
    tell(block.name, 1, STEPS)
    timing = analyse(netlist, library, block.late)
    wired = analyse(netlist, library, block.late, wires=True)
    critical, timer = timing.critical.ps, f"hardcast {__version__}"
    if shutil.which("sta"):
        critical, timer = opensta(mapped.verilog, netlist, library, mapped.clock_ps, block.late)
    tell(block.name, 2, STEPS)
    spent = _energies(mapped, timing, wired) if with_energy else (None, None)
    tell(block.name, STEPS, STEPS)
    return Result(
        block=block,
        used={name: getattr(options, name) for name in block.uses},
        library=library,
        clock_ps=mapped.clock_ps,
        cells=len(netlist.instances),
        area_um2=netlist.area,
        flip_flops=len(netlist.flip_flops),
        flip_flop_area_um2=sum(i.cell.area for i in netlist.flip_flops),
        clock_gates=len(netlist.gates),
        leakage_nw=netlist.leakage,
        critical_path_ps=critical,
        own_path_ps=timing.critical.ps,
        wired_path_ps=wired.critical.ps,
        abc_ps=mapped.abc_ps,
        routes=timing.by_register(),
        ops=block.ops(options),
        energy=spent[0],
        energy_wired=spent[1],
        source=f"{mapped.version}, abc, {timer}",
    )


def _energies(mapped: Mapped, timing: Timing, wired: Timing) -> tuple[Energy, Energy]:
    netlist, library = mapped.netlist, mapped.library
    stimulus = stimulus_of(mapped.block, mapped.options, netlist)
    activity = measure(netlist, timing.delay, stimulus, CYCLES, WARM)
    return (
        energy(netlist, library, timing, activity),
        energy(netlist, library, wired, activity),
    )


def map_block(
    block: Block, options: Options, library: Library, clock_ps: int | None = None
) -> Mapped:
    """Runs yosys. Raises HardcastError as synthesize()."""
    clock = clock_ps or library.clock_ps
    texts = sources(block, options)
    files = [name for name in texts if name.endswith(".sv")]
    texts["flipflop.v"] = library.verilog
    texts["abc.script"] = ABC.format(target=round(clock * MARGIN), buffer=library.buffer)
    texts["abc.constr"] = f"set_driving_cell {library.driver}\nset_load {library.load}\n"
    with toolchain.yosys_folder() as folder:
        texts["script.ys"] = _script(block, options, library, files, library.link(folder))
        for file, text in texts.items():
            (folder / file).write_text(text)
        log = toolchain.run_yosys(folder)
        delays = re.findall(r"Delay =\s*([\d.]+) ps", log)
        return Mapped(
            block,
            options,
            library,
            clock,
            read_netlist(folder / NETLIST, library.liberty),
            (folder / VERILOG).read_text(),
            float(delays[-1]) if delays else 0.0,
            f"yosys {toolchain.package_version('pyosys')}",
        )


def _script(
    block: Block, options: Options, library: Library, files: list[str], liberty: list[str]
) -> str:
    boxes = (*MEMORIES, *block.boxes)
    parameters = block.parameters(options.geometry())
    return SCRIPT.format(
        top=block.top,
        boxes=" ".join(f"--blackboxed-module {name}" for name in boxes),
        boxed=" ".join(f"t:{name}*" for name in boxes),
        parameters=" ".join(f"-G {name}={value}" for name, value in parameters.items()),
        files=" ".join(files),
        clock_gate=library.clock_gate,
        clock_gate_low=" ".join(f"-tie_lo {port}" for port in library.clock_gate_low),
        gated=GATED,
        liberty=" ".join(f"-liberty {name}" for name in liberty),
        avoid=" ".join(f"-dont_use {name}" for name in library.avoid),
        high=library.high,
        low=library.low,
    )

"""Icarus Verilog, the second simulator: a module of the RTL driven cycle by cycle.

Icarus 11 does not read all of SystemVerilog. `translate` rewrites what it meets here, textually:
tables of the packages (arrays) become long vectors, variables that a block declares with a value
are assigned on a line of their own, a wire from a fixed word of an array gets its index from a wire
(it stays unknown otherwise, a bug of Icarus 11), a package's constants get its name (in the
expression of a wire they would become wires of their own, another), and concurrent assertions go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hardcast import toolchain
from hardcast.rtl.modules import modules
from hardcast.rtl.package import package
from hardcast.rtl.tables import tables_package
from hardcast.synthesis.blocks import LINEAR, Options

LANES = 4
Values = Mapping[str, Sequence[int]]

TABLE = re.compile(r"localparam logic \[(\d+):0\]\[(\d+):0\] (\w+) = \{")
BOOK = re.compile(r"localparam logic signed \[7:0\] CODEBOOK\[\d+\] = '\{(.*)\};")
VARIABLE = re.compile(r"(\s*)automatic ((?:int|logic)[\w\s$:*/()\[\]+-]*?) (\w+) = (.*);\s*$")
WORD = re.compile(r"assign (\w+)\s*= (\w+)\[([A-Z0-9 -]+)\];")
ASSERTION = re.compile(r"^\s*assert property .*?;$", re.MULTILINE | re.DOTALL)

# A memory holds anything when the power comes on. x would go through a product with 0.
POWER_UP = """\
  integer at;
  initial for (at = 0; at < D; at = at + 1) mem[at] = {((W + 31) / 32){$random}};
endmodule
"""
BENCH = """\
`timescale 1ns/1ns
module bench;
  reg clk = 1'b0;
  always #2 clk = !clk;
  reg [{wide}-1:0] stimuli[0:{cycles}-1];
  reg [{wide}-1:0] now = 0;
  wire [{out}-1:0] seen;
  {top} {parameters} dut (.clk(clk){ports});
  integer n;
  initial begin
    $readmemh("stimuli.mem", stimuli);
    for (n = 0; n < {cycles}; n = n + 1) begin
      @(negedge clk) now = stimuli[n];
      #1 $display("seen %h", seen);
    end
    $finish;
  end
endmodule
"""


def translate(texts: Mapping[str, str]) -> dict[str, str]:
    """The sources as Icarus 11 reads them."""
    widths: dict[str, int] = {}

    def table(found: re.Match[str]) -> str:
        count, width = int(found[1]) + 1, int(found[2]) + 1
        widths[found[3]] = width
        return f"localparam logic [{count * width - 1}:0] {found[3]} = {{"

    def book(found: re.Match[str]) -> str:
        values = found[1].split(", ")
        widths["CODEBOOK"] = 8
        joined = ", ".join(reversed(values))
        return f"localparam logic [{8 * len(values) - 1}:0] CODEBOOK = {{{joined}}};"

    packages = {n: BOOK.sub(book, TABLE.sub(table, t)) for n, t in texts.items() if "_pkg" in n}
    constants = {
        constant: name.removesuffix(".sv")
        for name, text in packages.items()
        for constant in re.findall(r"^  localparam [\w\s:\[\]+-]*?(\w+) =", text, re.MULTILINE)
    }
    result = {}
    for name, text in {**texts, **packages}.items():
        lines = [line.split("//")[0].rstrip() for line in text.splitlines()]
        joined = _index_tables("\n".join(lines), widths)
        joined = WORD.sub(r"wire [31:0] at_\1 = \3; assign \1 = \2[at_\1];", joined)
        if name not in packages:
            joined = _name_package(joined, constants)
        result[name] = _assign_variables(ASSERTION.sub("", joined))
    return result


def _name_package(text: str, constants: Mapping[str, str]) -> str:
    """A package's constants with its name, but in what has a constant of its own by that name."""
    own = set(re.findall(r"(?:parameter|localparam) (?:\w+ )*?(\w+) =", text))
    names = "|".join(name for name in constants if name not in own)
    return re.sub(
        rf"(?<![.:'\w])({names})\b", lambda found: f"{constants[found[0]]}::{found[0]}", text
    )


def _index_tables(text: str, widths: Mapping[str, int]) -> str:
    """TABLE[i] -> TABLE[(i)*width +: width]."""
    name = re.compile(rf"\b({'|'.join(widths)})\[")
    at = 0
    while found := name.search(text, at):
        end, depth = found.end(), 1
        while depth:
            depth += {"[": 1, "]": -1}.get(text[end], 0)
            end += 1
        width = widths[found[1]]
        entry = f"{found[1]}[({text[found.end() : end - 1]})*{width} +: {width}]"
        entry = f"$signed({entry})" if found[1] == "CODEBOOK" else entry
        text = text[: found.start()] + entry + text[end:]
        at = found.start() + len("$signed(CODEBOOK[")
    return text


def _assign_variables(text: str) -> str:
    """automatic T v = e; -> T v; and, after all of a block's declarations, v = e;"""
    text = re.sub(r"(automatic [^;]*?)\s*\n\s*([^;]*;)", _one_line, text)
    result: list[str] = []
    pending: list[str] = []
    for line in text.splitlines():
        if found := VARIABLE.match(line):
            result.append(f"{found[1]}{found[2]} {found[3]};")
            pending.append(f"{found[1]}{found[3]} = {found[4]};")
        elif line.strip():
            result += pending
            pending = []
            result.append(re.sub(r"^(\s*)automatic ", r"\1", line))
    return "\n".join(result) + "\n"


def _one_line(found: re.Match[str]) -> str:
    """A declaration that goes over several lines, on one."""
    if "function" in found[0].split("=")[0]:
        return found[0]
    return re.sub(r"\s*\n\s*", " ", found[0])


@dataclass(frozen=True)
class Module:
    """A module under test. inputs, outputs: ports and their widths, all but clk.

    packages: texts by file name, and modules that replace the RTL's. defines: macros.
    variants: of the modules that have two forms (rtl/modules.py).
    """

    top: str
    packages: Mapping[str, str]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    parameters: Mapping[str, int] = field(default_factory=dict)
    defines: tuple[str, ...] = ()
    variants: frozenset[str] = frozenset()

    def run(self, stimuli: Values, folder: Path) -> dict[str, list[int]]:
        """What every output shows in every cycle, -1 where a bit is unknown.

        stimuli: of each input a value a cycle; an input that is not named is 0 (rst_n: 1).
        folder: where it runs, and where ROMs find their contents below rom/.
        """
        cycles = max(len(values) for values in stimuli.values())
        columns = []
        for name, width in reversed(self.inputs.items()):
            default = [int(name == "rst_n")] * cycles
            columns.append((list(stimuli.get(name, default)), width))
        words = [sum_of([(values[n], width) for values, width in columns]) for n in range(cycles)]
        wide, out = sum(self.inputs.values()), sum(self.outputs.values())
        digits = -(-wide // 4)
        (folder / "stimuli.mem").write_text("".join(f"{word:0{digits}x}\n" for word in words))
        (folder / "bench.sv").write_text(self._bench(cycles, wide, out))
        self._compile(folder)
        program = toolchain.find_program("vvp", "it comes with iverilog")
        log = toolchain.run([program, "-n", folder / "simulation"], folder=folder)
        assert "ERROR" not in log, [line for line in log.splitlines() if "seen" not in line]
        seen = [line.split()[1] for line in log.splitlines() if line.startswith("seen ")]
        assert len(seen) == cycles
        return self._parted(seen, out)

    def _bench(self, cycles: int, wide: int, out: int) -> str:
        ports, low = "", wide
        for name, width in self.inputs.items():
            low -= width
            ports += f", .{name}(now[{low} +: {width}])"
        low = out
        for name, width in self.outputs.items():
            low -= width
            ports += f", .{name}(seen[{low} +: {width}])"
        given = ", ".join(f".{name}({value})" for name, value in self.parameters.items())
        parameters = f"#({given})" if given else ""
        return BENCH.format(
            wide=wide, out=out, cycles=cycles, top=self.top, ports=ports, parameters=parameters
        )

    def _compile(self, folder: Path) -> None:
        texts = dict(modules(self.variants))
        texts["hc_ram.sv"] = texts["hc_ram.sv"].replace("endmodule", POWER_UP)
        texts |= self.packages
        for name, text in translate(texts).items():
            (folder / name).write_text(text)
        command = [toolchain.find_iverilog(), "-g2012", "-o", folder / "simulation", "-s", "bench"]
        command += [f"-D{name}" for name in self.defines]
        packages = [name for name in self.packages if "_pkg" in name]
        toolchain.run([*command, "-y", folder, "-Y", ".sv", *packages, "bench.sv"],
                      folder=folder)  # fmt: skip

    def _parted(self, seen: Sequence[str], out: int) -> dict[str, list[int]]:
        """The outputs of each cycle: -1 where x or z is among an output's digits."""
        result: dict[str, list[int]] = {name: [] for name in self.outputs}
        for digits in seen:
            known = int(re.sub("[^0-9a-f]", "0", digits), 16)
            unknown = int("".join("0" if d in "0123456789abcdef" else "f" for d in digits), 16)
            low = out
            for name, width in self.outputs.items():
                low -= width
                mask = (1 << width) - 1
                result[name].append(-1 if unknown >> low & mask else known >> low & mask)
        return result


def sum_of(parts: Sequence[tuple[int, int]]) -> int:
    """(value, bits) from the lowest on, as one word; a negative value in two's complement."""
    word, low = 0, 0
    for value, bits in parts:
        word |= (int(value) & ((1 << bits) - 1)) << low
        low += bits
    return word


def packed(values: Sequence[int] | np.ndarray, bits: int) -> int:
    """A packed array: element 0 lowest."""
    return sum_of([(int(value), bits) for value in values])


def unpacked(word: int, count: int, bits: int, signed: bool = True) -> list[int]:
    """The elements of a packed array."""
    values = [word >> bits * i & ((1 << bits) - 1) for i in range(count)]
    return [v - (v >> bits - 1 << bits) if signed else v for v in values]


def packages(bias: bool = True, gate: str = "sigmoid") -> dict[str, str]:
    """The packages of a chip of 4-bit linear codes with LANES lanes."""
    options = Options(bits=4, recipe=LINEAR, context=64, lanes=LANES)
    contents = replace(options.contents(), bias=bias)
    return {
        "hc_tables_pkg.sv": tables_package(gate),
        "hardcast_pkg.sv": package(options.geometry(), contents),
    }


def constant(text: str, name: str) -> int:
    found = re.search(rf"localparam int {name} = (-?\d+);", text)
    assert found, name
    return int(found[1])


def source(module: str) -> str:
    return modules()[f"{module}.sv"]


def latency(module: str, words: str = r"[Ll]atency (\d+)") -> int:
    """What a module says of itself, by default in its header."""
    found = re.search(words, source(module))
    assert found, module
    return int(found[1])


def numbers(rng: np.random.Generator, bits: int, count: int) -> np.ndarray:
    """Signed integers of up to `bits` bits: of every magnitude, and the extremes."""
    magnitude = rng.integers(0, 1 << rng.integers(0, bits, count), dtype=np.int64)
    values = np.where(rng.integers(0, 2, count), magnitude, ~magnitude)
    values[rng.integers(0, count, count // 20)] = (1 << (bits - 1)) - 1
    values[rng.integers(0, count, count // 20)] = -(1 << (bits - 1))
    values[rng.integers(0, count, count // 20)] = 0
    return values

"""An image running as RTL: the simulated chip with its registers under their names."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from hardcast.chip.cycles import KINDS
from hardcast.errors import HardcastError
from hardcast.numerics.sampling import SamplerSettings
from hardcast.rtl import emit
from hardcast.simulate.simulator import Simulator
from hardcast.simulate.verilate import Options, verilate

USER_BASE, USER_SIZE = 0x100, 32  # docs/rtl/hc_host.md
TOKEN, POSITION, ACTIVE, TEMPERATURE, TOP_K, TOP_P, SEED, REPORT = 0, 1, 2, 3, 4, 5, 6, 8
TOKEN_OUT, INDEX, LOGIT, LOGIT_TOKEN, COUNT = 9, 10, 11, 12, 13
CYCLES = 0x20
LINT = ("-Wall", "-Wno-UNUSEDSIGNAL", "-Wno-UNUSEDPARAM")
# What the host port refuses, in words.
ERRORS = {
    1: "token id outside the vocabulary",
    2: "position beyond the chip's context",
    3: "no active user",
    4: "sampler setting out of range",
    5: "no such register",
    6: "no such operation",
}


@dataclass(frozen=True)
class Outcome:
    """One run. tokens: what each user's sampler chose. cycles, by_kind: the chip's counters.

    top: of each user, the largest logits that he asked for, (token id, logit) in descending order.
    """

    tokens: list[int]
    cycles: int
    by_kind: dict[str, int]
    top: list[list[tuple[int, int]]]


def build(design: emit.Design, folder: Path, options: Options) -> Path:
    """The simulator of a design; its sources are written into `folder`/sv."""
    names = emit.write_sources(design, folder / "sv")
    waivers = emit.waivers(folder / "sv")
    sources = [*waivers, *(folder / "sv" / name for name in names)]
    return verilate(sources, emit.TOP, options=options)


@contextmanager
def simulated(
    design: emit.Design,
    options: Options | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    on_cycles: Callable[[int], None] | None = None,
) -> Iterator[RtlChip]:
    """The chip of a design, built and filled in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        executable = build(design, folder, options or Options(arguments=LINT))
        (folder / "rom").mkdir()
        emit.write_rom(design, folder / "rom", progress)
        with RtlChip(design, executable, folder / "rom", on_cycles) as chip:
            yield chip


class RtlChip:
    """A chip in simulation; a context manager. Raises HardcastError as Simulator does.

    executable: of build(). rom: folder of the ROM contents; None: rom/ where this process runs.
    on_cycles: told now and then how many cycles a run has taken.
    """

    def __init__(
        self,
        design: emit.Design,
        executable: Path,
        rom: Path | None = None,
        on_cycles: Callable[[int], None] | None = None,
    ) -> None:
        self.design = design
        self.users = design.geometry.chip.users
        self._on_cycles = on_cycles
        self.simulator = Simulator(executable, rom, progress_cycles=1 << 14 if on_cycles else 0)

    def __enter__(self) -> RtlChip:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.simulator.__exit__(kind, error, trace)

    @property
    def digest(self) -> str:
        """The image's digest, as the chip's ID registers hold it."""
        return "".join(f"{self.simulator.read(i).data:08x}" for i in range(8))

    def settings(self, user: int, settings: SamplerSettings, report: int = 0) -> None:
        """Sets a user's sampler. report: how many of the largest logits a run shall leave."""
        self._write(user, TEMPERATURE, settings.inverse_temperature)
        self._write(user, TOP_K, settings.top_k)
        self._write(user, TOP_P, settings.top_p)
        self._write(user, SEED, settings.seed & 0xFFFFFFFF)
        self._write(user, SEED + 1, settings.seed >> 32)
        self._write(user, REPORT, report)

    def position(self, user: int, position: int) -> None:
        """Sets where a user's next token goes: what lies behind it in the cache is forgotten."""
        self._write(user, POSITION, position)

    def run(self, tokens: Sequence[int | None], logits: bool = True) -> Outcome:
        """A token for every user who has one; the others stay as they are.

        logits: whether the head and the samplers run. Raises HardcastError with the reason where
        the chip refuses.
        """
        for user, token in enumerate(tokens):
            self._write(user, ACTIVE, int(token is not None))
            if token is not None:
                self._write(user, TOKEN, token)
        response = self.simulator.run(self._on_cycles, data=int(logits))
        if response.error:
            raise HardcastError(f"the chip refuses: {ERRORS.get(response.error, response.error)}")
        counters = [self.simulator.read(CYCLES + i).data for i in range(len(KINDS) + 1)]
        active = [user for user, token in enumerate(tokens) if token is not None and logits]
        chosen = [self._read(u, TOKEN_OUT) if u in active else -1 for u in range(self.users)]
        top = [self._top(u) if u in active else [] for u in range(self.users)]
        return Outcome(chosen, counters[0], dict(zip(KINDS, counters[1:], strict=True)), top)

    def _top(self, user: int) -> list[tuple[int, int]]:
        found = []
        for index in range(self._read(user, COUNT)):
            self._write(user, INDEX, index)
            logit = self._read(user, LOGIT)
            found.append((self._read(user, LOGIT_TOKEN), logit - (logit >> 31 << 32)))
        return found

    def _read(self, user: int, register: int) -> int:
        return self.simulator.read(USER_BASE + USER_SIZE * user + register).data

    def _write(self, user: int, register: int, value: int) -> None:
        self.simulator.write(USER_BASE + USER_SIZE * user + register, value)

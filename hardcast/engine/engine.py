"""The engine and its sessions, with the same surface as golden's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardcast.cores import usable_cores
from hardcast.engine import _native
from hardcast.engine.compile import compile_program
from hardcast.errors import HardcastError
from hardcast.image import Image
from hardcast.numerics import tables
from hardcast.numerics.sampling import SamplerSettings
from hardcast.program import step as kinds

PATH_VARIABLE = "HARDCAST_PATH"
KV_PAGE: int = _native.KV_PAGE  # positions
MOST_PAGES = 2**31 - 1
KvFull = _native.KvFull
CHUNK = 256  # tokens a native call: bounds the memory of a long prompt


def available_paths() -> list[str]:
    """Instruction-set paths that this machine can run, fastest first."""
    return list(_native.available_paths())


class Engine:
    """The virtual chip of one image, on `threads` threads of this CPU.

    threads: default all that the process may use. path: "avx512vnni", "avxvnni", "avx2", "neon"
    or "portable"; default HARDCAST_PATH, else the fastest here. kv_positions: bound on the
    positions that all sessions hold, in whole pages of kv_page; None for no bound. One call at a
    time. Raises HardcastError for a path that this machine cannot run and for a bound below a page.
    """

    name = "engine"
    kv_page = KV_PAGE

    def __init__(
        self,
        image: Image,
        threads: int | None = None,
        path: str | None = None,
        kv_positions: int | None = None,
    ) -> None:
        self.image = image
        self.threads = threads if threads is not None else usable_cores()
        if not 1 <= self.threads <= 1024:
            raise HardcastError(f"threads {self.threads} are outside 1..1024")
        path = path or os.environ.get(PATH_VARIABLE, "")
        if path and path not in available_paths():
            raise HardcastError(
                f"path {path!r} cannot run on this machine; it has {', '.join(available_paths())}"
            )
        if kv_positions is not None and kv_positions < KV_PAGE:
            raise HardcastError(
                f"kv_positions {kv_positions} is less than a page of {KV_PAGE} positions"
            )
        self._kv_pages = -1 if kv_positions is None else min(kv_positions // KV_PAGE, MOST_PAGES)
        self._native = _native.NativeEngine(
            dict(image.chip["program"]["shape"]),
            image.points.to_json(),
            image.context,
            path,
        )
        self._load()

    def _load(self) -> None:
        """Packs every matrix, one in memory at a time, and hands over tables and steps."""
        image = self.image
        # One region for all weights: 2 MB pages round up once, not once a matrix.
        arena = _native.Arena(sum(_packed_bytes(image, name) for name in image.matrices))
        matrices = {name: self._add_matrix(name, arena) for name in image.matrices}
        gains: dict[str, int] = {}
        biases: dict[str, int] = {}
        for step in image.program.steps:
            if isinstance(step, kinds.Norm | kinds.HeadNorm):
                gains[step.gain] = self._native.add_gain(_int32(image, step.gain))
            elif isinstance(step, kinds.Matvec) and step.bias is not None:
                biases[step.bias] = self._native.add_bias(_int32(image, step.bias))
        for table in ("exp2", "rsqrt", "reciprocal", "log2", "tail"):
            self._native.set_table(table, _int32(image, table))
        for table in image.program.gate_tables():
            self._native.add_gate(_int32(image, table), tables.GATE_RANGE[table])
        for name in image.program.rope_tables():
            self._native.add_rope(image.tensor(f"{name}_coarse"), image.tensor(f"{name}_fine"))
        for operation in compile_program(image.program, matrices, gains, biases):
            epsilon = image.constants[operation.epsilon] if operation.epsilon else 0
            self._native.add_operation(operation.kind, operation.fields, epsilon)
        self._native.start(self.threads, self._kv_pages)

    def _add_matrix(self, name: str, arena: _native.Arena) -> int:
        matrix = self.image.matrix(name, mapped=False)
        packed = _native.pack(
            matrix.codes,
            matrix.codebook,
            matrix.bits,
            matrix.in_features,
            matrix.group_size,
            matrix.scales,
            matrix.offsets,
            arena,
        )
        sum_bits = self.image.matrices[name]["sum_bits"]
        return int(
            self._native.add_matrix(packed, matrix.row_multiplier, matrix.row_shift, sum_bits)
        )

    @property
    def path(self) -> str:
        """The instruction-set path in use."""
        return str(self._native.path)

    @property
    def kv_use(self) -> KvUse:
        """What the sessions' keys and values take now."""
        used, limit, held = self._native.kv_use()
        return KvUse(used, None if limit < 0 else limit, held)

    def session(self) -> Session:
        """An empty context."""
        return Session(self, self._native.session())

    def forward_batch(self, work: Sequence[tuple[Session, Sequence[int], str]]) -> list[np.ndarray]:
        """Extends several sessions in one pass over the weights.

        work: (session, tokens, "last" | "all" | "none") each, every session at most once.
        Returns int32[n, vocab_size] for each, views of one array. Raises ValueError as
        Session.forward does, and for a session that comes twice; KvFull where the bound of the KV
        memory leaves no room. No session has changed then.
        """
        if not work:
            return []
        if len({id(session) for session, _, _ in work}) < len(work):
            raise ValueError("a session comes twice in one batch")
        tokens = np.array([token for _, part, _ in work for token in part], np.int64)
        vocab = self.image.program.shape.vocab_size
        if len(tokens) and not (0 <= tokens.min() and tokens.max() < vocab):
            raise ValueError(f"token id outside 0..{vocab - 1}")
        owners = np.repeat(np.arange(len(work)), [len(t) for _, t, _ in work]).astype(np.int32)
        wanted = np.zeros(len(tokens), np.uint8)
        first = 0
        counts = []
        for _, part, logits in work:
            last = first + len(part)
            begin = {"all": first, "last": max(last - 1, first), "none": last}[logits]
            wanted[begin:last] = 1
            counts.append(last - begin)
            first = last
        caches = [session.cache for session, _, _ in work]
        for session, part, _ in work:
            session.check_room(len(part))
        if len(tokens) > CHUNK:  # a single native call sees to the room itself
            self._native.reserve(caches, [len(part) for _, part, _ in work])
        rows = self._in_chunks(caches, tokens.astype(np.int32), owners, wanted)
        return np.split(rows, np.cumsum(counts)[:-1])

    def _in_chunks(
        self,
        caches: list[_native.KvCache],
        tokens: np.ndarray,
        owners: np.ndarray,
        wanted: np.ndarray,
    ) -> np.ndarray:
        parts = []
        for first in range(0, len(tokens), CHUNK):
            chunk = slice(first, first + CHUNK)
            rows = self._native.forward(caches, tokens[chunk], owners[chunk], wanted[chunk])
            if len(rows):
                parts.append(rows)
        if len(parts) == 1:
            return parts[0]
        width = self.image.program.shape.vocab_size
        return np.concatenate([np.zeros((0, width), np.int32), *parts])

    def sample(self, logits: np.ndarray, settings: SamplerSettings, position: int) -> int:
        """The next token from one row of logits; `position` is the new token's position."""
        row = np.ascontiguousarray(logits, np.int32)
        return int(self._native.sample(row, _draw(settings, position)))

    def sample_batch(
        self,
        rows: Sequence[np.ndarray],
        settings: Sequence[SamplerSettings],
        positions: Sequence[int],
    ) -> list[int]:
        """sample() of every row with its settings and position, the rows shared among the threads.

        rows: int32[vocab_size] each; those of forward_batch are taken as they lie. Raises
        ValueError where the three differ in length or a row is not one of the vocabulary.
        """
        draws = [_draw(s, position) for s, position in zip(settings, positions, strict=True)]
        taken = [np.ascontiguousarray(row, np.int32) for row in rows]
        return list(self._native.sample_batch(taken, draws))


@dataclass(frozen=True)
class KvUse:
    """KV memory of an engine: pages that sessions hold (a shared page counts once), the bound on
    them, and the bytes of all pages, those kept for reuse among them."""

    used_pages: int
    limit_pages: int | None
    bytes: int


class Session:
    """One context of an engine: its keys and values, in pages that sessions may share.

    Its pages go back to the engine when it is closed or collected.
    """

    def __init__(self, engine: Engine, cache: _native.KvCache) -> None:
        self.engine, self.cache = engine, cache

    @property
    def length(self) -> int:
        """Positions held."""
        return int(self.cache.length)

    def forward(self, tokens: Sequence[int], logits: str = "last") -> np.ndarray:
        """Appends tokens. Returns int32[n, vocab_size]: n is all, 1 ("last") or 0 ("none").

        Raises ValueError for an id outside the vocabulary, more tokens than the context or a
        closed session, and KvFull where the bound of the KV memory leaves no room.
        """
        return self.engine.forward_batch([(self, tokens, logits)])[0]

    def truncate(self, length: int) -> None:
        """Forgets every position from `length` on (prefix reuse)."""
        self.cache.truncate(length)

    def fork(self, length: int) -> Session:
        """A session that holds the first `length` positions of this one.

        Nothing is copied until one of the two appends to a part-filled page that both hold.
        Raises ValueError for more positions than this session has.
        """
        return Session(self.engine, self.cache.fork(length))

    def close(self) -> None:
        """Gives the pages back now; the session is of no use any more."""
        self.cache.close()

    def check_room(self, count: int) -> None:
        """Raises ValueError unless `count` more tokens fit the context."""
        context = self.engine.image.context
        if self.length + count > context:
            raise ValueError(f"{self.length} + {count} tokens exceed context {context}")


def _draw(settings: SamplerSettings, position: int) -> tuple[int, int, int, int, int]:
    return (
        settings.inverse_temperature,
        settings.candidates,
        settings.top_p,
        settings.seed,
        position,
    )


def _int32(image: Image, name: str) -> np.ndarray:
    return image.tensor(name).astype(np.int32)


def _packed_bytes(image: Image, name: str) -> int:
    """Bytes of a matrix in the kernels' layout, from its manifest entry alone."""
    entry = image.matrices[name]
    return _native.packed_bytes(
        entry["out_features"],
        entry["in_features"],
        entry["planes"],
        np.array(entry["codebook"], np.int16),
        entry["bits"],
        image.has(f"{name}.offsets"),
    )

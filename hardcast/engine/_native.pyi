"""Types of the native extension (native/bind_*.cpp)."""

import numpy as np

from hardcast.errors import HardcastError

KV_PAGE: int
Draw = tuple[int, int, int, int, int]  # inverse temperature, candidates, top_p, seed, position

class KvFull(HardcastError): ...

class Arena:
    def __init__(self, bytes: int) -> None: ...

class PackedMatrix:
    rows: int
    cols: int
    zero: int
    has_offsets: bool
    kind: str
    bytes: int
    def row(self, row: int) -> np.ndarray: ...

class KvCache:
    length: int
    def fork(self, length: int) -> KvCache: ...
    def truncate(self, length: int) -> None: ...
    def close(self) -> None: ...

class NativeEngine:
    path: str
    def __init__(
        self,
        shape: dict[str, int],
        points: dict[str, int],
        context: int,
        path: str,
    ) -> None: ...
    def add_matrix(
        self, packed: PackedMatrix, multiplier: np.ndarray, shift: np.ndarray, sum_bits: int
    ) -> int: ...
    def add_gain(self, gain: np.ndarray) -> int: ...
    def add_bias(self, bias: np.ndarray) -> int: ...
    def set_table(self, name: str, values: np.ndarray) -> None: ...
    def add_rope(self, coarse: np.ndarray, fine: np.ndarray) -> None: ...
    def add_gate(self, values: np.ndarray, range_bits: int) -> int: ...
    def add_operation(self, kind: str, fields: dict[str, int], epsilon: int) -> None: ...
    def start(self, threads: int, kv_pages: int) -> None: ...
    def session(self) -> KvCache: ...
    def kv_use(self) -> tuple[int, int, int]: ...
    def reserve(self, caches: list[KvCache], counts: list[int]) -> None: ...
    def forward(
        self, caches: list[KvCache], tokens: np.ndarray, owners: np.ndarray, wanted: np.ndarray
    ) -> np.ndarray: ...
    def sample(self, logits: np.ndarray, draw: Draw) -> int: ...
    def sample_batch(self, rows: list[np.ndarray], draws: list[Draw]) -> list[int]: ...

def pack(
    codes: np.ndarray,
    codebook: np.ndarray,
    bits: int,
    in_features: int,
    group_size: int,
    scales: np.ndarray,
    offsets: np.ndarray | None = None,
    arena: Arena | None = None,
) -> PackedMatrix: ...
def packed_bytes(
    rows: int, cols: int, planes: int, codebook: np.ndarray, bits: int, has_offsets: bool
) -> int: ...
def matmul(
    matrix: PackedMatrix,
    x: np.ndarray,
    exponents: np.ndarray,
    bits: int = 8,
    path: str = "",
    threads: int = 1,
) -> np.ndarray: ...
def weighted_sum(
    p: np.ndarray, exponents: np.ndarray, values: np.ndarray, path: str = ""
) -> np.ndarray: ...
def time_products(
    matrices: list[PackedMatrix],
    bits: list[int],
    tokens: int = 1,
    threads: int = 1,
    rounds: int = 10,
    path: str = "",
) -> list[float]: ...
def available_paths() -> list[str]: ...

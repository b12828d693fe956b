"""Types of the native extension (native/descend.cpp). All arrays are float32 and contiguous."""

import numpy as np

def descend(
    left: np.ndarray,
    steps: np.ndarray,
    factor: np.ndarray,
    code: np.ndarray,
    even: bool,
    values: np.ndarray,
    errors: np.ndarray,
) -> None: ...
def losses(
    left: np.ndarray,
    steps: np.ndarray,
    factor: np.ndarray,
    code: np.ndarray,
    even: bool,
    found: np.ndarray,
) -> None: ...

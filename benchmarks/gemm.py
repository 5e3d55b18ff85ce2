"""This machine's own limit: how fast it multiplies large matrices, in each type, on all cores."""

import time

import torch

SIZES = (1024, 2048, 3072)
SECONDS = 0.4


def gemm_limit(dtype: torch.dtype) -> float:
    """FLOP/s: the best of some sizes."""
    return max(_rate(dtype, size) for size in SIZES)


def _rate(dtype: torch.dtype, size: int) -> float:
    one, other = (torch.randn(size, size).to(dtype) for _ in range(2))
    best = 0.0
    for attempt in range(4):  # the first warms up
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS / 3:
            one @ other
            count += 1
        if attempt:
            best = max(best, 2 * count * size**3 / (time.perf_counter() - began))
    return best

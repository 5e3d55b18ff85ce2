"""A machine's own limit: how fast it multiplies large matrices, in each type, on all cores or on its GPU."""

import time

import torch

SIZES = {"cpu": (1024, 2048, 3072), "cuda": (4096, 8192)}
SECONDS = 0.4


def gemm_limit(dtype: torch.dtype, device: str = "cpu") -> float:
    """FLOP/s: the best of some sizes."""
    return max(_rate(dtype, size, device) for size in SIZES[device])


def _rate(dtype: torch.dtype, size: int, device: str) -> float:
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = 0.0
    for attempt in range(4):  # the first warms up
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS / 3:
            one @ other
            if device == "cuda":
                torch.cuda.synchronize()
            count += 1
        if attempt:
            best = max(best, 2 * count * size**3 / (time.perf_counter() - began))
    return best

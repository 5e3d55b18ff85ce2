"""The image tower alone: pixels to vectors, ViT-B/32, on this machine's processor or its GPU.

    python -m benchmarks.forward [--device cuda]

Every contender embeds the same pixels in every round, one after another; each is given all cores. The limit
is what the machine multiplies large matrices at, measured in each round, over what one picture takes.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gemm import gemm_limit
from benchmarks.material import flops_of, make_vit_b_32
from benchmarks.report import arguments, machine, spread, tell, with_device
from fashion_clip.encoder import load_encoder
from fashion_clip.machine import usable_cores
from fashion_clip.runtimes import PRECISIONS, Runtime

BATCH = {"cpu": 32, "cuda": 256}  # of transformers

Contender = Callable[[np.ndarray], object]


def main() -> None:
    """Prints one table."""
    options = with_device(arguments(__doc__))
    rounds, pictures = (2, 64) if options.quick else (5, 256 if options.device == "cpu" else 8_192)
    torch.set_num_threads(usable_cores())
    with tempfile.TemporaryDirectory() as folder:
        model = make_vit_b_32(Path(folder) / "vit-b-32", options.shared)
        flops, contenders = flops_of(model), made(model, options.device)
    pixels = np.random.default_rng(0).integers(0, 256, (pictures, 224, 224, 3), dtype=np.uint8)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    limits: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for _ in range(rounds):
        for precision in PRECISIONS:
            limits[precision].append(gemm_limit(getattr(torch, precision), options.device) / flops)
        for name, embed in contenders.items():
            embed(pixels[: BATCH[options.device]])
            began = time.perf_counter()
            embed(pixels)
            rates[name].append(pictures / (time.perf_counter() - began))
    print(machine(options.device))
    reference = float(np.median(rates["transformers float32"]))
    rows = []
    for name, found in rates.items():
        limit = float(np.median(limits[name.split()[-1]]))
        median = float(np.median(found))
        rows.append([name, spread(found), f"{median / reference:.2f}", f"{median / limit:.0%}"])
    for kind, found in limits.items():
        rows.append([f"limit by matrix products, {kind}", spread(found), "", ""])
    title = f"Forward of ViT-B/32, {flops / 1e9:.3f} GFLOP a picture, {rounds} rounds of {pictures}, seed 0"
    tell(title, ["", "pictures/s", "ratio", "of its limit"], rows, [], options.goals)


def made(model: Path, device: str) -> dict[str, Contender]:
    """By name; the last word is the type in which it multiplies."""
    contenders: dict[str, Contender] = {
        f"transformers {precision}": _transformers(model, getattr(torch, precision), device)
        for precision in PRECISIONS
    }
    runtimes: tuple[Runtime, ...] = ("torch", "openvino") if device == "cpu" else ("torch",)
    for runtime in runtimes:
        for precision in PRECISIONS:
            encoder = load_encoder(str(model), device, runtime, precision)
            contenders[f"{runtime} {precision}"] = encoder.encode_pixels
    if device == "cuda":
        contenders["transformers compiled bfloat16"] = _transformers(
            model, torch.bfloat16, device, compiled=True
        )
    return contenders


def _transformers(model: Path, dtype: torch.dtype, device: str, compiled: bool = False) -> Contender:
    from transformers import CLIPModel

    loaded: Any = CLIPModel.from_pretrained(model, dtype=dtype).train(False).to(device)
    features, size = loaded.get_image_features, BATCH[device]
    if compiled:
        features = torch.compile(features)

    def embed(pixels: np.ndarray) -> None:
        with torch.inference_mode():
            for start in range(0, len(pixels), size):
                batch = torch.from_numpy(pixels[start : start + size]).to(device).permute(0, 3, 1, 2)
                features(pixel_values=(batch.float() / 127.5 - 1).to(dtype)).pooler_output.float().cpu()

    return embed


if __name__ == "__main__":
    main()

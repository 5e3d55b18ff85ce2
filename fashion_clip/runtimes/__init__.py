"""Where the image tower runs: torch, the reference, or OpenVINO, the quickest on a CPU.

A runtime is an `ImageTower`. Another one would be a file beside these two, a name in Runtime and a case in
`open_tower`.
"""

from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from fashion_clip.errors import UsageError

if TYPE_CHECKING:
    from fashion_clip.checkpoint import Checkpoint

Runtime = Literal["auto", "torch", "openvino"]
# What the tower's matrices are multiplied in. Weights are stored, and vectors come out, as float32.
Precision = Literal["float32", "bfloat16"]
CONVERTED = "openvino"  # the folder of converted models, beside a checkpoint's files
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class ImageTower(Protocol):
    """An image tower that is loaded; its methods may be called from several threads at once.

    batch_size: how many pictures keep it busy; more at once are no quicker.
    """

    batch_size: int

    def encode(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed pictures as Preprocessing.pixels makes them.

        uint8 (n, height, width, 3) to float32 (n, dimension), unit rows; n is at least 1.
        """
        ...


def open_tower(
    checkpoint: "Checkpoint", identity: str, runtime: Runtime, precision: Precision, device: str
) -> ImageTower:
    """The checkpoint's image tower; `auto` takes OpenVINO on a CPU and torch on any other device.

    identity: the encoder's, under which a converted model is kept.

    Raises:
        UsageError: OpenVINO is asked for on another device than the CPU.
    """
    if runtime == "openvino" and device != "cpu":
        raise UsageError(f"runtime 'openvino' runs on the CPU, not on {device!r}; use runtime torch or auto")
    if runtime == "openvino" or (runtime == "auto" and device == "cpu"):
        from fashion_clip.runtimes.openvino_tower import OpenVinoTower

        return OpenVinoTower(checkpoint, identity, precision)
    from fashion_clip.runtimes.torch_tower import TorchTower

    return TorchTower(checkpoint, precision, device)


def best_precision(device: str) -> Precision:
    """bfloat16 where the hardware multiplies in it, else float32."""
    if device == "cpu":
        from fashion_clip.runtimes.openvino_tower import cpu_capabilities

        native = "BF16" in cpu_capabilities()
    elif device.startswith("cuda"):
        import torch

        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = False
    return "bfloat16" if native else "float32"

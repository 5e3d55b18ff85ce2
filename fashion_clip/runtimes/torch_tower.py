"""The image tower as transformers has it, on the CPU or a GPU: what other runtimes are compared with."""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from fashion_clip.checkpoint import Checkpoint
    from fashion_clip.runtimes import Precision

BATCH_SIZES = {"cpu": 32, "mps": 32, "cuda": 256}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class TorchTower:
    """See ImageTower. In bfloat16 the weights are rounded to it, and so is what passes between layers."""

    def __init__(self, checkpoint: "Checkpoint", precision: "Precision", device: str) -> None:
        model: Any = checkpoint.model
        self.batch_size = BATCH_SIZES[torch.device(device).type]
        self._device = device
        self._dtype = DTYPES[precision]
        self._vision = _converted(model.vision_model, self._dtype, device)
        self._projection = _converted(model.visual_projection, self._dtype, device)
        self._levels = torch.from_numpy(checkpoint.preprocessing.levels()).to(device)

    def encode(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        # torch takes no array that cannot be written to without a warning, though nothing writes to it here.
        shared = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
        with torch.inference_mode():
            parts = [self._encode(batch) for batch in torch.split(shared, self.batch_size)]
            return torch.cat(parts).numpy()

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        index = pixels.to(self._device, non_blocking=True).long()
        values = torch.stack([self._levels[channel][index[..., channel]] for channel in range(3)], dim=1)
        pooled = self._vision(pixel_values=values.to(self._dtype)).pooler_output
        return torch.nn.functional.normalize(self._projection(pooled).float(), dim=-1).cpu()


def _converted(module: torch.nn.Module, dtype: torch.dtype, device: str) -> torch.nn.Module:
    """The module itself in float32, else a copy: the checkpoint's own weights stay what they are."""
    kept = module if dtype == torch.float32 else copy.deepcopy(module)
    return kept.to(device=device, dtype=dtype)

"""The image tower in OpenVINO, on the CPU: several streams of one thread each, fed by whoever has pictures.

Two streams of one thread make 1.3 times what one of two threads makes. The model is converted from torch
once and kept beside its checkpoint, under the identity of the encoder.
"""

import os
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fashion_clip.machine import usable_cores
from fashion_clip.runtimes import CONVERTED

if TYPE_CHECKING:
    from fashion_clip.checkpoint import Checkpoint
    from fashion_clip.runtimes import Precision

# Counted up with any change of what is converted or how, so that kept models are made anew.
CONVERSION = 1
CHUNK = 16  # pictures that one stream takes at once; of 8, 16, 32 and 64 the quickest
TYPES = {"float32": "f32", "bfloat16": "bf16"}
_TRACING = threading.Lock()  # torch's tracer spoils what two threads trace at once


class OpenVinoTower:
    """See ImageTower."""

    def __init__(self, checkpoint: "Checkpoint", identity: str, precision: "Precision") -> None:
        streams = usable_cores()
        settings = {
            "INFERENCE_PRECISION_HINT": TYPES[precision],
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams,
        }
        self.batch_size = CHUNK * streams
        self._model = _openvino().Core().compile_model(converted(checkpoint, identity), "CPU", settings)
        self._streams = ThreadPoolExecutor(streams, thread_name_prefix="stream")
        self._of_thread = threading.local()
        # OpenVINO's binding fills tables of its own at their first use, and two threads that both came first
        # would wait for each other for ever: one for the table, the other for Python's lock.
        first = np.zeros((1, *checkpoint.preprocessing.output_size, 3), dtype=np.uint8)
        self._streams.submit(self._infer, first).result()

    def encode(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        chunks = [pixels[start : start + CHUNK] for start in range(0, len(pixels), CHUNK)]
        return np.concatenate(list(self._streams.map(self._infer, chunks)))

    def _infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._model.create_infer_request()
        vectors: npt.NDArray[np.float32] = self._of_thread.request.infer([pixels])[0]
        return vectors.copy()  # the request's own memory, which the next picture overwrites


def cpu_capabilities() -> list[str]:
    """What this processor computes in natively, as OpenVINO names it: FP32, BF16, INT8, ..."""
    found: list[str] = _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return found


def _openvino() -> Any:
    """The library without the package by which its import tells Google Analytics of its use."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # "not there", to an import
    import openvino

    return openvino


def converted(checkpoint: "Checkpoint", identity: str) -> Path:
    """The model file in OpenVINO's form, made if it is not there yet.

    Of several processes that want it at once one makes it, and the others wait. It appears whole or not at
    all. Where the checkpoint's folder may not be written, it is kept in the user's cache.
    """
    from filelock import FileLock

    folder = _place(checkpoint.folder)
    kept = folder / f"{identity[:32]}-{CONVERSION}"
    model = kept / "model.xml"
    if not model.is_file():
        with FileLock(folder / f"{kept.name}.lock"):
            if not model.is_file():
                _convert_into(checkpoint, kept)
    return model


def _place(checkpoint: Path) -> Path:
    beside = checkpoint / CONVERTED
    try:
        beside.mkdir(exist_ok=True)
        if os.access(beside, os.W_OK):
            return beside
    except OSError:  # a file system that is read-only, or somebody else's folder
        pass
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fashion-clip-flows"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _convert_into(checkpoint: "Checkpoint", kept: Path) -> None:
    unfinished = kept.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    unfinished.mkdir()
    # As float32: by default half the bits of each weight would be thrown away here.
    _openvino().save_model(_convert(checkpoint), unfinished / "model.xml", compress_to_fp16=False)
    unfinished.replace(kept)


def _convert(checkpoint: "Checkpoint") -> Any:
    openvino = _openvino()
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from fashion_clip.runtimes.pruned_tower import PrunedTower

    size = checkpoint.preprocessing.output_size
    frontend = FrontEndManager().load_by_framework("pytorch")
    with _TRACING, torch.no_grad():
        example = torch.zeros((2, *size, 3), dtype=torch.uint8)
        decoder = TorchScriptPythonDecoder(PrunedTower(checkpoint), example_input=(example,))
        model = frontend.convert(frontend.load(decoder))
    model.reshape(openvino.PartialShape([-1, *size, 3]))
    return model

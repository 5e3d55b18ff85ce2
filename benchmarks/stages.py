"""One stage of tagging alone, at its best: what the whole of it cannot be quicker than."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fashion_clip.decode import Limits
from fashion_clip.decoders import Decoders
from fashion_clip.encoder import ClipEncoder

PICTURES = 8_192


def decoding_rate(encoder: ClipEncoder, photos: Sequence[str]) -> float:
    """Photos/s from bytes in memory to the encoder's pixels, in decoder processes on all cores."""
    data = [Path(photo).read_bytes() for photo in photos]
    with Decoders(encoder.preprocessing, Limits(), seconds=60) as decoders:
        decoders.decode_all(data)  # the processes start
        began = time.perf_counter()
        decoders.decode_all(data)
        return len(data) / (time.perf_counter() - began)


def forward_rate(encoder: ClipEncoder) -> float:
    """Pictures/s from pixels to vectors, all pixels at once."""
    pixels = np.random.default_rng(0).integers(0, 256, (PICTURES, 224, 224, 3), dtype=np.uint8)
    encoder.encode_pixels(pixels[: encoder.batch_size])
    began = time.perf_counter()
    encoder.encode_pixels(pixels)
    return PICTURES / (time.perf_counter() - began)

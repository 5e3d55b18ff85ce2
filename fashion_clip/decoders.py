"""Photos to pixels in processes of their own, which a photo may kill or hang without harm to the others.

A process that ends or hangs over a photo (a fault in a C library, memory, time) costs that photo and is
replaced. They are plain processes that speak through pipes: multiprocessing's would import the parent's
__main__, and the parent may be anything. Their environment is bare, so that bytes from outside are decoded
where no password is; but it is no sandbox: what took a process over could do what this user can.
"""

import os
import queue
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType

import numpy as np
import numpy.typing as npt

from fashion_clip.decode import Limits, check_bytes
from fashion_clip.decoder_pipe import Decoder
from fashion_clip.decoder_process import Work
from fashion_clip.errors import ImageError
from fashion_clip.machine import usable_cores
from fashion_clip.preprocessing import Preprocessing

Pixels = npt.NDArray[np.uint8]  # (height, width, 3)

# Address space of a process, 2 GiB by the usual limits. Python, numpy and Pillow take 115 MB of it. Of the
# formats WebP takes the most, 15.4 bytes a pixel: four buffers of the whole picture at once.
BASE_MEMORY = 256 * 1024 * 1024
MEMORY_PER_PIXEL = 20
GUARD = 4  # times the seconds that a photo may take, of processor time: then nobody is there to end it


class Decoders:
    """A few processes that make pixels of photos; they start when first needed and end with close().

    May be shared by threads. In a forked copy of this process it has processes of its own.
    """

    def __init__(
        self, preprocessing: Preprocessing, limits: Limits, seconds: float, processes: int | None = None
    ):
        """`seconds` may pass over one photo; `processes` are as many as there are cores, if None."""
        self._preprocessing = preprocessing
        self._limits = limits
        self._seconds = seconds
        self._processes = processes or usable_cores()
        self._pools: dict[int, _Pool] = {}  # by the id of the process that uses it
        self._end = weakref.finalize(self, _close, self._pools)  # at the latest when this process exits

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def decode(self, data: bytes) -> Pixels:
        """What `Preprocessing.pixels(decode_image(data))` gives, uint8 (height, width, 3).

        Raises:
            ImageError: as decode_image, and "too_slow" or "decoder_died".
            FashionClipError: no decoder process comes up.
        """
        check_bytes(data, self._limits)
        return self._pool().decode(data)

    def decode_all(self, photos: Sequence[bytes]) -> list[Pixels | ImageError]:
        """As decode, for many photos on all processes: pixels or the error of each, in their order.

        Raises:
            FashionClipError: no decoder process comes up.
        """
        return [decoding.result() for decoding in self.begin_all(photos)]

    def begin_all(self, photos: Sequence[bytes]) -> "list[Future[Pixels | ImageError]]":
        """As decode_all, without waiting for the results."""
        pool = self._pool()
        return [pool.threads.submit(self._pixels_or_error, photo) for photo in photos]

    def close(self) -> None:
        """End the processes. What is being decoded meanwhile fails."""
        self._end()

    def _pixels_or_error(self, data: bytes) -> Pixels | ImageError:
        try:
            return self.decode(data)
        except ImageError as error:
            return ImageError(
                error.reason, error.detail
            )  # without the traceback, whose frames hold the bytes

    def _pool(self) -> "_Pool":
        if not self._end.alive:
            raise RuntimeError("these Decoders are closed")
        pool = self._pools.get(os.getpid())
        if pool is None:
            height, width = self._preprocessing.output_size
            work = Work(self._preprocessing, self._limits, GUARD * self._seconds, _memory(self._limits))
            pool = _Pool(work, (height, width, 3), self._seconds, self._processes)
        return self._pools.setdefault(os.getpid(), pool)


def _memory(limits: Limits) -> int:
    return BASE_MEMORY + 2 * limits.max_bytes + MEMORY_PER_PIXEL * limits.max_pixels


def _close(pools: "dict[int, _Pool]") -> None:
    pool = pools.pop(os.getpid(), None)
    if pool is not None:
        pool.close()


class _Pool:
    """Of one process (not of its forked copies): a slot for each decoder, which threads take and put back."""

    def __init__(self, work: Work, shape: tuple[int, int, int], seconds: float, processes: int):
        self._work = work
        self._shape = shape
        self._seconds = seconds
        self._lock = threading.Lock()
        self._closed = False
        self._running: set[Decoder] = set()
        self._slots: queue.LifoQueue[Decoder | None] = queue.LifoQueue()  # None: not started
        for _ in range(processes):
            self._slots.put(None)
        self.threads = ThreadPoolExecutor(processes, thread_name_prefix="decoder")

    def decode(self, data: bytes) -> Pixels:
        decoder = self._slots.get()
        try:
            if decoder is None or decoder.ended():
                decoder = self._replace(decoder)
            return decoder.decode(data, self._shape, self._seconds)
        finally:
            self._slots.put(decoder)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for decoder in self._running:
                decoder.kill()
        self.threads.shutdown(wait=False, cancel_futures=True)
        with suppress(queue.Empty):
            while True:
                idle = self._slots.get_nowait()
                if idle is not None:
                    idle.end()

    def _replace(self, ended: "Decoder | None") -> "Decoder":
        with self._lock:
            if self._closed:
                raise RuntimeError("these Decoders are closed")
            if ended is not None:
                ended.end()
                self._running.discard(ended)  # no other is asked: one that two threads ask may seem alive
            decoder = Decoder()
            self._running.add(decoder)
        decoder.begin(self._work)
        return decoder

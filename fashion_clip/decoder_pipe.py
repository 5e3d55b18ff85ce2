"""One decoder process and the pipes to it, from the side of whoever hands it photos."""

import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fashion_clip.decode import REASONS
from fashion_clip.decoder_process import LENGTH, Work
from fashion_clip.errors import FashionClipError, ImageError

START_SECONDS = 60.0  # for a process to come up; it takes a quarter of one
_SLICE = 0.25  # seconds waited at once
_HEADER_BYTES = 64 * 1024  # of an answer that is no pixels
_DETAIL = 400  # characters
_KEPT = ("LD_LIBRARY_PATH",)  # without which a Python may not start


class Decoder:
    """One decoder process and the pipes to it. Used by one thread at a time; kill() by any."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", "fashion_clip.decoder_process"]
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this Python and a module of ours
                command,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                bufsize=0,
                env=_environment(),
                process_group=0,  # Ctrl-C is for this process alone, also while that one starts
            )
        except OSError as error:
            raise FashionClipError(f"the decoder process {command} cannot be started: {error}") from error
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._errors = self._process.stderr
        for stream in (self._requests, self._answers, self._errors):
            os.set_blocking(stream.fileno(), False)
        self._left = 0.0  # seconds, of what is under way

    def begin(self, work: Work) -> None:
        """Tell it what to do and wait until it is ready; FashionClipError if it does not come up."""
        self._left = START_SECONDS
        ready = False
        try:
            self._send(work.to_json())
            ready = self._message(most=2) == b"{}"
        except (EOFError, OSError, ValueError) as error:
            self.kill()
            raise FashionClipError(
                f"a decoder process does not come up: {self._last_words() or type(error).__name__}; "
                f"to see more, run {sys.executable} -P -m fashion_clip.decoder_process </dev/null"
            ) from error
        finally:
            if not ready:
                self.end()
        self._errors.close()

    def decode(self, data: bytes, shape: tuple[int, int, int], seconds: float) -> npt.NDArray[np.uint8]:
        """The pixels of one photo, or ImageError; after "too_slow" and "decoder_died" it has ended."""
        self._left = seconds
        answered = False
        try:
            self._send(data)
            failure = _failure_in(self._message(_HEADER_BYTES))
            pixels = None if failure else self._pixels(shape)
            answered = True
        except TimeoutError:
            raise ImageError("too_slow", f"not decoded within {seconds:g} s") from None
        except (EOFError, OSError):
            raise self._death() from None
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            told = str(error)[:_DETAIL]
            raise ImageError("decoder_died", f"its process answered nonsense: {told!r}") from None
        finally:
            if not answered:
                self.end()
        if failure:
            raise failure
        assert pixels is not None
        return pixels

    def ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        self.kill()
        for stream in (self._requests, self._answers, self._errors):
            stream.close()

    def _pixels(self, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self._message(math.prod(shape)), dtype=np.uint8).reshape(shape)

    def _death(self) -> ImageError:
        """Why it ended, of a process whose pipe is closed."""
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return ImageError("decoder_died", "its process closed the pipe")
        if code == -signal.SIGPROF:
            return ImageError("too_slow", "more than the processor time of one photo")
        how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit code {code}"
        return ImageError("decoder_died", f"its process ended with {how}")

    def _last_words(self) -> str:
        said = self._errors.read(64 * 1024) or b""
        return said.decode(errors="replace").strip().rpartition("\n")[2]

    def _send(self, content: bytes) -> None:
        parts = [memoryview(LENGTH.pack(len(content))), memoryview(content)]
        while parts:
            try:
                sent = os.writev(self._requests.fileno(), parts)
            except BlockingIOError:
                self._wait(self._requests.fileno(), select.POLLOUT)
                continue
            while parts and sent >= len(parts[0]):
                sent -= len(parts.pop(0))
            parts = [parts[0][sent:], *parts[1:]] if parts else []

    def _message(self, most: int) -> bytearray:
        (length,) = LENGTH.unpack(self._receive(LENGTH.size))
        if length > most:
            raise ValueError(f"{length} bytes where at most {most} were expected")
        return self._receive(length)

    def _receive(self, length: int) -> bytearray:
        content = bytearray(length)
        rest = memoryview(content)
        while rest:
            try:
                received = os.readv(self._answers.fileno(), [rest])
            except BlockingIOError:
                self._wait(self._answers.fileno(), select.POLLIN)
                continue
            if received == 0:
                raise EOFError
            rest = rest[received:]
        return content

    def _wait(self, pipe: int, event: int) -> None:
        """Wait until the pipe is ready. TimeoutError when no time is left, EOFError if the process ended.

        Only what was waited counts: were this process stopped for an hour, that is not the photo's fault.
        """
        poll = select.poll()
        poll.register(pipe, event)
        while True:
            slice_, began = min(max(self._left, 0.0), _SLICE), time.monotonic()
            ready = poll.poll(slice_ * 1000)
            self._left -= min(time.monotonic() - began, slice_)
            if ready:
                return
            if self.ended():  # its ends of the pipes may live on in a forked copy of this process
                raise EOFError
            if self._left <= 0:
                raise TimeoutError


def _failure_in(header: bytearray) -> ImageError | None:
    """What the process says of a photo; it may be in the hands of what the photo held."""
    answer: dict[str, Any] = json.loads(header)
    if not answer:
        return None
    if answer["reason"] not in REASONS or not answer["detail"].isprintable():
        raise ValueError(f"{answer}")
    return ImageError(answer["reason"], answer["detail"][:_DETAIL])


def _environment() -> dict[str, str]:
    """Nothing of this process's own but where Python finds its modules, which a checkout's may not know."""
    root = str(Path(__file__).absolute().parents[1])
    paths = [path for path in sys.path if path]
    if root not in paths:
        paths.insert(0, root)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    return {**kept, **threads, "PYTHONPATH": os.pathsep.join(paths)}

"""The process that hostile bytes may kill: photos in at stdin, pixels out at stdout, one after another.

    python -m fashion_clip.decoder_process      (started by fashion_clip.decoders, not by people)

Every message is its length, 8 bytes big-endian, and that many bytes. The first request is Work as JSON, and
`{}` answers it. Every other request is the bytes of one photo; the answer is `{}` and a second message, the
pixels (uint8, height x width x 3), or `{"reason": .., "detail": ..}` alone. The end of stdin ends it.

It is given no secret, may neither write files nor take more memory than it was told, and has an end even if
nobody is left to end it.
"""

import json
import os
import resource
import signal
import struct
import sys
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import AvifImagePlugin, Image

from fashion_clip.decode import Limits
from fashion_clip.errors import ImageError
from fashion_clip.preprocessing import Preprocessing, photo_pixels

LENGTH = struct.Struct(">Q")


@dataclass(frozen=True)
class Work:
    """What a decoder process is to do, and within what.

    processor_seconds: of one photo; the kernel ends the process then. memory: address space in bytes.
    """

    preprocessing: Preprocessing
    limits: Limits
    processor_seconds: float
    memory: int

    def to_json(self) -> bytes:
        """As one JSON document; floats come back as they were."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, document: bytes) -> "Work":
        """What to_json gave, equal in every field."""
        fields = json.loads(document)
        settings = {name: _tuple_again(value) for name, value in fields["preprocessing"].items()}
        return cls(
            Preprocessing(**settings),
            Limits(**fields["limits"]),
            fields["processor_seconds"],
            fields["memory"],
        )


def main() -> None:
    """Decodes until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when this ends
    requests, answers = _take_pipes()
    document = _read(requests)
    if document is None:
        return
    work = Work.from_json(document)
    _confine(work)
    _write(answers, b"{}")
    while (data := _read(requests)) is not None:
        # Of processor time: a process that was stopped for a while, or waited for its turn, goes on.
        signal.setitimer(signal.ITIMER_PROF, work.processor_seconds)
        answer = _decode(data, work)
        signal.setitimer(signal.ITIMER_PROF, 0)
        del data
        if isinstance(answer, ImageError):
            _write(answers, json.dumps({"reason": answer.reason, "detail": answer.detail}).encode())
        else:
            _write(answers, b"{}", answer.data)


def _decode(data: bytes, work: Work) -> npt.NDArray[np.uint8] | ImageError:
    try:
        return photo_pixels(data, work.preprocessing, work.limits)
    except ImageError as error:
        return ImageError(error.reason, error.detail)  # without its traceback, whose frames hold the picture
    except MemoryError as error:
        return ImageError("out_of_memory", f"while resizing: {str(error)!r}")


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """(requests, answers), out of the reach of what prints or reads: 0 and 1 are /dev/null from here on."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return requests, answers


def _confine(work: Work) -> None:
    warnings.simplefilter("ignore")
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each would take address space; the other cores have processes
    Image.MAX_IMAGE_PIXELS = work.limits.max_pixels  # else Pillow refuses above a limit of its own
    if sys.platform == "linux":
        with suppress(OSError):  # should memory run out, this process goes and not the one with the shard
            Path("/proc/self/oom_score_adj").write_text("1000")
    if sys.platform != "darwin":  # which refuses to limit the address space
        _limit(resource.RLIMIT_AS, work.memory)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, whatever code it is in
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
    os.dup2(1, 2)  # said last: until here, what goes wrong is to be read


def _limit(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (allowed, allowed))


def _read(requests: BinaryIO) -> bytes | None:
    """The next message; None at the end of the stream."""
    start = requests.read(LENGTH.size)
    if len(start) < LENGTH.size:
        return None
    length = LENGTH.unpack(start)[0]
    content = requests.read(length)
    return content if len(content) == length else None


def _write(answers: BinaryIO, *messages: bytes | memoryview) -> None:
    for message in messages:
        answers.write(LENGTH.pack(memoryview(message).nbytes))
        answers.write(message)
    answers.flush()


def _tuple_again(value: Any) -> Any:
    """JSON knows no tuples."""
    return tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    main()

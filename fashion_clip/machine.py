"""What this machine has to offer."""

import os
import sys
from pathlib import Path

from fashion_clip.errors import UsageError


def usable_cores() -> int:
    """Processor cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def local_path(text: str | Path) -> Path:
    """A path with the home folder in the place of `~`. Raises UsageError for the home of nobody."""
    if not str(text).startswith("~"):
        return Path(text)  # whose own expanduser takes ./~ for ~
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UsageError(
            f"path {str(text)!r} begins with ~ and the name of nobody here; write ./~ for a folder"
        ) from None

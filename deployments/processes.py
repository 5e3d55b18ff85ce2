"""The process groups below a process, where the kernel tells of them in /proc."""

from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


def groups_below(pid: int) -> set[int]:
    """The groups that its children belong to, and theirs, but for its own group; empty without /proc."""
    every = _processes()
    found, below = set[int](), {pid}
    while below:
        of_these = {child: group for child, (parent, group) in every.items() if parent in below}
        found |= set(of_these.values())
        below = set(of_these)
    own = every.get(pid, (0, pid))[1]
    return found - {own}


def _processes() -> dict[int, tuple[int, int]]:
    """Process id -> its parent's and its group's."""
    found: dict[int, tuple[int, int]] = {}
    for file in _PROC.glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            # The program's name stands before, in brackets, and may hold anything.
            _state, parent, group, *_ = file.read_bytes().rpartition(b")")[2].split()
            found[int(file.parent.name)] = (int(parent), int(group))
    return found

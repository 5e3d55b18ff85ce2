"""Disks that fail: one that is soon full, and one whose writes end in errors."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def crowded_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mounts a file system of that size at `folder` (made if missing); all in it is gone at the end.

    Needs root. Raises RuntimeError with what mount(8) said if it cannot be mounted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={megabytes}m,mode=1777"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        raise RuntimeError(f"no tmpfs at {folder}; root can mount one: {mounted.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # a file may still be open


def failing_writes(folder: Path, one_in: int) -> dict[str, str]:
    """The variables by which a process's pwrite(2) fails with EIO, one in so many, at random.

    Of twice as many in a row one fails for certain. SQLite and PostgreSQL write so. The library
    that does it is compiled into `folder`. Raises RuntimeError if there is no C compiler.
    """
    library = folder / "failing_writes.so"
    compiler = shutil.which("cc")
    if not compiler:
        raise RuntimeError("no cc: run .ci/install_services (apt-get install gcc)")
    source = Path(__file__).with_name("failing_writes.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "FAILING_WRITES": str(one_in)}

"""Does the memory of tagging grow with the photos? Three folders, each ten times as large as the one before.

    python -m benchmarks.memory [--quick]

Small photos, made of real ones by crops, through `fashion-clip tag` in a process of its own, with the small
model that stands in for pretrained weights and the shipped taxonomy of products. The peak is that of the
process that tags, and of it with its decoders and Prefect's temporary server.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.material import SMALL, parquet_photos, write_photos
from benchmarks.report import Goal, arguments, machine, tell
from tests.faults.memory import Peak

MOST_GROWTH = 0.10


def main() -> None:
    """Prints one table."""
    options = arguments(__doc__).parse_args()
    counts = (500, 1_000, 2_000) if options.quick else (2_000, 20_000, 200_000)
    originals = parquet_photos(options.shared / "data" / "fashion_products" / "small_60x80.parquet")
    model = options.shared.resolve() / "models" / "products-clip-tiny"
    print(machine())
    rows: list[list[str]] = []
    peaks: dict[str, list[float]] = {"of the process": [], "with its children": []}
    with tempfile.TemporaryDirectory() as name:
        folder = write_photos(Path(name) / "all", originals, SMALL, counts[-1])
        for count in counts:
            some = _first(folder, Path(name) / f"{count}", count)
            seconds, own, family = _tag(some, model, Path(name) / f"{count}.db")
            peaks["of the process"].append(own)
            peaks["with its children"].append(family)
            rows.append([f"{count:,} photos", f"{seconds:.0f}", f"{own:.0f}", f"{family:.0f}"])
    goals = []
    for whose, measured in peaks.items():
        growth = max(measured) / min(measured) - 1
        what = f"memory {whose}, {counts[0]:,} to {counts[-1]:,} photos"
        goals.append(Goal(what, f"within {MOST_GROWTH:.0%}", f"{growth:.1%}", growth <= MOST_GROWTH))
    columns = ["", "seconds, start-up included", "peak MB", "with its children"]
    tell("Peak memory of tagging", columns, rows, goals, options.goals)


def _first(folder: Path, target: Path, count: int) -> Path:
    """A folder of links to the first of the photos."""
    target.mkdir()
    for number in range(count):
        os.link(folder / f"{number:07}.jpg", target / f"{number:07}.jpg")
    return target


def _tag(folder: Path, model: Path, database: Path) -> tuple[float, float, float]:
    """Seconds, and the peaks in MB: of the process, and of it with all below it."""
    command = [sys.executable, "-m", "cli.main", "tag", str(folder), "--model", str(model)]
    variables = {"FASHION_CLIP_DATABASE_URL": f"sqlite:///{database}"}
    began = time.perf_counter()
    with subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.DEVNULL) as process:
        own, family = Peak(process.pid, family=False), Peak(process.pid, family=True)
        if process.wait():
            raise SystemExit(f"fashion-clip tag ended with {process.returncode}")
    return time.perf_counter() - began, own.megabytes, family.megabytes


if __name__ == "__main__":
    main()

"""A night with nothing new over a million known photos, and what the program takes to start.

    python -m benchmarks.quiet_night

The photos are files on the disk, the night is `fashion-clip tag` as a user runs it, with a temporary Prefect
server. Memory is told above that of the same night over a thousand photos.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report import Goal, arguments, machine, tell
from tasks.catalog import schema
from tasks.catalog.engine import connect
from tests.faults.million import Outcome, know_many, make_many, quiet_night

FEW = 1_000
MOST_SECONDS, MOST_MB, HELP_SECONDS = 15.0, 150.0, 1.0
HEAVY = ("torch", "transformers", "openvino")
_LISTS_IMPORTS = """
import sys
from cli.main import main
sys.argv = ["fashion-clip", "tag", sys.argv[1]]
try:
    main()
except SystemExit:
    pass
print("imported:", *(name for name in %r if name in sys.modules), file=sys.stderr)
"""


def main() -> None:
    """Prints one table."""
    options = arguments(__doc__).parse_args()
    many = 50_000 if options.quick else 1_000_000
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        few, found = (_night(Path(name) / f"{count}", count) for count in (FEW, many))
        imported = _heavy_imports(Path(name) / f"{FEW}")
    helped = [_help_seconds() for _ in range(5)]
    above = found.peak_mb - few.peak_mb
    rows = [
        [f"{count:,} known", f"{night.run_seconds:.1f}", f"{night.seconds:.1f}", f"{night.peak_mb:.0f}"]
        for count, night in ((FEW, few), (many, found))
    ]
    seconds = found.run_seconds
    goals = [
        Goal(
            "quiet night, seconds of the run",
            f"<= {MOST_SECONDS:g}",
            f"{seconds:.1f}",
            seconds <= MOST_SECONDS,
        ),
        Goal("quiet night, MB above an empty one", f"<= {MOST_MB:g}", f"{above:.0f}", above <= MOST_MB),
        Goal("quiet night, rows written", "0", str(found.rows_changed), found.rows_changed == 0),
        Goal("quiet night, heavy imports", "none", ", ".join(imported) or "none", not imported),
        Goal(
            "fashion-clip --help, seconds",
            f"<= {HELP_SECONDS:g}",
            f"{np.median(helped):.2f}",
            float(np.median(helped)) <= HELP_SECONDS,
        ),
    ]
    columns = ["", "run s", "with start-up s", "peak MB"]
    tell("A night with nothing new, SQLite", columns, rows, goals, options.goals)


def _night(work: Path, count: int) -> Outcome:
    work.mkdir()
    url = f"sqlite:///{work}/catalogue.db"
    engine = connect(url)
    schema.upgrade(engine)
    engine.dispose()
    make_many(work / "photos", count)
    know_many(url, work / "photos", count)
    found = quiet_night(url, work / "photos", count)
    if found.problems:
        raise SystemExit("\n".join(found.problems))
    return found


def _heavy_imports(work: Path) -> list[str]:
    command = [sys.executable, "-c", _LISTS_IMPORTS % (HEAVY,), str(work / "photos")]
    variables = {"FASHION_CLIP_DATABASE_URL": f"sqlite:///{work}/catalogue.db"}
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True)
    told = [line for line in done.stderr.splitlines() if line.startswith("imported:")]
    return told[0].split()[1:]


def _help_seconds() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "cli.main", "--help"], capture_output=True, check=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

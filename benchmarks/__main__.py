"""All benchmarks with a goal, one after another, each in a process of its own: make bench

    python -m benchmarks [--quick] [NAME ..]

Nothing else should run on the machine meanwhile. At the end stands what was wanted and what was measured.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.report import SHARED, Goal, console, print_goals

NAMES = (
    "forward", "end_to_end", "agreement", "quiet_night", "relabel", "promotion", "orchestration", "memory",
    "ladder", "gate", "replay", "alarms", "drift",
)  # fmt: skip


def main() -> None:
    """Runs them; the exit code is 1 if one of them failed, not if a goal was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="a small version, to see that they run")
    parser.add_argument("--shared", type=Path, default=SHARED, help="where data/ and models/ lie")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark {sorted(unknown)[0]!r}; choose of {', '.join(NAMES)}")
    if not (options.shared / "data").is_dir():
        parser.error(f"no {options.shared}/data: name the folder of photos and models with --shared")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        goals = Path(folder) / "goals.json"
        for name in options.names:
            console().rule(name)
            command = [sys.executable, "-m", f"benchmarks.{name}", "--goals", str(goals)]
            command += ["--shared", str(options.shared), *(["--quick"] if options.quick else [])]
            prefect = {"PREFECT_HOME": str(Path(folder) / "prefect")}
            if subprocess.run(command, env=os.environ | prefect, check=False).returncode:
                failed.append(name)
        console().rule("goals")
        print_goals([Goal(**fields) for fields in json.loads(goals.read_text())] if goals.exists() else [])
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

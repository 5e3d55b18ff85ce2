"""Tags a folder of photos with true labels as a user would, and prints what it cost and how right it was.

    python -m benchmarks.tag_folder FOLDER --model DIR [--taxonomy NAME|TOML]

FOLDER holds photos and a labels.csv with a column `filename` and one for each attribute. `fashion-clip tag`
runs in processes of its own: on the first 2,000 photos, on all, and on all again, each catalogue its own
SQLite file. Photos a second count from the run's start to its end, Prefect's and torch's start-up left out.
"""

import argparse
import csv
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tasks.catalog.engine import connect, reading

SMALL = 2_000


def main() -> None:
    """Runs the three and prints a table and the accuracy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--taxonomy", default="products")
    parser.add_argument("--keep", type=Path, help="folder for the catalogues; a temporary one if left out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = (arguments.keep or Path(temporary)).resolve()
        small, whole = work / "small", work / "all.db"
        _copy_first(arguments.folder, small, SMALL)
        options = ["--model", arguments.model, "--taxonomy", arguments.taxonomy]
        print(
            f"{'':12}{'listed':>8}{'known':>8}{'tagged':>8}{'failed':>8}{'left':>6}{'embedded':>10}"
            f"{'photos/s':>10}{'peak MB':>9}"
        )
        _print_run("first 2,000", _tag(small, work / "small.db", options))
        _print_run("all", _tag(arguments.folder, whole, options))
        before = _rows(whole)
        _print_run("all again", _tag(arguments.folder, whole, options))
        print(f"label rows before and after the second run: {before}, {_rows(whole)}")
        _print_accuracy(whole, arguments.folder / "labels.csv")


def _copy_first(folder: Path, target: Path, count: int) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for photo in sorted(folder.glob("*.jpg"))[:count]:
        shutil.copyfile(photo, target / photo.name)


def _tag(folder: Path, database: Path, options: list[str]) -> dict[str, Any]:
    environment = os.environ | {
        "FASHION_CLIP_DATABASE_URL": f"sqlite:///{database}",
        "PREFECT_HOME": str(database.parent / "prefect"),
    }
    command = [sys.executable, "-m", "cli.main", "tag", str(folder), "--json", *options]
    output = database.with_suffix(".json")
    with output.open("w") as file:
        process = os.posix_spawn(
            sys.executable, command, environment, file_actions=[(os.POSIX_SPAWN_DUP2, file.fileno(), 1)]
        )
        _, status, usage = os.wait4(process, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"fashion-clip tag {folder} failed")
    run: dict[str, Any] = json.loads(output.read_text())
    return run | {"peak_mb": usage.ru_maxrss / 1024}


def _print_run(title: str, run: Mapping[str, Any]) -> None:
    rate = f"{run['tagged'] / run['seconds']:.0f}" if run["tagged"] else ""
    print(
        f"{title:12}{run['listed']:>8}{run['known']:>8}{run['tagged']:>8}{run['quarantined']:>8}"
        f"{run['remaining']:>6}{run['embedded']:>10}{rate:>10}{run['peak_mb']:>9.0f}"
    )


def _rows(database: Path) -> int:
    with reading(connect(f"sqlite:///{database}")) as connection:
        return int(connection.execute(text("SELECT COUNT(*) FROM labels")).scalar_one())


def _print_accuracy(database: Path, labels: Path) -> None:
    with labels.open(newline="", encoding="utf-8") as file:
        truth = {row["filename"]: row for row in csv.DictReader(file)}
    tally: dict[str, list[int]] = {}
    rows = 0
    with reading(connect(f"sqlite:///{database}")) as connection:
        for uri, attribute, label in connection.execute(
            text("SELECT uri, attribute, label FROM catalog_labels")
        ):
            rows += 1
            true = truth[uri.rpartition("/")[2]].get(attribute, "")
            if true not in ("", "NA", "None"):
                counts = tally.setdefault(attribute, [0, 0])
                counts[0] += true == label
                counts[1] += 1
    print(f"{rows} rows in catalog_labels; accuracy against {labels.name}:")
    for attribute, (right, of) in tally.items():
        print(f"  {attribute:16} {right / of:6.1%} of {of}")


if __name__ == "__main__":
    main()

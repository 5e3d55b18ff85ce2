"""What Prefect costs: the nightly flow against the same steps called one after another without it.

    python -m benchmarks.orchestration [--quick]

Both tag the same photos into a new SQLite catalogue, two shards at once, in processes of their own that take
turns (plain, flow, flow, plain). The overhead is what the flow takes longer, of the run as run_history tells
it; the fixed start, of Prefect's import and temporary server, is told beside it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.material import SMALL, parquet_photos, write_photos
from benchmarks.report import Goal, arguments, machine, spread, tell
from tasks.shard_size import Pace

MOST_OVERHEAD = 0.02
TURNS = ("plain", "flow", "flow", "plain")


def main() -> None:
    """Prints one table; `plain FOLDER MODEL` instead does the plain half, in this process."""
    if sys.argv[1:2] == ["plain"]:
        print(json.dumps({"seconds": tag_plainly(sys.argv[2], sys.argv[3])}))
        return
    options = arguments(__doc__).parse_args()
    count = 1_000 if options.quick else 100_000
    originals = parquet_photos(options.shared / "data" / "fashion_products" / "small_60x80.parquet")
    model = options.shared.resolve() / "models" / "products-clip-tiny"
    print(machine())
    runs: dict[str, list[float]] = {name: [] for name in TURNS}
    walls: dict[str, list[float]] = {name: [] for name in TURNS}
    with tempfile.TemporaryDirectory() as name:
        folder = write_photos(Path(name) / "photos", originals, SMALL, count)
        for number, turn in enumerate(TURNS):
            began = time.perf_counter()
            runs[turn].append(_run(turn, folder, model, Path(name) / f"{number}.db"))
            walls[turn].append(time.perf_counter() - began)
    overhead = float(np.sum(runs["flow"]) / np.sum(runs["plain"]) - 1)
    start = float(np.mean(walls["flow"]) - np.mean(runs["flow"]))
    start -= float(np.mean(walls["plain"]) - np.mean(runs["plain"]))
    rows = [
        [turn, spread(runs[turn]), f"{count / np.mean(runs[turn]):.0f}", spread(walls[turn])]
        for turn in ("plain", "flow")
    ]
    rows.append(["start of Prefect", "", "", f"{start:.1f}"])
    what = f"orchestration of {count:,} photos"
    goals = [Goal(what, f"<= {MOST_OVERHEAD:.0%}", f"{overhead:+.1%}", overhead <= MOST_OVERHEAD)]
    columns = ["", "run s", "photos/s", "with start-up s"]
    tell(f"Overhead of orchestration, {count:,} photos a run", columns, rows, goals, options.goals)


def _run(turn: str, folder: Path, model: Path, database: Path) -> float:
    """Seconds of a run."""
    plain = [sys.executable, "-m", "benchmarks.orchestration", "plain", str(folder), str(model)]
    flow = [sys.executable, "-m", "cli.main", "tag", str(folder), "--model", str(model), "--json"]
    variables = {"FASHION_CLIP_DATABASE_URL": f"sqlite:///{database}"}
    done = subprocess.run(
        plain if turn == "plain" else flow,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{turn}: {done.stderr[-500:]}")
    return float(json.loads(done.stdout.splitlines()[-1] if turn == "plain" else done.stdout)["seconds"])


def tag_plainly(source: str, model: str) -> float:
    """The flow's own steps, without Prefect, in shards sized alike; returns the seconds of the run."""
    from flows.nightly_tagging import AT_ONCE
    from tasks import environment, nightly
    from tasks.catalog import runs
    from tasks.settings import settings

    engine = environment.catalogue()
    with runs.recorded(engine, "nightly-tagging", source, None) as run_id:
        if nightly.scan_source.fn(run_id, source, False, lambda _: None):
            nightly.prepare_model.fn(model, None)
            pace = Pace()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(lambda _: _tag_all(run_id, source, model, pace), range(AT_ONCE)))
        drifted = _check(run_id)
        nightly.refuse_too_many_failures(run_id)
        nightly.draw_audit_sample.fn(run_id, settings().audit_photos, drifted)
    seconds = runs.summary(engine, run_id).seconds
    assert seconds is not None
    return seconds


def _check(run_id: int) -> bool:
    """The steps of flows.check_accuracy.check without its artifact; whether photos have drifted."""
    from tasks import checking, environment
    from tasks.close_watch import watch_closely
    from tasks.serving import require_served

    watch_closely()
    label_set_id = require_served(environment.catalogue()).label_set_id
    drifts = checking.look_for_drift.fn(run_id, label_set_id)
    checking.guess_accuracy.fn(run_id, label_set_id)
    look = checking.look_at_truth.fn(run_id, label_set_id)
    drifted = [drift for drift in drifts if drift.drifted]
    checking.unanswered_drop(label_set_id, look.check_id, drifted)
    return bool(drifted)


def _tag_all(run_id: int, source: str, model: str, pace: Pace) -> None:
    from tasks import nightly

    while claimed := nightly.tag_shard.fn(run_id, source, model, pace.shard_size()):
        pace.finished(claimed)


if __name__ == "__main__":
    main()

"""`fashion-clip runs`: the latest runs, as `run_history` tells them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import one_line, print_json, print_table

if TYPE_CHECKING:
    from tasks.catalog.runs import RunSummary

# Few enough for a terminal of 80 columns; the JSON has all.
COUNTS = ("listed", "embedded", "tagged", "quarantined", "remaining")


def runs(
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with all columns.")] = False,
) -> None:
    """List the latest runs: when, what they found and did, and why one failed."""
    from tasks.catalog.runs import history
    from tasks.environment import catalogue

    found = history(catalogue(), limit)
    if as_json:
        print_json([run.as_dict() for run in found])
    elif found:
        print_runs(found)
    else:
        print("no runs yet; start one with: fashion-clip tag FOLDER")


def print_runs(found: Sequence["RunSummary"]) -> None:
    """A table of runs on stdout, times in UTC; below it why those failed that did."""
    rows = [
        (
            run.run_id,
            f"{run.started_at:%m-%d %H:%M}",
            "" if run.seconds is None else f"{run.seconds:.0f} s",
            run.status,
            *(getattr(run, column) for column in COUNTS),
        )
        for run in found
    ]
    print_table(("run", "started", "took", "status", *COUNTS[:-1], "left"), rows)
    for run in found:
        if run.error:
            print(one_line(f"run {run.run_id}: {run.error}"))

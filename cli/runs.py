"""`fashion-clip runs`: the latest runs, as `run_history` tells them."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import print_json

if TYPE_CHECKING:
    from tasks.catalog.runs import RunSummary

COUNTS = ("listed", "ignored", "known", "embedded", "tagged", "quarantined", "remaining")


def runs(
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the latest runs: when, what they found and did, and why one failed."""
    from tasks.catalog.runs import history
    from tasks.environment import catalogue

    found = history(catalogue(), limit)
    if as_json:
        print_json([asdict(run) for run in found])
    elif found:
        print_runs(found)
    else:
        print("no runs yet; start one with: fashion-clip tag FOLDER")


def print_runs(found: Sequence["RunSummary"]) -> None:
    """A table of runs on stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column in ("run", "started (UTC)", "seconds", "status"):
        table.add_column(column, no_wrap=True)
    for column in COUNTS:
        table.add_column(column, justify="right")
    for run in found:
        seconds = (
            "" if run.finished_at is None else f"{(run.finished_at - run.started_at).total_seconds():.1f}"
        )
        counts = ["" if (value := getattr(run, column)) is None else str(value) for column in COUNTS]
        table.add_row(str(run.run_id), f"{run.started_at:%Y-%m-%d %H:%M}", seconds, run.status, *counts)
    console = Console()
    console.print(table)
    for run in found:
        if run.error:
            console.print(Text(f"run {run.run_id}: {run.error}"))

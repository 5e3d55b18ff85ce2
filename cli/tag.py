"""`fashion-clip tag`: the nightly tagging, now."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import fail, print_json
from cli.prefect_setup import prepare_prefect

if TYPE_CHECKING:
    from tasks.catalog.runs import RunSummary


def tag(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            help="A folder, s3://bucket/prefix, FILE.parquet or hf://data-set; "
            "FASHION_CLIP_SOURCE if left out."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Hub name or folder of a CLIP checkpoint, for an empty catalogue.")
    ] = None,
    taxonomy: Annotated[
        str | None, typer.Option(help="Shipped taxonomy's name or TOML file, for an empty catalogue.")
    ] = None,
    accept_vanished: Annotated[
        bool, typer.Option("--accept-vanished", help="Believe the listing even if much is gone from it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
) -> None:
    """Tag what is new in a folder or bucket of photos and write labels and scores to the catalogue."""
    run = run_tagging(source, model, taxonomy, accept_vanished, debug=bool(context.obj))
    if as_json:
        print_json(run.as_dict())
    else:
        print_summary(run)
    if run.remaining:
        raise SystemExit(1)


def run_tagging(
    source: str | None, model: str | None, taxonomy: str | None, accept_vanished: bool, debug: bool
) -> "RunSummary":
    """Runs the flow in this process, on the Prefect server of PREFECT_API_URL or a temporary one."""
    from tasks import environment

    # Wrong use is told in a second, before Prefect starts.
    environment.source(environment.source_name(source))
    environment.catalogue()
    prepare_prefect(debug)
    from flows.nightly_tagging import nightly_tagging

    try:
        return nightly_tagging(source, model, taxonomy, accept_vanished)
    except KeyboardInterrupt:
        fail("interrupted; what was committed is kept, run it again to go on", code=130)


def print_summary(run: "RunSummary") -> None:
    """The run's counts in one line, and what to do about quarantined photos."""
    print(
        f"run {run.run_id} {run.status} in {run.seconds:.1f} s: {run.listed} listed = {run.known} known + "
        f"{run.tagged} tagged + {run.quarantined} quarantined + {run.remaining} remaining; "
        f"{run.embedded} embedded, {run.ignored} files ignored"
    )
    if run.quarantined:
        print("photos that failed, with reasons: fashion-clip quarantine list")

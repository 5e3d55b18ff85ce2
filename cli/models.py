"""`fashion-clip models`: which models there are, what is known of them, and which one is served."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import fail, one_line, print_json, print_table
from cli.prefect_setup import prepare_prefect
from fashion_clip.errors import UsageError

if TYPE_CHECKING:
    from tasks.catalog.versions import Version

app = typer.Typer(no_args_is_help=True, help="Model versions: list, promote, roll back, decide.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="A version as `list` shows it, or its first or last letters.")]


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List all versions, the newest first: role, rung, and what the gate said."""
    from tasks.catalog.versions import history
    from tasks.environment import catalogue

    found = history(catalogue())
    if as_json:
        print_json([vars(one) for one in found])
    elif not found:
        print("no models yet; start a catalogue with: fashion-clip tag FOLDER")
    else:
        rows = [_row(one) for one in found]
        print_table(("version", "role", "rung", "made", "gate"), rows)


@app.command("show")
def show(version: Name, as_json: Json = False) -> None:
    """Show one version: where it comes from, how it was judged and by whom."""
    from tasks.catalog.versions import find
    from tasks.environment import catalogue

    one = find(catalogue(), version)
    if as_json:
        print_json(vars(one))
        return
    rows = [(name, _shown(value)) for name, value in vars(one).items() if value is not None]
    print_table(("", ""), rows)


@app.command("promote")
def promote(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A version, or a folder or hub name to register first.")],
    as_json: Json = False,
) -> None:
    """Put a model in place, whatever the gate said; its labels are made first, the old ones are kept."""
    from tasks.environment import catalogue
    from tasks.promotion import version_for

    version = version_for(catalogue(), model)
    _promote(context, version, as_json)


@app.command("rollback")
def rollback(context: typer.Context, as_json: Json = False) -> None:
    """Go back to the model that was served before; its labels were kept."""
    from tasks.catalog.versions import served_before
    from tasks.environment import catalogue

    version = served_before(catalogue())
    if version is None:
        raise UsageError("there is no former model to go back to: none but the champion was ever served")
    _promote(context, version, as_json)


@app.command("approve")
def approve(
    context: typer.Context,
    version: Name,
    reason: Annotated[str, typer.Option(help="Kept beside the decision.")] = "",
    as_json: Json = False,
) -> None:
    """Approve a challenger that passed the gate, and put it in place."""
    found = _decide(version, approved=True, reason=reason)
    _promote(context, found, as_json)
    _closed("promoted", found)


@app.command("reject")
def reject(
    version: Name,
    reason: Annotated[str, typer.Option(help="Kept beside the decision.")] = "",
    as_json: Json = False,
) -> None:
    """Reject a challenger that passed the gate; the champion is served on."""
    found = _decide(version, approved=False, reason=reason)
    _closed("declined", found)
    if as_json:
        print_json({"version": found, "decision": "rejected"})
    else:
        print(f"model {found} is rejected; the champion is served on")


@app.command("reembed")
def reembed(
    context: typer.Context,
    version: Annotated[
        str | None, typer.Argument(help="A version with towers of its own; left out, the champion anew.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Embed all photos for a version, or anew for the champion, and serve it when all are there.

    Anew: where a library or the hardware has changed the vectors that the
    champion gives, so that new ones must not be mixed with those there are.
    """
    from tasks.catalog.versions import find
    from tasks.environment import catalogue
    from tasks.promotion import made_anew

    engine = catalogue()
    found = made_anew(engine) if version is None else find(engine, version).version
    _promote(context, found, as_json)


def _promote(context: typer.Context, version: str, as_json: bool) -> None:
    prepare_prefect(bool(context.obj))
    from flows.promotion import promote_and_tell
    from tasks.truth import person

    try:
        run = promote_and_tell(version, f"put in place by {person()}")
    except KeyboardInterrupt:
        fail("interrupted; the old labels are served on, run it again to go on", code=130)
    if as_json:
        print_json({"version": version, "run": run.as_dict() if run else None})
    elif run is None:
        print(f"model {version} is served already")
    else:
        print(f"model {version} is served; {run.tagged} pictures were labelled in {run.seconds:.1f} s")


def _decide(version: str, approved: bool, reason: str) -> str:
    from tasks.catalog import verdicts, versions
    from tasks.environment import catalogue
    from tasks.truth import person

    engine = catalogue()
    found = versions.find(engine, version)
    said = verdicts.decide(engine, found.version, approved, person(), reason)
    if said.approved != approved:
        word = "approved" if said.approved else "rejected"
        raise UsageError(
            f"model {found.version} was {word} by {said.decided_by} {said.decided_at:%Y-%m-%d %H:%M}, and "
            f"a decision stays; models promote {found.version} puts it in place all the same"
        )
    return found.version


def _closed(outcome: str, version: str) -> None:
    from tasks.catalog import retrainings
    from tasks.environment import catalogue
    from tasks.truth import person

    retrainings.close_of(catalogue(), version, outcome, f"{outcome} by {person()}")


def _row(one: "Version") -> tuple[str, ...]:
    return one.version, one.role, one.rung, f"{one.created_at:%Y-%m-%d %H:%M}", _word(one)


def _word(one: "Version") -> str:
    if one.decision is not None:
        return f"{one.gate}, {one.decision} by {one.decided_by}"
    return one.gate or ""


def _shown(value: Any) -> str:
    return one_line(f"{value:%Y-%m-%d %H:%M} UTC" if hasattr(value, "hour") else str(value))

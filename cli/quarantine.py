"""`fashion-clip quarantine`: photos that failed, and another chance for them."""

from typing import Annotated

import typer

from cli.output import print_json, print_table
from fashion_clip.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Photos that could not be tagged.")

Reason = Annotated[str | None, typer.Option(help="Only photos that failed for this reason.")]


@app.command("list")
def list_photos(
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, those that failed last first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List quarantined photos: why, how often they failed, and when they are tried again by themselves."""
    from tasks.catalog import quarantine
    from tasks.environment import catalogue

    engine, chosen = catalogue(), quarantine.Chosen(reason=reason)
    found = quarantine.listed(engine, chosen, limit)
    if as_json:
        print_json([photo.as_dict() for photo in found])
        return
    counts = quarantine.by_reason(engine, chosen)
    if not counts:
        print("no photo is in quarantine" + (f" for {reason!r}" if reason else ""))
        return
    print_table(
        ("uri", "reason", "detail", "attempts", "last failed", "next try"),
        [
            (
                photo.uri,
                photo.reason,
                photo.detail,
                photo.attempts,
                f"{photo.last_failed_at:%Y-%m-%d %H:%M}",
                f"{photo.retry_at:%Y-%m-%d %H:%M}" if photo.retry_at else "when it changes",
            )
            for photo in found
        ],
    )
    total = sum(count for _, count in counts)
    print(f"{len(found)} of {total} photos: " + ", ".join(f"{count} {reason}" for reason, count in counts))


@app.command("retry")
def retry_photos(
    uri: Annotated[list[str] | None, typer.Argument(help="URIs as `list` shows them.")] = None,
    reason: Reason = None,
    everything: Annotated[bool, typer.Option("--all", help="All photos in quarantine.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Let the next `fashion-clip tag` try photos again, although nothing of them has changed."""
    from tasks.catalog import quarantine
    from tasks.environment import catalogue

    if sum((bool(uri), reason is not None, everything)) != 1:
        raise UsageError("say which photos: their URIs, or --reason REASON, or --all")
    engine = catalogue()
    chosen = [quarantine.Chosen(uri=one) for one in uri or []] or [quarantine.Chosen(reason=reason)]
    unknown = [one.uri for one in chosen if uri and not quarantine.listed(engine, one, 1)]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is not in quarantine; see: fashion-clip quarantine list")
    if reason is not None and not quarantine.by_reason(engine, chosen[0]):
        there_are = ", ".join(known for known, _ in quarantine.by_reason(engine, quarantine.Chosen()))
        raise UsageError(f"no photo is in quarantine for {reason!r}; there are: {there_are or 'none at all'}")
    photos = sum(quarantine.retry(engine, one) for one in chosen)
    if as_json:
        print_json({"photos": photos})
    else:
        print(f"{photos} photos will be tried again by the next run: fashion-clip tag")

"""`fashion-clip truth`: what people say photos show."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import fail, one_line, print_json, print_table
from fashion_clip.errors import UsageError

if TYPE_CHECKING:
    from tasks.truth import Imported

app = typer.Typer(no_args_is_help=True, help="What people say photos show.")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A CSV file in UTF-8.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be imported.")] = False,
    by: Annotated[
        str | None,
        typer.Option(
            help="Whose truth it is where a row does not say; you, if left out.", show_default=False
        ),
    ] = None,
    new_labels: Annotated[
        bool,
        typer.Option("--new-labels", help="Keep labels that the taxonomy lacks, for a taxonomy to come."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Import truth: a review sheet that was filled in, or a table of your own.

    Columns: uri, file_name or product_id; attribute; truth (or label), where
    (none) says that no label fits. If you like: by, when (ISO 8601), chosen
    (random, review or unsampled) and inclusion_probability (of random ones).
    Or, without attribute, a column for each attribute.

    What is said of a product holds for all its photos, unless a photo has
    truth of its own. What is said last counts; the rest is kept. The same file
    again changes nothing. The exit code is 1 if rows were refused.
    """
    from tasks.environment import catalogue
    from tasks.truth import import_truth, person

    if by is not None and not by.strip():
        raise UsageError("--by '' is nobody; give a name, or leave it out")
    try:
        done = import_truth(catalogue(), file, (by or person()).strip(), new_labels, dry_run)
    except KeyboardInterrupt:
        fail(f"interrupted; nothing of {str(file)!r} was imported", code=130)
    if as_json:
        print_json({"file": str(file), "dry_run": dry_run} | done.as_dict())
    else:
        _tell(file, done, dry_run)
    if done.refused:
        raise SystemExit(1)


@app.command("suspects")
def list_suspects(
    limit: Annotated[int, typer.Option(min=1, help="Of each attribute, the worst first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List truth that is probably wrong, as a model sees it that was not taught it.

    Nothing is changed: look at the photos, and import what is right.
    """
    from tasks.environment import catalogue
    from tasks.suspicion import suspect_truths

    found = suspect_truths(catalogue(), limit)
    if as_json:
        print_json([vars(one) for one in found])
    elif not found:
        print("no truth looks wrong")
    else:
        columns = ("uri", "attribute", "truth", "probability", "likelier", "its probability")
        print_table(columns, [tuple(vars(one).values()) for one in found])


def _tell(file: Path, done: "Imported", dry_run: bool) -> None:
    counts = {name: count for name, count in done.as_dict().items() if isinstance(count, int)}
    always = ("rows", "imported", "unchanged", "skipped", "conflicts", "unknown_photos", "unknown_labels")
    shown = [(name.replace("_", " "), counts[name]) for name in counts if name in always or counts[name]]
    print_table((repr(str(file)), "rows"), [(name, count) for name, count in shown if name != "refused"])
    for problem in done.problems:
        print(one_line(f"line {problem.line}: {problem.told}"))
    hidden = done.refused + done.conflicts - len(done.problems)
    if hidden > 0:
        print(f"and {hidden} more")
    if dry_run:
        print("nothing was written; without --dry-run it is")
    elif done.imported:
        print("what it says of the model: fashion-clip evaluate; of its confidences: fashion-clip calibrate")

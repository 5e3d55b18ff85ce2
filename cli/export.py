"""`fashion-clip export`: the catalogue's labels as a file for other programs, or a sheet to review them."""

from pathlib import Path
from typing import Annotated

import typer

from cli.output import complain, fail, print_json
from fashion_clip.errors import UsageError

REVIEWED = 200  # rows of a sheet: half an hour's work


def export(
    file: Annotated[
        Path,
        typer.Argument(
            help="What to write; its name ends in .csv or .parquet, with --review in .csv or .html.",
            show_default=False,
        ),
    ],
    attribute: Annotated[
        list[str] | None, typer.Option(help="Only this attribute; give the option again for more.")
    ] = None,
    review: Annotated[
        bool, typer.Option("--review", help="Write what waits for a person to look at.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"With --review: how many labels; {REVIEWED} if left out.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write the view catalog_labels to a CSV or Parquet file, by uri and attribute.

    The file appears when it is whole; an existing one stays until then.

    With --review it is a sheet of the view review_queue: the audit sample
    first, then conflicts, photos of unknown things, and what the model is
    least sure of. CSV has a column truth to fill in; HTML is a page with
    pictures that works in any browser and saves such a CSV. Give it back
    with: fashion-clip truth import FILE

    CSV is safe to open in a spreadsheet: a text that begins with = + - @,
    a tab, a line break or an apostrophe gets an apostrophe before it, also
    after a semicolon, tab or line break in the middle of another text. Without
    these apostrophes it is the text as it was. Parquet has texts as they are.
    """
    if limit is not None and not review:
        raise UsageError("--limit goes with --review; labels are exported all")
    try:
        if review:
            _write_sheet(file, attribute or [], limit or REVIEWED, force, as_json)
        else:
            _export_labels(file, attribute or [], force, as_json)
    except KeyboardInterrupt:
        fail(f"interrupted; {str(file)!r} was not written", code=130)


def _export_labels(file: Path, attributes: list[str], force: bool, as_json: bool) -> None:
    from tasks.environment import catalogue
    from tasks.export import SUFFIXES, export_labels
    from tasks.new_file import check_target

    check_target(file, SUFFIXES, force)
    done = export_labels(catalogue(), file, attributes, force)
    if as_json:
        print_json({"file": str(file), "rows": done.rows, "photos": done.photos})
    elif done.rows:
        print(f"{str(file)!r}: {done.rows} labels of {done.photos} photos")
    else:
        print(f"{str(file)!r}: the header alone, there are no labels yet; make some: fashion-clip tag FOLDER")


def _write_sheet(file: Path, attributes: list[str], limit: int, force: bool, as_json: bool) -> None:
    from tasks.environment import catalogue
    from tasks.new_file import check_target
    from tasks.review_sheet import SUFFIXES, write_sheet

    check_target(file, SUFFIXES, force)
    done = write_sheet(catalogue(), file, attributes, limit, force)
    for trouble in done.missing:
        complain(f"no pictures from one source: {trouble}")
    if as_json:
        print_json({"file": str(file), "rows": done.rows, "photos": done.photos, "pictures": done.pictures})
    elif not done.rows:
        print(f"{str(file)!r}: nothing waits to be looked at")
    else:
        pictures = "" if done.pictures is None else f", {done.pictures} with their pictures"
        print(f"{str(file)!r}: {done.rows} labels of {done.photos} photos to look at{pictures}")
        print("when it is filled in: fashion-clip truth import FILE.csv")

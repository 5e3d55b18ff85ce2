"""`fashion-clip export`: the catalogue's labels as a file for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from cli.output import fail, print_json


def export(
    file: Annotated[
        Path, typer.Argument(help="What to write; its name ends in .csv or .parquet.", show_default=False)
    ],
    attribute: Annotated[
        list[str] | None, typer.Option(help="Only this attribute; give the option again for more.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write the view catalog_labels to a CSV or Parquet file, by uri and attribute.

    The file appears when it is whole; an existing one stays until then.

    CSV is safe to open in a spreadsheet: a text that begins with = + - @,
    a tab, a line break or an apostrophe gets an apostrophe before it, also
    after a semicolon, tab or line break in the middle of another text. Without
    these apostrophes it is the text as it was. Parquet has texts as they are.
    """
    from tasks.environment import catalogue
    from tasks.export import check_target, export_labels

    check_target(file, force)
    try:
        done = export_labels(catalogue(), file, attribute or [], force)
    except KeyboardInterrupt:
        fail(f"interrupted; {str(file)!r} was not written", code=130)
    if as_json:
        print_json({"file": str(file), "rows": done.rows, "photos": done.photos})
    elif done.rows:
        print(f"{str(file)!r}: {done.rows} labels of {done.photos} photos")
    else:
        print(f"{str(file)!r}: the header alone, there are no labels yet; make some: fashion-clip tag FOLDER")

"""What every command prints the same way: errors, tables, and JSON for programs."""

import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

FILE_WIDTH = 200  # columns of a table that goes to a file or a pipe, where nothing need be folded


def fail(message: str, code: int) -> NoReturn:
    """Ends the program with one clear line on stderr."""
    complain(message)
    raise SystemExit(code)


def complain(message: str) -> None:
    """One line on stderr about something that failed while the program goes on."""
    print(f"fashion-clip: {one_line(message)}", file=sys.stderr)


def one_line(text: str) -> str:
    """The text without breaks and marks that could make it look like more than one message."""
    return "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text)


def print_json(value: Any) -> None:
    """One JSON document on stdout; times as ISO 8601."""
    print(json.dumps(value, indent=2, default=_as_json))


def _as_json(value: Any) -> str:
    return str(value.isoformat())


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table on stdout: floats with four decimals, numbers to the right, None as nothing.

    What comes from outside is printed as plain text, never as markup.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for position, column in enumerate(columns):
        numbers = all(isinstance(row[position], int | float | None) for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    Console(width=None if sys.stdout.isatty() else FILE_WIDTH).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    # A name from outside may hold a newline or a mark that turns the writing round.
    return text if text.isprintable() else repr(text)

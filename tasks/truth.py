"""Truth that people give, from a CSV file into the catalogue: each row is matched, told apart and kept."""

import getpass
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from tasks.catalog import truth_import
from tasks.catalog.engine import by_itself, one_at_a_time, outlasts_outages, writing_now
from tasks.serving import require_served
from tasks.truth_file import Told, told_truths
from tasks.truth_rows import NONE, RefusedRow, Resolver

CHUNK = 5_000  # rows looked up at once
MOST_TOLD = 10  # problems


@dataclass(frozen=True)
class Problem:
    """What is odd about a line of the file; of a conflict, the row was imported all the same."""

    line: int
    told: str


@dataclass(frozen=True)
class Imported:
    """What became of the rows of a file; in the wide form each cell is a row.

    rows = imported + unchanged + repeated + skipped + refused. conflicts are imported ones, problems
    the first few.
    """

    rows: int
    imported: int
    unchanged: int
    repeated: int
    skipped: int
    conflicts: int
    unknown_photos: int
    ambiguous_photos: int
    unknown_attributes: int
    unknown_labels: int
    contradictory: int
    unusable: int
    problems: tuple[Problem, ...]

    @property
    def refused(self) -> int:
        """Rows that say something and could not be imported."""
        unknown = self.unknown_photos + self.ambiguous_photos + self.unknown_attributes + self.unknown_labels
        return unknown + self.contradictory + self.unusable

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"refused": self.refused}


def person() -> str:
    """The name of who runs this program, as the system has it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have none
        return "unknown"


@outlasts_outages
def import_truth(engine: Engine, file: Path, by: str, new_labels: bool, dry_run: bool) -> Imported:
    """Imports what a file tells, all at once or nothing. The same file again changes nothing.

    The file is read, and what it names is looked up, before others are kept waiting.

    Args:
        by: whose truth it is where a row does not say.
        new_labels: keep labels that the served taxonomy does not have, for a taxonomy to come.
        dry_run: count, and leave the catalogue as it is.

    Raises:
        UsageError: the file cannot be used, or the catalogue is empty.
        CatalogError: the database cannot be reached.
    """
    label_set, now = require_served(engine), datetime.now(UTC)
    told = told_truths(file, list(label_set.attribute_ids))
    tally = _Tally()
    with by_itself(engine) as connection:
        truth_import.begin_staging(connection)
        resolver = Resolver(connection, label_set, by, now, new_labels)
        while chunk := list(islice(told, CHUNK)):
            _stage(connection, resolver, chunk, tally)
        with writing_now(connection) as transaction:
            one_at_a_time(connection)
            done = _settled(connection, tally, resolver.make_labels(connection))
            if dry_run:
                transaction.rollback()
            else:
                truth_import.import_settled(connection, now)
    return done


class _Tally:
    """Counts rows that are not staged, by the names of `Imported`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.staged = 0
        self.problems: list[Problem] = []


def _stage(connection: Connection, resolver: Resolver, chunk: list[Told], tally: _Tally) -> None:
    given = [told for told in chunk if told.label]
    tally.counts["rows"] += len(chunk)
    tally.counts["skipped"] += len(chunk) - len(given)
    staged = []
    for told, row in zip(given, resolver.rows(given), strict=True):
        if isinstance(row, RefusedRow):
            tally.counts[row.kind] += 1
            if len(tally.problems) < MOST_TOLD:
                tally.problems.append(Problem(told.line, row.told))
        else:
            tally.staged += 1
            staged.append({"number": tally.staged, "line": told.line, **row})
    truth_import.stage(connection, staged)


def _settled(connection: Connection, tally: _Tally, new_labels: Mapping[int, int]) -> Imported:
    fates = asdict(truth_import.settle(connection, new_labels))
    counts = tally.counts + Counter(fates) + Counter(unusable=fates["unsampled"])
    kinds = [name for name in Imported.__dataclass_fields__ if name != "problems"]
    problems = sorted([*tally.problems, *_found(connection)], key=lambda problem: problem.line)
    return Imported(problems=tuple(problems[:MOST_TOLD]), **{kind: counts[kind] for kind in kinds})


def _found(connection: Connection) -> Iterator[Problem]:
    """Problems that show only when all rows are there."""
    for line in truth_import.lines_of(connection, "contradictory", MOST_TOLD):
        yield Problem(line, "the same person says two things of it at one time; neither is imported")
    for line in truth_import.lines_of(connection, "unsampled", MOST_TOLD):
        told = "chosen at random needs an inclusion_probability, or a photo of the audit sample"
        yield Problem(line, told)
    for one in truth_import.conflicts(connection, MOST_TOLD):
        label, other = (NONE if name is None else name for name in (one.label, one.other))
        yield Problem(one.line, f"{label!r}, and {one.other_by!r} says {other!r}; kept, the later counts")

"""What a replay is made of: the photos of a catalogue that grew from 2007 to 2019, cut into nights."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.judged import raw_names
from fashion_clip.taxonomy import Attribute, Taxonomy, load_taxonomy

FIRST = 2011  # the last year of the first night: what the small model was trained on
UNKNOWN = ("", "NA")  # what the data set says where it does not know
MONTHS = 12
FEWEST = 40  # photos of a night: twice as many as get truth


@dataclass(frozen=True, eq=False)
class Photo:
    """A product photo. truth: attribute -> label, of the attributes that are known."""

    name: str
    year: int
    content: bytes
    truth: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Night:
    """The photos that come before a run. month: 1..12, the night is the last of its month if `closes`."""

    year: int
    month: int
    closes: bool
    photos: tuple[Photo, ...]


def photos_of(shared: Path, share: float = 1.0) -> list[Photo]:
    """All photos by year and within a year by number; of each year that share, evenly chosen."""
    from pyarrow import parquet

    table = parquet.read_table(shared / "data" / "fashion_products" / "small_60x80.parquet").to_pylist()
    names = [attribute.name for attribute in load_taxonomy("products").attributes]
    found = [
        Photo(
            row["filename"],
            int(row["year"]),
            row["image"]["bytes"],
            {name: row[name] for name in names if row[name] not in UNKNOWN},
        )
        for row in sorted(table, key=lambda row: (int(row["year"]), int(row["id"])))
    ]
    return [photo for number, photo in enumerate(found) if int((number + 1) * share) > int(number * share)]


def first_photos(photos: Iterable[Photo]) -> list[Photo]:
    """Those that the catalogue begins with."""
    return [photo for photo in photos if photo.year <= FIRST]


def nights_of(photos: Sequence[Photo], a_year: int, last: int) -> list[Night]:
    """The years after FIRST up to `last`, each cut into at most `a_year` nights of at least FEWEST photos."""
    nights = []
    for year in range(FIRST + 1, last + 1):
        of_year = [photo for photo in photos if photo.year == year]
        count = max(1, min(a_year, len(of_year) // FEWEST))
        months = [1 + number * MONTHS // count for number in range(count)]
        for number, month in enumerate(months):
            part = of_year[number * len(of_year) // count : (number + 1) * len(of_year) // count]
            nights.append(Night(year, month, months[number + 1 : number + 2] != [month], tuple(part)))
    return [night for night in nights if night.photos]


def labels_in(photos: Iterable[Photo]) -> dict[str, set[str]]:
    """Attribute -> the labels that these photos have."""
    found: dict[str, set[str]] = {}
    for photo in photos:
        for attribute, label in photo.truth.items():
            found.setdefault(attribute, set()).add(label)
    return found


def taxonomy_of(known: Mapping[str, set[str]]) -> Taxonomy:
    """The shop's labels, with their names as prompts, as far as they are known."""
    whole = raw_names(load_taxonomy("products"))
    attributes = tuple(_narrowed(attribute, known) for attribute in whole.attributes)
    return Taxonomy("replay", attributes)


def _narrowed(attribute: Attribute, known: Mapping[str, set[str]]) -> Attribute:
    above = known.get(attribute.parent or "", set())
    labels = tuple(
        replace(label, text=label.name, parents=tuple(one for one in label.parents if one in above))
        for label in attribute.labels
        if label.name in known[attribute.name]
    )
    return replace(attribute, labels=labels)


def write_taxonomy(taxonomy: Taxonomy, file: Path) -> Path:
    """As TOML, whose strings are JSON's."""
    lines = [f"name = {json.dumps(taxonomy.name)}"]
    for attribute in taxonomy.attributes:
        lines.append(f"[attributes.{json.dumps(attribute.name)}]")
        if attribute.parent is not None:
            lines.append(f"parent = {json.dumps(attribute.parent)}")
        lines += [f"templates = {json.dumps(attribute.templates)}", "labels = ["]
        for label in attribute.labels:
            parents = f", parents = {json.dumps(label.parents)}" if label.parents else ""
            lines.append(f"  {{name = {json.dumps(label.name)}{parents}}},")
        lines.append("]")
    file.write_text("\n".join(lines) + "\n")
    return file


def lacking(told: Iterable[Photo], taxonomy: Taxonomy, at_least: int) -> dict[str, set[str]]:
    """Attribute -> labels that the taxonomy has not, and of which there is so much truth."""
    counts = Counter((attribute, label) for photo in told for attribute, label in photo.truth.items())
    has = {(attribute.name, label.name) for attribute in taxonomy.attributes for label in attribute.labels}
    found: dict[str, set[str]] = {}
    for (attribute, label), count in counts.items():
        if count >= at_least and (attribute, label) not in has:
            found.setdefault(attribute, set()).add(label)
    return found


def put(folder: Path, photos: Iterable[Photo]) -> None:
    """The photos as files."""
    for photo in photos:
        (folder / photo.name).write_bytes(photo.content)


def write_truth(file: Path, photos: Sequence[Photo]) -> Path:
    """What a reviewer of these photos says: a row a photo, empty cells where nobody knows."""
    names = [attribute.name for attribute in load_taxonomy("products").attributes]
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["file", *names])
        writer.writerows(_told(photo, names) for photo in photos)
    return file


def _told(photo: Photo, names: Sequence[str]) -> Iterator[str]:
    yield photo.name
    yield from (photo.truth.get(name, "") for name in names)

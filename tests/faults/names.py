"""Hostile names of files and keys, hostile labels: what stands of each in SQL, log and CSV.

Each name is that of a photo and, below `broken/`, that of a file which begins with the name and is no photo.
"""

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from tasks.catalog.engine import connect, reading
from tests.catalogue_fixtures import DEMO_MODEL, DEMO_PHOTOS
from tests.servers.s3 import S3Server

LABELS = (
    "'); DROP TABLE labels;--",
    '=HYPERLINK("http://127.0.0.1/","click")',
    "@SUM(1+1)",
    "-2+3",
    "+1",
    '<b>&"quoted"',
)
# As bytes below a folder; those that are text go to the bucket too, and these, which no folder can hold.
FILES = (
    b"..x.jpg", b"new\nline.jpg", b"quote'\".jpg", "right\u202eto-left.jpg".encode(), b"\xff\xfe.jpg",
    b"%2e%2e%2f.jpg", b"=1+1.jpg", b"x" * 251 + b".jpg", b"deep/" * 190 + b"a thousand bytes.jpg", b"<b>.jpg",
    b"[red]x[/red].jpg", b"$(touch x).jpg", b"; DROP TABLE photos;--.jpg",
)  # fmt: skip
KEYS = ("../x.jpg", "a//b.jpg", "/rooted.jpg", "./dot.jpg", "x" * 1_000 + ".jpg", "tab\t.jpg", "nul\x01.jpg")


@dataclass(frozen=True)
class Outcome:
    """Names that went in, rows (uri, product, label) that came out, the CSV's cells, how many broken files
    stand in quarantine, problems."""

    names: int
    rows: list[tuple[str, str, str]]
    cells: list[list[str]]
    quarantined: int
    problems: list[str]


def make_folder(folder: Path) -> int:
    """The names that this disk can hold, each a picture of its own; returns how many."""
    for number, name in enumerate(FILES):
        _write(folder / os.fsdecode(name), DEMO_PHOTOS[number].read_bytes())
        _write(folder / "broken" / os.fsdecode(name), name)
    return len(FILES)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def fill_bucket(server: S3Server, bucket: str) -> int:
    """The names that are text, and the keys that are no names; returns how many."""
    client = server.client()
    client.create_bucket(Bucket=bucket)
    keys = [name.decode() for name in FILES if b"\xff" not in name] + list(KEYS)
    for number, key in enumerate(keys):
        client.put_object(Bucket=bucket, Key=key, Body=DEMO_PHOTOS[number].read_bytes())
        client.put_object(Bucket=bucket, Key=f"broken/{key}", Body=key.encode())
    return len(keys)


def make_taxonomy(file: Path) -> None:
    """One attribute with all the hostile labels, prompts in plain words."""
    words = ("a sneaker", "a dress", "a shirt", "a bag", "a pair of trousers", "a coat")
    labels = ", ".join(
        f"{{name = {_toml(label)}, text = '{word}'}}" for label, word in zip(LABELS, words, strict=True)
    )
    file.write_text(f'name = "hostile"\n[attributes.kind]\nlabels = [{labels}]\n', encoding="utf-8")


def _toml(value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def tag_hostile(
    url: str, spec: str, names: int, taxonomy: Path, csv_file: Path, environment: dict[str, str]
) -> Outcome:
    """Tags the source, with all of Prefect's log shown, exports it, and lists the quarantine."""
    variables = os.environ | environment | {"FASHION_CLIP_DATABASE_URL": url, "COLUMNS": "200"}
    variables["FASHION_CLIP_MAX_QUARANTINED"] = "1"
    program = [sys.executable, "-m", "cli.main", "--debug"]
    tag = [*program, "tag", spec, "--model", DEMO_MODEL, "--taxonomy", str(taxonomy)]
    quarantine = [*program, "quarantine", "list", "--limit", "1000"]
    done = [
        subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        for command in (tag, [*program, "export", str(csv_file)], quarantine, [*quarantine, "--json"])
    ]
    output = "".join(one.stdout + one.stderr for one in done)
    engine = connect(url)
    with reading(engine) as connection:
        query = text("SELECT uri, product_id, label FROM catalog_labels ORDER BY uri")
        rows = [(uri, product, label) for uri, product, label in connection.execute(query)]
        candidates = set(connection.execute(text("SELECT DISTINCT label FROM label_candidates")).scalars())
    engine.dispose()
    with csv_file.open(newline="", encoding="utf-8") as file:
        cells = list(csv.reader(file))
    problems = [f"exit {one.returncode}: {one.stderr[-500:]}" for one in done if one.returncode]
    problems += _problems(names, rows, cells, output)
    if candidates != set(LABELS):
        problems.append(f"labels in label_candidates: {sorted(candidates)}")
    quarantined = json.loads(done[-1].stdout or "[]")
    problems += _problems_of_broken(names, quarantined)
    return Outcome(names, rows, cells, len(quarantined), problems)


def _problems(names: int, rows: list[tuple[str, str, str]], cells: list[list[str]], output: str) -> list[str]:
    found = []
    if len(rows) != names:
        found.append(f"{len(rows)} rows for {names} names")
    if any(not uri.isascii() or not uri.isprintable() or " " in uri for uri, _, _ in rows):
        found.append("a URI that is not plain ASCII")
    if any(label not in LABELS for _, _, label in rows):
        found.append("a label that no taxonomy has")
    if any(len(row) != len(cells[0]) for row in cells) or len(cells) != names + 1:
        found.append("a CSV whose rows were broken")
    numeric = {"similarity", "confidence", "run_id"}
    if any(
        cell.startswith(("=", "+", "-", "@", "\t", "\r"))
        for row in cells[1:]
        for column, cell in zip(cells[0], row, strict=False)
        if column not in numeric
    ):
        found.append("a CSV cell that a spreadsheet would run")
    if any(mark in output for mark in ("\u202e", "\x01", "new\nline", "tab\t.jpg")):
        found.append("a name that stands raw in the output")
    return found


def _problems_of_broken(names: int, listed: list[dict[str, str]]) -> list[str]:
    """What is wrong with `quarantine list --json`, which names the broken files and what they begin with."""
    found = []
    if len(listed) != names or any("/broken/" not in row["uri"] for row in listed):
        found.append(f"{len(listed)} photos in quarantine for {names} broken ones")
    if any(not (row["uri"] + row["detail"]).isprintable() for row in listed):
        found.append("a row of the quarantine that is not fit to be printed")
    return found

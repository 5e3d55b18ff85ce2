"""Broken, hostile and odd files among good photos, through `fashion-clip tag` as a user calls it.

The files are those of ../shared/data/bad_images, under their own names and again as .jpg, and some that no
collection holds: a FIFO, a folder named x.jpg, an empty file, HTML named .jpg, a PNG of 178 megapixels.
"""

import os
import shutil
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from struct import pack
from typing import Any

from sqlalchemy import text

from tasks.catalog.engine import connect, reading
from tests.catalogue_fixtures import DEMO_MODEL, DEMO_PHOTOS
from tests.faults.memory import Peak

PROGRAM = [sys.executable, "-m", "cli.main"]
GOOD = 200
BOMB_SIDE = 13_350  # pixels: 178 megapixels in 173 KB


@dataclass(frozen=True)
class Outcome:
    """The run's row in run_history, its exit code, peak memory of all its processes together, problems."""

    run: dict[str, Any]
    code: int
    peak_mb: float
    reasons: dict[str, int]
    problems: list[str]


def make_folder(folder: Path, bad_images: Path) -> None:
    """All the files, in subfolders by where they come from."""
    (folder / "good").mkdir(parents=True)
    for photo in DEMO_PHOTOS[:GOOD]:
        shutil.copy(photo, folder / "good" / photo.name)
    for name, suffix in (("own", ""), ("renamed", ".jpg")):
        (folder / name).mkdir()
        for file in sorted(bad_images.iterdir()):
            if file.name != "MANIFEST.csv":
                shutil.copy(file, folder / name / (file.name + suffix))
    odd = folder / "odd"
    odd.mkdir()
    os.mkfifo(odd / "fifo.jpg")
    (odd / "folder.jpg").mkdir()
    (odd / "empty.jpg").touch()
    (odd / "page.jpg").write_text("<!doctype html><title>not found</title>")
    (odd / "bomb.png").write_bytes(_bomb())
    (odd / "link.jpg").symlink_to(folder / "good" / DEMO_PHOTOS[0].name)


def _bomb() -> bytes:
    """A grey PNG of BOMB_SIDE x BOMB_SIDE pixels, all alike."""
    header = pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(BOMB_SIDE * (BOMB_SIDE + 1)), 9)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def tag_bad_images(url: str, bad_images: Path, folder: Path) -> Outcome:
    """Tags such a folder and tells what is wrong with the result."""
    make_folder(folder, bad_images)
    process = subprocess.Popen(
        [*PROGRAM, "tag", str(folder), "--model", DEMO_MODEL, "--taxonomy", "demo"],
        env=os.environ | {"FASHION_CLIP_DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    peak = Peak(process.pid, family=True)
    _, err = process.communicate(timeout=600)
    engine = connect(url)
    with reading(engine) as connection:
        run = dict(connection.execute(text("SELECT * FROM run_history")).one()._mapping)
        reasons: dict[str, int] = dict(
            connection.execute(
                text("SELECT reason, COUNT(*) FROM quarantined_images GROUP BY reason ORDER BY 2 DESC")
            ).all()
        )
        tagged = set(connection.execute(text("SELECT DISTINCT uri FROM catalog_labels")).scalars())
        gone = connection.execute(text("SELECT COUNT(*) FROM quarantined_images WHERE detail = ''")).scalar()
    engine.dispose()
    problems = []
    if sum("/good/" in uri for uri in tagged) != GOOD:
        problems.append("a good photo was not tagged")
    if run["listed"] != run["known"] + run["tagged"] + run["quarantined"] + run["remaining"]:
        problems.append("the counts do not add up")
    if run["remaining"] or run["known"]:
        problems.append("photos remain")
    if gone:
        problems.append(f"{gone} photos are in quarantine without a detail")
    if process.returncode != 1 or "more than 5%" not in err:
        problems.append(f"exit {process.returncode}, {err[-300:]!r}; expected 1, as too many are broken")
    return Outcome(run, process.returncode, peak.megabytes, reasons, problems)

"""Broken, hostile and odd files among good photos, through `fashion-clip tag` as a user calls it.

The files are those of ../shared/data/bad_images, under their own names and again as .jpg, and some that no
collection holds: a FIFO, a folder named x.jpg, an empty file, HTML named .jpg, a PNG of 178 megapixels, a
JPEG that takes minutes to decode.

Run as a module this is fashion-clip, which tells at its end how long the slowest photo took.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from struct import pack
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import text

from fashion_clip.decoder_pipe import Decoder
from tasks.catalog.engine import connect, reading
from tasks.sources.folder import FolderSource
from tests.catalogue_fixtures import DEMO_MODEL, DEMO_PHOTOS
from tests.fashion_clip.endless_jpeg import endless_jpeg
from tests.faults.memory import Peak

PROGRAM = [sys.executable, "-m", "tests.faults.bad_images"]
GOOD = 200
MOST_MB, MOST_SECONDS = 1_500, 20.0
BOMB_SIDE = 13_350  # pixels: 178 megapixels in 173 KB


@dataclass(frozen=True)
class Outcome:
    """The run's row in run_history, peak memory of all its processes together, the seconds that the slowest
    photo took to be read or to be decoded, how many failed for which reason, problems."""

    run: dict[str, Any]
    peak_mb: float
    slowest: float
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
    (odd / "endless.jpg").write_bytes(endless_jpeg())
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
    problems = _problems(run, reasons, folder)
    if sum("/good/" in uri for uri in tagged) != GOOD:
        problems.append("a good photo was not tagged")
    if gone:
        problems.append(f"{gone} photos are in quarantine without a detail")
    if process.returncode != 1 or "more than 5%" not in err:
        problems.append(f"exit {process.returncode}, {err[-300:]!r}; expected 1, as too many are broken")
    told = re.search(r"slowest photo: ([\d.]+) s", err)
    slowest = float(told[1]) if told else float("nan")
    if not slowest <= MOST_SECONDS:
        problems.append(f"a photo took {slowest} s")
    if peak.megabytes > MOST_MB:
        problems.append(f"peak memory {peak.megabytes:.0f} MB")
    return Outcome(run, peak.megabytes, slowest, reasons, problems)


def _problems(run: dict[str, Any], reasons: dict[str, int], folder: Path) -> list[str]:
    """Files that are not told of, and counts that do not add up."""
    found = []
    files = sum(len(names) for _, _, names in os.walk(folder))
    if run["listed"] + run["ignored"] != files:
        found.append(f"{run['listed']} listed + {run['ignored']} ignored, of {files} files")
    if run["listed"] != run["known"] + run["tagged"] + run["quarantined"] + run["remaining"]:
        found.append("the counts do not add up")
    if run["remaining"] or run["known"]:
        found.append("photos remain")
    if run["quarantined"] != sum(reasons.values()):
        found.append("the quarantine holds more or less than the run put there")
    found += [f"none was {reason}" for reason in ("too_slow", "too_many_pixels") if reason not in reasons]
    return found


Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _timed(function: Callable[Parameters, Result], seconds: list[float]) -> Callable[Parameters, Result]:
    def timed(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        began = time.monotonic()
        try:
            return function(*args, **kwargs)
        finally:
            seconds.append(time.monotonic() - began)

    return timed


def _main() -> None:
    from cli.main import main

    seconds: list[float] = []
    FolderSource.read = _timed(FolderSource.read, seconds)  # type: ignore[method-assign]
    Decoder.decode = _timed(Decoder.decode, seconds)  # type: ignore[method-assign]
    try:
        main()
    finally:
        print(f"slowest photo: {max(seconds):.1f} s", file=sys.stderr)


if __name__ == "__main__":
    _main()

"""A report of evaluations as a folder: a page to read, its figures as JSON, its pictures as files."""

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fashion_clip.errors import FashionClipError, UsageError
from fashion_clip.evaluation import Evaluation, document
from fashion_clip.metrics import AttributeMetrics
from fashion_clip.plots.by_confidence import by_confidence
from fashion_clip.plots.by_label import by_label
from fashion_clip.plots.confusion import confusion_matrix
from fashion_clip.plots.embedding_map import FEWEST, MOST, embedding_map, map_positions
from fashion_clip.plots.mistakes import mistakes_sheet, names_of
from fashion_clip.plots.reliability import reliability
from fashion_clip.plots.similarities import similarities
from fashion_clip.plots.style import to_png
from fashion_clip.predictions import Predictions
from fashion_clip.report_page import Picture, page

PAGE, FIGURES, PICTURES = "index.html", "evaluation.json", "pictures"
SEED = 0  # of the photos on the map

Positions = Mapping[str, npt.NDArray[np.float32]]


def check_report_folder(folder: Path) -> None:
    """What can be told of the folder before anything is measured.

    Raises:
        UsageError: a file, no such parent folder, or a folder that holds something else than a report.
        FashionClipError: it may not be looked into.
    """
    with _reported(folder):
        _check(folder)


def write_report(
    folder: Path,
    evaluations: Sequence[Evaluation],
    thumbnails: Callable[[str], Image.Image | None],
    vectors: Mapping[str, npt.NDArray[np.float32]],
    hierarchy: Mapping[str, Mapping[str, str]] | None,
) -> Path:
    """Writes index.html (pictures included), evaluation.json and pictures/; returns the page's path.

    The first evaluation is told in full, the others beside it. The folder appears when it is whole; an
    earlier report there is replaced then.

    Args:
        evaluations: at least one.
        thumbnails: photo -> its picture, or None where there is none; asked for the surest mistakes.
        vectors: photo -> unit vector, for the map; of those photos that have one.
        hierarchy: attribute -> label -> its first parent label, which orders the confusion matrix.

    Raises:
        UsageError: see `check_report_folder`.
        FashionClipError: the folder cannot be written.
    """
    check_report_folder(folder)
    first = evaluations[0]
    positions = _positions(first, vectors)
    pictures = {
        metrics.attribute: _pictures(
            f"{number:02}-{_file_name(metrics.attribute)}",
            metrics,
            predictions,
            thumbnails,
            positions,
            (hierarchy or {}).get(metrics.attribute),
        )
        for number, (metrics, predictions) in enumerate(
            zip(first.attributes, first.predictions, strict=True), 1
        )
    }
    with _whole(folder) as part:
        (part / PAGE).write_text(page(evaluations, pictures, datetime.now(UTC)), "utf-8")
        figures = json.dumps(document(evaluations), indent=1, ensure_ascii=False, allow_nan=False)
        (part / FIGURES).write_text(figures + "\n", "utf-8")
        (part / PICTURES).mkdir()
        for of_attribute in pictures.values():
            for picture in of_attribute:
                (part / PICTURES / picture.file).write_bytes(picture.content)
    return folder / PAGE


def _pictures(
    stem: str,
    metrics: AttributeMetrics,
    predictions: Predictions,
    thumbnails: Callable[[str], Image.Image | None],
    positions: Positions,
    parents: Mapping[str, str] | None,
) -> list[Picture]:
    found = []

    def add(kind: str, content: bytes, caption: str, whole: bool = False) -> None:
        found.append(Picture(f"{stem}-{kind}", content, caption, whole))

    add("reliability.png", to_png(reliability(predictions)), "Confidence and accuracy")
    add("by-confidence.png", to_png(by_confidence(predictions)), "What a threshold of confidence buys")
    add("similarities.png", to_png(similarities(predictions)), "Similarity of right and wrong labels")
    on_map = [row for row, photo in enumerate(predictions.photos) if photo in positions]
    if len(on_map) >= FEWEST:
        places = np.stack([positions[predictions.photos[row]] for row in on_map])
        labels = [names_of(predictions, row)[0] for row in on_map]
        drawn = embedding_map(metrics.attribute, places, labels)
        add("map.png", to_png(drawn), "Photos near each other look alike to the model; colours are the truth")
    if metrics.outside < metrics.n:
        add("by-label.png", to_png(by_label(metrics)), "Recall of each label, 95 % intervals", True)
        matrix = to_png(confusion_matrix(predictions, parents))
        add("confusion.png", matrix, "Which label is taken for which (press for full size)", True)
    if sheet := mistakes_sheet(predictions, thumbnails):
        add("mistakes.jpg", sheet, "The mistakes it was surest of: the truth, and what it said", True)
    return found


def _positions(evaluation: Evaluation, vectors: Mapping[str, npt.NDArray[np.float32]]) -> Positions:
    """Where photos stand on the map; none if there are too few for one."""
    drawn = photos_on_map(evaluation, vectors)
    if len({vectors[photo].tobytes() for photo in drawn}) < FEWEST:
        return {}
    return dict(zip(drawn, map_positions(np.stack([vectors[photo] for photo in drawn])), strict=True))


def photos_on_map(evaluation: Evaluation, vectors: Container[str] | None = None) -> list[str]:
    """Photos of an evaluation for the map, all or MOST of them drawn at random, the same ones each time.

    vectors: the photos that have one; all if left out.
    """
    photos = {photo for entry in evaluation.predictions for photo in entry.photos}
    there = sorted(photos if vectors is None else (photo for photo in photos if photo in vectors))
    chosen = np.random.default_rng(SEED).permutation(len(there))[:MOST]
    return [there[number] for number in np.sort(chosen)]


def _file_name(attribute: str) -> str:
    return re.sub("[^A-Za-z0-9]+", "-", attribute).strip("-")[:40]


def _check(folder: Path) -> None:
    name = repr(str(folder))
    if folder.is_dir():
        held = {entry.name for entry in folder.iterdir()}
        if held and not (held <= {PAGE, FIGURES, PICTURES} and _is_document(folder / FIGURES)):
            raise UsageError(
                f"{name} holds something else than a report; give the name of a folder that is empty, "
                "new, or an earlier report"
            )
    elif folder.exists():
        raise UsageError(f"{name} is a file; give the name of a folder for the report")
    elif not folder.parent.is_dir():
        raise UsageError(f"no folder {str(folder.parent)!r} for {folder.name!r}; create it first")


def _is_document(file: Path) -> bool:
    if not file.is_file():
        return False
    try:
        held = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(held, dict) and held.keys() >= {"evaluations", "differences"}


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of `folder` when the block ends; where it fails, nothing is left."""
    target = Path(os.path.realpath(folder))  # a link stays one
    token = secrets.token_hex(8)
    part, old = target.with_name(f".{token}.part"), target.with_name(f".{token}.old")
    with _reported(folder):
        part.mkdir()
        try:
            yield part
            _check(folder)  # it may be minutes later
            if target.exists():
                target.rename(old)
            try:
                part.rename(target)
            except BaseException:
                if old.exists():
                    old.rename(target)
                raise
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FashionClipError(f"cannot write {str(folder)!r}: {error.strerror or error}") from error

"""A report is one page that needs nothing else, says what was measured, and appears whole or not at all."""

import base64
import json
import os
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fashion_clip.errors import FashionClipError, UsageError
from fashion_clip.evaluation import Evaluation, evaluate
from fashion_clip.plots.mistakes import names_of, surest_mistakes
from fashion_clip.report import check_report_folder, photos_on_map, write_report
from fashion_clip.taxonomy import load_taxonomy
from tests.fashion_clip.predictions_made_up import at_random, written_out

VOID = ("meta", "img", "input", "link", "br")
EVIL = ["<script>alert(1)</script>", "$x$", "\"><img src=x onerror='alert(1)'>", "_hidden", "w" * 300]


class Page(HTMLParser):
    """What a browser sees: tags in balance, images, cells of tables, text outside of style."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.attributes: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.sources.append(dict(attrs)["src"] or "")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data
        if self.open and ("td" in self.open or "th" in self.open):
            self.rows[-1][-1] += data

    def row(self, *begin: str) -> list[str]:
        (found,) = [row for row in self.rows if row[: len(begin)] == list(begin)]
        return found


def thumbnail(photo: str) -> Image.Image:
    return Image.new("RGB", (30, 40), "red")


def vectors_of(evaluation: Evaluation) -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    photos = {photo for entry in evaluation.predictions for photo in entry.photos}
    return {photo: rng.normal(size=16).astype(np.float32) for photo in sorted(photos)}


def bare(warnings: tuple[str, ...] = ()) -> Evaluation:
    """One photo, whose truth is outside: what makes the fewest pictures."""
    return evaluate("model", "data", "", [written_out([-1], [0], [0.9])], {}, warnings)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path, Page]:
    """A report of hostile names beside another evaluation."""
    folder = tmp_path_factory.mktemp("reports") / "report"
    predictions = [at_random(EVIL, 80, attribute=EVIL[0]), at_random("abc", 80, attribute="../../$kind")]
    photos = predictions[0].photos
    columns = {EVIL[2]: dict.fromkeys(photos[:50], EVIL[0])}
    first = evaluate(EVIL[0], EVIL[2], "f" * 64, predictions, columns, ["a & b <b>c</b>"])
    other = evaluate("zero-shot", "same", "f" * 64, [at_random(EVIL, 80, 0, 0.3, EVIL[0])], {})
    index = write_report(folder, [first, other], thumbnail, vectors_of(first), {EVIL[0]: {EVIL[1]: EVIL[2]}})
    assert index == folder / "index.html"
    return first, folder, Page(index.read_text("utf-8"))


def test_names_from_outside_stay_text(written: tuple[Evaluation, Path, Page]) -> None:
    _, _, page = written
    assert "script" not in page.tags
    assert not {name for name in page.attributes if name.startswith("on")}
    for name in (*EVIL, "a & b <b>c</b>", "../../$kind"):
        assert name in page.text


def test_the_page_needs_nothing_else(written: tuple[Evaluation, Path, Page]) -> None:
    _, folder, page = written
    text = (folder / "index.html").read_text("utf-8")
    assert page.sources
    for source in page.sources:
        kind, content = source.split(";base64,")
        with Image.open(BytesIO(base64.b64decode(content))) as image:
            image.load()
            assert kind == f"data:image/{image.format.lower()}"  # type: ignore[union-attr]
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text


def test_pictures_are_files_too_and_stay_in_their_folder(written: tuple[Evaluation, Path, Page]) -> None:
    _, folder, page = written
    names = sorted(file.name for file in (folder / "pictures").iterdir())
    kinds = (
        "by-confidence.png",
        "by-label.png",
        "confusion.png",
        "map.png",
        "mistakes.jpg",
        "reliability.png",
        "similarities.png",
    )
    assert names == [f"{stem}-{kind}" for stem in ("01-script-alert-1-script", "02-kind") for kind in kinds]
    assert len(page.sources) == len(names)
    assert sorted(entry.name for entry in folder.iterdir()) == ["evaluation.json", "index.html", "pictures"]
    assert [entry.name for entry in folder.parent.iterdir()] == ["report"]


def test_figures_stand_in_the_tables(written: tuple[Evaluation, Path, Page]) -> None:
    first, _, page = written
    metrics = first.attributes[1]
    summary = page.row("../../$kind", "80")
    share = metrics.accuracy
    assert summary[2] == (f"{100 * share.estimate:.1f} %{100 * share.low:.1f} to {100 * share.high:.1f} %")
    assert summary[3:] == [
        f"{100 * metrics.top5:.1f} %",
        f"{metrics.macro_f1:.3f}",
        f"{metrics.weighted_f1:.3f}",
        f"{metrics.calibration_error:.3f}",
        f"{100 * metrics.coverage_at_95:.1f} %",
    ]
    label = metrics.labels[1]
    told = page.row("b", str(label.support), str(label.predicted))
    assert told[3] == f"{100 * label.precision:.1f} %"
    assert told[4].startswith(f"{100 * label.recall:.1f} %{100 * label.recall_low:.1f} to ")
    (part,) = [entry for entry in first.slices if entry.attribute == "../../$kind"]
    rows = [row for row in page.rows if row[:3] == [part.name, part.value, "50"]]
    assert any(row[3].startswith(f"{100 * part.accuracy.estimate:.1f} %") for row in rows)
    assert "inclusion probability" in page.text
    predictions = first.predictions[1]
    for row in surest_mistakes(predictions):
        told = [
            predictions.photos[row],
            *names_of(predictions, int(row)),
            f"{predictions.confidence[row]:.3f}",
        ]
        assert told in page.rows


def test_the_other_evaluation_stands_beside(written: tuple[Evaluation, Path, Page]) -> None:
    _, folder, page = written
    document = json.loads((folder / "evaluation.json").read_text("utf-8"))
    assert [entry["model"] for entry in document["evaluations"]] == [EVIL[0], "zero-shot"]
    (difference,) = document["differences"]
    assert (difference["model"], difference["other"], difference["attribute"]) == (
        EVIL[0],
        "zero-shot",
        EVIL[0],
    )
    heading = next(number for number, row in enumerate(page.rows) if row[-1:] == ["Difference"])
    assert page.rows[heading][1:3] == [EVIL[0], "zero-shot"]
    told = page.rows[heading + 1]
    assert told[3] == (
        f"{100 * difference['estimate']:+.1f} points"
        f"{100 * difference['low']:+.1f} to {100 * difference['high']:+.1f}"
    )


def test_a_map_is_of_so_many_photos_and_the_same_ones_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fashion_clip.report.MOST", 30)
    evaluation = evaluate(
        "model", "data", "", [at_random("ab", 50), at_random("ab", 80, attribute="mood")], {}
    )
    photos = evaluation.predictions[1].photos
    chosen = photos_on_map(evaluation)
    assert len(chosen) == 30
    assert set(chosen) <= set(photos)
    assert chosen == photos_on_map(evaluation)
    assert photos_on_map(evaluation, chosen) == chosen
    assert photos_on_map(evaluation, photos[:20]) == sorted(photos[:20])


def test_143_labels_make_a_report_of_moderate_size(tmp_path: Path) -> None:
    names = [
        label.name
        for attribute in load_taxonomy("products").attributes
        if attribute.name == "articleType"
        for label in attribute.labels
    ]
    evaluation = evaluate("model", "data", "f" * 64, [at_random(names, 1_500)], {})
    index = write_report(tmp_path / "report", [evaluation], thumbnail, {}, None)
    assert index.stat().st_size < 3_000_000
    page = Page(index.read_text("utf-8"))
    assert {row[0] for row in page.rows} >= set(names)
    assert not (tmp_path / "report" / "pictures" / "01-kind-map.png").exists()


def test_nothing_to_show_is_still_a_report(tmp_path: Path) -> None:
    """No vectors, no pictures to be had, one photo whose truth is outside."""
    evaluation = evaluate(
        "model", "data", "", [written_out([-1], [0], [0.9]), at_random("ab", 4).rows([])], {}
    )
    index = write_report(tmp_path / "report", [evaluation], lambda _: None, {}, None)
    page = Page(index.read_text("utf-8"))
    assert "none of the labels" in page.text
    assert "No photo has truth for kind" in page.text
    assert len(page.sources) == 3


def unwritable() -> Evaluation:
    """Its figures are no JSON, which is told when half of the folder is written."""
    found = bare()
    return replace(found, attributes=(replace(found.attributes[0], macro_f1=float("nan")),))


@pytest.mark.parametrize("earlier", [False, True])
def test_what_fails_leaves_all_as_it_was(tmp_path: Path, earlier: bool) -> None:
    folder = tmp_path / "report"
    if earlier:
        write_report(folder, [bare()], lambda _: None, {}, None)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_report(folder, [unwritable()], lambda _: None, {}, None)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report"] * earlier


def test_an_earlier_report_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write_report(folder, [bare(("first time",))], thumbnail, {}, None)
    assert (folder / "pictures" / "01-kind-mistakes.jpg").exists()
    write_report(folder, [bare(("second time",))], lambda _: None, {}, None)
    text = (folder / "index.html").read_text("utf-8")
    assert "second time" in text
    assert "first time" not in text
    assert not (folder / "pictures" / "01-kind-mistakes.jpg").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["report"]


def an_empty_folder(folder: Path) -> None:
    folder.mkdir()


def a_link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    folder.symlink_to("elsewhere")


@pytest.mark.parametrize("prepare", [an_empty_folder, a_link])
def test_an_empty_folder_is_taken(tmp_path: Path, prepare: Callable[[Path], None]) -> None:
    folder = tmp_path / "report"
    prepare(folder)
    was_link = folder.is_symlink()
    write_report(folder, [bare()], lambda _: None, {}, None)
    assert (folder / "index.html").is_file()
    assert folder.is_symlink() == was_link


def somebodys_folder(folder: Path) -> None:
    folder.mkdir()
    (folder / "evaluation.json").write_text("{}")
    (folder / "thesis.doc").write_text("years of work")


def a_document_of_another(folder: Path) -> None:
    folder.mkdir()
    (folder / "index.html").write_text("my home page")
    (folder / "evaluation.json").write_text('{"evaluations": []}')


def a_file_that_is_no_document(folder: Path) -> None:
    folder.mkdir()
    (folder / "evaluation.json").write_bytes(b"\xff no JSON")


def a_page_of_another(folder: Path) -> None:
    folder.mkdir()
    (folder / "index.html").write_text("my home page")


def a_file(folder: Path) -> None:
    folder.write_text("text")


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (somebodys_folder, "holds something else than a report"),
        (a_page_of_another, "holds something else than a report"),
        (a_document_of_another, "holds something else than a report"),
        (a_file_that_is_no_document, "holds something else than a report"),
        (a_file, "is a file"),
    ],
)
def test_what_is_no_report_is_not_touched(tmp_path: Path, prepare: Callable[[Path], None], told: str) -> None:
    folder = tmp_path / "report"
    prepare(folder)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    for attempt in (
        lambda: check_report_folder(folder),
        lambda: write_report(folder, [bare()], thumbnail, {}, None),
    ):
        with pytest.raises(UsageError, match=told):
            attempt()
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_a_folder_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="create it first"):
        check_report_folder(tmp_path / "no" / "report")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A name as long as a file system bears, so that its neighbour's is fine and it itself is not."""
    with pytest.raises(FashionClipError, match="cannot write"):
        check_report_folder(tmp_path / ("w" * (os.pathconf(tmp_path, "PC_NAME_MAX") + 1)))

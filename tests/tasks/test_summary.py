"""A run's artifact: its counts, how labels are distributed, and the photos it was least sure of."""

import base64
import hashlib
import re
import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from fashion_clip.decode import Limits, Picture, decode_picture
from tasks import summary, thumbnails
from tasks.catalog import runs
from tasks.settings import Settings
from tasks.sources import Source, open_source
from tasks.summary import LabelCount, Unsure
from tests.catalogue_fixtures import Tagged, new_run, rows


@pytest.fixture
def source(tagged: Tagged) -> Source:
    return open_source(str(tagged.folder), Settings.model_fields["suffixes"].default)


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_labels_are_counted_over_the_photos_of_the_run(tagged: Tagged) -> None:
    counts = summary.label_counts(tagged.engine, tagged.run_id, tagged.label_set)
    expected = rows(
        tagged.engine, "SELECT attribute, label, COUNT(*) FROM catalog_labels GROUP BY attribute, label"
    )
    assert sorted((c.attribute, c.label, c.photos) for c in counts) == sorted(expected)
    assert [c.photos for c in counts] == sorted((c.photos for c in counts), reverse=True)
    assert summary.label_counts(tagged.engine, new_run(tagged.engine), tagged.label_set) == []


def test_the_least_sure_come_first(tagged: Tagged) -> None:
    unsure = summary.least_sure(tagged.engine, tagged.run_id, tagged.label_set)
    expected = rows(
        tagged.engine,
        "SELECT uri, label, confidence FROM catalog_labels WHERE attribute = 'category'"
        " ORDER BY confidence, uri",
    )
    assert [(photo.uri, photo.label, photo.confidence) for photo in unsure] == expected[: summary.LEAST_SURE]
    assert len(unsure) == summary.LEAST_SURE


def test_the_sheet_leaves_out_what_can_no_longer_be_shown(tagged: Tagged, source: Source) -> None:
    uri = source.uri + "zz-copy.png"
    digest = digest_of(tagged.folder / "zz-copy.png")
    photos = [Unsure(uri, digest, "Clothing", 0.4), Unsure(source.uri + "gone.png", digest, "Clothing", 0.5)]
    whole = summary.unsure_sheet(source, photos)
    assert whole is not None
    assert whole == summary.unsure_sheet(source, photos[:1])
    assert Image.open(BytesIO(whole)).format == "JPEG"
    assert summary.unsure_sheet(source, photos[1:]) is None
    other_bytes = digest_of(tagged.folder / "broken.jpg")
    assert summary.unsure_sheet(source, [replace(photos[0], sha256=other_bytes)]) is None
    broken = Unsure(source.uri + "broken.jpg", other_bytes, "Clothing", 0.5)
    assert summary.unsure_sheet(source, [broken]) is None
    assert summary.unsure_sheet(source, []) is None


def test_a_large_photo_is_decoded_at_a_part_of_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the decoders' processes decoded no more than a part of it, this one does not either."""
    file = tmp_path / "large.jpg"
    Image.linear_gradient("L").resize((4000, 3000)).save(file)
    sizes = []

    def decoding(data: bytes, limits: Limits, needed_edge: int | None) -> Picture:
        picture = decode_picture(data, limits, needed_edge)
        sizes.append(picture.image.size)
        return picture

    monkeypatch.setattr(thumbnails, "decode_picture", decoding)
    source = open_source(str(tmp_path), frozenset({".jpg"}))
    assert summary.unsure_sheet(source, [Unsure(source.uri + file.name, digest_of(file), "Clothing", 0.4)])
    assert sizes == [(500, 375)]


def test_a_photo_of_any_name_can_be_on_the_sheet(tagged: Tagged, tmp_path: Path) -> None:
    names = ["new\nline.png", "\u202eright to left.png", "服.png", "😀.png", "x" * 200 + ".png", "%0A.png"]
    for name in names:
        shutil.copy(tagged.folder / "zz-copy.png", tmp_path / name)
    source = open_source(str(tmp_path), frozenset({".png"}))
    digest = digest_of(tagged.folder / "zz-copy.png")
    unsure = [Unsure(photo.uri, digest, "Clothing", 0.5) for photo in source.listing()]
    sheet = summary.unsure_sheet(source, unsure)
    assert len(unsure) == len(names)
    assert sheet is not None
    assert Image.open(BytesIO(sheet)).width > 6 * 100


def test_the_text_tells_counts_labels_and_shows_the_sheet(tagged: Tagged, source: Source) -> None:
    run = runs.summary(tagged.engine, tagged.run_id)
    counts = summary.label_counts(tagged.engine, tagged.run_id, tagged.label_set)
    sheet = summary.unsure_sheet(source, summary.least_sure(tagged.engine, tagged.run_id, tagged.label_set))
    told = summary.markdown(run, "", tagged.label_set, counts, sheet)
    assert f"# Run {run.run_id}: completed" in told
    assert "| listed | known | embedded | tagged | quarantined | remaining | ignored |" in told
    assert "| 62 | 0 | 60 | 61 | 1 | 0 | 0 |" in told
    assert tagged.label_set.model_version in told
    for attribute in tagged.label_set.taxonomy.attributes:
        assert f"## {attribute.name}" in told
    shares = re.findall(r"^\| [A-Z].* \| (\d+) \|$", told.partition("## articleType")[2], re.MULTILINE)
    assert sum(map(int, shares)) + sum(map(int, re.findall(r"other labels? \| (\d+)", told))) == 61
    [image] = re.findall(r"!\[[^\]]*\]\(data:image/jpeg;base64,([^)]*)\)", told)
    assert Image.open(BytesIO(base64.b64decode(image, validate=True))).format == "JPEG"


def test_a_run_that_did_nothing_is_told_in_its_counts_alone(tagged: Tagged) -> None:
    run = replace(runs.summary(tagged.engine, tagged.run_id), tagged=0, listed=0)
    assert summary.markdown(run, "", None, [], None).count("\n\n") == 1
    with_model = summary.markdown(run, "", tagged.label_set, [], None)
    assert tagged.label_set.model_version in with_model
    assert "##" not in with_model
    assert "data:" not in with_model


def test_rare_labels_are_told_together(tagged: Tagged) -> None:
    run = runs.summary(tagged.engine, tagged.run_id)
    counts = [LabelCount("articleType", f"L{number}", 20 - number) for number in range(11)]
    told = summary.markdown(run, "", tagged.label_set, counts, None)
    assert "| L7 | 13 |\n| 3 other labels | 33 |" in told
    assert "L8" not in told
    assert "other labels" not in summary.markdown(run, "", tagged.label_set, counts[:8], None)


def test_a_name_cannot_break_out_of_its_cell(tagged: Tagged) -> None:
    run = runs.summary(tagged.engine, tagged.run_id)
    name = "a|b `c` <img src=x> [l](http://h) *s*"
    told = summary.markdown(run, "", tagged.label_set, [LabelCount("category", name, 3)], None)
    [row] = [line for line in told.splitlines() if "img" in line]
    assert re.sub(r"\\.", "", row).count("|") == 3
    assert not re.search(r"(?<!\\)[<>`\[\]*]", row)
    assert row.endswith(" | 3 |")

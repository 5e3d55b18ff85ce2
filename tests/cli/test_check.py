"""`fashion-clip check`: what it prints, its exit codes, and what it says where there is nothing to say."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete

from fashion_clip.demo import truth
from tasks.catalog.engine import writing
from tasks.catalog.tables import truths
from tests.catalogue_fixtures import DEMO_PHOTOS, Misled, rows, write_truth
from tests.cli.conftest import Finished

Run = Callable[..., Finished]

pytestmark = pytest.mark.usefixtures("prefect_api")

SWAPPED = ("Bags", "Shirts")  # by the prompts of the misled catalogue


def test_an_empty_catalogue_is_told_what_to_do(catalogue: Engine, run: Run) -> None:
    ended = run("check")
    assert ended.code == 2
    assert "the catalogue is empty: tag some photos first" in ended.err


def test_from_too_little_truth_to_a_drop(
    misled: Misled, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_CLIP_CHECK_HOURS", "0")
    with writing(misled.engine) as connection:
        connection.execute(delete(truths))
    first = run("check")
    assert first.code == 0, first.err
    assert "too little truth for a baseline: fashion-clip export review.html --review" in first.out
    types = {photo: truth()[photo.name]["articleType"] for photo in DEMO_PHOTOS}
    for swapped in (False, True):
        photos = [photo for photo, its in types.items() if (its in SWAPPED) is swapped]
        imported = run("truth", "import", write_truth(tmp_path / "told.csv", photos))
        assert imported.code == 0, imported.err
        ended = run("check", "--json")
        assert ended.code == int(swapped), ended.err
        found = json.loads(ended.out)
        [reading] = found["readings"]
        assert "state" not in reading
        assert reading["status"] == ("dropped" if swapped else "ok")
    assert found["drop"]["attribute"] == "articleType"
    last = run("check")
    assert last.code == 1
    assert "drop 1, articleType: 0.0% of 20 truths" in last.out
    assert "retrain-model was asked for where Prefect has its deployment" in last.out
    monkeypatch.setenv("FASHION_CLIP_CHECK_HOURS", "12")
    assert "a look so soon after counts nothing" in run("check").out
    assert rows(misled.engine, "SELECT COUNT(*) FROM accuracy_checks") == [(4,)]


def test_a_setting_that_cannot_be_is_told(
    catalogue: Engine, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_CLIP_RETRAIN", "always")
    ended = run("check")
    assert ended.code == 2
    assert "FASHION_CLIP_RETRAIN='always'" in ended.err

"""Truth comes in, accuracy is seen to drop, and a better model is put in place, on a real Prefect server."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete

from fashion_clip.demo import truth
from fashion_clip.errors import QuarantineError, UsageError
from flows.check_accuracy import check_accuracy
from flows.nightly_tagging import nightly_tagging
from tasks.catalog.engine import writing
from tasks.catalog.tables import truths
from tasks.checking import Checked
from tasks.truth import import_truth
from tests.catalogue_fixtures import DEMO_MODEL, DEMO_PHOTOS, Misled, put_photos, rows, write_truth

MISLED_TYPES = ("Bags", "Shirts")  # that the misleading prompts take for each other


def told(engine: Engine, folder: Path, photos: list[Path], by: str = "ann") -> None:
    import_truth(engine, write_truth(folder / "told.csv", photos), by, new_labels=False, dry_run=False)


def of_types(photos: list[Path], among: tuple[str, ...], wanted: bool) -> list[Path]:
    known = truth()
    return [photo for photo in photos if (known[photo.name]["articleType"] in among) is wanted]


@pytest.fixture
def drifting(
    misled: Misled, prefect_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Misled, list[Path]]:
    """The champion is right of what has been told so far, and wrong of the photos that are given here."""
    with writing(misled.engine) as connection:
        connection.execute(delete(truths))
    monkeypatch.setenv("FASHION_CLIP_CHECK_HOURS", "0")
    told(misled.engine, tmp_path, of_types(DEMO_PHOTOS, MISLED_TYPES, wanted=False))
    found: Checked = check_accuracy()
    [reading] = found.readings
    assert (reading.status, reading.baseline_n >= 200) == ("ok", True)
    assert reading.baseline is not None and reading.baseline > 0.8
    return misled, of_types(DEMO_PHOTOS, MISLED_TYPES, wanted=True)


def events(prefect_api: str, name: str) -> list[dict[str, Any]]:
    import httpx

    asked = {"filter": {"event": {"name": [name]}}, "limit": 50}
    found: list[dict[str, Any]] = httpx.post(f"{prefect_api}/events/filter", json=asked).json()["events"]
    return found


def test_a_drop_is_answered_inline_by_a_better_model_once(
    drifting: tuple[Misled, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misled, wrong = drifting
    monkeypatch.setenv("FASHION_CLIP_RETRAIN", "inline")
    monkeypatch.setenv("FASHION_CLIP_APPROVAL", "automatic")
    before = rows(misled.engine, "SELECT uri, label FROM catalog_labels ORDER BY uri")
    told(misled.engine, tmp_path, wrong)
    found: Checked = check_accuracy()
    assert found.dropped
    assert rows(misled.engine, "SELECT attribute, outcome FROM drop_history") == [("articleType", "promoted")]
    assert rows(misled.engine, "SELECT uri, label FROM catalog_labels ORDER BY uri") != before
    after: Checked = check_accuracy()
    assert after.model_version != found.model_version
    assert [one.status for one in after.readings] == ["waiting"]
    assert rows(misled.engine, "SELECT COUNT(*) FROM retrainings") == [(1,)]
    [(text,)] = artifacts("promotion")
    assert f"It replaces `{found.model_version}`" in text
    assert re.search(r"\| articleType \| Bags \| Shirts \| \d+ \|", text)


def artifacts(key: str) -> list[tuple[str]]:
    from prefect.artifacts import Artifact

    found: Any = Artifact.get(key)
    return [] if found is None else [(str(found.data),)]


def test_a_drop_is_told_by_an_event_until_it_is_answered(
    drifting: tuple[Misled, list[Path]], prefect_api: str, tmp_path: Path
) -> None:
    misled, wrong = drifting
    already = len(events(prefect_api, "fashion.accuracy.dropped"))
    told(misled.engine, tmp_path, wrong)
    found: Checked = check_accuracy()
    assert found.drop is not None
    again: Checked = check_accuracy()
    assert again.drop is not None and again.drop.drop_id == found.drop.drop_id
    assert rows(misled.engine, "SELECT COUNT(*) FROM accuracy_drops") == [(1,)]
    deadline = time.monotonic() + 60
    while len(sent := events(prefect_api, "fashion.accuracy.dropped")) < already + 2:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    event = sent[0]
    assert event["resource"]["prefect.resource.id"] == f"fashion.model.{found.model_version}"
    payload = event["payload"]
    assert (payload["drop"], payload["attribute"]) == (found.drop.drop_id, "articleType")
    assert payload["reason"].startswith("articleType: ")
    [(text,)] = artifacts("accuracy")
    assert "# Accuracy has dropped: articleType" in text
    assert "data:image/png" in text


def test_a_night_checks_what_it_serves(
    catalogue: Engine, prefect_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_CLIP_CHECK_HOURS", "0")
    folder = tmp_path / "photos"
    put_photos(folder, 0, 8)
    nightly_tagging(str(folder), DEMO_MODEL, "demo")
    assert rows(catalogue, "SELECT DISTINCT status, n FROM accuracy_history") == [("waiting", 0)]
    put_photos(folder, 8, 10)
    (folder / "broken.png").write_text("no picture")
    nightly_tagging(str(folder))
    assert rows(catalogue, "SELECT COUNT(*) FROM accuracy_checks") == [(2,)]
    [(text,)] = artifacts("nightly-tagging")
    assert "Say what 2 photos drawn at random show" in text
    assert "| 1 | not\\_an\\_image | file:///" in text
    [(text,)] = artifacts("accuracy")
    assert "# No baseline yet: too little truth" in text


def test_a_watch_that_cannot_look_keeps_no_night_from_its_check(
    catalogue: Engine, prefect_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import flows.check_accuracy

    def gone() -> None:
        raise UsageError("the former model is gone")

    monkeypatch.setattr(flows.check_accuracy, "watch_promotion", gone)
    put_photos(tmp_path / "photos", 0, 4)
    nightly_tagging(str(tmp_path / "photos"), DEMO_MODEL, "demo")
    assert rows(catalogue, "SELECT COUNT(*) FROM accuracy_checks") == [(1,)]
    assert rows(catalogue, "SELECT status FROM run_history") == [("completed",)]
    [(text,)] = artifacts("accuracy")
    assert "the promotion cannot be watched: the former model is gone" in text


def test_a_night_of_broken_photos_tells_its_drop_all_the_same(
    drifting: tuple[Misled, list[Path]], prefect_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misled, wrong = drifting
    already = len(events(prefect_api, "fashion.accuracy.dropped"))
    told(misled.engine, tmp_path, wrong)
    feed = tmp_path / "feed"
    feed.mkdir()
    for number in range(4):
        (feed / f"{number}.png").write_text(f"no picture {number}")
    with pytest.raises(QuarantineError):
        nightly_tagging(str(feed))
    deadline = time.monotonic() + 60
    while len(events(prefect_api, "fashion.accuracy.dropped")) == already:
        assert time.monotonic() < deadline
        time.sleep(0.5)

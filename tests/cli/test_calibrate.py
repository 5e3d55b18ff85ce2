"""`fashion-clip calibrate`: from truth to accepted labels, in the words and tables that users see."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from fashion_clip.demo import truth
from tests.catalogue_fixtures import DEMO_MODEL, DEMO_PHOTOS, contents_of, put_photos, rows
from tests.cli.conftest import Finished

Run = Callable[..., Finished]

KNOWN = 240  # photos that are there from the beginning, with truth; the others come later

pytestmark = pytest.mark.usefixtures("catalogue", "prefect_api")


@pytest.fixture
def photos(tmp_path: Path, run: Run) -> Path:
    folder = tmp_path / "photos"
    put_photos(folder, 0, KNOWN)
    assert run("tag", folder, "--model", DEMO_MODEL, "--taxonomy", "demo").code == 0
    return folder


@pytest.fixture
def told(tmp_path: Path, photos: Path, run: Run) -> Path:
    """The truth of all photos there are, as of a random sample of everything."""
    file = tmp_path / "truth.csv"
    known = truth()
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "category", "articleType", "chosen", "inclusion_probability"])
        for photo in DEMO_PHOTOS[:KNOWN]:
            labels = known[photo.name]
            writer.writerow([photo.name, labels["category"], labels["articleType"], "random", "1"])
    assert run("truth", "import", file).code == 0
    return file


def test_without_truth_it_says_how_to_get_some(photos: Path, catalogue: Engine, run: Run) -> None:
    before = contents_of(catalogue)
    ended = run("calibrate")
    assert ended.code == 2
    assert "too little truth to calibrate: attribute 'category' has that of 0 products" in ended.err
    assert "fashion-clip truth import" in ended.err
    assert contents_of(catalogue) == before


def test_the_preview_tells_all_and_writes_nothing(told: Path, catalogue: Engine, run: Run) -> None:
    before = contents_of(catalogue)
    ended = run("calibrate", "--preview")
    assert ended.code == 0
    assert f"{KNOWN} pictures would be relabelled; nothing has been written" in ended.out
    assert "right in at least 95.0% of photos like those of the truth" in ended.out
    document = json.loads(run("calibrate", "--preview", "--json").out)
    assert document["calibration"]["truths"] == {"articleType": KNOWN, "category": KNOWN}
    [category] = [each for each in document["preview"]["attributes"] if each["attribute"] == "category"]
    assert (category["accepted"], category["pictures"]) == (0, KNOWN)
    assert category["accepted_then"] > KNOWN * 0.9
    assert contents_of(catalogue) == before


def test_labels_are_accepted_tonight_and_every_night_after(
    told: Path, photos: Path, catalogue: Engine, run: Run
) -> None:
    first = rows(catalogue, "SELECT version FROM model_history")[0][0]
    ended = run("calibrate", "--json")
    assert ended.code == 0
    version = json.loads(ended.out)["model_version"]
    history = "SELECT version, rung, parent, role FROM model_history ORDER BY created_at"
    assert rows(catalogue, history) == [
        (first, "zero-shot", None, "archived"),
        (version, "calibrate", first, "champion"),
    ]
    put_photos(photos, KNOWN, 300)
    assert run("tag", photos).code == 0
    new = "SELECT COUNT(*) FROM catalog_labels WHERE attribute = 'category' AND decision = "
    last_run = "AND run_id = (SELECT MAX(run_id) FROM run_history)"
    [(accepted,)] = rows(catalogue, f"{new} 'accepted' {last_run}")
    [(uncalibrated,)] = rows(catalogue, f"{new} 'uncalibrated'")
    assert accepted > 50
    assert uncalibrated == 0


def test_what_is_accepted_is_right_as_often_as_promised(
    told: Path, photos: Path, catalogue: Engine, run: Run
) -> None:
    assert run("calibrate").code == 0
    put_photos(photos, KNOWN, 300)
    assert run("tag", photos).code == 0
    query = "SELECT uri, label FROM catalog_labels WHERE attribute = 'category' AND decision = 'accepted'"
    known = truth()
    hits = [known[uri.rpartition("/")[2]]["category"] == label for uri, label in rows(catalogue, query)]
    assert sum(hits) / len(hits) > 0.95
    # An article type stands below its category wherever both were accepted.
    [(contradicting,)] = rows(
        catalogue,
        "SELECT COUNT(*) FROM catalog_labels c JOIN catalog_labels a ON a.uri = c.uri"
        " WHERE c.attribute = 'category' AND a.attribute = 'articleType'"
        " AND c.label = 'Footwear' AND a.label NOT IN ('Sandals', 'Sneakers', 'Ankle boots')",
    )
    assert contradicting == 0


def test_what_confidences_were_fitted_to_does_not_judge_them(told: Path, run: Run) -> None:
    def measured() -> tuple[int, list[str]]:
        [document] = json.loads(run("evaluate", "--json").out)["evaluations"]
        [category] = [each for each in document["attributes"] if each["attribute"] == "category"]
        return category["n"], document["warnings"]

    assert measured() == (KNOWN, [])
    assert run("calibrate").code == 0
    judging, warnings = measured()
    assert KNOWN * 0.4 < judging < KNOWN * 0.6
    told_of = f"category: {KNOWN - judging} of {KNOWN} photos with truth are left out, of the products that"
    assert any(warning.startswith(told_of) for warning in warnings)


def test_the_same_truth_gives_the_same_model(told: Path, catalogue: Engine, run: Run) -> None:
    versions = {json.loads(run("calibrate", "--json").out)["model_version"] for _ in range(2)}
    assert len(versions) == 1
    assert rows(catalogue, "SELECT COUNT(*) FROM model_history") == [(2,)]


@pytest.mark.parametrize("option", ["--precision", "--certainty"])
@pytest.mark.parametrize("value", ["0.3", "1", "many"])
def test_what_cannot_be_promised_is_refused(run: Run, option: str, value: str) -> None:
    ended = run("calibrate", option, value)
    assert ended.code == 2
    assert option in ended.err

"""Evaluation as a flow, on a real Prefect server: recorded in SQL, shown in the UI, told when it fails."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from sqlalchemy import Engine, text

from fashion_clip.calibration import Calibration
from fashion_clip.demo import truth
from fashion_clip.errors import UsageError
from flows.evaluate_model import evaluate_model
from flows.nightly_tagging import nightly_tagging
from tasks.catalog.engine import writing
from tasks.truth import import_truth
from tests.catalogue_fixtures import DEMO_MODEL, DEMO_PHOTOS, put_classes, put_photos, rows

pytestmark = pytest.mark.usefixtures("prefect_api", "catalogue")

TRUTH = truth()
PHOTOS = DEMO_PHOTOS[:40]
RUNS = "SELECT flow, source, status, error FROM run_history ORDER BY run_id DESC LIMIT 1"


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    return put_classes(tmp_path / "classes", PHOTOS)


def artifacts(engine: Engine) -> dict[str, Any]:
    """Key -> data, of the last run."""
    [(flow_run_id,)] = rows(
        engine, "SELECT prefect_flow_run_id FROM run_history ORDER BY run_id DESC LIMIT 1"
    )
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
    with get_client(sync_client=True) as client:
        return {
            artifact.key or "": artifact.data for artifact in client.read_artifacts(artifact_filter=wanted)
        }


def test_a_model_on_a_data_set_is_recorded_and_shown(
    classes: Path, other_model: Path, catalogue: Engine
) -> None:
    evaluated = evaluate_model(str(classes), [DEMO_MODEL, str(other_model)], "demo", slices=["label"])
    assert rows(catalogue, RUNS) == [("evaluate-model", f"{classes.as_uri()}/", "completed", None)]
    [first, second] = evaluated.evaluations
    recorded = rows(
        catalogue,
        "SELECT model, data, attribute, n, accuracy FROM evaluation_history ORDER BY evaluation_id",
    )
    assert recorded == [
        (one.model, f"{classes.as_uri()}/", "articleType", len(PHOTOS), one.attributes[0].accuracy.estimate)
        for one in (first, second)
    ]
    assert rows(catalogue, "SELECT COUNT(*) FROM slice_accuracy") == [(len(first.slices) * 2,)]
    shown = artifacts(catalogue)
    assert set(shown) == {"evaluate-model", "evaluate-model-figures"}
    assert first.model in shown["evaluate-model"]
    assert "1 photos could not be read or decoded" in shown["evaluate-model"]
    assert shown["evaluate-model"].count("data:image/png;base64,") == 2
    figures = json.loads(shown["evaluate-model-figures"])
    assert [row["model"] for row in figures] == [first.model, second.model]
    assert figures[0]["accuracy"] == round(first.attributes[0].accuracy.estimate, 4)


def test_without_a_data_set_the_truth_of_the_catalogue_is_measured(tmp_path: Path, catalogue: Engine) -> None:
    put_photos(tmp_path / "photos", 0, 40)
    nightly_tagging(str(tmp_path / "photos"), DEMO_MODEL, "demo")
    file = tmp_path / "truth.csv"
    with file.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["file", "category", "articleType"])
        writer.writerows(
            [photo.name, *(TRUTH[photo.name][name] for name in ("category", "articleType"))]
            for photo in PHOTOS
        )
    import_truth(catalogue, file, "tester", False, False)
    evaluated = evaluate_model()
    assert rows(catalogue, RUNS) == [("evaluate-model", "truth of the catalogue", "completed", None)]
    [(drawn,)] = rows(catalogue, "SELECT COUNT(*) FROM audit_samples")
    assert 0 < drawn < 40  # the night drew them at random: they alone tell of the catalogue
    recorded = rows(catalogue, "SELECT attribute, n FROM evaluation_history ORDER BY attribute")
    assert recorded == [("articleType", drawn), ("category", drawn)]
    sliced = rows(catalogue, "SELECT value, n FROM slice_accuracy WHERE attribute = 'category'")
    assert sorted(sliced) == [("random", drawn), ("unsampled", 40 - drawn)]
    assert evaluated.evaluations[0].attributes[0].accuracy.estimate > 0.8


def test_a_data_set_is_measured_without_the_champion_s_calibration_and_that_is_told(
    tmp_path: Path, classes: Path, catalogue: Engine
) -> None:
    put_photos(tmp_path / "photos", 0, 2)
    nightly_tagging(str(tmp_path / "photos"), DEMO_MODEL, "demo")
    [plain] = evaluate_model(str(classes), [DEMO_MODEL], "demo").evaluations
    with writing(catalogue) as connection:
        calibration = Calibration(0.95, 0.9, "", 0.5).to_json()
        connection.execute(text("UPDATE model_versions SET calibration = :new"), {"new": calibration})
    [told] = evaluate_model(str(classes), [DEMO_MODEL], "demo").evaluations
    assert told.attributes[0].accuracy == plain.attributes[0].accuracy
    [new] = [warning for warning in told.warnings if warning not in plain.warnings]
    assert new.startswith("measured as the checkpoint is, without the calibration of ")
    [(document,)] = rows(catalogue, "SELECT document FROM evaluations ORDER BY evaluation_id DESC LIMIT 1")
    assert new in json.loads(document)["warnings"]


def test_a_run_that_fails_is_recorded_so(catalogue: Engine, classes: Path) -> None:
    with pytest.raises(UsageError, match="no column 'shelf' to slice by"):
        evaluate_model(str(classes), [DEMO_MODEL], slices=["shelf"])
    [(flow, source, status, error)] = rows(catalogue, RUNS)
    assert (flow, source, status) == ("evaluate-model", f"{classes.as_uri()}/", "failed")
    assert error.startswith("no column 'shelf'")
    assert rows(catalogue, "SELECT * FROM evaluations") == []


@pytest.mark.parametrize(
    "wanted",
    [{"dataset": "s3://KEY:SECRET@bucket"}, {"dataset": "/nowhere"}, {"models": [DEMO_MODEL]}],
)
def test_what_cannot_be_is_not_even_begun(wanted: dict[str, Any], catalogue: Engine) -> None:
    with pytest.raises(UsageError):
        evaluate_model(**wanted)
    assert rows(catalogue, "SELECT * FROM runs") == []

"""`fashion-clip evaluate`: what it prints, writes and leaves alone, and how it refuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score
from sqlalchemy import Engine

from fashion_clip.demo import truth
from tasks.truth import import_truth
from tests.catalogue_fixtures import DEMO_MODEL, DEMO_PHOTOS, Tagged, put_classes, rows
from tests.cli.conftest import Finished
from tests.tasks.sources.conftest import datasets_cache
from tests.tasks.sources.stores import PICTURES

__all__ = ["datasets_cache"]

Run = Callable[..., Finished]
TRUTH = truth()
PHOTOS = DEMO_PHOTOS[:60]

pytestmark = pytest.mark.usefixtures("clean_environment", "datasets_cache")


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    return put_classes(tmp_path / "classes", PHOTOS)


@pytest.fixture
def evaluate(run: Run) -> Run:
    return lambda *arguments: run("evaluate", "--model", DEMO_MODEL, *arguments)


def told(ended: Finished) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(ended.out)
    return document


def test_the_accuracy_is_that_of_the_labels_that_classify_gives(
    evaluate: Run, run: Run, classes: Path
) -> None:
    photos = [argument for photo in PHOTOS for argument in ("--image-path", str(photo))]
    classified = json.loads(
        run("classify", "--model", DEMO_MODEL, "--taxonomy", "demo", *photos, "--top", "1", "--json").out
    )
    given = [row["labels"]["articleType"][0]["label"] for row in classified]
    true = [TRUTH[photo.name]["articleType"] for photo in PHOTOS]
    [evaluation] = told(evaluate("--dataset", classes, "--taxonomy", "demo", "--json"))["evaluations"]
    [metrics] = evaluation["attributes"]
    assert metrics["attribute"] == "articleType"
    assert metrics["accuracy"]["estimate"] == pytest.approx(accuracy_score(true, given))
    assert metrics["accuracy"]["n"] == len(PHOTOS)


def test_figures_are_a_table_and_what_was_left_out_is_told(evaluate: Run, classes: Path) -> None:
    ended = evaluate("--dataset", classes, "--taxonomy", "demo")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[0].startswith("fashion-mnist-clip-")
    assert lines[0].endswith(f" on {classes.as_uri()}/")
    for column in ("accuracy", "95 % interval", "top 5", "macro F1", "calibration error", "coverage at 95 %"):
        assert column in lines[1]
    assert lines[2].split()[:2] == ["articleType", "60"]
    assert len(lines) == 3
    assert ended.err.startswith(
        "fashion-clip: 1 photos could not be read or decoded and are left out: 1 not_an"
    )
    assert ended.err.count("\n") == 1


def test_neither_database_nor_prefect_is_needed(evaluate: Run, classes: Path) -> None:
    assert evaluate("--dataset", classes, "--limit", "5").code == 0
    assert not list(Path().iterdir())
    imported = "import sys, cli.evaluate, tasks.evaluating; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", imported],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not set(done.stdout.split()) & {"prefect", "torch", "matplotlib", "sklearn"}


def test_models_are_compared(evaluate: Run, classes: Path, other_model: Path) -> None:
    document = told(evaluate("--model", other_model, "--dataset", classes, "--json"))
    first, second = document["evaluations"]
    [difference] = document["differences"]
    assert (difference["model"], difference["other"]) == (first["model"], second["model"])
    assert difference["estimate"] == pytest.approx(
        first["attributes"][0]["accuracy"]["estimate"] - second["attributes"][0]["accuracy"]["estimate"]
    )
    ended = evaluate("--model", other_model, "--dataset", classes)
    assert f"{first['model']} is right more often than {second['model']} by" in ended.out
    assert f"+{100 * difference['estimate']:.1f}" in ended.out


def test_slices_are_told_when_they_are_asked_for(evaluate: Run, tmp_path: Path) -> None:
    pictures = [{"bytes": photo.read_bytes(), "path": None} for photo in PHOTOS]
    table = {
        "image": pa.array(pictures, PICTURES),
        "filename": [photo.name for photo in PHOTOS],
        "articleType": [TRUTH[photo.name]["articleType"] for photo in PHOTOS],
        "year": [2011 + number % 2 for number in range(len(PHOTOS))],
        "[red]": ["x\u202ey"] * len(PHOTOS),
    }
    pq.write_table(pa.table(table), tmp_path / "shop.parquet")
    data = ("--dataset", tmp_path / "shop.parquet", "--taxonomy", "demo")
    assert evaluate(*data).out.endswith("accuracy by year: see --slice, --json or --report\n")
    ended = evaluate(*data, "--slice", "year", "--slice", "[red]")
    assert (ended.code, ended.err) == (0, "")
    cells = [line.split()[:4] for line in ended.out.splitlines()]
    assert ["articleType", "year", "2011", "30"] in cells
    assert ["articleType", "[red]", "'x\\u202ey'", "60"] in cells


def test_a_report_is_written_with_the_figures_beside_it(evaluate: Run, classes: Path, tmp_path: Path) -> None:
    ended = evaluate("--dataset", classes, "--taxonomy", "demo", "--report", tmp_path / "report")
    assert ended.code == 0
    assert ended.out.endswith(f"report: {str(tmp_path / 'report' / 'index.html')!r}\n")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "articleType" in page
    assert list((tmp_path / "report" / "pictures").glob("*mistakes*"))
    document = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    as_json = told(
        evaluate("--dataset", classes, "--taxonomy", "demo", "--report", tmp_path / "report", "--json")
    )
    assert as_json["evaluations"] == document["evaluations"]
    assert as_json["report"] == str(tmp_path / "report" / "index.html")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--dataset", "nowhere"], "source 'nowhere' does not exist"),
        (["--dataset", "."], "holds no photos"),
        (["--dataset", "CLASSES", "--slice", "shelf"], "no column 'shelf' to slice by; the data has label"),
        (["--dataset", "CLASSES", "--taxonomy", "nowhere"], "taxonomy 'nowhere'"),
        (
            ["--dataset", "CLASSES", "--taxonomy", "demo", "--attribute", "size"],
            "'size' is neither an attribute",
        ),
        (["--dataset", "CLASSES", "--model", DEMO_MODEL + "/."], "was given before"),
        (["--dataset", "CLASSES", "--model", "./nowhere"], "'./nowhere'"),
        (["--dataset", "CLASSES", "--report", "no/where"], "no folder 'no' for 'where'"),
        ([], "give --dataset too"),
    ],
)
def test_wrong_use_is_2_and_one_line(evaluate: Run, classes: Path, arguments: list[str], error: str) -> None:
    ended = evaluate(*(str(classes) if argument == "CLASSES" else argument for argument in arguments))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("fashion-clip: ")
    assert error in ended.err
    assert ended.err.count("\n") == 1
    assert not list(Path().iterdir())


def test_a_report_does_not_replace_other_files(evaluate: Run, classes: Path) -> None:
    ended = evaluate("--dataset", classes, "--report", classes)
    assert (ended.code, ended.out) == (2, "")
    assert "holds something else than a report" in ended.err


def test_data_without_a_photo_that_can_be_used_is_1(evaluate: Run, tmp_path: Path) -> None:
    (tmp_path / "x" / "Bags").mkdir(parents=True)
    (tmp_path / "x" / "Bags" / "a.png").write_text("no picture")
    ended = evaluate("--dataset", tmp_path / "x")
    assert (ended.code, ended.out) == (1, "")
    assert "none of the 1 photos could be read and decoded: 1 not_an_image" in ended.err


@pytest.mark.usefixtures("prefect_api")
def test_a_data_set_is_recorded_when_it_is_asked_for(evaluate: Run, catalogue: Engine, classes: Path) -> None:
    asked = ("--dataset", classes, "--taxonomy", "demo", "--limit", "20", "--json")
    plain = told(evaluate(*asked))
    assert rows(catalogue, "SELECT * FROM runs") == []
    ended = evaluate(*asked, "--record")
    assert (ended.code, ended.err) == (0, "")
    assert told(ended) == plain
    [(accuracy, flow)] = rows(
        catalogue, "SELECT accuracy, flow FROM evaluation_history JOIN run_history USING (run_id)"
    )
    assert accuracy == plain["evaluations"][0]["attributes"][0]["accuracy"]["estimate"]
    assert flow == "evaluate-model"


@pytest.mark.usefixtures("prefect_api")
def test_without_a_data_set_the_truth_in_sql_is_measured(
    tagged: Tagged, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", str(tagged.engine.url))
    refused = run("evaluate")
    assert (refused.code, refused.out) == (2, "")
    assert (
        "no photo of the catalogue has truth: bring some with fashion-clip truth import FILE" in refused.err
    )
    assert refused.err.count("\n") == 1
    lines = ["file,category", *(f"{photo.name},{TRUTH[photo.name]['category']}" for photo in PHOTOS[:30])]
    (tmp_path / "truth.csv").write_text("\n".join(lines))
    import_truth(tagged.engine, tmp_path / "truth.csv", "tester", False, False)
    ended = run("evaluate", "--slice", "chosen", "--report", tmp_path / "report")
    assert ended.code == 0
    assert f"{tagged.label_set.model_version} on truth of the catalogue" in ended.out
    assert ["category", "chosen", "unsampled", "30"] in [line.split()[:4] for line in ended.out.splitlines()]
    assert "none of its 30 photos with truth was drawn at random" in ended.err
    assert (tmp_path / "report" / "index.html").is_file()
    assert rows(tagged.engine, "SELECT attribute, n FROM evaluation_history") == [("category", 30)]


def test_an_empty_catalogue_is_wrong_use(run: Run, catalogue: Engine) -> None:
    ended = run("evaluate")
    assert (ended.code, ended.out) == (2, "")
    assert "the catalogue is empty: tag some photos first" in ended.err
    assert rows(catalogue, "SELECT * FROM runs") == []

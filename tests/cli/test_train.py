"""`fashion-clip train`: what it prints, that every other command takes what it makes, and how it refuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine

from tests.catalogue_fixtures import DEMO_MODEL, DEMO_PHOTOS, put_classes, put_photos, rows
from tests.cli.conftest import Finished

Run = Callable[..., Finished]

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put_classes(tmp_path_factory.mktemp("shop") / "classes", DEMO_PHOTOS)


@pytest.fixture
def train(run: Run, classes: Path) -> Run:
    usual = ("--dataset", classes, "--taxonomy", "demo", "--model", DEMO_MODEL)
    return lambda *more: run("train", *usual, "--output-model-path", "made", *more)


@pytest.mark.usefixtures("prefect_api")
def test_what_it_makes_is_taken_by_every_command(
    train: Run, run: Run, classes: Path, catalogue: Engine, tmp_path: Path
) -> None:
    trained = json.loads(train("--json").out)
    assert trained["folder"] == "made"
    photo = next((classes / "Bags").glob("fmnist-*.png"))
    ended = run("classify", "--model", "made", "--taxonomy", "demo", "--image-path", photo, "--json")
    assert json.loads(ended.out)[0]["labels"]["articleType"][0]["label"] == "Bags"
    ended = run("evaluate", "--model", "made", "--dataset", classes, "--taxonomy", "demo", "--json")
    [evaluation] = json.loads(ended.out)["evaluations"]
    assert evaluation["model"] == trained["model"]
    assert evaluation["attributes"][0]["accuracy"]["estimate"] > 0.85
    put_photos(tmp_path / "photos", 0, 20)
    ended = run("tag", tmp_path / "photos", "--model", "made", "--taxonomy", "demo")
    assert ended.code == 0, ended.err
    assert rows(catalogue, "SELECT DISTINCT model_version FROM catalog_labels") == [(trained["model"],)]


def test_what_it_makes_is_a_plain_model_of_transformers(train: Run) -> None:
    from transformers import CLIPModel, CLIPProcessor

    assert train("--limit", "120").code == 0
    model, processor = CLIPModel.from_pretrained("made"), CLIPProcessor.from_pretrained("made")
    inputs = processor(
        text=["a bag", "a shirt"], images=Image.open(DEMO_PHOTOS[0]).convert("RGB"), return_tensors="pt"
    )
    assert np.isfinite(model(**inputs).logits_per_image.detach().numpy()).all()


def test_the_gain_is_a_table_and_what_was_left_out_is_told(train: Run) -> None:
    ended = train()
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[0].startswith("made-")
    assert "from fashion-mnist-clip-" in lines[0]
    assert lines[1].endswith(" held out")
    for column in ("attribute", "held out", "right before", "right after", "points", "95 % interval"):
        assert column in lines[2]
    assert lines[3].split()[0] == "articleType"
    assert lines[-1].startswith("model folder: 'made'")
    assert lines[-1].endswith("--model made")
    assert "1 photos could not be read or decoded" in ended.err
    assert "reading 301 photos" in ended.err
    assert [path.name for path in Path().iterdir()] == ["made"]


def test_nothing_heavy_is_loaded_before_there_is_work() -> None:
    imported = "import sys, cli.train, tasks.training; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", imported],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not set(done.stdout.split()) & {"prefect", "torch", "transformers", "matplotlib", "accelerate"}


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (("--method", "magic"), "--method 'magic': expected one of head, lora, full"),
        (("--method", "full", "--epochs", "0"), "--epochs 0: expected a whole number from 1"),
        (("--method", "lora", "--alpha", "2"), "--alpha 2.0: expected auto, or a share"),
        (("--method", "lora", "--alpha", "half"), "--alpha half: expected auto, or a share"),
        (("--alpha", "0.5"), "--alpha 0.5 goes with fine-tuning"),
        (("--attribute", "size"), "'size' is neither an attribute"),
        (("--limit", "20"), "20 photos of "),
        (("--model", "./nowhere"), "'./nowhere'"),
        (("--dataset", "nowhere"), "source 'nowhere' does not exist"),
        (("--output-model-path", DEMO_MODEL), "exists; give a folder that does not"),
    ],
)
def test_wrong_use_is_2_and_one_line(train: Run, more: tuple[str, ...], error: str) -> None:
    ended = train(*more)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("fashion-clip: ")
    assert error in ended.err
    assert ended.err.count("\n") == 1
    assert not list(Path().iterdir())


def test_an_interruption_is_one_line_that_says_how_to_go_on(
    train: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tasks.training.material_of", interrupted)
        ended = train()
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.splitlines()[-1] == (
        "fashion-clip: interrupted; what was done is kept in 'made.training', and the same command goes on"
    )
    assert Path("made.training").is_dir()
    refused = train("--seed", "1")
    assert (refused.code, refused.out) == (2, "")
    assert "begun with seed 0 instead of 1; give the same to go on with it" in refused.err
    assert train().code == 0
    assert [path.name for path in Path().iterdir()] == ["made"]

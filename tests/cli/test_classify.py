"""`fashion-clip classify`: labels of single photos, without a database and without Prefect."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from fashion_clip.taxonomy import load_taxonomy
from tests.catalogue_fixtures import DEMO_MODEL, DEMO_PHOTOS
from tests.cli.conftest import Finished

if TYPE_CHECKING:
    from fashion_clip.encoder import ClipEncoder

Run = Callable[..., Finished]
PHOTO = DEMO_PHOTOS[0]
LABELS = "a pullover, a sandal, a bag"

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def classify(run: Run) -> Run:
    return lambda *arguments: run("classify", "--model", DEMO_MODEL, *arguments)


def test_labels_are_told_best_first(classify: Run) -> None:
    ended = classify("--image-path", PHOTO, "--labels", LABELS)
    assert (ended.code, ended.err) == (0, "")
    assert repr(str(PHOTO)) in ended.out
    rows = [line for line in ended.out.splitlines() if line.rstrip().endswith("%")]
    assert len(rows) == 3
    assert "a pullover" in rows[0]
    shares = [float(row.split()[-1].rstrip("%")) for row in rows]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_the_json_is_what_the_core_says(
    classify: Run, demo_encoder: "ClipEncoder", monkeypatch: pytest.MonkeyPatch
) -> None:
    from fashion_clip.scoring import top_labels, zero_shot_heads

    monkeypatch.setenv("FASHION_CLIP_PRECISION", "float32")
    ended = classify(
        "--image-path", PHOTO, "--image-path", DEMO_PHOTOS[1], "--taxonomy", "demo", "--top", "2", "--json"
    )
    assert (ended.code, ended.err) == (0, "")
    told = json.loads(ended.out)
    assert [row["image"] for row in told] == [str(photo) for photo in DEMO_PHOTOS[:2]]
    for row, photo in zip(told, DEMO_PHOTOS[:2], strict=True):
        with Image.open(photo) as image:
            embedding = demo_encoder.encode_images([image.convert("RGB")])
        for head in zero_shot_heads(demo_encoder, load_taxonomy("demo")):
            best = top_labels(head, embedding, 2)
            assert [answer["label"] for answer in row["labels"][head.attribute]] == [
                head.labels[i] for i in best.index[0]
            ]
            for rank, answer in enumerate(row["labels"][head.attribute]):
                assert answer["similarity"] == pytest.approx(float(best.similarity[0, rank]), abs=0.0001)
                assert answer["probability"] == pytest.approx(float(best.confidence[0, rank]), abs=0.0001)


def test_more_labels_than_there_are_cannot_be_told(classify: Run) -> None:
    ended = classify("--image-path", PHOTO, "--labels", "one, two", "--top", "50", "--json")
    assert len(json.loads(ended.out)[0]["labels"]["label"]) == 2


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    (tmp_path / "text.jpg").write_text("no picture")
    return tmp_path / "text.jpg"


def test_a_file_that_is_no_picture_is_told_and_the_others_are_classified(
    classify: Run, text_file: Path
) -> None:
    ended = classify("--image-path", text_file, "--image-path", PHOTO, "--labels", LABELS)
    assert ended.code == 1
    assert ended.err.startswith(f"fashion-clip: {str(text_file)!r}: not_an_image: ")
    assert ended.err.count("\n") == 1
    assert "a pullover" in ended.out
    told = json.loads(
        classify("--image-path", text_file, "--image-path", PHOTO, "--labels", LABELS, "--json").out
    )
    assert told[0]["error"].startswith("not_an_image: ")
    assert told[1]["labels"]["label"][0]["label"] == "a pullover"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--image-path", "nowhere.jpg", "--labels", LABELS], "'nowhere.jpg'"),
        (["--image-path", ".", "--labels", LABELS], "no image file '.'"),
        (["--image-path", PHOTO, "--labels", ""], "holds no label"),
        (["--image-path", PHOTO, "--labels", " , ,"], "holds no label"),
        (["--image-path", PHOTO, "--labels", "Tops, tops"], "repeats"),
        (["--image-path", PHOTO], "either --labels"),
        (["--image-path", PHOTO, "--labels", LABELS, "--taxonomy", "demo"], "either --labels"),
        (["--image-path", PHOTO, "--taxonomy", "nowhere"], "'nowhere'"),
        (["--image-path", PHOTO, "--labels", LABELS, "--model", "."], "config.json"),
        (["--image-path", PHOTO, "--labels", LABELS, "--model", "./nowhere"], "'./nowhere'"),
    ],
)
def test_wrong_use_is_told_in_one_line(run: Run, arguments: list[str | Path], told: str) -> None:
    ended = run("classify", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("fashion-clip: ")
    assert told in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--labels", LABELS], ["--image-path", PHOTO, "--labels", LABELS, "--top", "0"]]
)
def test_a_missing_or_impossible_option_is_wrong_use(run: Run, arguments: list[str]) -> None:
    assert run("classify", *arguments).code == 2


def test_the_model_may_come_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_CLIP_MODEL", DEMO_MODEL)
    ended = run("classify", "--image-path", PHOTO, "--labels", LABELS)
    assert ended.code == 0
    assert not list(Path().iterdir())  # no database was made


def test_a_name_of_any_bytes_can_be_told(classify: Run, tmp_path: Path) -> None:
    photo = os.fsencode(tmp_path) + b"/\xff\n\xe2\x80\xae.png"
    shutil.copy(os.fsencode(PHOTO), photo)
    asked = ("--image-path", os.fsdecode(photo), "--labels", LABELS)
    table = classify(*asked)
    assert table.code == 0
    assert table.out.splitlines()[0].isprintable()
    [told] = json.loads(classify(*asked, "--json").out)
    assert os.fsencode(told["image"]) == photo

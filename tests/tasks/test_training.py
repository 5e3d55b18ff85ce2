"""Training on the demo's photos as negatives, which the demo model does not know: what is learned."""

import logging
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.metrics import accuracy_score

from fashion_clip import calibrating
from fashion_clip.encoder import ClipEncoder
from fashion_clip.errors import FashionClipError, SourceError, UsageError
from fashion_clip.finetuning.session import take_step
from fashion_clip.model import load_model
from fashion_clip.model_folder import check_model_folder, description, read_calibration
from fashion_clip.scoring import zero_shot_heads
from tasks.embedding import embed
from tasks.serving import load_chosen_model
from tasks.training import Trained, train
from tasks.training_material import Material, digest_of, material_of, open_request
from tasks.training_request import Request, check_output
from tasks.training_work import (
    LINES,
    PIXELS,
    VECTORS,
    ReadPhotos,
    claimed,
    mapped_pixels,
    read_photos,
    what_was_read,
)
from tests.catalogue_fixtures import DEMO_MODEL, DEMO_PHOTOS, put_classes

LOG = logging.getLogger(__name__)
QUICK = {"method": "full", "epochs": 2, "batch_size": 32, "learning_rate": 2e-3}

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft


@pytest.fixture(autouse=True)
def exact(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model runs as the plain encoder of the tests does."""
    monkeypatch.setenv("FASHION_CLIP_PRECISION", "float32")
    monkeypatch.setenv("FASHION_CLIP_DECODE", "exact")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of the negatives, with the file among them that is no picture."""
    folder = put_classes(tmp_path_factory.mktemp("shop") / "classes", DEMO_PHOTOS)
    for photo in folder.rglob("fmnist-*.png"):
        ImageOps.invert(Image.open(photo).convert("RGB")).save(photo)
    return folder


@pytest.fixture
def request_for(shop: Path, tmp_path: Path) -> Callable[..., Request]:
    def made(**more: Any) -> Request:
        usual = {"dataset": str(shop), "output": tmp_path / "made", "model": DEMO_MODEL, "taxonomy": "demo"}
        return Request(**{**usual, **more})

    return made


class Silent:
    """Progress that nobody sees; it ends the process's work after so many photos."""

    def __init__(self, last: float = float("inf")) -> None:
        self.done, self._last = 0, last

    def listed(self, photos: int) -> None:
        raise AssertionError

    def started(self, total: int) -> None: ...

    def advanced(self, photos: int) -> None:
        self.done += photos
        if self.done >= self._last:
            raise KeyboardInterrupt


def material(request: Request, encoder: ClipEncoder) -> tuple[Material, list[str]]:
    """What a training of the request works on, and its photos, made another way."""
    labelled = open_request(request)
    found = embed(encoder, labelled.source, labelled.uris, lambda photos: None)
    uris = [labelled.uris[row] for row in found.rows]
    digests = tuple(found.digests[uri] for uri in uris)
    return material_of(labelled, ReadPhotos(found.rows, digests, found.vectors.astype(np.float32), ())), uris


def accuracy(encoder: ClipEncoder, heads: Any, uris: list[str], rows: Any) -> float:
    """Of the greatest logit on some photos, whose folder is their truth."""
    [head] = [head for head in heads if head.attribute == "articleType"]
    files = [Path(uris[row].removeprefix("file://").replace("%20", " ")) for row in rows]
    vectors = encoder.encode_images([Image.open(file).convert("RGB") for file in files])
    given = head.logits(vectors @ head.weights.T).argmax(axis=1)
    return float(accuracy_score([file.parent.name for file in files], [head.labels[best] for best in given]))


def test_a_head_is_measured_on_photos_that_taught_nothing(
    request_for: Callable[..., Request], demo_encoder: ClipEncoder
) -> None:
    request = request_for()
    trained = train(request, LOG)
    [gain] = trained.gains
    found, uris = material(request_for(output=Path("elsewhere")), demo_encoder)
    assert list(trained.photos.values()) == [len(part) for part in vars(found.parts).values()]
    held_out = found.parts.judge
    taxonomy = open_request(request_for(output=Path("elsewhere"))).taxonomy
    before = accuracy(demo_encoder, zero_shot_heads(demo_encoder, taxonomy), uris, held_out)
    made = load_model(str(request.output), "torch", "float32", "exact")
    after = accuracy(made.encoder, made.labeller(taxonomy).heads, uris, held_out)
    assert gain.before.estimate == pytest.approx(before, abs=1.5 / len(held_out))
    assert gain.after.estimate == pytest.approx(after, abs=1.5 / len(held_out))
    assert gain.after.estimate > gain.before.estimate + 0.2
    assert gain.difference.low > 0
    assert "1 photos could not be read or decoded" in trained.warnings[-1]
    assert made.encoder.identity == demo_encoder.identity
    assert list(request.output.parent.glob("made*")) == [request.output]


def test_the_folder_says_what_it_was_made_of(request_for: Callable[..., Request]) -> None:
    request = request_for(seed=3, limit=200)
    trained = train(request, LOG)
    check_model_folder(request.output)
    told = description(request.output)
    assert told is not None
    assert told["version"] == trained.model
    assert told["made"]["seed"] == 3
    assert told["made"]["truth"] == digest_of(open_request(request))
    assert told["made"]["data"] == trained.data
    assert told["made"]["held out"][0]["after"]["estimate"] == trained.gains[0].after.estimate
    assert sum(trained.photos.values()) in (199, 200)
    made = load_chosen_model(str(request.output))
    assert made.learned is not None
    assert [head.attribute for head in made.learned.heads] == ["articleType"]


def test_photos_of_one_product_or_one_content_are_on_one_side(
    shop: Path, tmp_path: Path, request_for: Callable[..., Request], demo_encoder: ClipEncoder
) -> None:
    copy = Path(shutil.copytree(shop, tmp_path / "copies"))
    for photo in sorted(copy.rglob("fmnist-*.png"))[::3]:
        shutil.copy(photo, photo.with_name(f"again-{photo.name}"))
    found, uris = material(request_for(dataset=str(copy)), demo_encoder)
    side = {row: name for name, part in vars(found.parts).items() for row in part}
    names = [Path(uri).name.removeprefix("again-") for uri in uris]
    assert len(side) == len(names) == 400
    for name in set(names):
        assert len({side[row] for row, other in enumerate(names) if other == name}) == 1


def test_towers_learn_and_the_folder_shows_how(request_for: Callable[..., Request]) -> None:
    request = request_for(**QUICK | {"method": "lora"})
    trained = train(request, LOG)
    assert trained.gains[0].difference.low > 0
    tried, alpha = trained.facts["validation"], f"{trained.facts['alpha']:g}"
    assert tried[alpha] == max(tried.values()) > tried["0"]
    assert trained.facts["best_epoch"] > 0
    assert Image.open(request.output / "curves.png").width > 300
    assert "curves.png" in (description(request.output) or {})["files"]
    check_model_folder(request.output)
    assert list(request.output.parent.glob("made*")) == [request.output]


def test_the_share_of_new_weights_may_be_given(
    request_for: Callable[..., Request], demo_encoder: ClipEncoder
) -> None:
    request = request_for(**QUICK | {"epochs": 1}, alpha=0.0)
    trained = train(request, LOG)
    assert trained.facts["alpha"] == 0
    assert any("towers stay as they were" in warning for warning in trained.warnings)
    made = load_model(str(request.output), "torch", "float32", "exact")
    assert made.encoder.identity == demo_encoder.identity


KILLED = """
import logging, os, signal
from pathlib import Path
from fashion_clip.finetuning import training
from tasks.training import train
from tasks.training_request import Request

saved = training.save_state

def save_and_die(work, history, tensors):
    saved(work, history, tensors)
    if len(history.epochs) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

training.save_state = save_and_die
train(Request(**{arguments!r}, output=Path({output!r})), logging.getLogger())
"""


def test_after_a_kill_the_same_request_comes_to_the_same_end(
    request_for: Callable[..., Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = train(request_for(**QUICK, alpha=0.9, output=tmp_path / "undisturbed"), LOG)
    request = request_for(**QUICK, alpha=0.9)
    arguments = {name: value for name, value in vars(request).items() if name != "output"}
    program = KILLED.format(arguments=arguments, output=str(request.output))
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert request.work.is_dir()
    assert not request.output.exists()
    steps: list[int] = []

    def counted(*given: Any) -> float:
        steps.append(1)
        return take_step(*given)

    monkeypatch.setattr("fashion_clip.finetuning.training.take_step", counted)
    trained = train(request, LOG)
    assert 0 < len(steps) < trained.facts["steps"]
    assert not request.work.exists()
    assert figures(trained) == pytest.approx(figures(undisturbed), abs=0.03)


def figures(trained: Trained) -> list[float]:
    [gain] = trained.gains
    return [gain.before.estimate, gain.after.estimate, trained.facts["best_epoch"], trained.facts["steps"]]


def test_reading_goes_on_after_the_last_photo_that_is_whole(request_for: Callable[..., Request]) -> None:
    request = request_for(method="full")
    labelled = open_request(request)
    encoder = load_chosen_model(DEMO_MODEL).encoder
    with pytest.raises(KeyboardInterrupt), claimed(request.work, {}):
        read_photos(request, labelled, encoder, Silent(100))
    for name in (VECTORS, PIXELS, LINES):  # as a kill in the midst of a photo leaves them
        with (request.work / name).open("ab") as file:
            file.write(b"read 0123")
    with pytest.raises(KeyboardInterrupt), claimed(request.work, {}):
        read_photos(request, labelled, encoder, Silent(150))
    read_photos(request, labelled, encoder, Silent())
    read = what_was_read(request.work)
    expected = embed(encoder, labelled.source, labelled.uris, lambda photos: None)
    assert read.rows.tolist() == expected.rows.tolist()
    assert read.digests == tuple(expected.digests[labelled.uris[row]] for row in read.rows)
    assert np.allclose(read.vectors, expected.vectors, atol=2e-3)
    pixels = mapped_pixels(request.work / PIXELS, encoder.preprocessing.output_size)
    assert np.allclose(encoder.encode_pixels(np.asarray(pixels)), read.vectors, atol=2e-3)


def test_what_was_lost_of_the_work_is_told(request_for: Callable[..., Request]) -> None:
    request = request_for()
    encoder = load_chosen_model(DEMO_MODEL).encoder
    with pytest.raises(KeyboardInterrupt), claimed(request.work, {}):
        read_photos(request, open_request(request), encoder, Silent(100))
    (request.work / VECTORS).write_bytes(b"")
    with pytest.raises(UsageError, match="is damaged; delete"):
        read_photos(request, open_request(request), encoder, Silent())


def test_another_training_does_not_go_on_with_the_work(request_for: Callable[..., Request]) -> None:
    request = request_for()
    with pytest.raises(KeyboardInterrupt), claimed(request.work, request.options() | {"photos": "a" * 64}):
        raise KeyboardInterrupt
    for more, told in (
        ({"seed": 4}, "begun with seed 0 instead of 4"),
        ({"method": "full"}, "method 'head' instead of 'full'"),
    ):
        with pytest.raises(UsageError, match=f"{told}; give the same to go on with it"):
            train(request_for(**more), LOG)
    told = re.escape("photos 'aaaaaaaaaaa...' instead of 'bbbbbbbbbbb...'")
    with pytest.raises(UsageError, match=told), claimed(request.work, {"photos": "b" * 64}):
        raise AssertionError
    assert request.work.is_dir()


def test_two_at_once_are_refused(request_for: Callable[..., Request]) -> None:
    work = request_for().work
    told = "another training is under way in"
    with claimed(work, {}), pytest.raises(UsageError, match=told), claimed(work, {}):
        raise AssertionError
    assert not work.exists()


def test_a_folder_of_somebody_else_is_left_alone(request_for: Callable[..., Request]) -> None:
    request = request_for()
    request.work.mkdir()
    (request.work / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        train(request, LOG)
    assert (request.work / "thesis.txt").read_text() == "mine"


def test_confidences_are_calibrated_where_enough_validates(
    request_for: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrating, "LEAST_TRUTHS", 30)
    request = request_for()
    trained = train(request, LOG)
    assert trained.calibrated == ("articleType",)
    kept = read_calibration(request.output)
    assert kept is not None
    assert kept.attributes["articleType"].truths == trained.photos["validation"]


def test_below_a_hundred_products_nothing_is(request_for: Callable[..., Request]) -> None:
    request = request_for()
    assert train(request, LOG).calibrated == ()
    assert read_calibration(request.output) is None


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"method": "magic"}, "--method 'magic': expected one of head, lora, full"),
        ({"method": "full", "epochs": 0}, "--epochs 0: expected a whole number from 1 to"),
        ({"method": "full", "batch_size": 1}, "--batch-size 1: expected a whole number from 2 to"),
        ({"method": "lora", "learning_rate": 0.0}, "--learning-rate 0.0: expected a number above 0"),
        ({"method": "lora", "learning_rate": float("nan")}, "--learning-rate nan"),
        ({"method": "lora", "alpha": 2.0}, "--alpha 2.0: expected auto, or a share"),
        ({"method": "lora", "alpha": float("nan")}, "--alpha nan"),
        ({"seed": -1}, "--seed -1: expected a whole number from 0 to"),
        ({"limit": 0}, "--limit 0: expected a whole number from 1 to"),
        ({"epochs": 3}, "--epochs 3 goes with fine-tuning, and method 'head' does none"),
    ],
)
def test_values_that_cannot_be_right_are_refused(
    request_for: Callable[..., Request], values: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError, match=told.replace("(", r"\(")):
        request_for(**values)


def test_an_output_that_is_there_or_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in (".", "file", "link"):
        with pytest.raises(UsageError, match="exists; give a folder that does not, or remove it"):
            check_output(tmp_path / name)
    with pytest.raises(UsageError, match="file' is no folder; give another place"):
        check_output(tmp_path / "file" / "below")
    check_output(tmp_path / "new" / "below")


def test_data_that_teaches_nothing_is_refused(
    tmp_path: Path, request_for: Callable[..., Request], demo_encoder: ClipEncoder
) -> None:
    one_class = tmp_path / "one class" / "Bags"
    one_class.mkdir(parents=True)
    for photo in DEMO_PHOTOS[:60]:
        shutil.copy(photo, one_class)
    with pytest.raises(UsageError, match=r"all 60 photos of .* have the label 'Bags' of 'articleType'"):
        open_request(request_for(dataset=str(one_class.parent)))
    few = put_classes(tmp_path / "few", DEMO_PHOTOS[:40])
    with pytest.raises(UsageError, match=r"41 photos of .* have a label: expected 50 at least"):
        open_request(request_for(dataset=str(few)))
    same = tmp_path / "same"
    for label in ("Bags", "Shirts"):
        (same / label).mkdir(parents=True)
        for number in range(30):
            shutil.copy(DEMO_PHOTOS[0], same / label / f"{number}.png")
    with pytest.raises(UsageError, match=r"the 60 photos of .* are 1 groups"):
        material(request_for(dataset=str(same)), demo_encoder)


def test_data_that_cannot_be_read_is_told(tmp_path: Path, request_for: Callable[..., Request]) -> None:
    for label in ("Bags", "Shirts"):
        (tmp_path / "text" / label).mkdir(parents=True)
        for number in range(30):
            (tmp_path / "text" / label / f"{number}.png").write_text("no picture")
    with pytest.raises(SourceError, match="none of the 60 photos could be read and decoded: 60 not_an_image"):
        train(request_for(dataset=str(tmp_path / "text")), LOG)


def test_a_disk_that_is_full_is_told_with_what_is_kept(request_for: Callable[..., Request]) -> None:
    work = request_for().work
    told = "No space left on device; what was done is kept in"
    with pytest.raises(FashionClipError, match=told), claimed(work, {}):
        raise OSError(28, "No space left on device", str(work / PIXELS))
    assert work.is_dir()

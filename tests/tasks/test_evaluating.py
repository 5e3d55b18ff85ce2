"""Models on labelled photos: the figures are scikit-learn's of labels that were made another way."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score

from fashion_clip.demo import truth
from fashion_clip.encoder import ClipEncoder
from fashion_clip.errors import SourceError, UsageError
from fashion_clip.evaluation import Evaluation
from fashion_clip.model import Model
from fashion_clip.scoring import zero_shot_heads
from fashion_clip.taxonomy import load_taxonomy
from tasks import evaluating
from tasks.embedding import embed
from tasks.evaluating import MOST_VALUES, Evaluated, Wanted, _predictions, evaluate_data
from tasks.labelled import open_labelled
from tests.catalogue_fixtures import DEMO_MODEL, DEMO_PHOTOS
from tests.tasks.sources.conftest import datasets_cache
from tests.tasks.sources.stores import PICTURES

__all__ = ["datasets_cache"]

PHOTOS = DEMO_PHOTOS[:120]
TRUTH = truth()
BROKEN = "fmnist-01000-broken.png"  # among the others, in the order of names


@pytest.fixture(autouse=True)
def exact(clean_environment: None, datasets_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model runs as the plain encoder of the tests does."""
    monkeypatch.setenv("FASHION_CLIP_PRECISION", "float32")
    monkeypatch.setenv("FASHION_CLIP_DECODE", "exact")


class Counted:
    """Progress that is added up."""

    def __init__(self) -> None:
        self.total = self.done = 0

    def listed(self, photos: int) -> None:
        raise AssertionError

    def started(self, total: int) -> None:
        self.total = total

    def advanced(self, photos: int) -> None:
        self.done += photos


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo's photos in a Parquet file, with their truth, a year, and a photo that is none."""
    rows = [{"filename": photo.name, **TRUTH[photo.name]} for photo in PHOTOS]
    rows.append({"filename": BROKEN, "articleType": "Bags", "category": "Accessories"})
    data = [photo.read_bytes() for photo in PHOTOS] + [b"no picture"]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    table = {
        "image": pa.array([{"bytes": one, "path": None} for one in data], PICTURES),
        "year": [2011 + number % 3 for number in range(len(rows))],
        "number": list(range(len(rows))),
        "product_id": [f"shirt {number // 2}" for number in range(len(rows))],
        **columns,
    }
    file = tmp_path_factory.mktemp("shop") / "shop.parquet"
    pq.write_table(pa.table(table), file)
    return str(file)


@pytest.fixture(scope="module")
def plain(demo_encoder: ClipEncoder) -> Mapping[str, dict[str, str]]:
    """Attribute -> photo -> the label of the greatest cosine, without any code of tasks."""
    vectors = np.concatenate([demo_encoder.encode_images([Image.open(p).convert("RGB")]) for p in PHOTOS])
    return {
        head.attribute: {
            photo.name: head.labels[best]
            for photo, best in zip(PHOTOS, (vectors @ head.weights.T).argmax(axis=1), strict=True)
        }
        for head in zero_shot_heads(demo_encoder, load_taxonomy("demo"))
    }


def measured(dataset: str, *models: str, **more: object) -> Evaluated:
    wanted = {"dataset": dataset, "models": models or (DEMO_MODEL,), "taxonomy": "demo", **more}
    return evaluate_data(Wanted(**wanted), Counted())  # type: ignore[arg-type]  # a field each


def test_the_figures_are_those_of_labels_made_another_way(
    shop: str, plain: Mapping[str, dict[str, str]]
) -> None:
    [evaluation] = measured(shop).evaluations
    assert [metrics.attribute for metrics in evaluation.attributes] == ["category", "articleType"]
    for metrics in evaluation.attributes:
        true = [TRUTH[photo.name][metrics.attribute] for photo in PHOTOS]
        given = [plain[metrics.attribute][photo.name] for photo in PHOTOS]
        assert (metrics.n, metrics.products) == (len(PHOTOS), len(PHOTOS) // 2)
        assert metrics.accuracy.estimate == pytest.approx(accuracy_score(true, given), abs=1e-12)
        assert metrics.macro_f1 == pytest.approx(f1_score(true, given, average="macro"))
    assert evaluation.attributes[1].accuracy.estimate > 0.8
    assert evaluation.model.startswith("fashion-mnist-clip-")


def test_labels_of_single_photos_are_those(shop: str, plain: Mapping[str, dict[str, str]]) -> None:
    [evaluation] = measured(shop).evaluations
    for said in evaluation.predictions:
        given = {
            uri.rpartition("/")[2]: said.labels[index]
            for uri, index in zip(said.photos, said.top.index[:, 0], strict=True)
        }
        assert given == plain[said.attribute]


def test_photos_of_one_product_are_known_for_that(shop: str) -> None:
    for said in measured(shop).evaluations[0].predictions:
        product = {uri.rpartition("/")[2]: code for uri, code in zip(said.photos, said.products, strict=True)}
        for first, second in zip(PHOTOS[::2], PHOTOS[1::2], strict=True):
            assert product[first.name] == product[second.name]
        assert len(set(product.values())) == len(PHOTOS) // 2


def test_a_broken_photo_is_told_and_all_progress_adds_up(shop: str) -> None:
    progress = Counted()
    evaluated = evaluate_data(Wanted(shop, (DEMO_MODEL,), "demo"), progress)
    [told] = evaluated.evaluations[0].warnings
    assert told.startswith("1 photos could not be read or decoded and are left out: 1 not_an_image (such as ")
    assert BROKEN in told
    assert (progress.total, progress.done) == (len(PHOTOS) + 1,) * 2


def test_pages_change_nothing(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    [whole] = measured(shop).evaluations
    monkeypatch.setattr(evaluating, "PAGE", 7)
    [paged] = measured(shop).evaluations
    for one, other in zip(paged.predictions, whole.predictions, strict=True):
        assert np.array_equal(one.top.index, other.top.index)
        assert np.allclose(one.top.confidence, other.top.confidence, atol=1e-5)  # sums in another order


def test_models_are_compared_on_the_same_photos(shop: str, other_model: Path) -> None:
    first, second = measured(shop, DEMO_MODEL, str(other_model)).evaluations
    assert first.model != second.model
    assert [said.photos for said in first.predictions] == [said.photos for said in second.predictions]
    assert first.attributes[1].accuracy.low > second.attributes[1].accuracy.high
    assert first.as_dict() == measured(shop).evaluations[0].as_dict()


def test_photos_that_another_model_could_not_use_count_for_none(shop: str, demo_encoder: ClipEncoder) -> None:
    labelled = open_labelled(shop, load_taxonomy("demo"))
    embedded = embed(demo_encoder, labelled.source, labelled.uris, lambda _: None)
    whole = _predictions(labelled, Model(demo_encoder), embedded, embedded.rows)
    half = _predictions(labelled, Model(demo_encoder), embedded, embedded.rows[::2])
    for said, every in zip(half, whole, strict=True):
        assert said.photos == every.photos[::2]
        assert np.array_equal(said.truth, every.truth[::2])
        assert np.array_equal(said.products, every.products[::2])
        assert np.array_equal(said.top.index, every.top.index[::2])


def test_a_model_that_is_given_twice_is_refused(shop: str, model_copy: Path) -> None:
    with pytest.raises(UsageError, match=r"moved' has the weights of a model that was given before"):
        measured(shop, DEMO_MODEL, str(model_copy))


def test_accuracy_is_told_apart_by_usual_and_by_asked_columns(shop: str) -> None:
    def sliced(evaluation: Evaluation) -> dict[tuple[str, str, str], int]:
        return {(part.attribute, part.name, part.value): part.accuracy.n for part in evaluation.slices}

    [usual] = measured(shop).evaluations
    by_year = {
        (attribute, "year", year): 40
        for attribute in ("category", "articleType")
        for year in ("2011", "2012", "2013")
    }
    assert sliced(usual) == by_year
    [asked] = measured(shop, slices=("category", "year")).evaluations
    by_category = {key: n for key, n in sliced(asked).items() if key[1] == "category"}
    assert sliced(asked) == by_year | by_category
    assert by_category["articleType", "category", "Footwear"] == sum(
        TRUTH[photo.name]["category"] == "Footwear" for photo in PHOTOS
    )


def test_slices_that_cannot_be(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UsageError, match=r"no column 'shelf' to slice by; the data has year, number, product_id"
    ):
        measured(shop, slices=("shelf",))
    monkeypatch.setattr(evaluating, "MOST_VALUES", 100)
    with pytest.raises(
        UsageError, match=r"column 'number' .*: it has 121 values, and a slice has 100 at most"
    ):
        measured(shop, slices=("number",))
    assert MOST_VALUES == 200


def test_values_that_are_too_long_for_sql_make_no_slices(tmp_path: Path) -> None:
    for photo in PHOTOS[:4]:
        shutil.copy(photo, tmp_path)
    lines = [f"{photo.name},Footwear,{'w' * 200},{'x' * 201}" for photo in PHOTOS[:4]]
    (tmp_path / "labels.csv").write_text("\n".join(["filename,category,gender,source", *lines]))
    [evaluation] = measured(str(tmp_path)).evaluations
    assert {part.value for part in evaluation.slices} == {"w" * 200}
    with pytest.raises(UsageError, match=r"'source' cannot be sliced by: it has a value of 201 characters"):
        evaluate_data(Wanted(str(tmp_path), ("nowhere",), "demo", slices=("source",)), Counted())


def test_a_limit_is_kept_and_told(shop: str) -> None:
    [evaluation] = measured(shop, limit=50).evaluations
    assert 49 <= evaluation.attributes[0].n <= 50
    assert evaluation.warnings[0] == "50 of 121 photos, drawn at random"


def test_photos_without_truth_of_an_attribute_count_for_the_others(tmp_path: Path) -> None:
    lines = [f"{photo.name},{TRUTH[photo.name]['category']},NA" for photo in PHOTOS[:20]]
    lines += [f"{photo.name},,{TRUTH[photo.name]['articleType']}" for photo in PHOTOS[20:50]]
    for photo in PHOTOS[:50]:
        shutil.copy(photo, tmp_path)
    (tmp_path / "labels.csv").write_text("\n".join(["filename,category,articleType", *lines]))
    [evaluation] = measured(str(tmp_path)).evaluations
    assert [metrics.n for metrics in evaluation.attributes] == [20, 30]


def test_the_vectors_and_pictures_of_the_photos_are_at_hand(shop: str, demo_encoder: ClipEncoder) -> None:
    evaluated = measured(shop)
    vectors = evaluated.vectors()
    assert len(vectors) == len(PHOTOS)
    for photo in PHOTOS[:5]:
        uri = evaluated.evaluations[0].data + photo.name
        with Image.open(photo) as picture:
            expected = demo_encoder.encode_images([picture.convert("RGB")])[0]
            assert np.allclose(vectors[uri], expected, atol=1e-3)
            shown = evaluated.picture(uri)
            assert shown is not None
            assert shown.tobytes() == picture.convert("RGB").tobytes()


def test_a_picture_that_changed_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "Bags").mkdir()
    for photo in PHOTOS[:2]:
        shutil.copy(photo, tmp_path / "Bags")
    evaluated = evaluate_data(Wanted(str(tmp_path), (DEMO_MODEL,)), Counted())
    first, second = evaluated.vectors()
    shutil.copy(PHOTOS[3], tmp_path / "Bags" / PHOTOS[0].name)
    assert evaluated.picture(first) is None
    assert evaluated.picture(second) is not None
    shutil.rmtree(tmp_path)
    assert evaluated.picture(second) is None


def test_the_first_parents_of_labels(shop: str) -> None:
    parents = measured(shop).first_parents()
    assert set(parents) == {"articleType"}
    assert parents["articleType"]["Bags"] == "Accessories"
    assert len(parents["articleType"]) == 10


def test_photos_none_of_which_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "Bags").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "Bags" / name).write_text("no picture")
    with pytest.raises(SourceError, match=r"none of the 2 photos could be read and decoded: 2 not_an_image"):
        evaluate_data(Wanted(str(tmp_path), (DEMO_MODEL,)), Counted())


@pytest.mark.parametrize(
    "more", [{"models": ("x",)}, {"taxonomy": "demo"}, {"attribute": "category"}, {"limit": 3}]
)
def test_what_goes_with_a_data_set_needs_one(more: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="give --dataset too"):
        Wanted(None, **more)  # type: ignore[arg-type]  # a field each

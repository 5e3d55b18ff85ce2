"""The path of a shard, with the real model: labels are the plain loop's, and broken files do no harm."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine, text

from fashion_clip.demo import MODEL_DIR
from fashion_clip.scoring import top_labels
from fashion_clip.taxonomy import Taxonomy
from tasks import serving
from tasks.catalog import plan
from tasks.catalog.commit import VECTOR, Counts
from tasks.catalog.engine import writing
from tasks.serving import ServedModel
from tasks.settings import Settings
from tasks.sources import Source, open_source
from tasks.tagging import BATCH, product_id_of, tag
from tests.catalogue_fixtures import DEMO_MODEL, DEMO_PHOTOS, Tagged, new_run, put_photos, rows

SUFFIXES = Settings.model_fields["suffixes"].default
STEM = Settings.model_fields["product_id"].default


@pytest.fixture
def model(engine: Engine) -> ServedModel:
    return serving.load_model(serving.begin_catalogue(engine, DEMO_MODEL, "demo"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def source_of(folder: Path) -> Source:
    return open_source(str(folder), SUFFIXES)


def tag_new(engine: Engine, model: ServedModel, folder: Path) -> Counts:
    """One run over the folder, all of it in one shard."""
    source, run_id = source_of(folder), new_run(engine)
    plan.scan(engine, run_id, source.uri, source.listing(), lambda _: None)
    uris = [
        uri for shard in plan.shards(engine, run_id, 4096) for uri in plan.planned(engine, run_id, *shard)
    ]
    return tag(engine, run_id, source, model, uris, STEM)


def plain_loop(
    photos: list[Path], taxonomy: Taxonomy
) -> dict[tuple[str, str], dict[str, tuple[float, float]]]:
    """What transformers alone says: (file, attribute) -> label -> cosine, probability."""
    import torch
    from transformers import CLIPModel, CLIPProcessor

    clip = CLIPModel.from_pretrained(MODEL_DIR)
    processor = CLIPProcessor.from_pretrained(MODEL_DIR)
    unit = torch.nn.functional.normalize
    said = {}
    with torch.inference_mode():
        heads = {}
        for attribute in taxonomy.attributes:
            means = []
            for label in attribute.labels:
                inputs = processor(text=list(attribute.prompts(label)), return_tensors="pt", padding=True)
                means.append(unit(clip.get_text_features(**inputs).pooler_output, dim=-1).mean(0))
            heads[attribute] = unit(torch.stack(means), dim=-1)
        for photo in photos:
            inputs = processor(images=Image.open(photo).convert("RGB"), return_tensors="pt")
            embedding = unit(clip.get_image_features(**inputs).pooler_output, dim=-1)
            for attribute, head in heads.items():
                similarity = (embedding @ head.T)[0]
                probability = (similarity * clip.logit_scale.exp()).softmax(-1)
                scores = zip(similarity.tolist(), probability.tolist(), strict=True)
                names = [label.name for label in attribute.labels]
                said[photo.name, attribute.name] = dict(zip(names, scores, strict=True))
    return said


def test_labels_are_those_of_the_plain_loop(tagged: Tagged) -> None:
    expected = plain_loop(sorted(tagged.folder.glob("fmnist-*.png")), tagged.label_set.taxonomy)
    assert len(expected) == 2 * 60
    found = rows(tagged.engine, "SELECT uri, attribute, label, similarity, confidence FROM catalog_labels")
    told = {(uri.rpartition("/")[2], attribute): row for uri, attribute, *row in found if "copy" not in uri}
    assert told.keys() == expected.keys()
    undecided = 0
    for key, (label, similarity, confidence) in told.items():
        best, second = sorted(expected[key], key=lambda name: expected[key][name], reverse=True)[:2]
        # Vectors are stored as float16: of two labels closer than that either may come first.
        close = expected[key][best][0] - expected[key][second][0] < 0.0005
        undecided += close
        assert label == best or (close and label == second)
        assert similarity == pytest.approx(expected[key][label][0], abs=0.001)
        assert confidence == pytest.approx(expected[key][label][1], abs=0.03)
    assert undecided < 6


def test_scores_are_those_that_the_core_gives_for_the_stored_vectors(tagged: Tagged) -> None:
    model = serving.load_model(tagged.label_set)
    stored = rows(
        tagged.engine,
        "SELECT c.sha256, e.vector FROM embeddings e JOIN contents c ON c.content_id = e.content_id",
    )
    matrix = np.stack([np.frombuffer(vector, VECTOR) for _, vector in stored]).astype(np.float32)
    assert np.linalg.norm(matrix, axis=1) == pytest.approx(1, abs=0.002)
    expected = {}
    for head in model.heads:
        best = top_labels(head, matrix)
        for row, (sha256, _) in enumerate(stored):
            for rank, index in enumerate(best.index[row]):
                scores = (best.similarity[row, rank], best.confidence[row, rank])
                expected[sha256, head.attribute, rank + 1] = (head.labels[index], *scores)
    found = rows(
        tagged.engine, "SELECT sha256, attribute, rank, label, similarity, confidence FROM label_candidates"
    )
    assert {tuple(row[:3]) for row in found} == expected.keys()
    for sha256, attribute, rank, label, similarity, confidence in found:
        name, exact_similarity, exact_confidence = expected[sha256, attribute, rank]
        assert label == name
        assert abs(similarity - exact_similarity) <= 0.000_051
        assert abs(confidence - exact_confidence) <= 0.000_051
        assert 0 <= confidence <= 1


def test_a_copy_is_tagged_and_not_embedded_and_a_text_file_is_no_photo(tagged: Tagged) -> None:
    assert rows(tagged.engine, "SELECT embedded, tagged, quarantined FROM run_history") == [(60, 61, 1)]
    [(uri, reason)] = rows(tagged.engine, "SELECT uri, reason FROM quarantined_images")
    assert uri.endswith("/broken.jpg")
    assert reason == "not_an_image"


def test_batches_and_copies_in_them_make_no_difference(
    engine: Engine, model: ServedModel, folder: Path
) -> None:
    photos = put_photos(folder, 60, 60 + 2 * BATCH)
    for number in (0, 1, BATCH):  # copies beside their originals and far from them
        shutil.copy(photos[number], folder / f"aaa-{number}.png")
        shutil.copy(photos[number], folder / f"zzz-{number}.png")
    for number in range(3):
        (folder / f"broken-{number}.jpg").write_bytes(b"the same bytes, three times")
    assert tag_new(engine, model, folder) == Counts(embedded=2 * BATCH, tagged=2 * BATCH + 6, quarantined=3)
    alike = rows(
        engine,
        "SELECT COUNT(DISTINCT label), COUNT(*) FROM catalog_labels WHERE attribute = 'articleType'"
        " GROUP BY sha256 HAVING COUNT(*) > 1",
    )
    assert alike == [(1, 3)] * 3


def test_labels_do_not_depend_on_the_company_a_photo_is_in(
    engine: Engine, model: ServedModel, folder: Path, tagged: Tagged
) -> None:
    """The tower rounds a little differently in a batch of another size; labels stand above that."""
    put_photos(folder, 5, 6)
    tag_new(engine, model, folder)
    alone = rows(engine, "SELECT sha256, attribute, label FROM catalog_labels ORDER BY attribute")
    query = "SELECT sha256, attribute, label FROM catalog_labels WHERE sha256 = :sha256 ORDER BY attribute"
    assert rows(tagged.engine, query, sha256=alone[0][0]) == alone


def test_what_cannot_be_tagged_goes_to_quarantine_with_its_reason(
    engine: Engine, model: ServedModel, folder: Path
) -> None:
    good = DEMO_PHOTOS[0].read_bytes()
    (folder / "good.png").write_bytes(good)
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("hello")
    (folder / "short.png").write_bytes(good[: len(good) // 2])
    (folder / "link.png").symlink_to(folder / "good.png")
    os.mkfifo(folder / "fifo.png")
    assert tag_new(engine, model, folder) == Counts(embedded=1, tagged=1, quarantined=5)
    reasons = {
        uri.rpartition("/")[2]: reason
        for uri, reason in rows(engine, "SELECT uri, reason FROM quarantined_images")
    }
    assert reasons.pop("short.png") in ("truncated", "broken")
    assert reasons == {
        "empty.png": "empty",
        "text.jpg": "not_an_image",
        "link.png": "not_a_file",
        "fifo.png": "not_a_file",
    }
    assert {uri.rpartition("/")[2] for (uri,) in rows(engine, "SELECT uri FROM catalog_labels")} == {
        "good.png"
    }


def test_a_photo_that_went_away_since_the_scan_is_quarantined_and_the_rest_is_tagged(
    engine: Engine, model: ServedModel, folder: Path
) -> None:
    photos = put_photos(folder, 0, 3)
    source, run_id = source_of(folder), new_run(engine)
    plan.scan(engine, run_id, source.uri, source.listing(), lambda _: None)
    photos[1].unlink()
    [shard] = plan.shards(engine, run_id, 10)
    counts = tag(engine, run_id, source, model, plan.planned(engine, run_id, *shard), STEM)
    assert counts == Counts(2, 2, 1)
    assert rows(engine, "SELECT reason FROM quarantined_images") == [("gone",)]


def test_a_content_that_has_a_vector_and_no_labels_is_labelled_without_being_embedded(
    engine: Engine, model: ServedModel, folder: Path
) -> None:
    [photo] = put_photos(folder, 0, 1)
    tag_new(engine, model, folder)
    before = rows(engine, "SELECT label, similarity, confidence FROM catalog_labels ORDER BY attribute")
    with writing(engine) as connection:
        connection.execute(text("DELETE FROM labels"))
    shutil.copy(photo, folder / "copy.png")
    assert tag_new(engine, model, folder) == Counts(embedded=0, tagged=1, quarantined=0)
    of_the_copy = "FROM catalog_labels WHERE uri LIKE '%copy.png' ORDER BY attribute"
    assert rows(engine, f"SELECT label, similarity, confidence {of_the_copy}") == before


def test_no_photos_are_no_work(engine: Engine, model: ServedModel, folder: Path) -> None:
    assert tag(engine, new_run(engine), source_of(folder), model, [], STEM) == Counts(0, 0, 0)


@pytest.mark.parametrize(
    ("key", "pattern", "product"),
    [
        ("1234.jpg", STEM, "1234"),
        ("2026/shoes/1234.front.jpg", STEM, "1234.front"),
        ("no-suffix", STEM, "no-suffix"),
        ("a.b/c", STEM, "c"),
        (".jpg", STEM, ".jpg"),
        ("two\nlines.jpg", STEM, "two\nlines"),
        ("shoes/1234_2.jpg", r"([^/_]*)_\d+\.\w+$", "1234"),
        ("1234/front.jpg", r"^([^/]*)/", "1234"),
        ("front.jpg", r"^([^/]*)/", "front.jpg"),
        ("_1.jpg", r"([^/_]*)_\d+\.\w+$", "_1.jpg"),
    ],
)
def test_a_product_is_named_by_the_group_of_the_pattern(key: str, pattern: str, product: str) -> None:
    assert product_id_of(key, pattern) == product

"""The path of a shard, with the real model: labels are the plain loop's, and broken files do no harm."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine, text

from fashion_clip.decode import Limits
from fashion_clip.decoders import Decoders
from fashion_clip.demo import MODEL_DIR
from fashion_clip.encoder import ClipEncoder
from fashion_clip.errors import SourceError
from fashion_clip.scoring import top_labels
from fashion_clip.taxonomy import Taxonomy, parse_taxonomy
from tasks import serving, tagging
from tasks.catalog import ledger, models, plan
from tasks.catalog.commit import Counts, commit_shard
from tasks.catalog.engine import writing
from tasks.catalog.vectors import VECTOR
from tasks.serving import ServedModel
from tasks.settings import Settings
from tasks.sources import Listed, Photo, Source, open_source
from tasks.sources.folder import FolderSource
from tasks.tagging import (
    READERS,
    Tagger,
    _read_in_batches,
    _Shard,
    product_id_of,
    tag,
    tag_next,
)
from tests.catalogue_fixtures import (
    DEMO_MODEL,
    DEMO_PHOTOS,
    Tagged,
    contents_of,
    new_run,
    put_photos,
    rows,
)

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


@pytest.fixture(scope="module")
def decoders(demo_encoder: ClipEncoder) -> Iterator[Decoders]:
    with Decoders(demo_encoder.preprocessing, Limits(), 15.0) as decoders:
        yield decoders


@dataclass(frozen=True)
class Shop:
    """A catalogue, and a folder that it is the catalogue of."""

    engine: Engine
    folder: Path
    tagger: Tagger

    def scan(self) -> int:
        """Plans what is new in the folder in a run of its own."""
        source = self.tagger.source
        run_id = new_run(self.engine, source.uri)
        plan.scan(self.engine, run_id, source.uri, source.listing(), lambda _: None)
        return run_id

    def tag_new(self) -> Counts:
        """One run over the folder, all of it in one shard."""
        run_id = self.scan()
        claim = ledger.claim(self.engine, run_id, 4096)
        return commit_shard(self.engine, run_id, claim, self.tagger.model.label_set, tag(self.tagger, claim))


@pytest.fixture
def shop(engine: Engine, model: ServedModel, decoders: Decoders, folder: Path) -> Shop:
    return Shop(engine, folder, Tagger(engine, source_of(folder), model, decoders, STEM))


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
    for head in model.labeller.heads:
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


def test_batches_and_copies_in_them_make_no_difference(engine: Engine, shop: Shop, folder: Path) -> None:
    batch = shop.tagger.model.encoder.batch_size
    photos = put_photos(folder, 60, 60 + 2 * batch)
    for number in (0, 1, batch):  # copies beside their originals and far from them
        shutil.copy(photos[number], folder / f"aaa-{number}.png")
        shutil.copy(photos[number], folder / f"zzz-{number}.png")
    for number in range(3):
        (folder / f"broken-{number}.jpg").write_bytes(b"the same bytes, three times")
    assert shop.tag_new() == Counts(2 * batch, 2 * batch + 6, 3, 3)
    alike = rows(
        engine,
        "SELECT COUNT(DISTINCT label), COUNT(*) FROM catalog_labels WHERE attribute = 'articleType'"
        " GROUP BY sha256 HAVING COUNT(*) > 1",
    )
    assert alike == [(1, 3)] * 3


def test_labels_do_not_depend_on_the_company_a_photo_is_in(
    engine: Engine, shop: Shop, folder: Path, tagged: Tagged
) -> None:
    """The tower rounds a little differently in a batch of another size; labels stand above that."""
    put_photos(folder, 5, 6)
    shop.tag_new()
    alone = rows(engine, "SELECT sha256, attribute, label FROM catalog_labels ORDER BY attribute")
    query = "SELECT sha256, attribute, label FROM catalog_labels WHERE sha256 = :sha256 ORDER BY attribute"
    assert rows(tagged.engine, query, sha256=alone[0][0]) == alone


def test_what_cannot_be_tagged_goes_to_quarantine_with_its_reason(
    engine: Engine, shop: Shop, folder: Path
) -> None:
    good = DEMO_PHOTOS[0].read_bytes()
    (folder / "good.png").write_bytes(good)
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("hello")
    (folder / "short.png").write_bytes(good[: len(good) // 2])
    (folder / "link.png").symlink_to(folder / "good.png")
    os.mkfifo(folder / "fifo.png")
    assert shop.tag_new() == Counts(1, 1, quarantined=5, newly_quarantined=5)
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
    engine: Engine, shop: Shop, folder: Path
) -> None:
    photos = put_photos(folder, 0, 3)
    run_id = shop.scan()
    photos[1].unlink()
    assert tag_next(shop.tagger, run_id, 10) == 3
    assert rows(engine, "SELECT embedded, tagged, quarantined FROM shards") == [(2, 2, 1)]
    assert rows(engine, "SELECT reason FROM quarantined_images") == [("gone",)]


def test_the_row_is_that_of_the_bytes_which_were_read(engine: Engine, shop: Shop, folder: Path) -> None:
    """The photo changes between the scan and its reading: the next scan finds nothing to do."""
    [photo] = put_photos(folder, 0, 1)
    run_id = shop.scan()
    photo.write_bytes(DEMO_PHOTOS[1].read_bytes())
    assert tag_next(shop.tagger, run_id, 10) == 1
    digest = hashlib.sha256(DEMO_PHOTOS[1].read_bytes()).hexdigest()
    assert rows(engine, "SELECT DISTINCT sha256 FROM catalog_labels") == [(digest,)]
    assert tag_next(shop.tagger, shop.scan(), 10) == 0


def test_a_photo_that_outlived_its_workers_is_given_up_unopened(
    engine: Engine, shop: Shop, folder: Path
) -> None:
    put_photos(folder, 0, 2)
    run_id = shop.scan()
    with writing(engine) as connection:
        connection.execute(
            text("UPDATE work SET claims = :claims WHERE work_id = 1"), {"claims": ledger.MAX_CLAIMS}
        )
    assert [tag_next(shop.tagger, run_id, 10) for _ in range(3)] == [1, 1, 0]
    [(reason, detail, retry_at)] = rows(engine, "SELECT reason, detail, retry_at FROM quarantine")
    assert (reason, retry_at) == ("worker_died", None)
    assert "3 times" in detail


def test_a_source_that_is_gone_ends_the_shard_and_gives_its_photos_back(
    engine: Engine, shop: Shop, folder: Path
) -> None:
    class Gone:
        """A share that was unmounted after it was listed."""

        uri, ignored, key = shop.tagger.source.uri, 0, shop.tagger.source.key

        def listing(self) -> Iterator[Listed]:
            raise SourceError("the share is gone")

        def read(self, uri: str) -> Photo:
            raise SourceError("the share is gone")

    put_photos(folder, 0, 20)
    run_id = shop.scan()
    with pytest.raises(SourceError, match="the share is gone"):
        tag_next(replace(shop.tagger, source=Gone()), run_id, 10)
    assert rows(engine, "SELECT COUNT(*), SUM(claims), COUNT(owner) FROM work") == [(20, 0, 0)]
    assert rows(engine, "SELECT * FROM photos") == []


def test_a_content_that_has_a_vector_and_no_labels_is_labelled_without_being_embedded(
    engine: Engine, shop: Shop, folder: Path
) -> None:
    [photo] = put_photos(folder, 0, 1)
    shop.tag_new()
    before = rows(engine, "SELECT label, similarity, confidence FROM catalog_labels ORDER BY attribute")
    with writing(engine) as connection:
        connection.execute(text("DELETE FROM labels"))
    shutil.copy(photo, folder / "copy.png")
    assert shop.tag_new() == Counts(embedded=0, tagged=1, quarantined=0)
    of_the_copy = "FROM catalog_labels WHERE uri LIKE '%copy.png' ORDER BY attribute"
    assert rows(engine, f"SELECT label, similarity, confidence {of_the_copy}") == before


def test_photos_whose_labels_are_served_no_more_are_done_anew(
    engine: Engine, shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pointer moves while a shard is between its labels and its commit."""
    put_photos(folder, 0, 5)
    run_id = shop.scan()
    other = parse_taxonomy({"name": "other", "attributes": {"mood": {"labels": ["warm", "cold"]}}})
    label_set = models.label_set_for(engine, shop.tagger.model.label_set.model_version, other)

    def switch_first(*given: Any) -> Counts:
        with writing(engine) as connection:
            models.serve(connection, label_set, "switched")
        return commit_shard(*given)

    with monkeypatch.context() as patched:
        patched.setattr(tagging, "commit_shard", switch_first)
        assert tag_next(shop.tagger, run_id, 10) == 5
    assert rows(engine, "SELECT COUNT(*) FROM photos") == [(0,)]
    assert rows(engine, "SELECT claims, owner FROM work GROUP BY claims, owner") == [(0, None)]
    anew = replace(shop.tagger, model=serving.load_model(label_set))
    assert tag_next(anew, run_id, 10) == 5
    assert rows(engine, "SELECT attribute, COUNT(*) FROM catalog_labels GROUP BY attribute") == [("mood", 5)]


def test_no_photos_are_no_work(engine: Engine, shop: Shop) -> None:
    run_id = new_run(engine)
    before = contents_of(engine)
    assert tag_next(shop.tagger, run_id, 10) == 0
    assert contents_of(engine) == before


def test_reading_goes_ahead_of_decoding_and_no_further(engine: Engine, shop: Shop, folder: Path) -> None:
    """A claim of any size holds a batch and the photos on their way, and no more."""
    batch = shop.tagger.model.encoder.batch_size
    put_photos(folder, 0, 3 * batch)
    asked: list[str] = []

    class Watched(FolderSource):
        def read(self, uri: str) -> Photo:
            asked.append(uri)
            return super().read(uri)

    claim = ledger.claim(engine, shop.scan(), 4096)
    tagger = replace(shop.tagger, source=Watched(folder, SUFFIXES, Limits().max_bytes))
    batches = _read_in_batches(tagger, claim.photos, _Shard())
    assert [len(next(batches)), len(asked) <= batch + READERS] == [batch, True]
    assert [len(photos) for photos in batches] == [batch, batch]
    assert asked == sorted(asked)


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

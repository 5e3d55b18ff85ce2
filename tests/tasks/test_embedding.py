"""Photos to vectors without a catalogue: those of the plain encoder, and bad photos stop nothing."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashion_clip.encoder import ClipEncoder
from fashion_clip.errors import SourceError
from tasks.embedding import AHEAD, Embedded, embed
from tasks.sources import Source, open_source
from tests.catalogue_fixtures import put_photos

pytestmark = pytest.mark.usefixtures("clean_environment")

SUFFIXES = frozenset({".png"})


def embedded(encoder: ClipEncoder, source: Source, uris: list[str]) -> tuple[Embedded, list[int]]:
    done: list[int] = []
    return embed(encoder, source, uris, done.append), done


def uris_of(source: Source) -> list[str]:
    return [photo.uri for photo in source.listing()]


def test_vectors_are_the_encoders_own_in_order(tmp_path: Path, demo_encoder: ClipEncoder) -> None:
    photos = put_photos(tmp_path / "photos", 0, (AHEAD + 2) * demo_encoder.batch_size + 3)
    source = open_source(str(tmp_path / "photos"), SUFFIXES)
    found, done = embedded(demo_encoder, source, uris_of(source))
    expected = demo_encoder.encode_images([Image.open(photo).convert("RGB") for photo in photos])
    assert found.rows.tolist() == list(range(len(photos)))
    assert found.vectors.dtype == np.float16
    assert np.allclose(found.vectors, expected, atol=1e-3)
    assert found.digests == {
        source.uri + photo.name: hashlib.sha256(photo.read_bytes()).hexdigest() for photo in photos
    }
    assert (found.failed, sum(done)) == ({}, len(photos))


def test_what_cannot_be_read_or_decoded_is_told(tmp_path: Path, demo_encoder: ClipEncoder) -> None:
    folder = tmp_path / "photos"
    photos = put_photos(folder, 0, 6)
    photos[1].write_text("no picture")
    photos[4].unlink()
    photos[5].write_bytes(photos[5].read_bytes()[:200])
    source = open_source(str(folder), SUFFIXES)
    uris = [source.uri + photo.name for photo in photos]
    found, done = embedded(demo_encoder, source, uris)
    assert found.rows.tolist() == [0, 2, 3]
    assert len(found.vectors) == 3
    assert {uri: error.reason for uri, error in found.failed.items()} == {
        uris[1]: "not_an_image",
        uris[4]: "gone",
        uris[5]: "truncated",
    }
    assert sum(done) == 6


def test_none_of_them_is_no_vectors(tmp_path: Path, demo_encoder: ClipEncoder) -> None:
    (tmp_path / "x.png").write_text("no picture")
    source = open_source(str(tmp_path), SUFFIXES)
    found, _ = embedded(demo_encoder, source, uris_of(source))
    assert found.vectors.shape == (0, demo_encoder.dimension)


def test_a_source_that_goes_away_ends_it(tmp_path: Path, demo_encoder: ClipEncoder) -> None:
    put_photos(tmp_path / "photos", 0, 3)
    source = open_source(str(tmp_path / "photos"), SUFFIXES)
    uris = uris_of(source)
    shutil.rmtree(tmp_path / "photos")
    with pytest.raises(SourceError, match="is gone"):
        embedded(demo_encoder, source, uris)

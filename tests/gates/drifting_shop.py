"""A shop whose new photos are of kinds that its model takes for each other, and what comes of it by night."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from fashion_clip.demo import truth
from tasks.truth import import_truth
from tests.catalogue_fixtures import (
    DEMO_MODEL,
    DEMO_PHOTOS,
    connected,
    misleading_taxonomy,
    put_photos,
    rows,
    write_truth,
)
from tests.gates.served import Served

# What the misleading prompts take for each other: photos of these have drifted, those of others have not.
DRIFTED = ("Bags", "Shirts")


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """An empty folder of photos and the settings of a shop that looks at every new photo."""
    (tmp_path / "photos").mkdir()
    return {
        "FASHION_CLIP_DATABASE_URL": "sqlite:///catalogue.db",
        "FASHION_CLIP_SOURCE": "photos",
        "FASHION_CLIP_MODEL": DEMO_MODEL,
        "FASHION_CLIP_TAXONOMY": misleading_taxonomy(tmp_path),
        "FASHION_CLIP_CHECK_HOURS": "0",
        "FASHION_CLIP_AUDIT_PHOTOS": "300",
        "FASHION_CLIP_RUNTIME": "torch",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with connected(f"sqlite:///{tmp_path / 'catalogue.db'}") as engine:
        yield engine


def photos(drifted: bool) -> list[Path]:
    known = truth()
    return [photo for photo in DEMO_PHOTOS if (known[photo.name]["articleType"] in DRIFTED) is drifted]


def arrive(folder: Path, new: list[Path]) -> None:
    for photo in new:
        place = DEMO_PHOTOS.index(photo)
        put_photos(folder / "photos", place, place + 1)


def tell(engine: Engine, folder: Path, about: list[Path]) -> None:
    import_truth(engine, write_truth(folder / "told.csv", about), "ann", new_labels=False, dry_run=False)


def up_to_a_drop(shop: Served, engine: Engine) -> str:
    """Three nights; returns the id of the last one, which finds the drop."""
    arrive(shop.folder, photos(drifted=False))
    shop.run("nightly-tagging")
    tell(engine, shop.folder, photos(drifted=False))
    arrive(shop.folder, photos(drifted=True))
    shop.run("nightly-tagging")
    assert rows(engine, "SELECT status FROM accuracy_history ORDER BY check_id") == [("waiting",), ("ok",)]
    tell(engine, shop.folder, photos(drifted=True))
    return shop.run("nightly-tagging")

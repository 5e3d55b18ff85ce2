"""Relabelling as a flow, on a real Prefect server: resumed, refused, beside a night."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine

from fashion_clip.errors import CatalogError, TaxonomyError, UsageError
from flows.nightly_tagging import nightly_tagging
from flows.relabel_catalog import relabel_catalog
from tasks.catalog import relabelling, runs
from tests.catalogue_fixtures import DEMO_MODEL, contents_of, put_photos, rows

pytestmark = pytest.mark.usefixtures("prefect_api", "catalogue")

SHOWN = "SELECT uri, attribute, label, similarity, confidence FROM catalog_labels"
PHOTOS = 40


@pytest.fixture
def taxonomy(tmp_path: Path) -> str:
    file = tmp_path / "other.toml"
    file.write_text(
        'name = "other"\n[attributes.articleType]\ntemplates = ["a photo of {text}"]\n'
        'labels = ["Bags", "Sneakers", "Shirts"]\n[attributes.mood]\nlabels = ["warm", "cold"]\n'
    )
    return str(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_photos(tmp_path / "photos", 0, PHOTOS)
    return tmp_path / "photos"


def test_the_labels_are_those_of_a_catalogue_tagged_so(
    folder: Path, taxonomy: str, catalogue: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nightly_tagging(str(folder), DEMO_MODEL, "demo")
    for photo in folder.iterdir():
        photo.unlink()  # not a photo is opened
    run = relabel_catalog(taxonomy)
    assert (run.flow, run.status, run.tagged, run.embedded) == ("relabel-catalog", "completed", PHOTOS, 0)
    assert (run.listed, run.known, run.remaining) == (None, None, None)
    relabelled = sorted(rows(catalogue, SHOWN))
    put_photos(folder, 0, PHOTOS)
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", f"sqlite:///{tmp_path}/fresh.db")
    nightly_tagging(str(folder), DEMO_MODEL, taxonomy)
    from tasks import environment

    assert sorted(rows(environment.catalogue(), SHOWN)) == relabelled
    assert len(relabelled) == 2 * PHOTOS


def test_a_night_goes_on_with_the_new_labels(folder: Path, taxonomy: str, catalogue: Engine) -> None:
    nightly_tagging(str(folder), DEMO_MODEL, "demo")
    relabel_catalog(taxonomy)
    put_photos(folder, PHOTOS, PHOTOS + 5)
    assert nightly_tagging(str(folder)).tagged == 5
    assert rows(catalogue, f"SELECT COUNT(*) FROM ({SHOWN}) d") == [(2 * (PHOTOS + 5),)]
    with pytest.raises(UsageError, match=r"fashion-clip relabel --taxonomy demo"):
        nightly_tagging(str(folder), None, "demo")


def test_many_pages_are_many_tasks(
    folder: Path, taxonomy: str, catalogue: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relabelling, "PAGE", 16)
    monkeypatch.setattr(relabelling.lacking.__wrapped__, "__defaults__", (16,))  # type: ignore[attr-defined]
    nightly_tagging(str(folder), DEMO_MODEL, "demo")
    run = relabel_catalog(taxonomy)
    pages = rows(catalogue, f"SELECT tagged FROM shards WHERE run_id = {run.run_id} ORDER BY shard_id")
    assert pages == [(16,), (16,), (8,)]


def test_a_run_that_was_killed_is_gone_on_with(
    folder: Path, taxonomy: str, catalogue: Engine, prefect_api: str
) -> None:
    nightly_tagging(str(folder), DEMO_MODEL, "demo")
    before = sorted(rows(catalogue, SHOWN))
    program = (
        "import sys, time\n"
        "from tasks.catalog import relabelling\n"
        "relabelling.lacking.__wrapped__.__defaults__ = (16,)\n"
        "write = relabelling.write_labels\n"
        "def stay(*given):\n"
        "    write(*given)\n"
        "    print('written', flush=True)\n"
        "    time.sleep(60)\n"
        "relabelling.write_labels = stay\n"
        "from flows.relabel_catalog import relabel_catalog\n"
        "relabel_catalog(sys.argv[1])\n"
    )
    environment = os.environ | {"PREFECT_API_URL": prefect_api}
    process = subprocess.Popen(
        [sys.executable, "-c", program, taxonomy], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout
    assert process.stdout.readline() == "written\n"
    with pytest.raises(CatalogError, match=r"run 2 is relabelling this catalogue already"):
        relabel_catalog(taxonomy)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert sorted(rows(catalogue, SHOWN)) == before
    with catalogue.begin() as connection:
        connection.exec_driver_sql("UPDATE runs SET alive_until = '2026-01-01 00:00:00.000000'")
    began = time.monotonic()
    assert relabel_catalog(taxonomy).tagged == PHOTOS - 16
    assert time.monotonic() - began < 60
    told = [(run.status, run.tagged) for run in runs.history(catalogue, 3)]
    assert told == [("completed", PHOTOS - 16), ("failed", 0), ("interrupted", 16)]
    assert {row[1] for row in rows(catalogue, SHOWN)} == {"articleType", "mood"}


def test_what_is_served_already_is_left_alone(folder: Path, catalogue: Engine) -> None:
    nightly_tagging(str(folder), DEMO_MODEL, "demo")
    tables = ("labels", "label_sets", "served_log", "served_label_set", "shards")
    before = {name: contents_of(catalogue)[name] for name in tables}
    assert relabel_catalog("demo").tagged == 0
    assert {name: contents_of(catalogue)[name] for name in tables} == before


def test_an_empty_catalogue_is_wrong_use(taxonomy: str) -> None:
    with pytest.raises(UsageError, match="the catalogue is empty"):
        relabel_catalog(taxonomy)


def test_no_taxonomy_is_wrong_use() -> None:
    with pytest.raises(UsageError, match=r"give --taxonomy FILE, or set FASHION_CLIP_TAXONOMY"):
        relabel_catalog()


def test_a_taxonomy_that_cannot_be_read_changes_nothing(folder: Path, catalogue: Engine) -> None:
    nightly_tagging(str(folder), DEMO_MODEL, "demo")
    before = sorted(rows(catalogue, SHOWN))
    with pytest.raises(TaxonomyError):
        relabel_catalog("/nowhere.toml")
    assert sorted(rows(catalogue, SHOWN)) == before
    assert rows(catalogue, "SELECT status FROM run_history WHERE run_id = 2") == [("failed",)]

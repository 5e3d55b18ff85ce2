"""Another image tower as a flow, on a real Prefect server: beside nights, killed, gone on with, and back."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

from fashion_clip.errors import CatalogError, QuarantineError, SourceError, UsageError
from flows.nightly_tagging import nightly_tagging
from flows.reembed_catalog import reembed_catalog
from tasks import environment, serving
from tasks.catalog import reembedding, runs
from tasks.catalog.versions import Made, register
from tasks.reembedding import serve_reembedded
from tests.catalogue_fixtures import DEMO_MODEL, DEMO_PHOTOS, new_run, put_photos, rows

pytestmark = pytest.mark.usefixtures("prefect_api", "catalogue")

SHOWN = "SELECT uri, attribute, label, similarity, confidence FROM catalog_labels"
PHOTOS = 40
SHARD = 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_photos(tmp_path / "photos", 0, PHOTOS)
    return tmp_path / "photos"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> None:
    monkeypatch.setenv("FASHION_CLIP_SHARD_SIZE", str(SHARD))


def begun(engine: Engine, folder: Path, other_model: Path) -> str:
    """Tags the folder with the demo's model; returns the version of another one, registered."""
    nightly_tagging(str(folder), DEMO_MODEL, "demo")
    facts = serving.facts_of(serving.load_chosen_model(str(other_model)))
    return register(engine, facts, Made("full", champion(engine)))


def shown(engine: Engine) -> list[tuple[object, ...]]:
    return sorted(rows(engine, SHOWN))


def tagged_by(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, database: Path
) -> list[tuple[object, ...]]:
    """What a catalogue of the folder shows that has known no other model."""
    with monkeypatch.context() as patched:
        patched.setenv("FASHION_CLIP_DATABASE_URL", f"sqlite:///{database}")
        nightly_tagging(str(folder), str(model), "demo")
        return shown(environment.catalogue())


def champion(engine: Engine) -> str:
    return str(rows(engine, "SELECT version FROM model_history WHERE role = 'champion'")[0][0])


def test_the_labels_are_those_of_a_catalogue_tagged_so(
    folder: Path, catalogue: Engine, other_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = begun(catalogue, folder, other_model)
    before = shown(catalogue)
    run = reembed_catalog(version)
    assert (run.flow, run.source, run.status) == ("reembed-catalog", f"model {version}", "completed")
    assert (run.embedded, run.tagged, run.quarantined, run.listed) == (PHOTOS, PHOTOS, 0, None)
    assert champion(catalogue) == version
    shards = rows(catalogue, f"SELECT embedded FROM shards WHERE run_id = {run.run_id} ORDER BY shard_id")
    assert shards == [(SHARD,), (SHARD,), (PHOTOS - 2 * SHARD,)]
    found = shown(catalogue)
    assert found == tagged_by(other_model, folder, monkeypatch, tmp_path / "fresh.db")
    assert found != before
    assert rows(catalogue, "SELECT COUNT(*) FROM embeddings") == [(2 * PHOTOS,)]


def test_nights_go_on_with_the_new_model_and_back_is_quick(
    folder: Path, catalogue: Engine, other_model: Path
) -> None:
    version = begun(catalogue, folder, other_model)
    old, before = champion(catalogue), shown(catalogue)
    reembed_catalog(version)
    put_photos(folder, PHOTOS, PHOTOS + 5)
    night = nightly_tagging(str(folder))
    assert (night.known, night.embedded, night.tagged) == (PHOTOS, 5, 5)
    back = reembed_catalog(old)
    assert (back.embedded, back.tagged) == (5, 5)
    assert champion(catalogue) == old
    after = shown(catalogue)
    assert [row for row in after if row in before] == before
    assert len(after) == len(before) * (PHOTOS + 5) // PHOTOS
    forth = reembed_catalog(version)
    assert (forth.embedded, forth.tagged) == (0, 0)
    assert rows(catalogue, "SELECT COUNT(*) FROM embeddings") == [(2 * (PHOTOS + 5),)]


def test_what_a_night_adds_meanwhile_is_embedded_before_the_switch(
    folder: Path, catalogue: Engine, other_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = begun(catalogue, folder, other_model)
    old = champion(catalogue)
    served: list[tuple[str, int]] = []

    def a_night_before(*given: int, reason: str | None) -> bool:
        if not served:
            put_photos(folder, PHOTOS, PHOTOS + 5)
            nightly_tagging(str(folder))
        served.append((champion(catalogue), len(shown(catalogue))))
        return serve_reembedded(*given, reason=reason)

    monkeypatch.setattr("flows.reembed_catalog.serve_reembedded", a_night_before)
    assert reembed_catalog(version).embedded == PHOTOS + 5
    attributes = len({row[1] for row in shown(catalogue)})
    assert served == [(old, attributes * (PHOTOS + 5))] * 2
    assert len(shown(catalogue)) == attributes * (PHOTOS + 5)
    assert champion(catalogue) == version


def test_a_few_lost_photos_are_left_to_the_next_night(
    folder: Path, catalogue: Engine, other_model: Path
) -> None:
    version = begun(catalogue, folder, other_model)
    changed, cut = folder / DEMO_PHOTOS[3].name, folder / DEMO_PHOTOS[8].name
    changed.write_bytes(DEMO_PHOTOS[PHOTOS].read_bytes())
    cut.write_bytes(cut.read_bytes()[:200])
    run = reembed_catalog(version)
    assert (run.status, run.embedded) == ("completed", PHOTOS - 2)
    names = {str(row[0]).rpartition("/")[2] for row in shown(catalogue)}
    assert names == {photo.name for photo in DEMO_PHOTOS[:PHOTOS]} - {changed.name, cut.name}
    night = nightly_tagging(str(folder))
    assert (night.known, night.embedded, night.tagged, night.quarantined) == (PHOTOS - 2, 1, 1, 1)
    assert changed.name in {str(row[0]).rpartition("/")[2] for row in shown(catalogue)}
    assert nightly_tagging(str(folder)).known == PHOTOS


def test_a_photo_that_only_failed_to_be_read_has_its_labels_again_after_a_night(
    folder: Path, catalogue: Engine, other_model: Path, tmp_path: Path
) -> None:
    version = begun(catalogue, folder, other_model)
    (folder / DEMO_PHOTOS[3].name).rename(tmp_path / "away.png")
    assert reembed_catalog(version).embedded == PHOTOS - 1
    (tmp_path / "away.png").rename(folder / DEMO_PHOTOS[3].name)
    night = nightly_tagging(str(folder))
    assert (night.known, night.embedded, night.quarantined) == (PHOTOS, 1, 0)
    assert len({row[0] for row in shown(catalogue)}) == PHOTOS


def test_too_many_lost_photos_fail_the_run_and_what_was_done_is_kept(
    folder: Path, catalogue: Engine, other_model: Path
) -> None:
    version = begun(catalogue, folder, other_model)
    before = shown(catalogue)
    for photo in sorted(folder.iterdir())[:20]:
        photo.unlink()
    with pytest.raises(QuarantineError, match=r"of 40 photos cannot be read any more .* not served"):
        reembed_catalog(version)
    assert shown(catalogue) == before
    run = runs.history(catalogue, 1)[0]
    # Two shards are committed at once, so that which photos are the newest is as it comes.
    assert run.status == "failed"
    assert 0 < run.embedded <= 20
    put_photos(folder, 0, PHOTOS)
    nightly_tagging(str(folder))
    assert reembed_catalog(version).embedded == PHOTOS - run.embedded
    assert champion(catalogue) == version


def test_a_source_that_is_gone_loses_no_photo(folder: Path, catalogue: Engine, other_model: Path) -> None:
    version = begun(catalogue, folder, other_model)
    folder.rename(folder.with_name("unmounted"))
    environment._source.cache_clear()
    with pytest.raises(SourceError, match="Is it mounted"):
        reembed_catalog(version)
    folder.with_name("unmounted").rename(folder)
    assert rows(catalogue, "SELECT COUNT(*) FROM photos WHERE change_token IS NULL") == [(0,)]
    assert reembed_catalog(version).embedded == PHOTOS


KILLED = """
import os, signal, sys
from tasks.catalog import models, reembedding
point, version = sys.argv[1:]
def die():
    os.kill(os.getpid(), signal.SIGKILL)
commit, serve = reembedding.commit, models.serve
commits = []
def commit_one(*given):
    if commits:
        die()
    commits.append(commit(*given))
def serve_and_die(*given):
    serve(*given)
    die()
if point == "after embedding":
    reembedding.commit = commit_one
else:
    models.serve = serve_and_die
from flows.reembed_catalog import reembed_catalog
reembed_catalog(version)
"""


@pytest.mark.parametrize(
    ("point", "database", "left"),
    [("after embedding", "sqlite", PHOTOS - SHARD), ("in the switch", "postgresql", 0)],
)
def test_a_run_that_was_killed_is_gone_on_with(
    point: str,
    database: str,
    left: int,
    folder: Path,
    catalogue: Engine,
    other_model: Path,
    prefect_api: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    engine = catalogue
    if database == "postgresql":
        engine = request.getfixturevalue("postgres_engine")
        monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    version = begun(engine, folder, other_model)
    old, before = champion(engine), shown(engine)
    died = subprocess.run(
        [sys.executable, "-c", KILLED, point, version],
        env=os.environ | {"PREFECT_API_URL": prefect_api, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    assert (champion(engine), shown(engine)) == (old, before)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE runs SET alive_until = '2026-01-01 00:00:00.000000'")
    assert reembed_catalog(version).embedded == left
    assert champion(engine) == version
    assert shown(engine) == tagged_by(other_model, folder, monkeypatch, tmp_path / "fresh.db")
    assert rows(engine, "SELECT SUM(embedded), COUNT(*) FROM run_history WHERE flow = 'reembed-catalog'") == [
        (PHOTOS, 2)
    ]


def test_one_at_a_time(folder: Path, catalogue: Engine, other_model: Path) -> None:
    version = begun(catalogue, folder, other_model)
    other = new_run(catalogue)
    with catalogue.begin() as connection:
        connection.exec_driver_sql(f"UPDATE runs SET flow = '{reembedding.FLOW}' WHERE run_id = {other}")
    with pytest.raises(CatalogError, match=rf"run {other} embeds this catalogue anew already"):
        reembed_catalog(version)
    assert rows(catalogue, "SELECT COUNT(*) FROM label_sets") == [(1,)]


def test_what_is_served_already_is_left_alone(folder: Path, catalogue: Engine, other_model: Path) -> None:
    begun(catalogue, folder, other_model)
    run = reembed_catalog(champion(catalogue))
    assert (run.status, run.embedded, run.tagged) == ("completed", 0, 0)
    assert rows(catalogue, "SELECT COUNT(*) FROM served_log") == [(1,)]


def test_an_empty_catalogue_and_an_unknown_model_are_wrong_use(folder: Path, catalogue: Engine) -> None:
    with pytest.raises(UsageError, match="the catalogue is empty"):
        reembed_catalog("anything")
    nightly_tagging(str(folder), DEMO_MODEL, "demo")
    with pytest.raises(UsageError, match="no model 'anything' is registered"):
        reembed_catalog("anything")

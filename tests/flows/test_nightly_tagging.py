"""Whole nights, on a real Prefect server: counts add up, and whatever was done once is not done again."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from sqlalchemy import Engine, text, update

from fashion_clip.errors import (
    CheckpointError,
    EncoderDriftError,
    QuarantineError,
    SourceError,
    TaxonomyError,
    UsageError,
)
from flows import nightly_tagging as flow_module
from flows.nightly_tagging import AT_ONCE, nightly_tagging
from tasks import shard_size
from tasks.catalog import ledger, plan, runs
from tasks.catalog.engine import writing
from tasks.catalog.runs import RunSummary
from tasks.catalog.tables import work
from tasks.settings import settings
from tasks.sources import open_source
from tests.catalogue_fixtures import DEMO_MODEL, contents_of, new_run, put_photos, rows

pytestmark = pytest.mark.usefixtures("prefect_api", "catalogue")

RESULTS = (
    "labels",
    "embeddings",
    "contents",
    "photos",
    "photo_past_contents",
    "quarantine",
    "work",
    "shards",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def night(
    folder: Path, model: str = DEMO_MODEL, taxonomy: str = "demo", accept_vanished: bool = False
) -> RunSummary:
    """Runs the flow; of any run that ends well the counts add up."""
    run = nightly_tagging(str(folder), model, taxonomy, accept_vanished)
    assert run.status == "completed"
    assert None not in (run.listed, run.known, run.remaining, run.finished_at)
    assert run.listed == (run.known or 0) + run.tagged + run.quarantined + (run.remaining or 0)
    return run


def counts(run: RunSummary) -> dict[str, int | None]:
    names = ("listed", "known", "embedded", "tagged", "quarantined", "remaining", "ignored")
    return {name: value for name in names if (value := getattr(run, name))}


def last_run(engine: Engine) -> RunSummary:
    return runs.history(engine, 1)[0]


def shown(engine: Engine) -> set[str]:
    """The names that catalog_labels shows."""
    return {uri.rpartition("/")[2] for (uri,) in rows(engine, "SELECT uri FROM catalog_labels")}


def results(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    whole = contents_of(engine)
    return {name: whole[name] for name in RESULTS}


def artifacts(flow_run_id: str) -> list[Any]:
    of_the_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(flow_run_id)]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=of_the_run)
    return [artifact for artifact in found if artifact.key == "nightly-tagging"]


def flow_run(flow_run_id: str) -> Any:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(flow_run_id))


def test_three_nights_add_up(folder: Path, catalogue: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first in several shards; the second with a copy and a broken file; the third with nothing new."""
    monkeypatch.setenv("FASHION_CLIP_SHARD_SIZE", "7")
    photos = put_photos(folder, 0, 20)
    first = night(folder)
    assert counts(first) == {"listed": 20, "embedded": 20, "tagged": 20}
    assert rows(catalogue, "SELECT tagged FROM shards ORDER BY shard_id") in (
        [(7,), (7,), (6,)],
        [(7,), (6,), (7,)],
    )

    put_photos(folder, 20, 25)
    shutil.copy(photos[0], folder / "copy.png")
    (folder / "broken.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("no photo")
    second = night(folder)
    assert counts(second) == {
        "listed": 27, "known": 20, "embedded": 5, "tagged": 6, "quarantined": 1, "ignored": 1,
    }  # fmt: skip

    before = results(catalogue)
    third = night(folder)
    assert counts(third) == {"listed": 27, "known": 27, "ignored": 1}
    assert results(catalogue) == before

    assert len(shown(catalogue)) == 26
    assert {"copy.png"} < shown(catalogue)
    assert "broken.jpg" not in shown(catalogue)
    assert [run.run_id for run in runs.history(catalogue, 9)] == [third.run_id, second.run_id, first.run_id]
    alike = rows(
        catalogue,
        "SELECT COUNT(DISTINCT label || similarity || confidence) FROM catalog_labels"
        " WHERE attribute = 'articleType' AND (uri LIKE '%/copy.png' OR uri LIKE :original)",
        original="%/" + photos[0].name,
    )
    assert alike == [(1,)]


def test_a_run_can_be_seen_in_prefect_and_in_sql(folder: Path, catalogue: Engine) -> None:
    put_photos(folder, 0, 15)
    run = night(folder)
    assert run.prefect_flow_run_id is not None
    seen = flow_run(run.prefect_flow_run_id)
    assert seen.state.is_completed()
    assert seen.parameters == {
        "source": str(folder), "model": DEMO_MODEL, "taxonomy": "demo", "accept_vanished": False,
    }  # fmt: skip
    assert (run.flow, run.source) == ("nightly-tagging", folder.as_uri() + "/")
    assert last_run(catalogue) == run


def test_the_artifact_tells_the_run(folder: Path, catalogue: Engine) -> None:
    put_photos(folder, 0, 15)
    run = night(folder)
    [artifact] = artifacts(str(run.prefect_flow_run_id))
    assert (artifact.key, artifact.type, artifact.description) == ("nightly-tagging", "markdown", run.source)
    assert "| 15 | 0 | 15 | 15 | 0 | 0 | 0 |" in artifact.data
    for attribute, label, photos in rows(
        catalogue, "SELECT attribute, label, COUNT(*) FROM catalog_labels GROUP BY attribute, label"
    ):
        assert f"## {attribute}" in artifact.data
        if attribute == "category":  # of articleType's ten only the first stand there
            assert f"| {label} | {photos} |" in artifact.data
    [image] = re.findall(r"\(data:image/jpeg;base64,([^)]*)\)", artifact.data)
    assert Image.open(BytesIO(base64.b64decode(image))).format == "JPEG"
    [quiet] = artifacts(str(night(folder).prefect_flow_run_id))
    assert "| 15 | 15 | 0 | 0 | 0 | 0 | 0 |" in quiet.data
    assert "data:" not in quiet.data


def test_a_night_on_another_folder_leaves_the_first_alone(tmp_path: Path, catalogue: Engine) -> None:
    put_photos(tmp_path / "one", 0, 4)
    put_photos(tmp_path / "two", 2, 6)
    night(tmp_path / "one")
    assert counts(night(tmp_path / "two")) == {"listed": 4, "embedded": 2, "tagged": 4}
    assert len(rows(catalogue, "SELECT DISTINCT uri FROM catalog_labels")) == 8


def test_changed_touched_broken_and_cured(folder: Path, catalogue: Engine) -> None:
    changed, touched, spoiled, same = put_photos(folder, 0, 4)
    [other] = put_photos(folder.parent / "elsewhere", 10, 11)
    night(folder)
    shutil.copy(other, changed)
    os.utime(touched, ns=(0, 1))
    good = spoiled.read_bytes()
    spoiled.write_bytes(good[:100])
    assert counts(night(folder)) == {"listed": 4, "known": 2, "embedded": 1, "tagged": 1, "quarantined": 1}
    assert shown(catalogue) == {changed.name, touched.name, same.name}
    assert counts(night(folder)) == {"listed": 4, "known": 4}
    spoiled.write_bytes(good)
    assert counts(night(folder)) == {"listed": 4, "known": 3, "tagged": 1}
    assert rows(catalogue, "SELECT * FROM quarantined_images") == []
    history = rows(
        catalogue,
        "SELECT uri, COUNT(*), COUNT(served_to) FROM label_history WHERE attribute = 'category' GROUP BY uri",
    )
    assert {uri.rpartition("/")[2]: tuple(n) for uri, *n in history} == {
        changed.name: (2, 1), touched.name: (1, 0), spoiled.name: (2, 1), same.name: (1, 0),
    }  # fmt: skip


def test_what_vanished_leaves_the_labels_and_stays_in_the_history(folder: Path, catalogue: Engine) -> None:
    photos = put_photos(folder, 0, 10)
    night(folder)
    photos[3].unlink()
    assert counts(night(folder)) == {"listed": 9, "known": 9}
    assert shown(catalogue) == {photo.name for photo in photos} - {photos[3].name}
    query = (
        "SELECT COUNT(*), COUNT(served_to) FROM label_history WHERE uri LIKE :uri AND attribute = 'category'"
    )
    assert rows(catalogue, query, uri="%" + photos[3].name) == [(1, 1)]
    put_photos(folder, 3, 4)  # back, with another time of change
    assert counts(night(folder)) == {"listed": 10, "known": 10}
    assert shown(catalogue) == {photo.name for photo in photos}
    assert rows(catalogue, query, uri="%" + photos[3].name) == [(1, 0)]


@pytest.mark.parametrize("left", [0, 8])
def test_an_implausible_loss_marks_nothing_until_it_is_accepted(
    folder: Path, catalogue: Engine, left: int
) -> None:
    photos = put_photos(folder, 0, 10)
    night(folder)
    for photo in photos[left:]:
        photo.unlink()
    before = results(catalogue)
    with pytest.raises(SourceError, match=rf"{10 - left} of 10 photos are gone .* 10%.*--accept-vanished"):
        night(folder)
    failed = last_run(catalogue)
    assert failed.status == "failed"
    assert "--accept-vanished" in str(failed.error)
    assert counts(failed) == ({"listed": left, "known": left} if left else {})
    assert flow_run(str(failed.prefect_flow_run_id)).state.is_failed()
    assert results(catalogue) == before
    assert len(shown(catalogue)) == 10

    assert counts(night(folder, accept_vanished=True)) == counts(failed)
    assert shown(catalogue) == {photo.name for photo in photos[:left]}
    assert counts(night(folder)) == counts(failed)


def test_the_share_that_may_vanish_is_settable(
    folder: Path, catalogue: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = put_photos(folder, 0, 5)
    night(folder)
    photos[0].unlink()
    with pytest.raises(SourceError):
        night(folder)
    monkeypatch.setenv("FASHION_CLIP_MAX_VANISHED", "0.2")
    night(folder)
    assert len(shown(catalogue)) == 4


@pytest.mark.parametrize(
    ("model", "taxonomy", "error"),
    [
        ("./nowhere", "demo", CheckpointError),
        ("/etc", "demo", CheckpointError),
        (DEMO_MODEL, "nowhere", TaxonomyError),
    ],
)
def test_a_catalogue_that_cannot_begin_stays_empty_and_the_run_says_why(
    folder: Path, catalogue: Engine, model: str, taxonomy: str, error: type[Exception]
) -> None:
    put_photos(folder, 0, 3)
    with pytest.raises(error) as caught:
        night(folder, model, taxonomy)
    failed = last_run(catalogue)
    assert (failed.status, failed.error) == ("failed", str(caught.value))
    assert counts(failed) == {"listed": 3, "remaining": 3}
    whole = contents_of(catalogue)
    assert {name for name, found in whole.items() if found} == {"runs", "work"}
    assert counts(night(folder)) == {"listed": 3, "embedded": 3, "tagged": 3}


def test_another_model_or_taxonomy_is_refused_and_nothing_is_written(
    folder: Path, catalogue: Engine, other_model: Path
) -> None:
    put_photos(folder, 0, 3)
    night(folder)
    put_photos(folder, 3, 5)
    before = contents_of(catalogue)
    for model, taxonomy in ((str(other_model), "demo"), (DEMO_MODEL, "products")):
        with pytest.raises(UsageError, match="another catalogue"):
            night(folder, model, taxonomy)
        assert last_run(catalogue).status == "failed"
    after = contents_of(catalogue)
    assert {name for name in after if after[name] != before[name]} == {"runs"}


def test_an_encoder_that_gives_other_vectors_than_it_gave_embeds_nothing(
    folder: Path, catalogue: Engine
) -> None:
    put_photos(folder, 0, 3)
    night(folder)
    with writing(catalogue) as connection:
        connection.execute(text("UPDATE reference_vectors SET vector = zeroblob(length(vector))"))
    put_photos(folder, 3, 4)
    with pytest.raises(EncoderDriftError):
        night(folder)
    assert counts(last_run(catalogue)) == {"listed": 4, "known": 3, "remaining": 1}
    assert rows(catalogue, "SELECT COUNT(*) FROM embeddings") == [(3,)]


def test_a_model_that_moved_goes_on(folder: Path, catalogue: Engine, model_copy: Path) -> None:
    put_photos(folder, 0, 2)
    night(folder)
    put_photos(folder, 2, 4)
    assert night(folder, model=str(model_copy)).tagged == 2
    assert len(rows(catalogue, "SELECT * FROM model_history")) == 1


def test_the_settings_stand_in_for_what_is_not_asked(
    folder: Path, catalogue: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_photos(folder, 0, 2)
    monkeypatch.setenv("FASHION_CLIP_SOURCE", str(folder))
    monkeypatch.setenv("FASHION_CLIP_MODEL", DEMO_MODEL)
    monkeypatch.setenv("FASHION_CLIP_TAXONOMY", "demo")
    monkeypatch.setenv("FASHION_CLIP_PRODUCT_ID", r"fmnist-(\d+)")
    assert nightly_tagging().tagged == 2
    assert all(product.isdigit() for (product,) in rows(catalogue, "SELECT product_id FROM catalog_labels"))


def test_a_database_that_refuses_fails_the_run_and_loses_nothing(
    folder: Path, catalogue: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of three shards cannot be committed; the next night does what is left."""
    monkeypatch.setenv("FASHION_CLIP_SHARD_SIZE", "4")
    put_photos(folder, 0, 12)
    with writing(catalogue) as connection:
        connection.execute(
            text(
                "CREATE TRIGGER refuse BEFORE INSERT ON shards WHEN (SELECT COUNT(*) FROM shards) = 1"
                " BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
        )
    with pytest.raises(Exception, match="refused"):
        night(folder)
    failed = last_run(catalogue)
    assert failed.status == "failed"
    assert "refused" in str(failed.error)
    assert counts(failed) == {"listed": 12, "embedded": 4, "tagged": 4, "remaining": 8}
    with writing(catalogue) as connection:
        connection.execute(text("DROP TRIGGER refuse"))
    assert counts(night(folder)) == {"listed": 12, "known": 4, "embedded": 8, "tagged": 8}
    assert len(shown(catalogue)) == 12


def test_counts_of_a_failed_run_take_in_what_was_under_way(
    folder: Path, catalogue: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One shard is refused at once, while another is still decoding; that one is committed all the same."""
    monkeypatch.setenv("FASHION_CLIP_SHARD_SIZE", "3")
    put_photos(folder, 0, 3)
    for number in range(3):
        Image.new("L", (7000, 7000), number).save(folder / f"large-{number}.png")
    with writing(catalogue) as connection:
        connection.execute(
            text(
                "CREATE TRIGGER refuse BEFORE INSERT ON photos WHEN NEW.uri LIKE '%fmnist%'"
                " BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
        )
    with pytest.raises(Exception, match="refused"):
        night(folder)
    failed = last_run(catalogue)
    assert (failed.status, failed.listed) == ("failed", 6)
    assert failed.listed == (failed.known or 0) + failed.tagged + failed.quarantined + (failed.remaining or 0)
    assert failed.remaining == len(rows(catalogue, "SELECT * FROM work"))


def test_a_broken_feed_fails_the_run_and_what_it_did_is_kept(folder: Path, catalogue: Engine) -> None:
    put_photos(folder, 0, 20)
    for number in range(3):
        (folder / f"broken-{number}.jpg").write_text(f"no picture {number}")
    with pytest.raises(QuarantineError, match=r"3 of 23 photos went to quarantine, more than 5%"):
        night(folder)
    failed = last_run(catalogue)
    assert failed.status == "failed"
    assert "fashion-clip quarantine list" in str(failed.error)
    assert counts(failed) == {"listed": 23, "embedded": 20, "tagged": 20, "quarantined": 3}
    assert len(shown(catalogue)) == 20
    [artifact] = artifacts(str(failed.prefect_flow_run_id))
    assert "# Run 1: failed" in artifact.data
    assert flow_run(str(failed.prefect_flow_run_id)).state.is_failed()
    assert rows(catalogue, "SELECT * FROM audit_samples") == []
    assert counts(night(folder)) == {"listed": 23, "known": 23}  # told once, not every night
    assert drawn(catalogue) == {}  # it may yet go on
    with writing(catalogue) as connection:
        connection.exec_driver_sql("UPDATE runs SET finished_at = '2026-01-01 00:00:00.000000'")
    night(folder)
    assert drawn(catalogue) == {failed.run_id: (20, 1.0)}  # a later run drew for it


def drawn(engine: Engine) -> dict[int, tuple[int, float]]:
    """Run -> how many of its photos were drawn, and with which probability."""
    query = "SELECT run_id, COUNT(*), MIN(inclusion_probability) FROM audit_samples GROUP BY run_id"
    return {run_id: (photos, probability) for run_id, photos, probability in rows(engine, query)}


def test_each_night_draws_from_what_it_tagged_and_people_are_asked(
    folder: Path, catalogue: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_CLIP_AUDIT_PHOTOS", "3")
    put_photos(folder, 0, 8)
    first = night(folder)
    assert drawn(catalogue) == {first.run_id: (3, 3 / 8)}
    put_photos(folder, 8, 10)
    second = night(folder)
    night(folder)
    assert drawn(catalogue) == {first.run_id: (3, 3 / 8), second.run_id: (2, 1.0)}
    asked = rows(catalogue, "SELECT reason, COUNT(DISTINCT uri), COUNT(*) FROM review_queue GROUP BY reason")
    assert asked == [("audit", 5, 10)]
    monkeypatch.setenv("FASHION_CLIP_AUDIT_PHOTOS", "0")
    put_photos(folder, 10, 12)
    night(folder)
    assert len(drawn(catalogue)) == 2


def test_the_share_that_may_fail_is_settable(
    folder: Path, catalogue: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_CLIP_MAX_QUARANTINED", "0.5")
    put_photos(folder, 0, 3)
    for number in range(3):
        (folder / f"broken-{number}.jpg").write_text("no picture")
    assert night(folder).quarantined == 3


def test_what_another_run_holds_is_waited_for_and_taken_over_when_its_lease_ends(
    folder: Path, catalogue: Engine
) -> None:
    """A worker died with five photos in hand, two seconds before its lease would have ended."""
    put_photos(folder, 0, 12)
    source = open_source(str(folder), settings().suffixes)
    dead = new_run(catalogue, source.uri)
    plan.scan(catalogue, dead, source.uri, source.listing(), lambda _: None)
    held = ledger.claim(catalogue, dead, 5)
    until = datetime.now(UTC) + timedelta(seconds=2)
    with writing(catalogue) as connection:
        connection.execute(update(work).where(work.c.owner == held.owner).values(leased_until=until))
    assert counts(night(folder)) == {"listed": 12, "embedded": 12, "tagged": 12}
    [(last,)] = rows(catalogue, "SELECT MAX(committed_at) FROM shards")
    assert datetime.fromisoformat(last).replace(tzinfo=UTC) > until


def test_photos_that_nobody_gives_back_remain(
    folder: Path, catalogue: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run lives, renews its lease, and gets nowhere."""
    monkeypatch.setattr(flow_module, "STANDSTILL_S", 1.0)
    put_photos(folder, 0, 6)
    source = open_source(str(folder), settings().suffixes)
    other = new_run(catalogue, source.uri)
    plan.scan(catalogue, other, source.uri, source.listing(), lambda _: None)
    held = ledger.claim(catalogue, other, 2)
    assert counts(night(folder)) == {"listed": 6, "embedded": 4, "tagged": 4, "remaining": 2}
    assert len(held.photos) == 2


def test_a_run_whose_process_is_gone_is_closed_by_the_next(folder: Path, catalogue: Engine) -> None:
    put_photos(folder, 0, 3)
    dead = new_run(catalogue)
    with writing(catalogue) as connection:
        connection.execute(text("UPDATE runs SET alive_until = '2026-01-01 00:00:00.000000'"))
    night(folder)
    assert rows(catalogue, "SELECT run_id, status FROM run_history ORDER BY run_id") == [
        (dead, "interrupted"), (dead + 1, "completed"),
    ]  # fmt: skip


def test_a_night_on_postgresql_gives_the_same_labels(
    folder: Path, catalogue: Engine, postgres_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_photos(folder, 0, 12)
    (folder / "broken.jpg").write_text("no picture")
    query = "SELECT uri, attribute, label, similarity, decision FROM catalog_labels ORDER BY uri, attribute"
    night(folder)
    expected = rows(catalogue, query)
    url = postgres_engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", url)
    assert counts(night(folder)) == {"listed": 13, "embedded": 12, "tagged": 12, "quarantined": 1}
    assert rows(postgres_engine, query) == expected
    assert counts(night(folder)) == {"listed": 13, "known": 13}


def test_an_empty_folder_is_a_quiet_night(folder: Path, catalogue: Engine) -> None:
    assert counts(night(folder)) == {}
    assert rows(catalogue, "SELECT * FROM model_history") == []


NOTHING_NEW = """
import json, sys
from flows.nightly_tagging import nightly_tagging
run = nightly_tagging(sys.argv[1], sys.argv[2], "demo")
heavy = ("torch", "transformers", "tokenizers", "safetensors", "pandas")
print(json.dumps([run.known, [name for name in heavy if name in sys.modules]]))
"""


def test_a_night_with_nothing_new_loads_no_model(folder: Path, prefect_api: str) -> None:
    put_photos(folder, 0, 3)
    night(folder)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", NOTHING_NEW, str(folder), DEMO_MODEL],
        env=os.environ | {"PREFECT_API_URL": prefect_api},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [3, []]
    assert time.monotonic() - began < 60


def test_shards_grow_where_photos_are_tagged_quickly(
    folder: Path, catalogue: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FEWEST": 2, "MOST": 8, "SHARD_S": 1_000.0}.items():
        monkeypatch.setattr(shard_size, name, value)
    put_photos(folder, 0, 40)
    night(folder)
    sizes = [size for (size,) in rows(catalogue, "SELECT tagged FROM shards ORDER BY tagged")]
    first = AT_ONCE + 1  # are under way before the first has ended
    assert sizes[:first] == [2] * first
    assert set(sizes[first + 1 :]) == {8}
    assert sum(sizes) == 40


def test_an_interrupted_run_counts_the_shard_that_it_was_waiting_for(
    folder: Path, catalogue: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes while the first, slow shard is waited for and the two quick ones are done."""
    monkeypatch.setenv("FASHION_CLIP_SHARD_SIZE", "3")
    put_photos(folder, 0, 9)
    night(folder)  # the model is loaded
    for number in range(3):
        Image.new("L", (9000, 9000), number).save(folder / f"a-large-{number}.png")
    put_photos(folder, 9, 15)

    def interrupt() -> None:
        while rows(catalogue, "SELECT COUNT(*) FROM shards WHERE run_id = 2") != [(2,)]:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        night(folder)
    stopped = last_run(catalogue)
    assert (stopped.status, stopped.listed) == ("interrupted", 18)
    assert stopped.remaining == len(rows(catalogue, "SELECT * FROM work"))
    assert stopped.listed == (stopped.known or 0) + stopped.tagged + (stopped.remaining or 0)

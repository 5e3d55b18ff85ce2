"""`fashion-clip tag`: in this process for what it prints, in one of its own for how it ends."""

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tasks.catalog import runs
from tests.catalogue_fixtures import DEMO_MODEL, DEMO_PHOTOS, contents_of, put_photos, rows
from tests.cli.conftest import Finished, finished, started

Run = Callable[..., Finished]
PHOTOS = 200  # of the run that is interrupted; two of each content
DEMO = ("--model", DEMO_MODEL, "--taxonomy", "demo")

pytestmark = pytest.mark.usefixtures("catalogue", "prefect_api")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def test_a_run_is_told_in_one_line_and_as_json(folder: Path, catalogue: Engine, run: Run) -> None:
    put_photos(folder, 0, 5)
    (folder / "broken.jpg").write_text("no picture")
    (folder / "notes.txt").touch()
    first = run("tag", folder, *DEMO)
    assert first.code == 0
    told = first.out.splitlines()
    assert told[0].startswith("run 1 completed in ")
    assert told[0].endswith(
        "s: 6 listed = 0 known + 5 tagged + 1 quarantined + 0 remaining; 5 embedded, 1 files ignored"
    )
    assert told[1].endswith("fashion-clip quarantine list")
    second = json.loads(run("tag", folder, "--json").out)
    assert (second["run_id"], second["status"], second["listed"], second["known"]) == (2, "completed", 6, 6)
    assert second["prefect_flow_run_id"]


def test_a_loss_is_refused_with_the_option_that_accepts_it(folder: Path, catalogue: Engine, run: Run) -> None:
    photos = put_photos(folder, 0, 3)
    run("tag", folder, *DEMO)
    photos[0].unlink()
    refused = run("tag", folder)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.splitlines()[-1].startswith("fashion-clip: 1 of 3 photos are gone")
    assert "--accept-vanished" in refused.err
    accepted = run("tag", folder, "--accept-vanished")
    assert accepted.code == 0
    assert "2 listed = 2 known" in accepted.out


def test_another_model_is_wrong_use_and_nothing_is_written(
    folder: Path, catalogue: Engine, run: Run, other_model: Path
) -> None:
    put_photos(folder, 0, 2)
    run("tag", folder, *DEMO)
    put_photos(folder, 2, 3)
    before = contents_of(catalogue)
    ended = run("tag", folder, "--model", other_model)
    assert ended.code == 2
    assert ended.err.splitlines()[-1].startswith("fashion-clip: this catalogue is served by model ")
    after = contents_of(catalogue)
    assert {name for name in after if after[name] != before[name]} == {"runs"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "FASHION_CLIP_SOURCE"),
        (["nowhere"], "'nowhere' does not exist"),
        (["ftp://host/x"], "'ftp://host/x'"),
        (["s3://key:hush@bucket/x"], "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_a_source_that_cannot_be_is_wrong_use_before_prefect_starts(
    catalogue: Engine, run: Run, arguments: list[str], told: str
) -> None:
    ended = run("tag", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert "hush" not in ended.err
    assert rows(catalogue, "SELECT * FROM runs") == []


def test_a_model_that_cannot_be_is_wrong_use_and_the_run_is_recorded(
    folder: Path, catalogue: Engine, run: Run
) -> None:
    put_photos(folder, 0, 1)
    ended = run("tag", folder, "--model", "./nowhere", "--taxonomy", "demo")
    assert ended.code == 2
    assert "'./nowhere'" in ended.err.splitlines()[-1]
    assert runs.history(catalogue, 1)[0].status == "failed"


def test_an_error_is_one_line_on_stderr_without_prefect_s_log(
    folder: Path, catalogue: Engine, prefect_api: str
) -> None:
    put_photos(folder, 0, 1)
    ended = finished("tag", folder, "--taxonomy", "nowhere", PREFECT_API_URL=prefect_api)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("fashion-clip: taxonomy 'nowhere': ")
    assert ended.err.count("\n") == 1


def test_a_prefect_server_that_is_not_there_is_told_in_one_line(folder: Path, catalogue: Engine) -> None:
    ended = finished("tag", folder, PREFECT_API_URL="http://127.0.0.1:1/api", PREFECT_CLIENT_MAX_RETRIES="0")
    assert ended.code == 1
    assert "127.0.0.1:1" in ended.err
    assert "Traceback" not in ended.err


def test_ctrl_c_ends_with_130_and_the_next_run_goes_on(
    folder: Path, catalogue: Engine, prefect_api: str, run: Run
) -> None:
    """The interrupt comes after the first shard is committed and long before the last."""
    photos = [folder / f"{number:04}.png" for number in range(PHOTOS)]
    for number, photo in enumerate(photos):
        shutil.copy(DEMO_PHOTOS[number // 2], photo)
    process = started("tag", folder, *DEMO, PREFECT_API_URL=prefect_api, FASHION_CLIP_SHARD_SIZE="2")
    deadline = time.monotonic() + 90
    while not rows(catalogue, "SELECT * FROM shards") and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    stopped = runs.history(catalogue, 1)[0]
    assert stopped.status == "interrupted"
    assert stopped.finished_at is not None
    assert 0 < stopped.tagged < PHOTOS
    left = len(rows(catalogue, "SELECT * FROM work"))
    assert left == PHOTOS - stopped.tagged

    assert run("tag", folder).code == 0
    done = runs.history(catalogue, 1)[0]
    assert (done.status, done.known, done.tagged, done.remaining) == ("completed", PHOTOS - left, left, 0)
    assert len(rows(catalogue, "SELECT DISTINCT uri FROM catalog_labels")) == PHOTOS
    assert rows(catalogue, "SELECT COUNT(*) FROM embeddings") == [(PHOTOS // 2,)]
    assert (out, err) == (
        "",
        "fashion-clip: interrupted; what was committed is kept, run it again to go on\n",
    )
    assert (stopped.known, stopped.remaining) == (0, left)

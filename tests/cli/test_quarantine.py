"""`fashion-clip quarantine`: what it lists, and what it lets the next run try again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.catalogue_fixtures import DEMO_MODEL, put_photos, rows
from tests.cli.conftest import Finished

Run = Callable[..., Finished]

pytestmark = pytest.mark.usefixtures("catalogue", "prefect_api")


@pytest.fixture
def folder(tmp_path: Path, run: Run) -> Path:
    """Tagged: two good photos, one file that is no picture, and one that has ended up as unreadable."""
    folder = tmp_path / "photos"
    put_photos(folder, 0, 2)
    (folder / "page.jpg").write_text("<html>")
    (folder / "folder.jpg").symlink_to(folder)
    assert run("tag", folder, "--model", DEMO_MODEL, "--taxonomy", "demo").code == 0
    return folder


def test_the_list_tells_why_and_when_a_photo_is_tried_again(folder: Path, run: Run) -> None:
    listed = run("quarantine", "list")
    assert listed.code == 0
    assert "not_an_image" in listed.out
    assert "when it changes" in listed.out
    assert listed.out.splitlines()[-1] == "2 of 2 photos: 1 not_a_file, 1 not_an_image"
    [one] = json.loads(run("quarantine", "list", "--reason", "not_an_image", "--json").out)
    assert one["uri"] == (folder / "page.jpg").as_uri()
    assert (one["attempts"], one["retry_at"]) == (1, None)
    assert len(json.loads(run("quarantine", "list", "--limit", "1", "--json").out)) == 1
    assert run("quarantine", "list", "--reason", "gone").out == "no photo is in quarantine for 'gone'\n"


@pytest.mark.parametrize(
    ("arguments", "photos"),
    [(["--all"], 2), (["--reason", "not_a_file"], 1), (["URI"], 1)],
)
def test_a_retry_is_the_next_run_s_to_do(
    folder: Path, catalogue: Engine, run: Run, arguments: list[str], photos: int
) -> None:
    uri = (folder / "page.jpg").as_uri()
    told = run("quarantine", "retry", *[uri if one == "URI" else one for one in arguments])
    assert told.out.startswith(f"{photos} photos will be tried again")
    assert f"{photos} quarantined" in run("tag", folder).out
    [(attempts,)] = rows(catalogue, "SELECT SUM(attempts) FROM quarantined_images")
    assert attempts == 2  # a retry by hand gives the whole budget again


def test_what_a_limit_refused_is_tagged_after_the_limit_was_raised_and_a_retry(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "large"
    put_photos(folder, 0, 2)
    monkeypatch.setenv("FASHION_CLIP_MAX_BYTES", "10")
    assert "2 quarantined" in run("tag", folder, "--model", DEMO_MODEL, "--taxonomy", "demo").out
    monkeypatch.delenv("FASHION_CLIP_MAX_BYTES")
    assert "2 known" in run("tag", folder).out
    assert json.loads(run("quarantine", "retry", "--reason", "too_large", "--json").out) == {"photos": 2}
    assert "2 tagged" in run("tag", folder).out
    assert run("quarantine", "list").out == "no photo is in quarantine\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--all"),
        (["--all", "--reason", "gone"], "--all"),
        (["--reason", "gone"], "for 'gone'; there are: not_a_file, not_an_image"),
        (["file:///nowhere.jpg"], "'file:///nowhere.jpg' is not in quarantine"),
    ],
)
def test_what_is_meant_must_be_said(folder: Path, run: Run, arguments: list[str], told: str) -> None:
    ended = run("quarantine", "retry", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err

"""`fashion-clip relabel`: what it prints, and how it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.catalogue_fixtures import DEMO_MODEL, contents_of, put_photos, rows
from tests.cli.conftest import Finished

Run = Callable[..., Finished]

pytestmark = pytest.mark.usefixtures("catalogue", "prefect_api")


@pytest.fixture
def taxonomy(tmp_path: Path) -> Path:
    file = tmp_path / "other.toml"
    file.write_text(
        'name = "other"\n[attributes.articleType]\nlabels = ["Bags", "[red]"]\n'
        '[attributes.mood]\nlabels = ["warm", "cold"]\n'
    )
    return file


@pytest.fixture
def photos(tmp_path: Path, run: Run) -> Path:
    put_photos(tmp_path / "photos", 0, 30)
    ended = run("tag", tmp_path / "photos", "--model", DEMO_MODEL, "--taxonomy", "demo")
    assert ended.code == 0
    return tmp_path / "photos"


def test_the_preview_is_told_and_nothing_is_written(
    photos: Path, taxonomy: Path, catalogue: Engine, run: Run
) -> None:
    before = contents_of(catalogue)
    told = run("relabel", "--taxonomy", taxonomy, "--preview")
    assert told.code == 0
    assert "30 pictures would be relabelled; nothing has been written" in told.out
    assert "new: mood" in told.out
    assert "no longer labelled: category" in told.out
    assert "articleType, the most frequent changes:" in told.out
    assert "[red]" in told.out
    document = json.loads(run("relabel", "--taxonomy", taxonomy, "--preview", "--json").out)
    [attribute] = document["attributes"]
    assert (document["pictures"], document["new"], document["dropped"]) == (30, ["mood"], ["category"])
    assert attribute["changed"] == sum(change["pictures"] for change in attribute["changes"])
    assert attribute["changes"][0]["example_uri"].startswith(photos.as_uri())
    assert contents_of(catalogue) == before


def test_it_relabels_and_says_so(photos: Path, taxonomy: Path, catalogue: Engine, run: Run) -> None:
    told = run("relabel", "--taxonomy", taxonomy)
    assert told.code == 0
    assert told.out.startswith("run 2 completed in ")
    assert told.out.endswith("s: 30 pictures relabelled; the new labels are served\n")
    shown = rows(catalogue, "SELECT DISTINCT attribute FROM catalog_labels ORDER BY attribute")
    assert shown == [("articleType",), ("mood",)]
    assert "relabel" not in run("runs").err
    back = json.loads(run("relabel", "--taxonomy", "demo", "--json").out)
    assert (back["flow"], back["status"], back["tagged"]) == ("relabel-catalog", "completed", 0)


def test_what_is_served_is_nothing_to_do(photos: Path, run: Run) -> None:
    told = run("relabel", "--taxonomy", "demo")
    assert (told.code, told.err) == (0, "")
    assert told.out.endswith("is what is served: nothing to do\n")
    assert json.loads(run("relabel", "--taxonomy", "demo", "--json").out)["relabelled"] is False


def test_the_taxonomy_may_come_from_the_environment(
    photos: Path, taxonomy: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("relabel").code == 2
    monkeypatch.setenv("FASHION_CLIP_TAXONOMY", str(taxonomy))
    assert "30 pictures would be relabelled" in run("relabel", "--preview").out


@pytest.mark.parametrize("given", ["/nowhere.toml", "no-such-name"])
def test_a_taxonomy_that_is_none(photos: Path, given: str, run: Run) -> None:
    ended = run("relabel", "--taxonomy", given)
    assert (ended.code, ended.out) == (2, "")
    assert given in ended.err
    assert len(ended.err.splitlines()) == 1


def test_an_empty_catalogue(run: Run) -> None:
    ended = run("relabel", "--taxonomy", "demo")
    assert (ended.code, ended.out) == (2, "")
    assert "the catalogue is empty: tag some photos first" in ended.err

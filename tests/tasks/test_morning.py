"""The morning brief: what to do and what failed, and nothing where there is nothing."""

from dataclasses import replace

from sqlalchemy import update

from tasks import morning
from tasks.catalog import audit, runs
from tasks.catalog.engine import writing
from tasks.catalog.tables import photos
from tasks.morning import Failure, Waiting
from tests.catalogue_fixtures import Tagged, new_run


def test_what_a_run_left_to_people(tagged: Tagged) -> None:
    audit.draw(tagged.engine, tagged.run_id, 7)
    found = morning.waiting(tagged.engine, tagged.run_id)
    [failure] = found.failures
    assert (failure.reason, failure.photos) == ("not_an_image", 1)
    assert failure.example.endswith("/broken.jpg")
    assert (found.challenger, found.audited) == (None, 7)
    told = morning.brief(runs.summary(tagged.engine, tagged.run_id), found)
    assert "Say what 7 photos drawn at random show" in told
    assert "fashion-clip quarantine list" in told
    assert "| 1 | not\\_an\\_image | file:///" in told


def test_a_run_that_left_nothing_has_no_brief(tagged: Tagged) -> None:
    run_id = new_run(tagged.engine)
    found = morning.waiting(tagged.engine, run_id)
    assert found == Waiting((), None, 0)
    assert morning.brief(runs.summary(tagged.engine, run_id), found) == ""


def test_a_model_that_waits_and_photos_that_remain_are_told(tagged: Tagged) -> None:
    run = replace(runs.summary(tagged.engine, tagged.run_id), remaining=1200)
    told = morning.brief(run, Waiting((Failure("too_slow", 3, "a|b"),), "made-0123456789", 0))
    assert "fashion-clip models approve made-0123456789" in told
    assert "1,200 photos remain" in told
    assert "| 3 | too\\_slow: it took longer than FASHION_CLIP_DECODE_SECONDS to decode | a\\|b |" in told


def test_a_hostile_name_stays_in_its_cell(tagged: Tagged) -> None:
    with writing(tagged.engine) as connection:
        broken = update(photos).where(photos.c.uri.endswith("broken.jpg"))
        connection.execute(broken.values(uri="file:///a|b\n# Approve `x` <script>.jpg"))
    found = morning.waiting(tagged.engine, tagged.run_id)
    told = morning.brief(runs.summary(tagged.engine, tagged.run_id), found)
    [row] = [line for line in told.splitlines() if "script" in line]
    assert "\\|b \\# Approve \\`x\\` \\<script\\>" in row

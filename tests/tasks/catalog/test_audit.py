"""The audit sample: drawn once, from all that a run tagged, each photo with the chance that is stated."""

import math
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, delete, event, update

from tasks.catalog import audit
from tasks.catalog.engine import writing
from tasks.catalog.runs import take_up_again
from tasks.catalog.tables import audit_samples, runs, shards
from tests.catalogue_fixtures import new_run, rows
from tests.tasks.catalog.databases import ON_SQLITE
from tests.tasks.catalog.made_results import broken
from tests.tasks.catalog.made_truths import photo, tag, vanish


def named(run_id: int, number: int) -> str:
    return f"run{run_id:02}-{number:03}"


def night(engine: Engine, photos: int, first: int) -> int:
    """A run that tags so many photos."""
    run_id = tag(engine, *(photo(named(first, number), "shoe") for number in range(photos)))
    with writing(engine) as connection:
        connection.execute(update(runs).where(runs.c.run_id == run_id).values(owner=f"owner {run_id}"))
    return run_id


def end(engine: Engine, run_id: int, status: str, ago: timedelta = timedelta(hours=2)) -> None:
    values = {"status": status, "finished_at": datetime.now(UTC) - ago}
    with writing(engine) as connection:
        connection.execute(update(runs).where(runs.c.run_id == run_id).values(**values))


def drawn(engine: Engine) -> dict[int, list[tuple[str, float]]]:
    """Run -> its photos' names, and their probabilities."""
    found: dict[int, list[tuple[str, float]]] = {}
    query = (
        "SELECT a.run_id, p.uri, a.inclusion_probability FROM audit_samples a JOIN photos p USING (photo_id)"
    )
    for run_id, uri, probability in sorted(rows(engine, query)):
        found.setdefault(run_id, []).append((uri.rpartition("/")[2], probability))
    return found


def test_so_many_are_drawn_of_what_the_run_tagged(engine: Engine) -> None:
    night(engine, 7, 1)
    run_id = night(engine, 40, 2)
    assert audit.draw(engine, run_id, 5) == 5
    [(of_run, sample)] = drawn(engine).items()
    assert of_run == run_id
    assert len({name for name, _ in sample}) == 5
    assert {name[:5] for name, _ in sample} == {"run02"}
    assert {probability for _, probability in sample} == {5 / 40}
    assert sum(1 / probability for _, probability in sample) == 40


def test_of_few_all_are_drawn_and_of_none_nothing(engine: Engine) -> None:
    assert audit.draw(engine, new_run(engine), 20) == 0
    assert audit.draw(engine, night(engine, 3, 1), 20) == 3
    assert [probability for _, probability in next(iter(drawn(engine).values()))] == [1, 1, 1]
    assert audit.draw(engine, night(engine, 3, 2), 0) == 0
    assert len(drawn(engine)) == 1


def test_a_run_is_drawn_from_once(engine: Engine) -> None:
    run_id = night(engine, 40, 1)
    audit.draw(engine, run_id, 5)
    before = drawn(engine)
    assert audit.draw(engine, run_id, 5) == 0
    assert audit.draw(engine, run_id, 20) == 0
    assert drawn(engine) == before


def test_a_draw_that_is_lost_comes_out_the_same(engine: Engine) -> None:
    run_id = night(engine, 40, 1)
    audit.draw(engine, run_id, 5)
    before = drawn(engine)
    with writing(engine) as connection:
        connection.execute(delete(audit_samples))
    audit.draw(engine, run_id, 5)
    assert drawn(engine) == before


def test_only_pictures_that_are_there_and_as_the_run_saw_them_can_be_drawn(engine: Engine) -> None:
    run_id = tag(
        engine,
        *(photo(f"photo{number}", "shoe") for number in range(6)),
        broken("file:///photos/broken"),
    )
    vanish(engine, "photo1")
    tag(engine, photo("photo2", "hat"))  # it shows another picture now, which is that run's
    audit.draw(engine, run_id, 20)
    [sample] = drawn(engine).values()
    assert sample == [(f"photo{number}", 1.0) for number in (0, 3, 4, 5)]


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_the_next_run_draws_for_one_that_ended_early(engine: Engine, status: str) -> None:
    """Else its photos would have had no chance, and the sample would not tell of them."""
    killed = night(engine, 10, 1)
    end(engine, killed, status)
    complete = night(engine, 12, 2)
    end(engine, complete, "completed")  # without a draw: it was to have none
    running = night(engine, 9, 3)
    repeated = night(engine, 40, 4)
    assert audit.draw(engine, repeated, 5) == 10
    found = drawn(engine)
    assert {probability for _, probability in found[killed]} == {0.5}
    assert {probability for _, probability in found[repeated]} == {5 / 40}
    assert set(found) == {killed, repeated}
    assert audit.draw(engine, running, 5) == 5  # it lives, and draws for itself
    assert audit.draw(engine, night(engine, 5, 5), 5) == 5
    assert {run_id for run_id in drawn(engine) if run_id not in found} == {running, running + 2}


def test_a_run_that_was_only_silent_draws_for_itself_and_from_all_that_it_tagged(engine: Engine) -> None:
    silent = night(engine, 10, 1)
    end(engine, silent, "interrupted", timedelta(minutes=59))
    other = night(engine, 10, 2)
    assert audit.draw(engine, other, 5) == 5
    assert set(drawn(engine)) == {other}
    late = night(engine, 10, 3)
    with writing(engine) as connection:
        take_up_again(connection, silent)
        connection.execute(update(shards).where(shards.c.run_id == late).values(run_id=silent))
    assert audit.draw(engine, silent, 5) == 5
    assert {probability for _, probability in drawn(engine)[silent]} == {5 / 20}


def test_a_run_whose_end_nobody_knows_is_over(engine: Engine) -> None:
    killed = night(engine, 10, 1)
    end(engine, killed, "interrupted")
    with writing(engine) as connection:
        connection.execute(update(runs).values(finished_at=None))
    assert audit.draw(engine, night(engine, 10, 2), 5) == 10


def test_runs_of_another_kind_are_not_drawn_from(engine: Engine) -> None:
    other = night(engine, 10, 1)
    end(engine, other, "failed")
    with writing(engine) as connection:
        relabelled = update(runs).where(runs.c.run_id == other).values(flow="relabel-catalog")
        connection.execute(relabelled)
    run_id = night(engine, 10, 2)
    audit.draw(engine, run_id, 5)
    assert set(drawn(engine)) == {run_id}


def test_a_run_without_an_owner_is_drawn_from_by_its_number(engine: Engine) -> None:
    run_id = night(engine, 10, 1)
    with writing(engine) as connection:
        connection.execute(update(runs).values(owner=None))
    assert audit.draw(engine, run_id, 5) == 5


@ON_SQLITE
def test_the_chances_are_those_that_are_stated(engine: Engine) -> None:
    """Each photo's and each pair's, as of a simple random sample; within five standard deviations."""
    run_id, size, wanted, nights = night(engine, 12, 1), 12, 4, 1500
    photos: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for number in range(nights):
        with writing(engine) as connection:
            connection.execute(delete(audit_samples))
            connection.execute(update(runs).values(owner=f"seed {number}"))
        audit.draw(engine, run_id, wanted)
        names = [name for name, probability in drawn(engine)[run_id] if probability == wanted / size]
        assert len(names) == wanted
        photos.update(names)
        pairs.update((one, other) for one in names for other in names if one < other)
    assert (len(photos), len(pairs)) == (size, size * (size - 1) // 2)
    for counts, chance in ((photos, wanted / size), (pairs, wanted * (wanted - 1) / (size * (size - 1)))):
        deviation = math.sqrt(nights * chance * (1 - chance))
        assert all(abs(count - nights * chance) < 5 * deviation for count in counts.values())


@ON_SQLITE
def test_it_begins_with_the_run_and_not_with_all_photos(engine: Engine) -> None:
    run_id = night(engine, 10, 1)
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    audit.draw(engine, run_id, 5)
    [query] = [statement for statement in seen if "CROSS JOIN photos" in statement]
    with engine.connect() as connection:
        plan = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + query, (run_id,)).all()
    assert "SEARCH p USING INDEX ix_photos_shard_id (shard_id=?)" in [step[3] for step in plan]

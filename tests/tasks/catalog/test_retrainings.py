"""One retraining at a time, whatever triggers, dies or waits; verdicts and decisions written once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, update

from fashion_clip.errors import RetrainingRefusedError, UsageError
from fashion_clip.verdict import Verdict
from tasks.catalog import models, retraining_tables, retrainings, verdicts, versions
from tasks.catalog.engine import writing
from tasks.catalog.models import ModelFacts
from tasks.catalog.retrainings import Asked, Retraining
from tasks.catalog.tables import runs
from tasks.catalog.versions import Made
from tests.catalogue_fixtures import new_run, rows
from tests.tasks.catalog.made_results import DEMO, FACTS, begun
from tests.tasks.catalog.made_truths import day, photo, say, tag

ASKED = Asked("head", "articleType", 0.0, "accuracy fell")
DAY = timedelta(days=1)


@pytest.fixture
def champion(engine: Engine) -> str:
    return begun(engine).model_version


def begin(engine: Engine, champion: str, asked: Asked = ASKED, **options: object) -> Retraining:
    cooldown = options.get("cooldown")
    assert cooldown is None or isinstance(cooldown, timedelta)
    flow_run = options.get("flow_run")
    assert flow_run is None or isinstance(flow_run, str)
    found = retrainings.begin(engine, new_run(engine), champion, asked, cooldown, flow_run)
    assert isinstance(found, Retraining)
    return found


def kill_runs(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(update(runs).values(alive_until=datetime(2020, 1, 1, tzinfo=UTC)))


def challenger(engine: Engine, champion: str, head: str = "h" * 64) -> str:
    facts = ModelFacts(
        "registry:made", FACTS.encoder_identity, FACTS.text_identity, FACTS.dimension, FACTS.precision,
        FACTS.decode, head=head, digest="d" * 64,
    )  # fmt: skip
    return versions.register(engine, facts, Made("head", champion, {"seed": 1}, {"training": [1, 2]}))


def verdict(passed: bool) -> Verdict:
    return Verdict(passed, "better: much" if passed else "rejected, because not", 0.01, ())


def test_a_second_trigger_is_refused_while_one_is_under_way(engine: Engine, champion: str) -> None:
    first = begin(engine, champion)
    assert first.number == 1
    with pytest.raises(RetrainingRefusedError, match=f"{first.retraining_id} is under way in run"):
        begin(engine, champion)
    assert rows(engine, "SELECT COUNT(*) FROM retrainings") == [(1,)]


def test_its_own_flow_run_goes_on_with_it(engine: Engine, champion: str) -> None:
    first = begin(engine, champion, flow_run="f1")
    assert begin(engine, champion, flow_run="f1") == first
    with pytest.raises(RetrainingRefusedError):
        begin(engine, champion, flow_run="f2")


def test_one_that_died_is_gone_on_with_if_the_same_is_asked(engine: Engine, champion: str) -> None:
    first = begin(engine, champion, flow_run="f1")
    kill_runs(engine)
    again = begin(engine, champion, flow_run="f2")
    assert again == first
    kill_runs(engine)
    other = begin(engine, champion, Asked("full", "articleType", 0.0, "by hand"))
    assert (other.retraining_id, other.number) == (first.retraining_id + 1, 2)
    assert rows(engine, "SELECT outcome FROM retrainings ORDER BY retraining_id") == [
        ("expired",),
        ("running",),
    ]


def test_after_a_rejection_the_next_one_waits(engine: Engine, champion: str) -> None:
    first = begin(engine, champion)
    retrainings.close(engine, first.retraining_id, "rejected", "not better")
    with pytest.raises(RetrainingRefusedError, match="found nothing better"):
        begin(engine, champion, cooldown=DAY)
    assert begin(engine, champion).number == 2


def test_a_promotion_needs_no_rest(engine: Engine, champion: str) -> None:
    first = begin(engine, champion)
    retrainings.close(engine, first.retraining_id, "promoted", "better")
    assert begin(engine, champion, cooldown=DAY).number == 2


def test_a_verdict_is_written_once(engine: Engine, champion: str) -> None:
    attempt = begin(engine, champion)
    made = challenger(engine, champion)
    first = verdicts.record_gate(engine, attempt.retraining_id, "head", made, verdict(True))
    second = verdicts.record_gate(engine, attempt.retraining_id, "head", made, verdict(False))
    assert second == first
    assert verdicts.gate(engine, attempt.retraining_id, "head") == first
    assert verdicts.gate(engine, attempt.retraining_id, "full") is None
    [(role, gate, told)] = rows(
        engine, "SELECT role, gate, gate_told FROM model_history WHERE version = :v", v=made
    )
    assert (role, gate, told) == ("challenger", "passed", "better: much")


def test_what_waits_is_decided_once(engine: Engine, champion: str) -> None:
    attempt = begin(engine, champion)
    made = challenger(engine, champion)
    gate = verdicts.record_gate(engine, attempt.retraining_id, "head", made, verdict(True))
    retrainings.wait(engine, attempt.retraining_id)
    with pytest.raises(RetrainingRefusedError, match="waits for a person's word"):
        begin(engine, champion)
    assert verdicts.decision(engine, gate.gate_id) is None
    said = verdicts.decide(engine, made, True, "ann", "looks right")
    assert verdicts.decide(engine, made, False, "ben", "no") == said
    assert verdicts.decision(engine, gate.gate_id) == said
    assert (said.approved, said.decided_by, said.reason) == (True, "ann", "looks right")
    assert verdicts.refusal(engine, made) is None
    retrainings.close_of(engine, made, "promoted", "by ann")
    assert begin(engine, champion).number == 2


def test_a_word_is_about_one_gate_alone(engine: Engine, champion: str) -> None:
    """The same model, proved again: what was said of it then is not said of it now."""
    made = challenger(engine, champion)
    for number in range(2):
        attempt = begin(engine, champion)
        gate = verdicts.record_gate(engine, attempt.retraining_id, "head", made, verdict(True))
        assert verdicts.decision(engine, gate.gate_id) is None
        assert verdicts.decide(engine, made, number > 0, "ann", "").approved == (number > 0)
        retrainings.close(engine, attempt.retraining_id, "declined", "by ann")
    assert verdicts.refusal(engine, made) is not None


def test_only_what_passed_against_todays_champion_is_decided(engine: Engine, champion: str) -> None:
    attempt = begin(engine, champion)
    made = challenger(engine, champion)
    verdicts.record_gate(engine, attempt.retraining_id, "head", made, verdict(False))
    with pytest.raises(UsageError, match="passed no gate, so there is nothing to decide"):
        verdicts.decide(engine, made, True, "ann", "")
    other = challenger(engine, champion, head="i" * 64)
    verdicts.record_gate(engine, attempt.retraining_id, "full", other, verdict(True))
    serve(engine, made)
    with pytest.raises(UsageError, match="was proved against a model that is served no more"):
        verdicts.decide(engine, other, True, "ann", "")


def test_a_flow_run_whose_attempt_has_ended_begins_no_other(engine: Engine, champion: str) -> None:
    attempt = begin(engine, champion, flow_run="f1")
    retrainings.close(engine, attempt.retraining_id, "declined", "by ann")
    again = retrainings.begin(engine, new_run(engine), champion, ASKED, None, "f1")
    assert again == retrainings.Closed("declined", "by ann")


def test_what_waits_ends_when_another_model_is_served(engine: Engine, champion: str) -> None:
    attempt = begin(engine, champion)
    made = challenger(engine, champion)
    verdicts.record_gate(engine, attempt.retraining_id, "head", made, verdict(True))
    retrainings.wait(engine, attempt.retraining_id)
    kill_runs(engine)
    serve(engine, made)
    assert begin(engine, made).number == 1
    outcomes = rows(engine, "SELECT outcome FROM retrainings ORDER BY retraining_id")
    assert outcomes == [("promoted",), ("running",)]


def test_verdicts_on_the_truth_of_yesterday_are_not_gone_on_with(engine: Engine, champion: str) -> None:
    first = begin(engine, champion)
    kill_runs(engine)
    tag(engine, photo("a", "shoe"), at=day(2))
    say(engine, "a", "category", "Footwear", at=day(5))
    assert begin(engine, champion).retraining_id == first.retraining_id + 1


def test_the_same_is_not_tried_again_on_the_same_truth(engine: Engine, champion: str) -> None:
    first = begin(engine, champion)
    retrainings.close(engine, first.retraining_id, "rejected", "not better")
    none = timedelta(0)
    with pytest.raises(RetrainingRefusedError, match="no truth has come since"):
        begin(engine, champion, cooldown=none)
    assert begin(engine, champion, Asked("full", "articleType", 0.0, "by hand"), cooldown=none).number == 2


def test_a_preview_is_judged_as_the_next_one_would_be(engine: Engine, champion: str) -> None:
    first = begin(engine, champion)
    retrainings.close(engine, first.retraining_id, "rejected", "not better")
    assert retrainings.preview(engine, champion, ASKED) == Retraining(0, champion, 2, ASKED)
    assert rows(engine, "SELECT COUNT(*) FROM retrainings") == [(1,)]


def serve(engine: Engine, version: str) -> None:
    label_set = models.label_set_for(engine, version, DEMO)
    with writing(engine) as connection:
        models.keep_served(connection, moving=True)
        models.serve(connection, label_set, "a test")


def test_nobody_decides_for_ever(engine: Engine, champion: str) -> None:
    attempt = begin(engine, champion)
    verdicts.record_gate(engine, attempt.retraining_id, "head", challenger(engine, champion), verdict(True))
    retrainings.wait(engine, attempt.retraining_id)
    with writing(engine) as connection:
        long_ago = datetime.now(UTC) - timedelta(days=15)
        connection.execute(update(retraining_tables.retrainings).values(started_at=long_ago))
    kill_runs(engine)
    assert begin(engine, champion).number == 2
    assert rows(engine, "SELECT told FROM retrainings WHERE outcome = 'expired'") == [
        ("nobody decided in time",)
    ]


def test_what_never_met_a_gate_cannot_be_decided(engine: Engine, champion: str) -> None:
    with pytest.raises(UsageError, match="passed no gate"):
        verdicts.decide(engine, champion, True, "ann", "")


def test_a_version_is_registered_once_and_found_by_its_ends(engine: Engine, champion: str) -> None:
    made = challenger(engine, champion)
    assert challenger(engine, champion) == made
    assert rows(engine, "SELECT part, COUNT(*) FROM training_truths GROUP BY part") == [("training", 2)]
    assert versions.find(engine, made[-4:]).version == made
    assert versions.find(engine, champion).role == "champion"
    challenger(engine, champion, head="i" * 64)
    with pytest.raises(UsageError, match="several models are called so"):
        versions.find(engine, "made-")
    with pytest.raises(UsageError, match="no such model is registered"):
        versions.find(engine, "nobody")
    assert versions.ever_served(engine) == {FACTS.checkpoint}


def test_a_way_back_leads_further_back_the_next_time(engine: Engine, champion: str) -> None:
    second, third = challenger(engine, champion), challenger(engine, champion, head="i" * 64)
    assert versions.served_before(engine) is None
    serve(engine, second)
    serve(engine, third)
    assert versions.served_before(engine) == second
    serve(engine, second)
    assert versions.served_before(engine) == champion
    serve(engine, champion)
    assert versions.served_before(engine) is None


def test_what_taught_a_version_is_known_by_photo_and_product(engine: Engine, champion: str) -> None:
    tag(engine, photo("a", "shoe"), photo("b", "hat", "p"), photo("c", "bag"), at=day(2))
    say(engine, "a", "category", "Footwear", at=day(5))
    say(engine, "product:p", "category", "Clothing", at=day(5))
    say(engine, "c", "category", "Accessories", at=day(6))
    ids = [number for (number,) in rows(engine, "SELECT truth_id FROM truths ORDER BY truth_id")]
    facts = replace(FACTS, head="h" * 64, digest="d" * 64)
    parts = {"training": ids[:1], "validation": ids[1:2], "judge": ids[2:]}
    parent = versions.register(engine, facts, Made("head", champion, {}, parts))
    child = versions.register(engine, replace(facts, head="i" * 64), Made("head", parent))
    for version in (parent, child):
        assert versions.taught_by(engine, version) == ({"file:///photos/a"}, {"p"})
    assert versions.taught_by(engine, champion) == (set(), set())

"""A better model found, proved and put in place on a real Prefect server; and everything that may stop it."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from fashion_clip.demo import truth
from fashion_clip.errors import CheckpointError, RetrainingRefusedError, UsageError
from flows.nightly_tagging import nightly_tagging
from flows.promotion import promote
from flows.retrain_model import Approval, Rungs, retrain_model
from tasks import registry, serving
from tasks.catalog import verdicts, versions
from tasks.retraining import Retrained
from tasks.truth import import_truth
from tests.catalogue_fixtures import (
    DEMO_MODEL,
    DEMO_PHOTOS,
    Misled,
    contents_of,
    put_photos,
    rows,
)

pytestmark = pytest.mark.usefixtures("prefect_api")

SHOWN = "SELECT uri, attribute, label, model_version FROM catalog_labels ORDER BY uri, attribute"


def accuracy(engine: Engine) -> float:
    known = truth()
    said = rows(engine, "SELECT uri, label FROM catalog_labels WHERE attribute = 'articleType'")
    hits = [known[uri.rpartition("/")[2]]["articleType"] == label for uri, label in said]
    return float(sum(hits) / len(hits))


def retrain(rung: Rungs = Rungs.HEAD, approval: Approval = Approval.AUTOMATIC, **options: Any) -> Retrained:
    found: Retrained = retrain_model(rung, "a test", approval, **options)
    return found


def made_by(found: Retrained) -> str:
    assert found.challenger is not None
    return found.challenger


def test_a_better_head_is_proved_and_served_and_taken_back(misled: Misled) -> None:
    before, labels = accuracy(misled.engine), rows(misled.engine, SHOWN)
    [(champion,)] = rows(misled.engine, "SELECT version FROM model_history")
    found = retrain()
    assert found.outcome == "promoted", found.told
    assert found.told.startswith("better: the accuracy of articleType rises from")
    assert accuracy(misled.engine) > before + 0.1
    assert rows(
        misled.engine, "SELECT version, role, rung, parent, gate FROM model_history ORDER BY created_at"
    ) == [
        (champion, "archived", "zero-shot", None, None),
        (found.challenger, "champion", "head", champion, "passed"),
    ]
    promoted = rows(misled.engine, SHOWN)
    promote(champion)
    assert rows(misled.engine, SHOWN) == labels
    promote(made_by(found))
    assert rows(misled.engine, SHOWN) == promoted


def test_what_was_made_is_told_and_can_be_made_again(misled: Misled, tmp_path: Path) -> None:
    found = retrain()
    [(made, checkpoint)] = rows(
        misled.engine, "SELECT made, checkpoint FROM model_history WHERE version = :v", v=found.challenger
    )
    told = json.loads(made)
    assert told["photos"]["training"] + told["photos"]["validation"] + told["photos"]["judge"] == 300
    assert told["seed"] == 0
    parts = rows(misled.engine, "SELECT part, COUNT(*) FROM training_truths GROUP BY part ORDER BY part")
    assert dict(parts) == told["photos"]
    folder = misled.models / made_by(found)
    assert checkpoint == f"registry:{found.challenger}"
    assert {"config.json", "model.safetensors", "head.safetensors", "fashion_clip.json"} <= {
        path.name for path in folder.iterdir()
    }


def test_a_night_after_it_labels_with_the_new_head(misled: Misled, tmp_path: Path) -> None:
    found = retrain()
    (tmp_path / "more").mkdir()
    for name in ("a", "b"):
        photo = tmp_path / "more" / f"{name}.png"
        photo.write_bytes(DEMO_PHOTOS[1].read_bytes() + name.encode())  # other bytes, the same picture
    nightly_tagging(str(tmp_path / "more"), DEMO_MODEL)  # the model that a cron line names for ever
    new = "SELECT DISTINCT model_version FROM catalog_labels WHERE uri LIKE '%/a.png' OR uri LIKE '%/b.png'"
    assert rows(misled.engine, new) == [(found.challenger,)]


def test_a_changed_folder_is_refused(misled: Misled, tmp_path: Path) -> None:
    found = retrain()
    head = misled.models / made_by(found) / "head.safetensors"
    content = bytearray(head.read_bytes())
    content[-1] ^= 1
    head.write_bytes(content)
    registry._bring.cache_clear()
    serving._model.cache_clear()
    from tasks.catalog.models import served

    label_set = served(misled.engine)
    assert label_set is not None
    with pytest.raises(CheckpointError, match="was changed since the model was made"):
        serving.load_model(label_set)


def test_nothing_better_is_no_promotion_and_the_next_one_has_to_wait(misled: Misled) -> None:
    champion = retrain().challenger
    served = rows(misled.engine, SHOWN)
    again = retrain(Rungs.CALIBRATE)
    assert again.outcome == "rejected"
    assert again.told.startswith("rejected, because ")
    assert rows(misled.engine, SHOWN) == served
    with pytest.raises(RetrainingRefusedError, match="the last retraining found nothing better"):
        retrain(Rungs.CALIBRATE)
    assert retrain(Rungs.CALIBRATE, ignore_cooldown=True).outcome == "rejected"
    history = rows(misled.engine, "SELECT number, outcome FROM retraining_history ORDER BY retraining_id")
    assert history == [(1, "promoted"), (1, "rejected"), (2, "rejected")]
    [(role,)] = rows(misled.engine, "SELECT role FROM model_history WHERE version = :v", v=champion)
    assert role == "champion"


def test_levels_are_spent_over_rungs_and_climbs(misled: Misled) -> None:
    retrain(Rungs.CALIBRATE, minimum_gain=0.4, ignore_cooldown=True)
    found = retrain(Rungs.AUTO, ignore_cooldown=True)
    assert [gate.rung for gate in found.gates] == ["calibrate", "head"]  # it stops where one is better
    levels = [level for (level,) in rows(misled.engine, "SELECT level FROM gates ORDER BY gate_id")]
    first = 0.05 * 6 / math.pi**2
    assert levels == pytest.approx([first, first / 4 / 4, first / 4 / 4])


def test_the_settings_say_what_is_climbed(misled: Misled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_CLIP_RUNGS", '["calibrate"]')
    found = retrain(Rungs.AUTO, minimum_gain=0.4)
    assert [gate.rung for gate in found.gates] == ["calibrate"]
    assert retrain(Rungs.HEAD, ignore_cooldown=True).gates[0].rung == "head"


def test_a_preview_keeps_nothing(misled: Misled, tmp_path: Path) -> None:
    tables = contents_of(misled.engine)
    found = retrain(dry_run=True)
    assert found.outcome == "previewed"
    assert found.gates[0].verdict.passed
    left = contents_of(misled.engine)
    assert len(left.pop("runs")) == len(tables.pop("runs")) + 1
    assert left == tables
    assert not (misled.models).exists()


def test_what_waits_is_approved_or_rejected_once(misled: Misled) -> None:
    found = retrain(approval=Approval.ASK)
    assert found.outcome == "waiting"
    assert f"fashion-clip models approve {found.challenger}" in found.told
    with pytest.raises(RetrainingRefusedError, match="waits for a person's word"):
        retrain()
    said = verdicts.decide(misled.engine, made_by(found), False, "ann", "not in the sale")
    assert not said.approved
    assert verdicts.decide(misled.engine, made_by(found), True, "ben", "") == said
    [(role, decision, by)] = rows(
        misled.engine,
        "SELECT role, decision, decided_by FROM model_history WHERE version = :v",
        v=found.challenger,
    )
    assert (role, decision, by) == ("rejected", "rejected", "ann")


def test_a_rung_that_was_climbed_is_not_climbed_again(
    misled: Misled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies between the verdict and the promotion; whoever asks for the same goes on there."""
    import flows.retrain_model as flow

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(flow, "promote_and_tell", dies)
        with pytest.raises(BaseException):  # noqa: B017 - Prefect turns it into one of its own
            retrain()
    gates = rows(misled.engine, "SELECT * FROM gates")
    assert len(gates) == 1
    assert versions.served_before(misled.engine) is None
    found = retrain()
    assert found.outcome == "promoted"
    assert rows(misled.engine, "SELECT * FROM gates") == gates
    assert rows(misled.engine, "SELECT COUNT(*) FROM retrainings") == [(1,)]


def test_too_little_truth_is_a_verdict(catalogue: Engine, tmp_path: Path) -> None:
    put_photos(tmp_path / "photos", 0, 6)
    nightly_tagging(str(tmp_path / "photos"), DEMO_MODEL, "demo")
    file = tmp_path / "truth.csv"
    file.write_text(f"file,articleType,chosen,inclusion_probability\n{DEMO_PHOTOS[0].name},Bags,random,1\n")
    import_truth(catalogue, file, "ann", new_labels=False, dry_run=False)
    found = retrain(Rungs.CALIBRATE)
    assert found.outcome == "rejected"
    assert "there is too little truth" in found.told
    assert rows(catalogue, "SELECT gate FROM model_history") == [(None,)]


def test_what_cannot_be_is_refused_before_anything_is_written(misled: Misled) -> None:
    before = contents_of(misled.engine)
    with pytest.raises(UsageError, match="'mood' is no attribute of what is served, which has articleType"):
        retrain(attribute="mood")
    assert contents_of(misled.engine) == before


def test_without_truth_that_was_drawn_it_says_how_to_get_some(catalogue: Engine, tmp_path: Path) -> None:
    put_photos(tmp_path / "photos", 0, 3)
    nightly_tagging(str(tmp_path / "photos"), DEMO_MODEL, "demo")
    with pytest.raises(UsageError, match="no truth of any attribute was drawn at random"):
        retrain()


def test_the_towers_are_tuned_where_heads_do_not_help(
    misled: Misled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way of a rung that moves the towers; whether it helps is the benchmark's to say."""
    from fashion_clip.finetuning import settings

    usual = settings.default_settings
    monkeypatch.setattr(settings, "default_settings", lambda *told: replace(usual(*told), epochs=2))
    found = retrain(Rungs.LORA)
    assert [gate.rung for gate in found.gates] == ["lora"]
    assert list((misled.models / ".work").glob("lora-*")) == []
    [(made, checkpoint)] = rows(
        misled.engine, "SELECT made, checkpoint FROM model_history WHERE rung = 'lora'"
    )
    assert 0 <= json.loads(made)["figures"]["alpha"] <= 1
    assert checkpoint == f"registry:{made_by(found)}"
    kept = (misled.models / made_by(found)).is_dir()
    assert kept == (found.outcome == "promoted")

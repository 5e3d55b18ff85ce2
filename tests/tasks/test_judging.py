"""A challenger that gains and is worse elsewhere is judged again without what is worse."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fashion_clip.calibration import AttributeCalibration, Calibration
from fashion_clip.encoder import ClipEncoder
from fashion_clip.gate import Rules
from fashion_clip.head_file import LearnedHeads
from fashion_clip.heads import LearnedHead
from fashion_clip.model import Model
from fashion_clip.verdict import Check, Kind, Verdict
from tasks import judging
from tasks.judging import judged_and_mended
from tasks.ladder import Challenger, Rung, with_kept

RULES = Rules("kind")
ENTRY = AttributeCalibration("a version", 1.0, (), 1.0, 0.0, 0.5, 100, 0.1, 0.1, 0.5)


def check(kind: Kind, attribute: str, passed: bool) -> Check:
    return Check(kind, attribute, None, 300, 0.5, 0.6, 0.1, 0.0, 0.2, 0.01, 0.0, passed)


def verdict(*failed: tuple[Kind, str]) -> Verdict:
    gain = check(Kind.GAIN, "kind", (Kind.GAIN, "kind") not in failed)
    vetoes = (check(kind, attribute, False) for kind, attribute in failed if kind is not Kind.GAIN)
    return Verdict(not failed, "rejected, because" if failed else "better: much", 0.01, (gain, *vetoes))


def calibrated(**entries: AttributeCalibration) -> Calibration:
    return Calibration(0.95, 0.9, "truth", 0.5, entries)


def head(attribute: str, weight: float) -> LearnedHead:
    ones = np.ones(2, np.float32)
    return LearnedHead(attribute, ("a", "b"), np.full((2, 4), weight, np.float32), ones, ones, 1, 0, 0.5, 1)


@pytest.fixture
def stage(demo_encoder: ClipEncoder) -> Any:
    """Only the champion is looked at: `judged` is given here."""
    return SimpleNamespace(champion=SimpleNamespace(model=Model(demo_encoder)))


@pytest.fixture
def challenger(demo_encoder: ClipEncoder) -> Challenger:
    heads = LearnedHeads(tuple(head(name, 1.0) for name in ("colour", "kind")))
    model = Model(demo_encoder, heads, calibrated(colour=ENTRY, kind=ENTRY))
    return Challenger(Rung.HEAD, model, Path(), np.zeros((0, 1), np.float32), np.arange(0), {"heads": 1})


def judges(monkeypatch: pytest.MonkeyPatch, *verdicts: Verdict) -> list[frozenset[str]]:
    """What each time is judged: the attributes that are calibrated."""
    seen: list[frozenset[str]] = []
    said: Iterator[Verdict] = iter(verdicts)

    def judged(_stage: Any, challenger: Challenger, _rules: Rules, _level: float) -> Verdict:
        calibration = challenger.model.calibration
        seen.append(frozenset(calibration.attributes) if calibration else frozenset())
        return next(said)

    monkeypatch.setattr(judging, "judged", judged)
    return seen


def test_erring_confidences_are_left_out_and_said_so(
    stage: Any, challenger: Challenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = judges(monkeypatch, verdict((Kind.CALIBRATION, "colour")), verdict())
    found, told = judged_and_mended(stage, challenger, RULES, 0.01)
    assert seen == [{"kind", "colour"}, {"kind"}]
    assert told.passed
    assert told.sentence == "better: much; confidences of colour erred more and are left uncalibrated"
    assert found.facts == {"heads": 1, "uncalibrated": ["colour"]}
    assert challenger.model.calibration is not None
    assert set(challenger.model.calibration.attributes) == {"kind", "colour"}


def test_all_confidences_may_go(stage: Any, challenger: Challenger, monkeypatch: pytest.MonkeyPatch) -> None:
    both = verdict((Kind.CALIBRATION, "colour"), (Kind.CALIBRATION, "kind"))
    judges(monkeypatch, both, verdict())
    found, told = judged_and_mended(stage, challenger, RULES, 0.01)
    assert told.passed
    assert found.model.calibration is None


@pytest.mark.parametrize(
    "failed",
    [
        (),
        ((Kind.GAIN, "kind"), (Kind.CALIBRATION, "colour")),
        ((Kind.GAIN, "kind"), (Kind.ATTRIBUTE, "colour")),
        ((Kind.LABEL, "kind"), (Kind.ATTRIBUTE, "colour")),
        ((Kind.LABEL, "kind"),),
    ],
)
def test_what_passed_or_fails_otherwise_is_judged_once(
    failed: tuple[tuple[Kind, str], ...],
    stage: Any,
    challenger: Challenger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = verdict(*failed)
    seen = judges(monkeypatch, first)
    assert judged_and_mended(stage, challenger, RULES, 0.01) == (challenger, first)
    assert len(seen) == 1


def test_it_may_lose_without_them(
    stage: Any, challenger: Challenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    judges(monkeypatch, verdict((Kind.CALIBRATION, "colour")), verdict((Kind.ATTRIBUTE, "colour")))
    assert not judged_and_mended(stage, challenger, RULES, 0.01)[1].passed


@pytest.mark.parametrize("lost", [Kind.ATTRIBUTE, Kind.LABEL])
def test_an_attribute_that_loses_stays_the_champions(
    lost: Kind, stage: Any, challenger: Challenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = verdict((lost, "colour"), (Kind.CALIBRATION, "colour"), (Kind.CALIBRATION, "kind"))
    seen = judges(monkeypatch, first, verdict())
    found, told = judged_and_mended(stage, challenger, RULES, 0.01)
    assert seen == [{"kind", "colour"}, set()]
    assert told.passed
    assert (
        "; colour would lose, and what the champion says there is kept; confidences of kind" in told.sentence
    )
    assert found.model.learned is not None
    assert [one.attribute for one in found.model.learned.heads] == ["kind"]
    assert found.facts == {"heads": 1, "kept as they were": ["colour"], "uncalibrated": ["kind"]}


@pytest.mark.parametrize("rung", [Rung.LORA, Rung.FULL])
def test_of_other_towers_nothing_is_kept(
    rung: Rung, stage: Any, challenger: Challenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    challenger = replace(challenger, rung=rung)
    first = verdict((Kind.ATTRIBUTE, "colour"), (Kind.CALIBRATION, "kind"))
    judges(monkeypatch, first)
    assert judged_and_mended(stage, challenger, RULES, 0.01) == (challenger, first)


def test_what_is_kept_is_the_champions_head_and_confidence(
    demo_encoder: ClipEncoder, challenger: Challenger
) -> None:
    own = replace(ENTRY, temperature=2.0)
    champion = Model(demo_encoder, LearnedHeads((head("colour", 5.0),)), calibrated(colour=own))
    found = with_kept(challenger, champion, frozenset({"colour"})).model
    assert found.learned is not None and found.calibration is not None
    assert {one.attribute: float(one.weights[0, 0]) for one in found.learned.heads} == {
        "colour": 5.0,
        "kind": 1.0,
    }
    assert found.calibration.attributes == {"colour": own, "kind": ENTRY}


def test_a_challenger_that_keeps_everything_is_the_champion(
    demo_encoder: ClipEncoder, challenger: Challenger
) -> None:
    both = frozenset({"colour", "kind"})
    found = with_kept(challenger, Model(demo_encoder), both).model
    assert (found.learned, found.calibration) == (None, None)
    champion = Model(demo_encoder, None, calibrated(kind=ENTRY))
    uncalibrated = replace(challenger, model=Model(demo_encoder, challenger.model.learned, None))
    found = with_kept(uncalibrated, champion, both).model
    assert (found.learned, found.calibration) == (None, champion.calibration)

"""A challenger of which only confidences are worse loses those, and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fashion_clip.calibration import AttributeCalibration, Calibration
from fashion_clip.encoder import ClipEncoder
from fashion_clip.gate import Rules
from fashion_clip.model import Model
from fashion_clip.verdict import Check, Kind, Verdict
from tasks import judging
from tasks.judging import judged_as_sure
from tasks.ladder import Challenger, Rung

STAGE: Any = None  # only `judged`, which is given here, looks at it
RULES = Rules("kind")


def check(kind: Kind, attribute: str, passed: bool) -> Check:
    return Check(kind, attribute, None, 300, 0.5, 0.6, 0.1, 0.0, 0.2, 0.01, 0.0, passed)


def verdict(*failed: tuple[Kind, str]) -> Verdict:
    gain = check(Kind.GAIN, "kind", (Kind.GAIN, "kind") not in failed)
    vetoes = (check(kind, attribute, False) for kind, attribute in failed if kind is not Kind.GAIN)
    return Verdict(not failed, "rejected, because" if failed else "better: much", 0.01, (gain, *vetoes))


@pytest.fixture
def challenger(demo_encoder: ClipEncoder) -> Challenger:
    entry = AttributeCalibration("a version", 1.0, (), 1.0, 0.0, 0.5, 100, 0.1, 0.1, 0.5)
    calibration = Calibration(0.95, 0.9, "truth", 0.5, dict.fromkeys(("kind", "colour"), entry))
    model = Model(demo_encoder, None, calibration)
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
    challenger: Challenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = judges(monkeypatch, verdict((Kind.CALIBRATION, "colour")), verdict())
    found, told = judged_as_sure(STAGE, challenger, RULES, 0.01)
    assert seen == [{"kind", "colour"}, {"kind"}]
    assert told.passed
    assert told.sentence == "better: much; confidences of colour erred more and are left uncalibrated"
    assert found.facts == {"heads": 1, "uncalibrated": ["colour"]}
    assert challenger.model.calibration is not None
    assert set(challenger.model.calibration.attributes) == {"kind", "colour"}


def test_all_confidences_may_go(challenger: Challenger, monkeypatch: pytest.MonkeyPatch) -> None:
    both = verdict((Kind.CALIBRATION, "colour"), (Kind.CALIBRATION, "kind"))
    judges(monkeypatch, both, verdict())
    found, told = judged_as_sure(STAGE, challenger, RULES, 0.01)
    assert told.passed
    assert found.model.calibration is None


@pytest.mark.parametrize(
    "failed",
    [
        (),
        ((Kind.GAIN, "kind"), (Kind.CALIBRATION, "colour")),
        ((Kind.ATTRIBUTE, "colour"), (Kind.CALIBRATION, "colour")),
    ],
)
def test_what_passed_or_fails_otherwise_is_judged_once(
    failed: tuple[tuple[Kind, str], ...], challenger: Challenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = verdict(*failed)
    seen = judges(monkeypatch, first)
    assert judged_as_sure(STAGE, challenger, RULES, 0.01) == (challenger, first)
    assert len(seen) == 1


def test_it_may_lose_without_them(challenger: Challenger, monkeypatch: pytest.MonkeyPatch) -> None:
    judges(monkeypatch, verdict((Kind.CALIBRATION, "colour")), verdict((Kind.ATTRIBUTE, "colour")))
    assert not judged_as_sure(STAGE, challenger, RULES, 0.01)[1].passed

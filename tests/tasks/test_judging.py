"""A challenger that gains and is worse elsewhere is judged again without what is worse."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fashion_clip.calibration import AttributeCalibration, Calibration
from fashion_clip.demo import PHOTOS_DIR, truth
from fashion_clip.encoder import ClipEncoder
from fashion_clip.gate import Rules
from fashion_clip.model import Model
from fashion_clip.splitting import Parts
from fashion_clip.taxonomy import Taxonomy, parse_taxonomy
from fashion_clip.verdict import Check, Kind, Verdict
from tasks import judging
from tasks.catalog.evidence import Evidence, Told
from tasks.judging import judged_and_mended
from tasks.ladder import Challenger, Rung, Stage, with_heads
from tasks.serving import ServedModel, labeller_for

RULES = Rules("kind")
ENTRY = AttributeCalibration("a version", 1.0, (), 1.0, 0.0, 0.5, 100, 0.1, 0.1, 0.5)
LEVEL = 0.01
KINDS = sorted({labels["articleType"] for labels in truth().values()})
FAMILIES = ["Clothing", "Footwear", "Accessories"]
MISLEADING = {name: name for name in KINDS} | {"Bags": "Shirts", "Shirts": "Bags"}


def taxonomy(linked: bool = False) -> Taxonomy:
    """Kinds of garment whose prompts take bags for shirts and the other way round, and right families."""
    family = {"templates": ["a photo of {text}"], "labels": [{"name": name} for name in FAMILIES]}
    kinds: list[dict[str, object]] = [{"name": name, "text": text} for name, text in MISLEADING.items()]
    kind: dict[str, object] = {"templates": ["a photo of {text}"], "labels": kinds}
    if linked:
        kind["parent"] = "family"
        family_of = {labels["articleType"]: labels["category"] for labels in truth().values()}
        for label in kinds:
            label["parents"] = [family_of[str(label["name"])]]
    return parse_taxonomy({"name": "two", "attributes": {"kind": kind, "family": family}})


@pytest.fixture(scope="module")
def vectors(demo_encoder: ClipEncoder) -> Any:
    pictures = [Image.open(path).convert("RGB") for path in sorted(PHOTOS_DIR.iterdir())]
    return demo_encoder.encode_images(pictures)


def stage_of(encoder: ClipEncoder, vectors: Any, linked: bool = False) -> Stage:
    """All demo photos with their truth, of which a third judges; what teaches has the wrong families."""
    photos = tuple(sorted(path.name for path in PHOTOS_DIR.iterdir()))
    n = len(photos)
    number = np.arange(n)
    parts = Parts(
        np.flatnonzero(number % 6 < 3), np.flatnonzero(number % 6 == 3), np.flatnonzero(number % 6 > 3)
    )
    kinds = np.array([KINDS.index(truth()[photo]["articleType"]) for photo in photos])
    families = np.array([FAMILIES.index(truth()[photo]["category"]) for photo in photos])
    families[parts.training] = (families[parts.training] + 1) % len(FAMILIES)
    told = {
        name: Told(labels, number + 1, np.ones(n, dtype=bool), np.ones(n))
        for name, labels in (("kind", kinds), ("family", families))
    }
    evidence = Evidence(photos, photos, number, photos, np.zeros(n), vectors, told)
    label_set: Any = SimpleNamespace(taxonomy=taxonomy(linked), calibration=None)
    model = Model(encoder)
    champion = ServedModel(label_set, model, labeller_for(model, label_set.taxonomy))
    return Stage(champion, evidence, number, parts, vectors)


@pytest.fixture
def stage(demo_encoder: ClipEncoder, vectors: Any) -> Stage:
    return stage_of(demo_encoder, vectors)


def test_heads_that_lose_are_given_up(stage: Stage) -> None:
    found, told = judged_and_mended(stage, with_heads(stage), RULES, LEVEL)
    assert told.passed, told.sentence
    assert told.sentence.startswith("better: the accuracy of kind rises from ")
    assert (
        "; judged with the champion's heads for family, since the accuracy of family falls" in told.sentence
    )
    assert found.model.learned is not None
    assert [head.attribute for head in found.model.learned.heads] == ["kind"]
    assert list(found.facts["heads"]) == ["kind"]
    assert found.facts["kept"] == ["family"]
    [family] = told.of(Kind.ATTRIBUTE)
    assert family.challenger >= family.champion - 0.02


def test_the_primary_attribute_says_the_same_as_before(stage: Stage) -> None:
    models = [with_heads(stage, kept).model for kept in (frozenset[str](), frozenset({"family"}))]
    before, after = (
        judging._judged(stage, model, stage.evidence.vectors, stage.parts.judge, {}).predictions[0]
        for model in models
    )
    assert before.attribute == after.attribute == "kind"
    np.testing.assert_array_equal(before.top.index, after.top.index)
    np.testing.assert_array_equal(before.top.similarity, after.top.similarity)


def test_heads_linked_to_the_primary_attribute_are_not_given_up(
    demo_encoder: ClipEncoder, vectors: Any
) -> None:
    stage = stage_of(demo_encoder, vectors, linked=True)
    challenger = with_heads(stage)
    assert judged_and_mended(stage, challenger, RULES, LEVEL)[0] is challenger


def test_what_does_not_gain_is_left_as_it_is(stage: Stage) -> None:
    challenger = with_heads(stage)
    found, told = judged_and_mended(stage, challenger, Rules("family"), LEVEL)
    assert found is challenger
    assert told.sentence.startswith("rejected, because the accuracy of family falls")


@pytest.mark.parametrize("rung", [Rung.CALIBRATE, Rung.LORA, Rung.FULL])
def test_only_heads_are_given_up(rung: Rung, stage: Stage) -> None:
    challenger = replace(with_heads(stage), rung=rung)
    found, told = judged_and_mended(stage, challenger, RULES, LEVEL)
    assert found is challenger
    assert not told.passed


def check(kind: Kind, attribute: str, passed: bool) -> Check:
    return Check(kind, attribute, None, 300, 0.5, 0.6, 0.1, 0.0, 0.2, 0.01, 0.0, passed)


def verdict(*failed: tuple[Kind, str]) -> Verdict:
    gain = check(Kind.GAIN, "kind", (Kind.GAIN, "kind") not in failed)
    vetoes = (check(kind, attribute, False) for kind, attribute in failed if kind is not Kind.GAIN)
    return Verdict(not failed, "rejected, because" if failed else "better: much", 0.01, (gain, *vetoes))


@pytest.fixture
def challenger(demo_encoder: ClipEncoder) -> Challenger:
    calibration = Calibration(0.95, 0.9, "truth", 0.5, dict.fromkeys(("kind", "family"), ENTRY))
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
    stage: Stage, challenger: Challenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = judges(monkeypatch, verdict((Kind.CALIBRATION, "family")), verdict())
    found, told = judged_and_mended(stage, challenger, RULES, LEVEL)
    assert seen == [{"kind", "family"}, {"kind"}]
    assert told.passed
    assert told.sentence.startswith(
        "better: much; judged without confidences of family, since the confidences of family err by"
    )
    assert found.facts == {"heads": 1, "uncalibrated": ["family"]}
    assert challenger.model.calibration is not None
    assert set(challenger.model.calibration.attributes) == {"kind", "family"}


def test_all_confidences_may_go(
    stage: Stage, challenger: Challenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = verdict((Kind.CALIBRATION, "family"), (Kind.CALIBRATION, "kind"))
    judges(monkeypatch, both, verdict())
    found, told = judged_and_mended(stage, challenger, RULES, LEVEL)
    assert told.passed
    assert found.model.calibration is None


@pytest.mark.parametrize("primary", ["kind", "colour"])
@pytest.mark.parametrize("erring", ["kind", "family"])
def test_linked_confidences_go_together(
    erring: str,
    primary: str,
    demo_encoder: ClipEncoder,
    vectors: Any,
    challenger: Challenger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = judges(monkeypatch, verdict((Kind.CALIBRATION, erring)), verdict())
    stage = stage_of(demo_encoder, vectors, linked=True)
    found, told = judged_and_mended(stage, challenger, Rules(primary), LEVEL)
    assert told.passed
    assert seen[1] == frozenset()
    assert found.model.calibration is None


@pytest.mark.parametrize(
    ("rung", "failed"),
    [
        (Rung.HEAD, ()),
        (Rung.HEAD, ((Kind.GAIN, "kind"), (Kind.CALIBRATION, "family"))),
        (Rung.HEAD, ((Kind.LABEL, "kind"), (Kind.ATTRIBUTE, "family"))),
        (Rung.LORA, ((Kind.KEPT_OUT, "family"), (Kind.CALIBRATION, "family"))),
        (Rung.FULL, ((Kind.ATTRIBUTE, "family"), (Kind.CALIBRATION, "kind"))),
    ],
)
def test_what_passed_or_fails_otherwise_is_judged_once(
    rung: Rung,
    failed: tuple[tuple[Kind, str], ...],
    stage: Stage,
    challenger: Challenger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    challenger, first = replace(challenger, rung=rung), verdict(*failed)
    seen = judges(monkeypatch, first)
    assert judged_and_mended(stage, challenger, RULES, LEVEL) == (challenger, first)
    assert len(seen) == 1


def test_without_a_test_of_the_gain_nothing_is_given_up(
    stage: Stage, challenger: Challenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    untested = Verdict(False, "rejected, because", LEVEL, (check(Kind.CALIBRATION, "family", False),))
    judges(monkeypatch, untested)
    assert judged_and_mended(stage, challenger, RULES, LEVEL) == (challenger, untested)


def test_it_may_lose_without_them(
    stage: Stage, challenger: Challenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    judges(monkeypatch, verdict((Kind.CALIBRATION, "family")), verdict((Kind.ATTRIBUTE, "family")))
    assert not judged_and_mended(stage, challenger, RULES, LEVEL)[1].passed

"""Calibrated on some truth, confidences are right on other truth, and accepted labels keep their promise."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from fashion_clip.calibrating import LEAST_TRUTHS, Truths, _acceptable, _one_a_product, calibrate
from fashion_clip.calibration import Calibration, parse_calibration
from fashion_clip.hierarchy import allowed
from fashion_clip.labeller import label
from fashion_clip.metrics import calibration_error
from fashion_clip.predictions import NONE_OF_THEM
from fashion_clip.scoring import Decision, TopLabels
from tests.fashion_clip.made_truth import (
    SCALE,
    TAXONOMY,
    TRUE_SCALE,
    shop_labeller,
    truths_of,
    vectors_of_photos,
)

NO_REFERENCE = np.empty((0, 24), dtype=np.float32)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate(shop_labeller(), truths_of(900, seed=1), vectors_of_photos(600, seed=5), 0.95, 0.9)


@pytest.fixture(scope="module")
def later() -> dict[str, Truths]:
    """Truth that the calibration had no part in."""
    return truths_of(4000, seed=2)


def said(calibration: Calibration | None, truths: dict[str, Truths]) -> dict[str, TopLabels]:
    return label(replace(shop_labeller(), calibration=calibration), truths["kind"].vectors)


def error(top: TopLabels, truths: Truths) -> float:
    return calibration_error(top.confidence[:, 0].astype(float), top.index[:, 0] == truths.truth)


def test_confidences_become_right(calibration: Calibration, later: dict[str, Truths]) -> None:
    before, after = said(None, later), said(calibration, later)
    for name, truths in later.items():
        assert error(after[name], truths) < 0.04
        assert calibration.attributes[name].error_before == pytest.approx(
            error(before[name], truths), abs=0.05
        )

    assert max(error(before[name], truths) for name, truths in later.items()) > 0.1


def test_the_temperature_is_the_one_that_truth_was_drawn_with(calibration: Calibration) -> None:
    assert calibration.attributes["colour"].temperature == pytest.approx(SCALE / TRUE_SCALE, rel=0.25)


def test_accepted_labels_keep_the_promise(calibration: Calibration, later: dict[str, Truths]) -> None:
    top = said(calibration, later)
    for name, truths in later.items():
        accepted = top[name].decision == Decision.ACCEPTED
        assert np.mean(accepted) == pytest.approx(calibration.attributes[name].accepted, abs=0.08)
        if calibration.attributes[name].threshold is not None:
            # Of those that are accepted as many must be right, give or take what 4,000 photos can tell.
            assert np.mean(top[name].index[accepted, 0] == truths.truth[accepted]) > 0.94
    assert any(entry.threshold is not None for entry in calibration.attributes.values())


def test_no_label_contradicts_its_parent_s_and_accuracy_gains(
    calibration: Calibration, later: dict[str, Truths]
) -> None:
    before, after = said(None, later), said(calibration, later)
    kind, group = (
        next(each for each in TAXONOMY.attributes if each.name == name) for name in ("kind", "group")
    )
    stands = allowed(kind, group)
    assert not stands[before["group"].index[:, 0], before["kind"].index[:, 0]].all()
    assert stands[after["group"].index[:, 0], after["kind"].index[:, 0]].all()
    right = [np.mean(top["group"].index[:, 0] == later["group"].truth) for top in (before, after)]
    assert right[1] >= right[0]


def test_photos_unlike_the_shop_s_are_unknown_and_its_own_are_not(
    calibration: Calibration, later: dict[str, Truths]
) -> None:
    noise = np.random.default_rng(3).normal(size=(300, 24))
    noise = (noise / np.linalg.norm(noise, axis=1, keepdims=True)).astype(np.float32)
    labeller = replace(shop_labeller(), calibration=calibration)
    strange, own = label(labeller, noise), said(calibration, later)
    assert all((top.decision == Decision.UNKNOWN).mean() > 0.5 for top in strange.values())
    assert all((top.decision == Decision.UNKNOWN).mean() < 0.03 for top in own.values())


def test_too_little_truth_leaves_an_attribute_uncalibrated() -> None:
    truths = truths_of(LEAST_TRUTHS, seed=3)
    truths["kind"] = truths["kind"].rows(np.arange(LEAST_TRUTHS - 1))
    found = calibrate(shop_labeller(), truths, NO_REFERENCE, 0.95, 0.9)
    assert set(found.attributes) == {"group", "colour"}
    assert found.unknown is None


def test_photos_of_one_product_are_one_truth() -> None:
    once = truths_of(150, seed=4)
    twice = {name: told.rows(np.tile(np.arange(150), 2)) for name, told in once.items()}
    found = [calibrate(shop_labeller(), each, NO_REFERENCE, 0.95, 0.9) for each in (once, twice)]
    assert found[0] == found[1]
    fewer = {name: told.rows(np.tile(np.arange(60), 2)) for name, told in once.items()}
    assert not calibrate(shop_labeller(), fewer, NO_REFERENCE, 0.95, 0.9).attributes


def test_what_no_label_fits_counts_as_wrong_and_fits_nothing(calibration: Calibration) -> None:
    assert calibration.attributes["group"].threshold is not None
    truths = truths_of(900, seed=1)
    nothing = truths["group"].truth.copy()
    nothing[::2] = NONE_OF_THEM
    truths["group"] = replace(truths["group"], truth=nothing)
    found = calibrate(shop_labeller(), truths, NO_REFERENCE, 0.95, 0.9)
    assert found.attributes["group"].threshold is None
    assert found.attributes["group"].truths == 900
    assert found.truth_version != calibration.truth_version


def test_it_can_be_written_down_whole(calibration: Calibration, later: dict[str, Truths]) -> None:
    again = parse_calibration(calibration.to_json())
    assert again.version == calibration.version
    for name, top in said(again, later).items():
        assert np.array_equal(top.decision, said(calibration, later)[name].decision)


def test_a_sample_drawn_by_digests_of_ids_is_parted_like_any_other() -> None:
    truths = truths_of(1200, seed=7)
    low = [
        row
        for row, product in enumerate(truths["kind"].products)
        if hashlib.sha256(product.encode()).digest()[0] < 64
    ]
    found = calibrate(
        shop_labeller(),
        {name: told.rows(np.array(low)) for name, told in truths.items()},
        NO_REFERENCE,
        0.95,
        0.9,
    )
    assert all(entry.error_before > 0 for entry in found.attributes.values())
    assert found.attributes["kind"].truths == len(low) > 200


def test_of_a_product_s_photos_one_is_drawn_and_not_always_the_first() -> None:
    once = truths_of(300, seed=9)
    views = {name: told.rows(np.repeat(np.arange(300), 2)) for name, told in once.items()}
    other = vectors_of_photos(300, seed=10)
    for name, told in views.items():
        vectors = told.vectors.copy()
        vectors[1::2] = other
        views[name] = replace(told, vectors=vectors)
    drawn = _one_a_product(views["kind"])
    assert sorted(drawn.products) == sorted(once["kind"].products)
    firsts = sum((drawn.vectors[row] == views["kind"].vectors[2 * row]).all() for row in range(300))
    assert 100 < firsts < 200


def test_what_is_never_accepted_is_not_counted_as_accepted() -> None:
    found = calibrate(shop_labeller(), truths_of(900, seed=1), vectors_of_photos(600, seed=5), 0.95, 0.9)
    strange = replace(found.unknown, threshold=0.0) if found.unknown else None
    top = label(
        replace(shop_labeller(), calibration=replace(found, unknown=strange)), vectors_of_photos(50, 3)
    )
    assert (_acceptable(top["kind"]).confidence == 0).all()
    assert (top["kind"].confidence[:, 0] > 0).all()

"""Labels of calibrated and of uncalibrated attributes, and what is decided of them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from fashion_clip.calibration import (
    AttributeCalibration,
    Calibration,
    attribute_version,
    parse_calibration,
)
from fashion_clip.hierarchy import allowed
from fashion_clip.labeller import Labeller, label
from fashion_clip.scoring import Decision, Head, prompt_head, top_labels
from fashion_clip.taxonomy import Attribute, Taxonomy, load_taxonomy

DIMENSION = 16
PRODUCTS = load_taxonomy("products")


def unit(shape: tuple[int, int], seed: int) -> npt.NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    vectors: npt.NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return vectors


def heads(taxonomy: Taxonomy) -> tuple[Head, ...]:
    return tuple(
        prompt_head(
            each.name, tuple(one.name for one in each.labels), unit((len(each.labels), DIMENSION), seed), 20
        )
        for seed, each in enumerate(taxonomy.attributes)
    )


def calibration(taxonomy: Taxonomy, *names: str, threshold: float | None = 0.5) -> Calibration:
    entries = {
        each.name: AttributeCalibration(
            attribute_version(taxonomy, each),
            2.0,
            tuple([0.1] * len(each.labels)),
            1.0,
            0.0,
            threshold,
            500,
            0.2,
            0.02,
            0.6,
        )
        for each in taxonomy.attributes
        if each.name in names
    }
    return Calibration(0.95, 0.9, "truth", 0.5, entries)


VECTORS = unit((200, DIMENSION), seed=99)
CHAIN = ("masterCategory", "subCategory", "articleType")


def test_without_a_calibration_labels_are_those_of_the_heads() -> None:
    labeller = Labeller(PRODUCTS, heads(PRODUCTS))
    top = label(labeller, VECTORS)
    for head in labeller.heads:
        expected = top_labels(head, VECTORS)
        assert np.array_equal(top[head.attribute].index, expected.index)
        assert np.array_equal(top[head.attribute].confidence, expected.confidence)
        assert (top[head.attribute].decision == Decision.UNCALIBRATED).all()


def test_only_what_is_calibrated_is_decided() -> None:
    labeller = Labeller(PRODUCTS, heads(PRODUCTS), calibration(PRODUCTS, "gender"))
    top = label(labeller, VECTORS)
    assert {name for name in top if (top[name].decision != Decision.UNCALIBRATED).any()} == {"gender"}


def test_labels_of_a_chain_stand_below_each_other() -> None:
    labeller = Labeller(PRODUCTS, heads(PRODUCTS), calibration(PRODUCTS, *CHAIN))
    top = label(labeller, VECTORS)
    by_name = {each.name: each for each in PRODUCTS.attributes}
    differs = 0
    for above, below in pairwise(CHAIN):
        stands = allowed(by_name[below], by_name[above])
        told = top[below].decision == Decision.CONFLICT  # a parent that has no labels below it
        assert (stands[top[above].index[:, 0], top[below].index[:, 0]] | told).all()
        assert told.sum() < 20
        [over] = [
            (VECTORS @ head.weights.T).argmax(axis=1) for head in labeller.heads if head.attribute == above
        ]
        [under] = [
            (VECTORS @ head.weights.T).argmax(axis=1) for head in labeller.heads if head.attribute == below
        ]
        differs += int((~stands[over, under]).sum())
    assert differs > 100  # as random heads would have it


def test_the_chosen_label_comes_first_and_the_others_by_confidence() -> None:
    top = label(Labeller(PRODUCTS, heads(PRODUCTS), calibration(PRODUCTS, *CHAIN)), VECTORS)["articleType"]
    assert (np.diff(top.confidence[:, 1:], axis=1) <= 0).all()
    assert (top.confidence[:, 0] < top.confidence[:, 1]).any()
    assert all(len(set(row)) == len(row) for row in top.index.tolist())
    similarity = VECTORS @ heads(PRODUCTS)[2].weights.T
    assert np.array_equal(np.take_along_axis(similarity, top.index, axis=1), top.similarity)


def test_confidences_are_softmax_of_scaled_scores_and_bias() -> None:
    made = calibration(PRODUCTS, "gender")
    bias = (1.0, -1.0, 0.5, 0.0, 0.25)
    made = replace(made, attributes={"gender": replace(made.attributes["gender"], bias=bias)})
    labeller = Labeller(PRODUCTS, heads(PRODUCTS), made)
    [head] = [head for head in labeller.heads if head.attribute == "gender"]
    powers = np.exp(VECTORS @ head.weights.T * 20 / 2.0 + np.array(bias))
    expected = powers / powers.sum(axis=1, keepdims=True)
    top = label(labeller, VECTORS)["gender"]
    assert top.confidence == pytest.approx(np.take_along_axis(expected, top.index, axis=1), abs=1e-5)
    assert np.array_equal(top.index[:, 0], expected.argmax(axis=1))


def test_labels_are_accepted_from_the_threshold_on() -> None:
    made = calibration(PRODUCTS, "gender")
    top = label(Labeller(PRODUCTS, heads(PRODUCTS), made), VECTORS)["gender"]
    at = float(np.sort(top.confidence[:, 0])[100])
    made = replace(made, attributes={"gender": replace(made.attributes["gender"], threshold=at)})
    decision = label(Labeller(PRODUCTS, heads(PRODUCTS), made), VECTORS)["gender"].decision
    assert np.array_equal(decision == Decision.ACCEPTED, top.confidence[:, 0] >= at)
    assert (decision == Decision.UNCERTAIN).sum() == 100


def test_nothing_is_accepted_without_a_threshold() -> None:
    made = calibration(PRODUCTS, "gender", threshold=None)
    top = label(Labeller(PRODUCTS, heads(PRODUCTS), made), VECTORS)["gender"]
    assert (top.decision == Decision.UNCERTAIN).all()


def with_attribute(other: Attribute) -> Taxonomy:
    attributes = tuple(other if each.name == other.name else each for each in PRODUCTS.attributes)
    return Taxonomy("other", attributes)


def test_a_calibration_says_nothing_of_other_labels_or_prompts() -> None:
    made = calibration(PRODUCTS, *CHAIN, "gender")
    by_name = {each.name: each for each in PRODUCTS.attributes}
    gender, category = by_name["gender"], by_name["masterCategory"]
    assert all(made.of(PRODUCTS, by_name[name]) for name in (*CHAIN, "gender"))
    for other in (replace(gender, templates=("{text}!",)), replace(gender, labels=gender.labels[::-1])):
        assert made.of(with_attribute(other), other) is None
        assert made.of(with_attribute(other), category) is not None
    # A label's confidence is that of all that can stand with it: what is linked counts, and the links.
    reworded = with_attribute(replace(category, templates=("{text}!",)))
    unlinked = with_attribute(replace(by_name["articleType"], parent=None))
    assert made.of(reworded, by_name["articleType"]) is made.of(unlinked, by_name["subCategory"]) is None
    assert made.of(reworded, gender) is not None


def test_a_calibration_can_be_written_down() -> None:
    made = calibration(PRODUCTS, *CHAIN, threshold=None)
    assert parse_calibration(made.to_json()) == made
    assert parse_calibration(made.to_json()).version == made.version
    assert calibration(PRODUCTS, *CHAIN).version != made.version

"""Which labels are kept out of training, and what a tower rung reads."""

import numpy as np
import numpy.typing as npt
import pytest

from fashion_clip.taxonomy import Attribute, Label
from tasks.catalog.evidence import NOT_KNOWN
from tasks.tower_rungs import MOST_FREQUENT, kept_out_labels


def told_of(truth: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.int64]]:
    return {"kind": truth}


def attribute(labels: int) -> tuple[Attribute, ...]:
    return (Attribute("kind", tuple(Label(f"label {n}", f"label {n}") for n in range(labels)), ("{text}",)),)


def test_of_many_labels_about_a_tenth_and_the_same_each_time() -> None:
    truth = np.random.default_rng(0).integers(0, 100, 5_000)
    kept = kept_out_labels(told_of(truth), attribute(100))["kind"]
    assert 3 <= len(kept) <= 20
    assert kept_out_labels(told_of(truth[::-1]), attribute(100))["kind"] == kept


def test_what_is_frequent_is_never_kept_out() -> None:
    truth = np.concatenate([np.repeat(np.arange(40), 5), np.full(1_000, 7)])
    kept = kept_out_labels(told_of(truth), attribute(40)).get("kind", frozenset())
    assert "label 7" not in kept
    counts = np.bincount(truth)
    assert all(counts[int(name.split()[1])] <= MOST_FREQUENT * len(truth) for name in kept)


@pytest.mark.parametrize("labels", [2, 19])
def test_of_few_labels_none_is_kept_out(labels: int) -> None:
    truth = np.concatenate([np.repeat(np.arange(labels), 50), [NOT_KNOWN, -1]])
    assert kept_out_labels(told_of(truth), attribute(labels)) == {}

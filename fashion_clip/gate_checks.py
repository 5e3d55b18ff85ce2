"""The checks of the gate, one function a kind: each compares two models and says whether that may pass."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fashion_clip.intervals import paired_difference
from fashion_clip.metrics import calibration_error
from fashion_clip.paired_predictions import Paired
from fashion_clip.paired_tests import Pairs, difference_intervals, holm, loss_beyond, sign_test
from fashion_clip.verdict import Check, Kind

# A loss beyond its margin counts from this one-sided level on, without adjustment for the number of
# attributes: what is taken for a loss too easily makes promotion rarer, and costs a good challenger at worst.
LENIENT = 0.1
LABEL_LEVEL = 0.05  # of all labels together: there are hundreds, of which some always look bad by chance
SWAPS = 199  # at least, so that the least p-value is 1 / 200
ROUNDING = 1e-9  # a difference that is exactly at its limit passes


def gain_check(paired: Paired, minimum: float, level: float) -> Check:
    """A gain of at least `minimum`, and of more than nothing by `sign_test` at `level`."""
    pairs, coins = paired.pairs(), paired.coins()
    p_value = sign_test(coins.gains, coins.losses)
    gained = pairs.difference > 0 and pairs.difference >= minimum - ROUNDING
    return _accuracy(Kind.GAIN, paired, p_value, minimum, gained and p_value <= level)


def loss_check(kind: Kind, paired: Paired, limit: float) -> Check:
    """No estimated difference below `limit` that is more than chance by `sign_test` at LENIENT."""
    pairs, coins = paired.pairs(), paired.coins()
    p_value = sign_test(coins.losses, coins.gains)
    beyond = pairs.difference < limit - ROUNDING
    return _accuracy(kind, paired, p_value, limit, not (beyond and p_value <= LENIENT))


def kept_out_check(paired: Paired, share: float) -> Check:
    """At least `share` of the champion's accuracy, as `loss_check` tells."""
    accuracy = np.average(paired.champion.hits, weights=paired.champion.weights)
    return loss_check(Kind.KEPT_OUT, paired, float((share - 1) * accuracy))


def label_checks(paired: Sequence[Paired], margin: float) -> list[Check]:
    """For each label that has truth: no loss of recall shown beyond `margin`, all together at LABEL_LEVEL."""
    found = [(one, label, rows) for one in paired for label, rows in one.rows_of_labels().items()]
    pairs = [one.pairs(rows) for one, _, rows in found]
    p_values = holm(loss_beyond(pairs, margin))
    intervals = difference_intervals(pairs, 1 - LABEL_LEVEL / max(len(pairs), 1))
    return [
        _label(*of_label, counts, interval, p_value, -margin)
        for of_label, counts, interval, p_value in zip(found, pairs, intervals, p_values, strict=True)
    ]


def calibration_checks(paired: Sequence[Paired], margin: float) -> list[Check]:
    """For each attribute: no calibration error larger by more than `margin`, and by more than chance.

    All together at LENIENT: on 200 products of seven attributes 55 % of equal challengers had some error that
    much larger, and at LENIENT each still 46 %. The more attributes, the more swaps: the least p-value, times
    their number, is to be below LENIENT.
    """
    swaps = max(SWAPS, math.ceil(len(paired) / LENIENT))
    p_values = holm([_miscalibration(one, margin, swaps) for one in paired])
    return [_calibration(one, p_value, margin) for one, p_value in zip(paired, p_values, strict=True)]


def _accuracy(kind: Kind, paired: Paired, p_value: float, limit: float, passed: bool) -> Check:
    old, new = paired.champion, paired.challenger
    found = paired_difference(new.hits, old.hits, old.products, old.weights)
    champion, challenger = (float(np.average(one.hits, weights=old.weights)) for one in (old, new))
    return Check(
        kind, old.attribute, None, found.n, champion, challenger, paired.pairs().difference, found.low,
        found.high, p_value, limit, passed,
    )  # fmt: skip


def _label(
    paired: Paired,
    label: str,
    rows: npt.NDArray[np.intp],
    pairs: Pairs,
    interval: tuple[float, float],
    p_value: float,
    limit: float,
) -> Check:
    weights = paired.champion.weights[rows]
    champion, challenger = (
        float(np.average(one.hits[rows], weights=weights)) for one in (paired.champion, paired.challenger)
    )
    return Check(
        Kind.LABEL, paired.champion.attribute, label, len(rows), champion, challenger, pairs.difference,
        *interval, p_value, limit, p_value > LABEL_LEVEL,
    )  # fmt: skip


def _calibration(paired: Paired, p_value: float, margin: float) -> Check:
    champion, challenger = _errors(*_sure_and_right(paired), paired.champion.weights)
    return Check(
        Kind.CALIBRATION, paired.champion.attribute, None, len(paired.champion.photos), champion, challenger,
        challenger - champion, None, None, p_value, margin, p_value > LENIENT,
    )  # fmt: skip


def _miscalibration(paired: Paired, margin: float, swaps: int) -> float:
    """The p-value of an error larger by more than the margin; 1 for one that is not."""
    confidence, hits = _sure_and_right(paired)
    champion, challenger = _errors(confidence, hits, paired.champion.weights)
    if challenger - champion <= margin + ROUNDING:
        return 1.0
    return _swapped(confidence, hits, paired.champion.weights, challenger - champion, swaps)


def _sure_and_right(paired: Paired) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Confidences and hits (2, n), the champion's first."""
    models = paired.champion, paired.challenger
    return np.stack([one.confidence for one in models]), np.stack([one.hits for one in models])


def _swapped(
    confidence: npt.NDArray[np.float64],
    hits: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float64],
    worse: float,
    swaps: int,
) -> float:
    """The p-value of so much larger an error where it is all one which of the two said what of a product.

    A permutation test on random swaps, the same each time; exact with the one counted that was seen
    (Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9, 2010).

    Args:
        confidence, hits: (2, n), the champion's first.
    """
    coins = np.random.default_rng(0)
    as_large = 1
    for _ in range(swaps):
        order = coins.integers(0, 2, len(weights))
        rows = np.stack([order, 1 - order]), np.arange(len(weights))
        champion, challenger = _errors(confidence[rows], hits[rows], weights)
        as_large += int(challenger - champion >= worse - ROUNDING)
    return as_large / (swaps + 1)


def _errors(
    confidence: npt.NDArray[np.float64], hits: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64]
) -> tuple[float, float]:
    first, second = (calibration_error(*one, weights) for one in zip(confidence, hits, strict=True))
    return first, second

"""The gate: whether a challenger replaces the champion, told by what both said of the same products.

It errs if it lets a model pass that is no better. It lets one pass only if a paired test of the primary
attribute, exact where all products weigh the same, says so at a level; `error_rate` spends one probability of
5 % over all rungs and all climbs against one champion, and by the union bound (Bonferroni) that holds
whatever truth and predictions the looks share. Every other check can only reject, and adds nothing to that
probability, whatever its own level is. A challenger that is changed because of them is judged again; what
`tasks.judging` changes leaves that bound as it is.

Speed is not looked at: a challenger's towers have the champion's architecture, so that it cannot differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fashion_clip.gate_checks import (
    calibration_checks,
    gain_check,
    kept_out_check,
    label_checks,
    loss_check,
)
from fashion_clip.paired_predictions import Paired, pair_up
from fashion_clip.paired_tests import Coins, least_discordant, sign_test
from fashion_clip.predictions import Predictions
from fashion_clip.verdict import Kind, Verdict, conclude


@dataclass(frozen=True)
class Rules:
    """What is asked of a challenger; shares and margins are 0..1.

    primary: the attribute that must gain, by `minimum_gain` at least and by more than nothing.
    attribute_margin: the loss of accuracy that any other attribute may have.
    label_margin: the loss of recall that a label may have.
    kept_out_share: what must be left of the champion's accuracy on labels kept out of training.
    calibration_margin: by how much more confidences may err, as expected calibration error.
    """

    primary: str
    minimum_gain: float = 0.0
    attribute_margin: float = 0.02
    label_margin: float = 0.10
    kept_out_share: float = 0.9
    calibration_margin: float = 0.02


@dataclass(frozen=True, eq=False)
class Judged:
    """What one model said of the truth that judges, which it must not have been trained or calibrated on.

    predictions: an attribute each.
    kept_out: an attribute each, of photos of labels that the training of the challenger's tower left out.
    calibrated: the attributes whose confidences are.
    """

    predictions: tuple[Predictions, ...]
    kept_out: tuple[Predictions, ...] = ()
    calibrated: frozenset[str] = frozenset()


def error_rate(climb: int, rungs: int, total: float = 0.05) -> float:
    """The level at which each rung of a climb is tested, such that all climbs together err by `total`.

    The j-th climb against one champion gets 6 / (pi j)^2 of `total`, which adds up to all of it over climbs
    without end, and its rungs get equal parts. A new champion begins anew with its first climb.

    Args:
        climb: 1 for the first against this champion. Each counts that looked at the truth which judges.
        rungs: that may be tested in the climb, whether or not it comes to them.

    Raises:
        ValueError: climb or rungs below 1, or `total` not between 0 and 1.
    """
    if climb < 1 or rungs < 1 or not 0 < total < 1:
        raise ValueError(f"no error rate for climb {climb} of {rungs} rungs with {total} in all")
    return float(total * 6 / (np.pi * climb) ** 2 / rungs)


def judge(champion: Judged, challenger: Judged, rules: Rules, level: float) -> Verdict:
    """Whether the challenger is better on the primary attribute, and nowhere too much worse.

    - The primary attribute: one-sided exact McNemar test, a product a draw, at `level` (where weights differ,
      as many draws as those that tell the two apart are worth); and the estimated gain is at least
      `rules.minimum_gain` and above 0.
    - Any other vetoes if its estimated loss is beyond the margin and more than chance at the one-sided level
      LENIENT (the same test, not adjusted: vetoing more easily only makes promotion rarer). So do the labels
      kept out of training, if the challenger was judged on any.
    - A label vetoes if its loss of recall is shown to be beyond the margin: `loss_beyond`, adjusted by Holm
      over all labels of all attributes that have truth. One that has too little to show anything does not.
    - The expected calibration error of an attribute that both have calibrated vetoes if it is larger beyond
      the margin, and by more than chance at LENIENT, adjusted by Holm over the attributes: on few products
      such a difference is mostly noise.

    What passes at a level passes at any larger one. Truth NONE_OF_THEM counts as wrong for both. Too little
    truth is a verdict, not an error.

    Args:
        level: 0..1, see `error_rate`.

    Raises:
        ValueError: the two were judged on other attributes, labels, photos or truth, or `level` is no level.
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not between 0 and 1")
    paired = pair_up(champion.predictions, challenger.predictions)
    primary = [one for one in paired if one.champion.attribute == rules.primary]
    others = [one for one in paired if one.champion.attribute != rules.primary]
    calibrated = champion.calibrated & challenger.calibrated
    checks = [gain_check(one, rules.minimum_gain, level) for one in primary]
    checks += [loss_check(Kind.ATTRIBUTE, one, -rules.attribute_margin) for one in others]
    checks += label_checks(paired, rules.label_margin)
    if challenger.kept_out:
        kept_out = pair_up(champion.kept_out, challenger.kept_out)
        checks += [kept_out_check(one, rules.kept_out_share) for one in kept_out]
    both_calibrated = [one for one in paired if one.champion.attribute in calibrated]
    checks += calibration_checks(both_calibrated, rules.calibration_margin)
    return conclude(checks, level, _shortage(primary, rules.primary, level))


def _shortage(primary: Sequence[Paired], name: str, level: float) -> str | None:
    """Where the test could not be at the level even if the challenger won on all that tells the two apart.

    What tells them apart is counted as draws of equal weight.
    """
    needed = least_discordant(level)
    products = len(primary[0].champion.photos) if primary else 0
    apart = (primary[0].coins() if primary else Coins(0, 0)).discordant
    if sign_test(apart, 0) <= level:
        return None
    if products < needed:
        return (
            f"only {products} products have truth of {name} that may judge, and at least {needed} are needed"
        )
    told = f"only {apart:.3g} of {products:,} products of {name} tell the two models apart"
    return f"{told}, and at least {needed} are needed"

"""What the gate says of a challenger: every check with its figures, and one sentence for people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

MOST_REASONS = 3  # that the sentence gives


class Kind(StrEnum):
    """What a check looks at: all are accuracies but the last."""

    GAIN = "gain"  # of the primary attribute
    ATTRIBUTE = "attribute"  # any other
    LABEL = "label"  # recall of one label
    KEPT_OUT = "kept_out"  # zero-shot, on labels that were kept out of training
    CALIBRATION = "calibration"  # expected calibration error


@dataclass(frozen=True)
class Check:
    """One comparison; its unit is that of `kind`.

    label: None for all but labels. n: products that judged.
    difference: the challenger's less the champion's.
    low, high: what it is between with 95 % probability, that of labels with 95 % all together; None where
        nothing is estimated.
    p_value: one-sided, of gain for the primary attribute, else of loss; those of labels, and of calibration,
        are adjusted for their number.
    limit: the least difference that passes by itself; for calibration the largest.
    """

    kind: Kind
    attribute: str
    label: str | None
    n: int
    champion: float
    challenger: float
    difference: float
    low: float | None
    high: float | None
    p_value: float
    limit: float
    passed: bool


@dataclass(frozen=True)
class Verdict:
    """passed: the challenger may replace the champion. level: of the primary attribute's test.

    sentence: begins with "better: " or "rejected, because ".
    checks: the primary attribute's first, if it has any truth.
    """

    passed: bool
    sentence: str
    level: float
    checks: tuple[Check, ...]

    def as_dict(self) -> dict[str, Any]:
        """Dicts, lists, texts, finite numbers and None, for JSON."""
        return {
            **asdict(self),
            "checks": [asdict(check) | {"kind": str(check.kind)} for check in self.checks],
        }

    def of(self, kind: Kind) -> tuple[Check, ...]:
        """The checks of one kind."""
        return tuple(check for check in self.checks if check.kind is kind)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)


def parse_verdict(document: Mapping[str, Any]) -> Verdict:
    """What `as_dict` made."""
    checks = tuple(Check(**{**check, "kind": Kind(check["kind"])}) for check in document["checks"])
    return Verdict(**{**document, "checks": checks})


def conclude(checks: Sequence[Check], level: float, shortage: str | None) -> Verdict:
    """Passed, if every check is and truth was enough.

    Args:
        checks: the primary attribute's first.
        shortage: what there is too little of for a test, as an English clause.
    """
    reasons = [shortage] if shortage else []
    failed = sorted((check for check in checks if not check.passed), key=_urgency)
    reasons += [reason(check, level) for check in failed if not (shortage and check.kind is Kind.GAIN)]
    if reasons:
        return Verdict(False, f"rejected, because {_joined(reasons)}", level, tuple(checks))
    gain, *others = checks
    p_value = f"p = {gain.p_value:.2g}, at most {level:.2g} was asked"
    told = f"better: the accuracy of {gain.attribute} {_moves(gain)}, {p_value}"
    none_worse = (
        f", and none of {len(others):,} other checks found a loss beyond its margin" if others else ""
    )
    return Verdict(True, told + none_worse, level, tuple(checks))


def reason(check: Check, level: float) -> str:
    """Why a check failed, with its figures, as an English clause."""
    return _REASONS[check.kind](check, level)


def reasons(checks: Sequence[Check], level: float) -> str:
    """Why checks failed, the most urgent ones with their figures, as an English clause."""
    return _joined([reason(check, level) for check in sorted(checks, key=_urgency)])


def _no_gain(check: Check, level: float) -> str:
    gain = f"the accuracy of {check.attribute} {_moves(check)}"
    if check.difference <= 0:
        return gain
    if check.p_value > level:
        return f"{gain}, which may be chance (p = {check.p_value:.2g}, at most {level:.2g} is asked)"
    return f"{gain}, and at least {_points(check.limit)} points are asked"


def _loss(check: Check, _: float) -> str:
    what = {
        Kind.ATTRIBUTE: f"the accuracy of {check.attribute}",
        Kind.LABEL: f"the recall of {check.label!r} in {check.attribute}",
        Kind.KEPT_OUT: f"the accuracy of {check.attribute} on labels kept out of training",
    }[check.kind]
    allowed = f"more than {_points(-check.limit)} points and more than chance"
    return f"{what} {_moves(check)}, {allowed} (p = {check.p_value:.2g})"


def _miscalibrated(check: Check, _: float) -> str:
    return (
        f"the confidences of {check.attribute} err by {check.challenger:.3f} instead of {check.champion:.3f} "
        f"on {check.n:,} products, more than {check.limit:.3g} worse and more than chance "
        f"(p = {check.p_value:.2g})"
    )


_REASONS = {
    Kind.GAIN: _no_gain,
    Kind.ATTRIBUTE: _loss,
    Kind.LABEL: _loss,
    Kind.KEPT_OUT: _loss,
    Kind.CALIBRATION: _miscalibrated,
}


def _urgency(check: Check) -> tuple[int, float]:
    """What did not gain first, then what lost, the largest loss first, or rise of calibration error."""
    change = -check.difference if check.kind is Kind.CALIBRATION else check.difference
    return list(Kind).index(check.kind), change


def _joined(reasons: Sequence[str]) -> str:
    told = "; and because ".join(reasons[:MOST_REASONS])
    left = len(reasons) - MOST_REASONS
    return f"{told}; and for {left} other reason{'s' if left > 1 else ''}" if left > 0 else told


def _moves(check: Check) -> str:
    """How an accuracy goes from the champion to the challenger."""
    of = f"on {check.n:,} products"
    if check.difference == 0:
        return f"stays at {100 * check.champion:.1f} % {of}"
    interval = (
        "" if check.low is None or check.high is None else f", interval {_range(check.low, check.high)}"
    )
    return (
        f"{'rises' if check.difference > 0 else 'falls'} from {100 * check.champion:.1f} to "
        f"{100 * check.challenger:.1f} % {of} ({100 * check.difference:+.1f} points{interval})"
    )


def _range(low: float, high: float) -> str:
    return f"{100 * low:+.1f} to {100 * high:+.1f}"


def _points(share: float) -> str:
    return f"{100 * share:.3g}"

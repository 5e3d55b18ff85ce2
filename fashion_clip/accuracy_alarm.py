"""Whether the champion's accuracy has dropped: a test of one attribute that may look every night.

The hypothesis is that whatever truth arrives, the champion is right of it with a probability of at least the
baseline. Against it one bets, each night anew with a NIGHTS-th of a capital of 1, that from this night on the
accuracy is lower by one of FALLS. A bet's factor of a truth is the likelihood ratio of the lower accuracy to
the baseline, which is 1 on average at the baseline and less above it, whatever came before. The e-value is
what all bets begun so far have become. So on average it grows by at most 1 / NIGHTS a night, and with what is
yet to be bet in a year it is a supermartingale that begins at 1: by Ville's inequality it reaches 1 / level
within any year that begins without bets with a probability of at most `level`, and within y years of at most
y times that, so that the error of a year is bounded in the mean of all years. This is the e-detector of Shin,
Ramdas and Rinaldo (New England Journal of Statistics in Data Science 2, 2024) of Shiryaev and Roberts' form,
with a capital that bounds the probability over a year in place of the mean time to a false alarm.

What such a sum has beyond 1 / level when it gets there is wasted. So each night the bets are raised by a
common factor, as far as the mean of what counts, at most 1 / level, allows at the baseline: Fischer and
Ramdas (arXiv 2410.16076, sequential boosting). It holds above the baseline too, since the sum only rises with
the number of wrong answers. It is what makes the test exact for a burst of truth as for a few a night.

Nothing depends on when truth comes, nor on how much, as long as this does not depend on whether the champion
was right. Neither does a night need truth: one without it only begins another bet. What is assumed is that
truths are independent given the nights before, so a product counts once, with one photo, and draws of unequal
probability are made equal first (`fashion_clip.even_draws`). Nights whose photos are harder than those of
others, where a night's truth is of its own photos, break that: `benchmarks.alarms` tells what it costs.

A champion has its own alarm, with its own baseline, which begins with its first night and counts what it says
of all photos whose truth comes from then on, old ones included. What came before may have chosen it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from fashion_clip.intervals import exact_interval

FALLS = np.array([0.03, 0.06, 0.12])  # of accuracy, with equal parts of each bet; five saw none sooner
TOTAL = 0.04  # false alarms a year: of the 5 % promised a fifth is left for truths not quite independent
NIGHTS = 365
WINDOW = 28  # nights of which accuracy is told
WATCHED = 0.1  # of the e-value that alarms
STEPS = 6  # of Newton's method; fewer only bet less
MOST_LOG = 100.0  # of a factor: a new bet that grows by its exponential passes any level
MOST_RAISED = 1e6  # less only bets less

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


class Status(StrEnum):
    """What an alarm says. Of years without a drop at most TOTAL / WATCHED ever say `watch`."""

    OK = "ok"
    WATCH = "watch"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Night:
    """Truth of an attribute that came since the last look, a product each: 0 <= hits <= n.

    Raises:
        ValueError: anything else.
    """

    n: int
    hits: int

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.n:
            raise ValueError(f"{self.hits} right of {self.n} truths is no night")


@dataclass(frozen=True)
class Reading:
    """What an alarm tells after a night.

    n: truths of the last WINDOW nights. accuracy, low, high: of these, with the exact interval of 95 % for
    whoever looks once, 0..1; None without truth.
    e_value: not negative, 1 at most on average in a first year without a drop; it ends at 1 / level.
    """

    n: int
    accuracy: float | None
    low: float | None
    high: float | None
    baseline: float
    e_value: float
    status: Status


@dataclass(frozen=True)
class Alarm:
    """The state after some nights; the same nights give the same state.

    baseline: 0..1, the least accuracy that is no drop, see `baseline_bound`.
    level: the probability of a false alarm in a year, of this attribute.
    capital: what the bets on each of FALLS have become.
    recent: the last nights, at most WINDOW of them.
    """

    baseline: float
    level: float
    capital: tuple[float, ...] = (0.0,) * len(FALLS)
    recent: tuple[Night, ...] = ()

    @property
    def e_value(self) -> float:
        """The evidence of a drop, 0 .. 1 / level."""
        return sum(self.capital)

    @property
    def status(self) -> Status:
        """`dropped` stays until another champion has its own alarm."""
        if has_dropped(np.array([self.capital]), self.level)[0]:
            return Status.DROPPED
        return Status.WATCH if self.e_value * self.level >= WATCHED else Status.OK

    def reading(self) -> Reading:
        """For people and for a row in SQL."""
        n, hits = sum(night.n for night in self.recent), sum(night.hits for night in self.recent)
        accuracy, (low, high) = (hits / n, exact_interval(hits, n)) if n else (None, (None, None))
        return Reading(n, accuracy, low, high, self.baseline, self.e_value, self.status)

    def to_json(self) -> str:
        """From which `from_json` makes an equal one."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Alarm":
        """Raises: ValueError, KeyError or TypeError where `to_json` has not written it."""
        told = json.loads(text)
        recent = tuple(Night(**night) for night in told["recent"])
        return Alarm(told["baseline"], told["level"], tuple(told["capital"]), recent)


def baseline_bound(hits: int, n: int, level: float = 0.95) -> float:
    """The accuracy, 0..1, that the champion has at least, with probability `level`: Clopper and Pearson's.

    The truth must have had no part in choosing or training the champion. An estimate taken for known is too
    high half of the time, and one on truth that chose the best of several nearly always.

    Raises:
        ValueError: not 0 <= hits <= n, or `level` not between 0.5 and 1.
    """
    if not 0.5 < level < 1:
        raise ValueError(f"level {level} of a lower bound is not between 0.5 and 1")
    return exact_interval(hits, n, 2 * level - 1)[0]


def begin(baseline: float, attributes: int, total: float = TOTAL) -> Alarm:
    """An alarm before its first night.

    Args:
        baseline: 0 <= baseline < 1. With 0 there is no alarm ever.
        attributes: that are watched together; each has an equal part of `total` (Bonferroni), which holds
            whatever they have in common.
        total: the probability of a false alarm in a year of any of them.

    Raises:
        ValueError: anything out of its range.
    """
    if not 0 <= baseline < 1 or attributes < 1 or not 0 < total < 1:
        raise ValueError(f"no alarm with baseline {baseline}, {attributes} attributes and {total} in all")
    return Alarm(baseline, total / attributes)


def held_to(alarm: Alarm, baseline: float) -> Alarm:
    """With another baseline, of more truth, chosen when there is so much and whatever it says.

    What has been bet stays where the baseline rises: who is not as right as the lower one, is not as right as
    the higher one either. Else the bets begin anew.

    Raises:
        ValueError: not 0 <= baseline < 1.
    """
    if not 0 <= baseline < 1:
        raise ValueError(f"no alarm with baseline {baseline}")
    capital = alarm.capital if baseline >= alarm.baseline else (0.0,) * len(FALLS)
    return replace(alarm, baseline=baseline, capital=capital)


def after(alarm: Alarm, night: Night) -> Alarm:
    """The state after one more night.

    One look a night: what comes after it belongs to the next. A product counts once for a champion, on the
    night that its first truth came, with one photo; truth that was not drawn at random does not.
    """
    bets = bets_against(np.array([alarm.baseline]), night.n)
    capital = after_night(np.array([alarm.capital]), bets, np.array([night.n - night.hits]), alarm.level)
    recent = (*alarm.recent, night)[-WINDOW:]
    return replace(alarm, capital=tuple(float(part) for part in capital[0]), recent=recent)


def after_all(alarm: Alarm, nights: Sequence[Night]) -> Alarm:
    """The state after all of them, from the first: for whoever has the rows and no state, or doubts it."""
    for night in nights:
        alarm = after(alarm, night)
    return alarm


@dataclass(frozen=True, eq=False)
class Bets:
    """What n truths do to the bets of m alarms, by the number of wrong ones, 0..n.

    factors: float64 (m, FALLS, n + 1). chances: float64 (m, n + 1), of so many wrong ones at the baseline.
    """

    factors: Floats
    chances: Floats


def bets_against(baselines: Floats, n: int) -> Bets:
    """Args: float64 (m,), each 0 <= baseline < 1; truths of the night, at least 0.

    No bet is on a fall of more than half of the baseline.
    """
    from scipy.special import gammaln, xlog1py, xlogy

    wrong = np.arange(n + 1)
    chosen = gammaln(n + 1) - gammaln(wrong + 1) - gammaln(n - wrong + 1)
    error = (1 - baselines)[:, None]
    chances = np.exp(chosen + xlogy(wrong, error) + xlog1py(n - wrong, -error))
    fallen = np.minimum(FALLS, baselines[:, None] / 2)
    left = np.divide(fallen, baselines[:, None], out=np.zeros_like(fallen), where=fallen > 0)
    logs = np.log1p(-left)[:, :, None] * (n - wrong) + np.log1p(fallen / error)[:, :, None] * wrong
    return Bets(np.exp(np.minimum(logs, MOST_LOG)), chances)


def after_night(capital: Floats, bets: Bets, wrong: Counts, level: float) -> Floats:
    """The capital of m alarms after a night.

    Args:
        capital: float64 (m, FALLS), before it.
        wrong: int64 (m,), of the night's truths.
        level: as in `Alarm`, of each.
    """
    most = 1 / level
    staked = capital + 1 / (NIGHTS * len(FALLS))
    raised = _raised(staked, bets, most)
    of_night = np.take_along_axis(bets.factors, wrong[:, None, None], axis=2)[:, :, 0]
    found = raised[:, None] * staked * of_night
    found *= (most / np.maximum(found.sum(axis=1), most))[:, None]
    return np.where(has_dropped(capital, level)[:, None], capital, found)


def has_dropped(capital: Floats, level: float) -> npt.NDArray[np.bool_]:
    """bool (m,), of float64 (m, FALLS)."""
    found: npt.NDArray[np.bool_] = capital.sum(axis=1) * level >= 1 - 1e-9
    return found


def _raised(staked: Floats, bets: Bets, most: float) -> Floats:
    """By what factor (m,) the bets may be raised such that the mean of the sum, up to `most`, is the stake.

    That mean is a concave function of the factor: Newton's method comes to the solution from below.
    """
    stake = staked.sum(axis=1)
    sums = np.matmul(staked[:, None, :], bets.factors)[:, 0, :]
    factor = np.ones(len(stake))
    for _ in range(STEPS):
        below = factor[:, None] * sums < most
        free = np.where(below, bets.chances * sums, 0).sum(axis=1)
        left = stake - most * np.where(below, 0, bets.chances).sum(axis=1)
        better = np.divide(left, free, out=factor.copy(), where=free > 0)
        if (better <= factor * (1 + 1e-9)).all():
            break
        factor = np.clip(better, factor, MOST_RAISED)
    return factor

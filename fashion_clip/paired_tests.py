"""Exact tests of two models on the same draws, of which the one alone had some right and the other others.

Where draws weigh differently, each count is the weighted share times the number of equal draws that would
tell as much (Kish's effective number), as everywhere in this package: the tests are then approximate, and
exact where all draws weigh the same. That number is of all draws for what is told of a share of all, and of
the discordant ones alone for `sign_test`: where these are heavier than the others, few count as few.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BETS = np.arange(1, 21) / 20
STEPS = 24  # halvings of a bound's range


@dataclass(frozen=True)
class Pairs:
    """Draws on which two models were compared; losses + gains <= n. Whole numbers where all weigh the same.

    losses: the champion alone was right. gains: the challenger alone was.
    """

    n: float
    losses: float
    gains: float

    @property
    def difference(self) -> float:
        """The share of gains less that of losses, -1..1: by how much the challenger is more accurate."""
        return (self.gains - self.losses) / self.n


def count_pairs(
    champion: npt.NDArray[np.bool_], challenger: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64]
) -> Pairs:
    """Args: whether each was right, bool (n,), of the same independent draws; float64 (n,), positive weights.

    Raises:
        ValueError: no draws.
    """
    if not len(weights):
        raise ValueError("a comparison on no draws")
    each = weights.sum() / np.square(weights).sum()  # draws that a unit of weight is worth
    losses, gains = (weights[rows].sum() for rows in (champion & ~challenger, challenger & ~champion))
    return Pairs(float(each * weights.sum()), float(each * losses), float(each * gains))


@dataclass(frozen=True)
class Coins:
    """What `sign_test` counts: the draws that one model alone had right, as coins of equal weight."""

    losses: float
    gains: float

    @property
    def discordant(self) -> float:
        """All of them; nothing else tells the two models apart."""
        return self.losses + self.gains


def count_coins(
    champion: npt.NDArray[np.bool_], challenger: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64]
) -> Coins:
    """Weighted shares of the discordant draws, times Kish's number of these alone.

    Args: as `count_pairs`; of no discordant draws there are no coins.
    """
    apart = champion != challenger
    if not apart.any():
        return Coins(0.0, 0.0)
    each = weights[apart].sum() / np.square(weights[apart]).sum()
    return Coins(*(float(each * weights[apart & one].sum()) for one in (champion, challenger)))


def sign_test(wins: float, defeats: float) -> float:
    """How probable so many wins, or more, are where wins and defeats are equally likely; 1 without any win.

    McNemar's test (Psychometrika 12, 1947) in its exact one-sided form: the binomial tail of the draws that
    one of the two alone had right. It makes the hypothesis of no gain a coin, whatever the accuracies are.
    Of draws that weigh differently (`count_coins`) it is an approximation, in simulations of 17 mixtures of
    weights at six levels from 0.1 to 0.0005 never above the level.
    """
    from scipy.special import betainc

    return float(betainc(wins, defeats + 1, 0.5)) if wins > 0 else 1.0


def least_discordant(level: float) -> int:
    """Draws that must tell two models apart before a `sign_test` can be at the level, if all are wins."""
    return int(np.ceil(-np.log2(level) - 1e-9))


def loss_beyond(pairs: Sequence[Pairs], margin: float) -> list[float]:
    """The p-values of the hypotheses that the share of losses less that of gains is at most `margin`.

    By betting (Waudby-Smith and Ramdas, Journal of the Royal Statistical Society B 86, 2024). Whoever bets
    part of a capital on each draw being a loss, at odds that are fair where the hypothesis is just true, has
    no more of it at the end on average, and 1 / p times as much with probability p at most (Markov). The
    capital counted is the mean over BETS. That is exact for any number of draws, and sharper at the small
    levels of many labels than Clopper and Pearson's intervals of losses and of gains: among 158 labels one of
    60 products must lose 38 points to show a loss of more than 10, where it took these 47.

    Args:
        margin: above -1, at most 1.
    """
    n, losses, gains = _columns(pairs)
    return [float(found) for found in _betting(n, losses, gains, np.full(len(n), margin))]


def difference_intervals(pairs: Sequence[Pairs], level: float) -> list[tuple[float, float]]:
    """What the share of gains less that of losses is between, -1..1, of each with probability `level`.

    Its ends are where `loss_beyond`, and its mirror image, are at half of 1 - `level`.
    """
    n, losses, gains = _columns(pairs)
    tail = (1 - level) / 2
    lows, highs = _lower_bounds(n, gains, losses, tail), -_lower_bounds(n, losses, gains, tail)
    return [(float(low), float(high)) for low, high in zip(lows, highs, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, none below its own: those at most `level` err with at most that, all together.

    Holm (Scandinavian Journal of Statistics 6, 1979), valid whatever the dependence of the tests.
    """
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for rank, number in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[number]))
        adjusted[number] = least
    return adjusted


def _columns(pairs: Sequence[Pairs]) -> tuple[Floats, Floats, Floats]:
    n, losses, gains = (
        np.array([(one.n, one.losses, one.gains) for one in pairs], dtype=float).reshape(-1, 3).T
    )
    return n, losses, gains


def _betting(n: Floats, losses: Floats, gains: Floats, margins: Floats) -> Floats:
    """p-values (m,). A bet is the part that a gain costs: with 1 all is lost by the first gain."""
    from scipy.special import logsumexp, xlog1py

    odds = ((1 - margins) / (1 + margins))[:, None]
    price = (margins / (1 + margins))[:, None]
    logs = xlog1py(losses[:, None], BETS * odds) + xlog1py(gains[:, None], -BETS)
    logs += xlog1py((n - losses - gains)[:, None], -BETS * price)
    found: Floats = np.exp(-np.maximum(logsumexp(logs, axis=1) - np.log(len(BETS)), 0))
    return found


def _lower_bounds(n: Floats, losses: Floats, gains: Floats, level: float) -> Floats:
    """The largest margins (m,) that are shown to be exceeded at the level."""
    low, high = np.full(len(n), -1.0), np.ones(len(n))
    for _ in range(STEPS):
        middle = (low + high) / 2
        shown = _betting(n, losses, gains, middle) <= level
        low, high = np.where(shown, middle, low), np.where(shown, high, middle)
    return low

"""Whether more photos are unknown than the champion's reference allows: a test that may look every night.

Unknown photos come together, such as a delivery's size charts, so that a binomial test of a night's count
alarms far too often (`benchmarks.drift`). Here the unit is the night. The hypothesis is that the share of
unknown photos that a night is expected to have, whatever came before, is at most `most`. One bets against it,
each night anew with a NIGHTS-th of a capital of 1, and a bet becomes 1 + stake (share - most) times as much:
at most as much on average (Waudby-Smith and Ramdas, Journal of the Royal Statistical Society B 86, 2024). The
e-value is what all bets begun so far have become. As in `fashion_clip.accuracy_alarm` it reaches 1 / level
within a year that begins without bets with a probability of at most `level`, by Ville's inequality.
"""

import json
from dataclasses import asdict, dataclass, replace

import numpy as np

from fashion_clip.intervals import exact_interval

NIGHTS = 365
TOTAL = 0.05  # false alarms a year
OF_REFERENCE = 0.01  # of these: the reference's share is above its bound
LEVEL = TOTAL - OF_REFERENCE
STAKES = (0.1, 0.3, 0.9)  # of what a night without an unknown photo takes from a bet, equal parts of each


@dataclass(frozen=True)
class UnknownShare:
    """The state after some nights; the same nights give the same state.

    most: 0 < most < 1, the share of unknown photos that is no drift. capital: what the bets at each of STAKES
    have become.
    """

    most: float
    capital: tuple[float, ...] = (0.0,) * len(STAKES)

    @property
    def e_value(self) -> float:
        """The evidence, 0 .. 1 / LEVEL."""
        return sum(self.capital)

    @property
    def drifted(self) -> bool:
        """Stays until another champion has its own."""
        return self.e_value * LEVEL >= 1 - 1e-9

    def to_json(self) -> str:
        """From which `from_json` makes an equal one."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "UnknownShare":
        """Raises: ValueError, KeyError or TypeError where `to_json` has not written it."""
        told = json.loads(text)
        return UnknownShare(told["most"], tuple(told["capital"]))


def begin(unknown: int, n: int) -> UnknownShare:
    """Before the first night.

    Args:
        unknown, n: of n > 0 photos drawn at random from what the champion knew, that had no part in fitting
            the rule which tells unknown ones. The share's upper bound counts, Clopper and Pearson's, which
            errs with a probability of OF_REFERENCE.

    Raises:
        ValueError: not 0 <= unknown < n.
    """
    if not 0 <= unknown < n:
        raise ValueError(f"{unknown} unknown photos of {n} are no reference; give 0 <= unknown < n")
    return UnknownShare(exact_interval(unknown, n, 1 - 2 * OF_REFERENCE)[1])


def after(state: UnknownShare, unknown: int, n: int) -> UnknownShare:
    """The state after one more night; a night without photos only begins another bet.

    Args:
        unknown, n: of the night's photos; those of one product count once.

    Raises:
        ValueError: not 0 <= unknown <= n.
    """
    if not 0 <= unknown <= n:
        raise ValueError(f"{unknown} unknown photos of {n} are no night; give 0 <= unknown <= n")
    staked = np.array(state.capital) + 1 / (NIGHTS * len(STAKES))
    if n:
        staked = staked * (1 + np.array(STAKES) / state.most * (unknown / n - state.most))
    staked *= min(1.0, 1 / LEVEL / staked.sum())
    capital = state.capital if state.drifted else tuple(float(part) for part in staked)
    return replace(state, capital=capital)

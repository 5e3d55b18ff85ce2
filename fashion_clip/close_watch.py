"""Whether a new champion is worse than the one that it replaced: a paired test that may look every night.

Of each product whose truth comes after the promotion it counts whether one of the two alone was right in one
attribute, the one that the promotion was for. The hypothesis is that of such products the replaced model is
the one that was right with a probability of at most 1/2, whatever came before: then the new one is no worse.
Against it one bets that this probability is some p above 1/2. Such a bet's factor is 2p where the replaced
model was right and 2(1 - p) where the new one was: 1 at most on average. The e-value is the mean of what all
these bets have become, p drawn from a Beta distribution of PRIOR and PRIOR, of which the half above 1/2 is
taken (Robbins, Annals of Mathematical Statistics 41, 1970, has such mixtures). It is a supermartingale that
begins at 1, so that it ever reaches 1 / LEVEL with a probability of at most LEVEL (Ville's inequality; see
Ramdas, Gruenwald, Vovk and Shafer, Statistical Science 38, 2023). That holds for all looks of a watch
together, however many there are and whenever it ends: of promotions of models that are no worse at most five
in a hundred are taken back.

Products are independent, but what is said of several attributes of one is not: so one attribute is counted,
and the others are left to the alarm (`fashion_clip.accuracy_alarm`). Products of which both are right, or
both wrong, tell nothing of the two and cost nothing.
"""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

LEVEL = 0.05
WATCHED = timedelta(days=28)
PRIOR = 2.0  # 1 sees small losses later, 4 large ones; see DECISIONS.md
MOST_LOG = 700.0  # of an e-value: a double holds no more

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Compared:
    """n products of which both models said something; losses + gains <= n.

    losses: of which the replaced model alone was right. gains: of which the new champion alone was.

    Raises:
        ValueError: numbers that cannot be.
    """

    n: int = 0
    losses: int = 0
    gains: int = 0

    def __post_init__(self) -> None:
        if min(self.losses, self.gains) < 0 or self.losses + self.gains > self.n:
            raise ValueError(f"{self.losses} losses and {self.gains} gains of {self.n} products")

    def __add__(self, other: "Compared") -> "Compared":
        return Compared(self.n + other.n, self.losses + other.losses, self.gains + other.gains)

    @property
    def e_value(self) -> float:
        """The evidence that the new champion is worse: not negative, 1 before the first product."""
        from scipy.special import betainc, betaln

        more, less = PRIOR + self.losses, PRIOR + self.gains
        # Twice: the half of the Beta distribution that is above 1/2 has a probability of 1/2.
        above = 2 * betainc(less, more, 0.5)
        if above == 0:
            return 0.0
        log = (self.losses + self.gains) * np.log(2) + betaln(more, less) - betaln(PRIOR, PRIOR)
        return float(np.exp(min(log + np.log(above), MOST_LOG)))

    @property
    def is_worse(self) -> bool:
        """True where the evidence is enough to go back to the replaced model."""
        return self.e_value * LEVEL >= 1


def compare(replaced: Flags, champion: Flags) -> Compared:
    """Args: whether each model was right, bool (n,), of the same products, one row each.

    Raises:
        ValueError: lengths that differ.
    """
    if replaced.shape != champion.shape or replaced.ndim != 1:
        raise ValueError(f"two models on the same products, but of shapes {replaced.shape}, {champion.shape}")
    losses, gains = int((replaced & ~champion).sum()), int((champion & ~replaced).sum())
    return Compared(len(replaced), losses, gains)

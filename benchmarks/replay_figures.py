"""What the nights of a replay come to: accuracy of some nights, guesses beside it, what it took."""

from collections.abc import Sequence

import numpy as np

from benchmarks.replay_arms import Told

SEASON = "season"  # cannot be seen in a photo of another year
TOLD = ("masterCategory", "subCategory", "articleType")


def attributes_of(nights: Sequence[Told], season: bool = True) -> list[str]:
    """The attributes, with or without the one that no photo shows."""
    return [name for name in nights[0].attributes if season or name != SEASON]


def of_attribute(nights: Sequence[Told], attribute: str, known: bool = False) -> float:
    """The share of all photos of some nights that is right, 0..1; nan without truth.

    known: of photos whose true label the catalogue began with.
    """
    counts = [night.attributes[attribute] for night in nights]
    n = sum(one.known if known else one.n for one in counts)
    return sum(one.known_hits if known else one.hits for one in counts) / n if n else float("nan")


def accuracy(nights: Sequence[Told], season: bool = True, known: bool = False) -> float:
    """The mean over the attributes, of all photos of some nights."""
    names = attributes_of(nights, season)
    return float(np.nanmean([of_attribute(nights, name, known) for name in names]))


def means(nights: Sequence[Told], season: bool = True, known: bool = False) -> float:
    """The mean over nights, each of which counts alike, and over the attributes."""
    return float(np.mean([accuracy([night], season, known) for night in nights]))


def mean_error(nights: Sequence[Told]) -> tuple[float, float, int]:
    """How far the estimate without truth is from the accuracy of all photos, and how far the audit sample is.

    Absolute, the mean over attributes and nights that have an estimate; and how many these are.
    """
    errors = [
        (abs(one.guessed - one.hits / one.n), abs(one.sampled_hits / one.sampled - one.hits / one.n))
        for night in nights
        for one in night.attributes.values()
        if one.guessed is not None and one.n and one.sampled
    ]
    if not errors:
        return float("nan"), float("nan"), 0
    guess, sample = np.mean(errors, axis=0)
    return float(guess), float(sample), len(errors)


def events(nights: Sequence[Told], kind: str) -> int:
    """How often something happened."""
    return sum(night.events.count(kind) for night in nights)


def first_alarm(nights: Sequence[Told]) -> int | None:
    """The number of the first night that alarmed."""
    return next((number for number, night in enumerate(nights) if "alarm" in night.events), None)

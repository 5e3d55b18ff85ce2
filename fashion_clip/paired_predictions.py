"""Two models' predictions of the same photos, side by side, one photo of each product."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fashion_clip.paired_tests import Coins, Pairs, count_coins, count_pairs
from fashion_clip.predictions import NONE_OF_THEM, Predictions


@dataclass(frozen=True, eq=False)
class Paired:
    """One attribute of n products, a photo each, the same in both and in the same order."""

    champion: Predictions
    challenger: Predictions

    def pairs(self, rows: npt.NDArray[np.intp] | slice = slice(None)) -> Pairs:
        """The counts of all products, or of some of them.

        Raises:
            ValueError: no products.
        """
        hits = self.champion.hits[rows], self.challenger.hits[rows]
        return count_pairs(*hits, self.champion.weights[rows])

    def coins(self) -> Coins:
        """What a sign test of the two counts."""
        return count_coins(self.champion.hits, self.challenger.hits, self.champion.weights)

    def rows_of_labels(self) -> dict[str, npt.NDArray[np.intp]]:
        """Label -> the rows of which it is the truth, of each label that has any."""
        truth, names = self.champion.truth, self.champion.labels
        return {names[label]: np.flatnonzero(truth == label) for label in np.setdiff1d(truth, [NONE_OF_THEM])}


def pair_up(champion: Sequence[Predictions], challenger: Sequence[Predictions]) -> tuple[Paired, ...]:
    """Each attribute of the champion beside the challenger's, aligned by photo; none that has no photos.

    Photos of one product are no independent draws, so one photo speaks for each: the one whose name has the
    least digest, which is as good as drawn and the same each time. A test of product means would use all
    photos, but it would not test what is estimated: a product that turns from 1 of 3 right to 2 of 3 would
    count as much as one that turns from none to all.

    Raises:
        ValueError: they differ in attributes, labels, photos or truth.
    """
    others = {entry.attribute: entry for entry in challenger}
    if sorted(others) != sorted(entry.attribute for entry in champion):
        raise ValueError(
            f"the champion was judged on {[entry.attribute for entry in champion]}, "
            f"the challenger on {list(others)}; judge both on the same attributes"
        )
    return tuple(_paired(entry, others[entry.attribute]) for entry in champion if entry.photos)


def _paired(champion: Predictions, challenger: Predictions) -> Paired:
    aligned = _aligned(champion, challenger)
    rows = _one_a_product(champion)
    return Paired(champion.rows(rows), aligned.rows(rows))


def _aligned(champion: Predictions, challenger: Predictions) -> Predictions:
    """The challenger's, in the champion's order."""
    name = champion.attribute
    if champion.labels != challenger.labels:
        raise ValueError(f"champion and challenger have other labels of {name!r}; judge both on one taxonomy")
    if champion.photos != challenger.photos:
        if sorted(champion.photos) != sorted(challenger.photos):
            raise ValueError(
                f"champion and challenger were judged on other photos of {name!r} ({len(champion.photos)} "
                f"and {len(challenger.photos)}); judge both on the same"
            )
        row = {photo: number for number, photo in enumerate(challenger.photos)}
        challenger = challenger.rows([row[photo] for photo in champion.photos])
    if not np.array_equal(champion.truth, challenger.truth):
        raise ValueError(f"champion and challenger were judged by another truth of {name!r}")
    return challenger


def _one_a_product(predictions: Predictions) -> npt.NDArray[np.intp]:
    if len(np.unique(predictions.products)) == len(predictions.products):
        return np.arange(len(predictions.products))
    digests = [hashlib.sha256(photo.encode(errors="surrogatepass")).digest() for photo in predictions.photos]
    chosen: dict[int, int] = {}
    for row in sorted(range(len(digests)), key=digests.__getitem__):
        chosen.setdefault(int(predictions.products[row]), row)
    return np.array(sorted(chosen.values()), dtype=np.intp)

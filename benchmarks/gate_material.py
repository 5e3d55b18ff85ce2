"""What the gate is measured on: two real models on the same real photos, and challengers made of them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.judged import Judged as JudgedPhotos
from benchmarks.judged import judged_photos
from fashion_clip.gate import Judged
from fashion_clip.predictions import NONE_OF_THEM, Predictions
from fashion_clip.scoring import TopLabels, ranked

YEAR, TRAINING, SEED = "2012", 500, 1
DISCORDANT = 0.05  # of all products that an otherwise equal challenger loses, and wins, each

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Base:
    """Two models on the same m photos, a product each, which have truth of every attribute."""

    first: tuple[Predictions, ...]
    second: tuple[Predictions, ...]

    @property
    def size(self) -> int:
        """m."""
        return len(self.first[0].photos)

    def attribute(self, name: str) -> tuple[Predictions, Predictions]:
        """What the two said of one."""
        [found] = [both for both in zip(self.first, self.second, strict=True) if both[0].attribute == name]
        return found


def real_models(shared: Path) -> Base:
    """LogisticRegression on the stand-in model's vectors, twice, each on TRAINING other photos."""
    photos = judged_photos(shared, YEAR)
    known = np.all([truth != NONE_OF_THEM for truth in photos.truth.values()], axis=0)
    order = np.random.default_rng(SEED).permutation(np.flatnonzero(known))
    first, second, rest = np.split(order, (TRAINING, 2 * TRAINING))
    return Base(_said(photos, first, rest), _said(photos, second, rest))


def _said(photos: JudgedPhotos, training: Rows, rest: Rows) -> tuple[Predictions, ...]:
    return tuple(
        Predictions(
            name,
            photos.labeller.head(name).labels,
            truth[rest],
            _top(photos, name, training, rest),
            tuple(photos.ids[row] for row in rest),
            np.arange(len(rest)),
            np.ones(len(rest)),
        )
        for name, truth in photos.truth.items()
    )


def _top(photos: JudgedPhotos, name: str, training: Rows, rest: Rows) -> TopLabels:
    """The best two labels; one that the training did not have is never among them where it had two."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=1000).fit(photos.vectors[training], photos.truth[name][training])
    scores = np.zeros((len(rest), len(photos.labeller.head(name).labels)), dtype=np.float32)
    scores[:, model.classes_] = model.predict_proba(photos.vectors[rest])
    return ranked(scores, scores, scores, 2)


def mixed(base: Base, rows: Rows, coins: Flags) -> Judged:
    """A model that says of each product what the second does where the coin (n,) is true, else the first.

    Two such models with fair coins of their own are equal: which of the two said what of a product is chance.
    """
    said = [_mixed(first, second, rows, coins) for first, second in zip(base.first, base.second, strict=True)]
    return Judged(tuple(said), calibrated=frozenset(one.attribute for one in said))


def _mixed(first: Predictions, second: Predictions, rows: Rows, coins: Flags) -> Predictions:
    def chosen(name: str) -> npt.NDArray[np.float32]:
        of_first, of_second = (getattr(one.top, name)[rows] for one in (first, second))
        found: npt.NDArray[np.float32] = np.where(coins[:, None], of_second, of_first)
        return found

    top = TopLabels(
        chosen("index").astype(np.int32), chosen("similarity"), chosen("confidence"), first.top.decision[rows]
    )
    n = len(rows)
    names = tuple(map(str, range(n)))  # a photo that is drawn twice counts as two
    return Predictions(first.attribute, first.labels, first.truth[rows], top, names, np.arange(n), np.ones(n))


def better(champion: Predictions, gain: float, draws: np.random.Generator) -> Predictions:
    """The champion with DISCORDANT of all products lost and that and `gain` more won, both in expectation."""
    hits = champion.hits
    accuracy = hits.mean()
    chance = np.where(hits, DISCORDANT / accuracy, (DISCORDANT + gain) / (1 - accuracy))
    return turned(champion, draws.random(len(hits)) < chance)


def turned(predictions: Predictions, rows: Flags) -> Predictions:
    """With the second label given instead of a right one, and the right one instead of a wrong one."""
    index = predictions.top.index.copy()
    hits = predictions.hits
    lost, won = np.flatnonzero(rows & hits), np.flatnonzero(rows & ~hits)
    index[lost] = index[lost][:, ::-1]
    index[won, 1] = index[won, 0]
    index[won, 0] = predictions.truth[won]
    return replace(predictions, top=replace(predictions.top, index=index))


def with_attribute(judged: Judged, changed: Predictions) -> Judged:
    """With other predictions of one attribute, now uncalibrated: its confidences belong to other labels."""
    said = tuple(changed if one.attribute == changed.attribute else one for one in judged.predictions)
    return replace(judged, predictions=said, calibrated=judged.calibrated - {changed.attribute})

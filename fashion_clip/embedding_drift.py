"""Whether the photos of the last nights differ from what the champion knew: a test that may look every night.

A night's photos are no independent draws: they come as deliveries, such as one brand's series. A test that
takes them for independent calls every delivery a drift. So the unit is the night: its photos are told by
their mean, and the nights of a window are compared with the reference's by permuting whole nights. Where
nights are exchangeable without drift, whatever their photos have in common, the p-value is exact (Phipson and
Smyth, Statistical Applications in Genetics and Molecular Biology 9, 2010).

Nights are compared by the squared distance between the window's mean and the reference's: the maximum mean
discrepancy with a linear kernel (Gretton and others, Journal of Machine Learning Research 13, 2012). It is
also compared studentised, by what nights differ among themselves on either side (Hamidi and others,
Microbiome 7, 2019), and the larger of the two p-values counts: nights that differ more among themselves than
the reference's do are no drift (Chung and Romano, Annals of Statistics 41, 2013).

Each of WINDOWS may err with its part of a NIGHTS-th of TOTAL a night (Bonferroni). So a false alarm in a year
has a probability of at most TOTAL, however the nights and the windows overlap, and although all are compared
with the same reference. A single night never alarms: one among forty cannot be told to be that rare.

That bound needs nights which do not hang together, and a reference whose lots are nights. Where a delivery
goes on for weeks, or the reference came in at once, nothing exact can be said. So a window must also be far
from the reference, further than a catalogue's own weeks in their order: WINDOWS tells how far. That keeps the
bound where a night has 100 photos or more, and not in the order of a small catalogue with 33 a night, whose
months differ as much as years do (`benchmarks.drift`).
"""

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fashion_clip.splitting import groups

TOTAL = 0.05  # false alarms a year
NIGHTS = 365
LEVEL = TOTAL / NIGHTS  # of a night's p-value
# Lots of a window, and the statistic from which it may alarm. Chosen on real photos of two years in the order
# of their ids, 100 a night: the largest of any year was .148 and .069. Photos of three to seven years later
# are .15 from these, those of the next year .09.
WINDOWS = {7: 0.15, 28: 0.07}
LONGEST = max(WINDOWS)
LOTS = 40  # of a reference
LEAST_LOTS = 20  # of nights that are known; fewer are taken for a reference without nights
LEAST_PHOTOS = 5  # of a lot
LEAST_VARIANCE = 1e-6
MOST_PHOTOS = 50  # of a reference's lot: 2,000 in all
DRAWN = 500  # permutations at once
MOST_DRAWN = 50_000  # of which two may be as far out at LEVEL
SETTLED = 20  # permutations as far out as the nights themselves: no more are drawn

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Night:
    """Photos of a night. n: how many differ. mean: float32 (d,), of these; zeros where there are none."""

    n: int
    mean: Vectors

    def to_json(self) -> str:
        """From which `night_from_json` makes an equal one; 3 KB with d = 512."""
        packed = base64.b64encode(self.mean.astype("<f4").tobytes()).decode()
        return json.dumps({"n": self.n, "mean": packed})


@dataclass(frozen=True, eq=False)
class Reference:
    """What the champion knew, in lots that are compared with nights.

    lots: float32 (LEAST_LOTS .. LOTS, d), the mean of each. photos: of each.
    """

    lots: Vectors
    photos: int

    def to_json(self) -> str:
        """From which `reference_from_json` makes an equal one; 110 KB with d = 512."""
        packed = base64.b64encode(self.lots.astype("<f4").tobytes()).decode()
        return json.dumps({"photos": self.photos, "shape": self.lots.shape, "lots": packed})


@dataclass(frozen=True)
class Drift:
    """What is told of a night.

    n: its photos that differ. lots: of the window that tells the most; 0 where nothing was looked at, since
    there are no photos tonight or fewer lots than the shortest of WINDOWS.
    statistic: the squared distance of the window's photos from the reference, as a share of the variance of
    a photo and less what chance is expected to make: about 0 without drift. None where nothing was looked at.
    p_value: 0..1, of all windows together, at least 1 / DRAWN where the statistic is too small for an alarm.
    1 where nothing was looked at.
    drifted: the p-value is at most LEVEL, and the statistic what WINDOWS asks for.
    """

    n: int
    lots: int
    statistic: float | None
    p_value: float
    drifted: bool


def night_from_json(text: str) -> Night:
    """Raises: ValueError, KeyError or TypeError where `Night.to_json` has not written it."""
    told = json.loads(text)
    return Night(int(told["n"]), np.frombuffer(base64.b64decode(told["mean"], validate=True), "<f4"))


def reference_from_json(text: str) -> Reference:
    """Raises: ValueError, KeyError or TypeError where `Reference.to_json` has not written it."""
    told = json.loads(text)
    lots = np.frombuffer(base64.b64decode(told["lots"], validate=True), "<f4")
    return Reference(lots.reshape(told["shape"]), int(told["photos"]))


def night_of(products: Sequence[str], vectors: Vectors) -> Night:
    """Photos of one product, or nearly the same picture (`splitting.NEAR`), count once.

    Args:
        products: the n product ids.
        vectors: float32 (n, d), unit rows; n may be 0.

    Raises:
        ValueError: other shapes, or a row that is not of length 1.
    """
    different = vectors[_different(products, vectors)]
    mean = different.mean(axis=0) if len(different) else np.zeros(vectors.shape[1])
    return Night(len(different), mean.astype(np.float32))


def reference_of(
    products: Sequence[str], vectors: Vectors, nights: npt.NDArray[np.int64] | None = None
) -> Reference | None:
    """The reference from photos that the champion knew; None from fewer than LOTS x LEAST_PHOTOS that differ.

    Args:
        products: the m product ids.
        vectors: float32 (m, d), unit rows. Best are MOST_PHOTOS drawn at random of each of LOTS nights.
        nights: int (m,), the night that each came in, ascending in time; None where all came at once.
            With fewer than LEAST_LOTS nights of enough photos they are taken for photos without nights.

    Raises:
        ValueError: as `night_of`, or another number of nights.
    """
    if nights is not None and nights.shape != (len(vectors),):
        raise ValueError(f"nights of shape {nights.shape} for {len(vectors)} vectors; give one a vector")
    rows = _different(products, vectors)
    photos = min(len(rows) // LOTS, MOST_PHOTOS)
    if photos < LEAST_PHOTOS:
        return None
    draws = np.random.default_rng(LOTS)
    if nights is not None:
        of_nights = [draws.permutation(rows[nights[rows] == night]) for night in np.unique(nights)]
        lots = [chosen[:photos] for chosen in of_nights if len(chosen) >= photos]
        if len(lots) >= LEAST_LOTS:
            return Reference(_means(vectors, lots[-LOTS:]), photos)
    mixed = draws.permutation(rows)[: LOTS * photos]
    return Reference(_means(vectors, np.split(mixed, LOTS)), photos)


def look(reference: Reference, nights: Sequence[Night]) -> Drift:
    """What the last of these nights tells, together with those before it; one look a night.

    The same nights tell the same. Nights with too few photos are put together with those before them into
    lots of at least `reference.photos`. Without photos tonight there is nothing new and no look.

    Args:
        nights: those since the champion was put in place, the last one last; at least one. Of these the last
            LONGEST lots are looked at.

    Raises:
        ValueError: no night, or one of another dimension than the reference.
    """
    if not nights:
        raise ValueError("no night to look at; give at least tonight's, which may be one without photos")
    dimension = reference.lots.shape[1]
    for night in nights:
        if night.mean.shape != (dimension,):
            raise ValueError(
                f"a night's mean has the shape {night.mean.shape}, expected ({dimension},): only nights of "
                "the reference's encoder can be compared with it"
            )
    tonight = nights[-1].n
    lots = _lots(nights, reference.photos)
    windows = [window for window in WINDOWS if len(lots) >= window]
    if not tonight or not windows:
        return Drift(tonight, 0, None, 1.0, False)
    looks = [_look(reference, tonight, lots[-window:]) for window in windows]
    return min(looks, key=lambda drift: (not drift.drifted, drift.p_value))


def _different(products: Sequence[str], vectors: Vectors) -> npt.NDArray[np.intp]:
    """The first row of each group of photos that count once."""
    if vectors.ndim != 2 or len(products) != len(vectors):
        raise ValueError(f"{len(products)} products and vectors of shape {vectors.shape}: expected (n, d)")
    lengths = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < 0.01))  # float16 makes 0.001; no number is wrong too
    if len(wrong):
        raise ValueError(f"vector {wrong[0]} has the length {lengths[wrong[0]]}, expected 1")
    if not len(vectors):
        return np.empty(0, dtype=np.intp)
    first = np.unique(groups(products, np.arange(len(vectors)), vectors), return_index=True)[1]
    return np.sort(first)


def _means(vectors: Vectors, lots: Sequence[npt.NDArray[np.intp]]) -> Vectors:
    return np.stack([vectors[rows].mean(axis=0) for rows in lots])


def _lots(nights: Sequence[Night], photos: int) -> Floats:
    """float64 (k, d): means of successive nights with at least so many photos, the last LONGEST at most.

    Counted from the last night on: what is left over is the oldest.
    """
    dimension = len(nights[-1].mean)
    found: list[Floats] = []
    n, total = 0, np.zeros(dimension)
    for night in reversed(nights):
        n, total = n + night.n, total + night.n * night.mean.astype(np.float64)
        if n >= photos:
            found.append(total / n)
            n, total = 0, np.zeros(dimension)
        if len(found) == LONGEST:
            break
    return np.array(found[::-1]).reshape(len(found), dimension)


def _look(reference: Reference, n: int, lots: Floats) -> Drift:
    """At one window."""
    known = reference.lots.astype(np.float64)
    everything = np.concatenate([known, lots])
    centred = everything - everything.mean(axis=0)
    products = centred @ centred.T
    window = (np.arange(len(centred)) >= len(known)).astype(np.float64)[None]
    distance, chance = _distances(products, window)
    variance = 1 - np.square(known.mean(axis=0)).sum()
    statistic = float((distance[0] - chance[0]) / max(variance, LEAST_VARIANCE))
    far = statistic >= WINDOWS[len(lots)]
    p_value = _p_value(products, window, MOST_DRAWN if far else DRAWN, zlib.crc32(centred.tobytes()))
    together = min(1.0, len(WINDOWS) * p_value)
    return Drift(n, len(lots), statistic, together, far and together <= LEVEL)


def _p_value(products: Floats, own: Floats, most: int, seed: int) -> float:
    """How often nights drawn from both sides are as far out, by the one distance or the other.

    Once SETTLED of the permutations are, the p-value is far above any level and is told from those drawn.
    """
    draws = np.random.default_rng(seed)
    window = int(own.sum())
    least = [found[0] * (1 - 1e-9) for found in _both(products, own)]  # as far out, but for rounding
    beyond, drawn = np.zeros(2), 0
    while drawn < most and beyond.max() < SETTLED:
        lots = draws.random((DRAWN, len(products)), dtype=np.float32)
        chosen = np.zeros((DRAWN, len(products)))
        np.put_along_axis(chosen, np.argpartition(lots, window, axis=1)[:, :window], 1.0, axis=1)
        found = _both(products, chosen)
        beyond += [(each >= limit).sum() for each, limit in zip(found, least, strict=True)]
        drawn += DRAWN
    return float((1 + beyond.max()) / (1 + drawn))


def _both(products: Floats, chosen: Floats) -> tuple[Floats, Floats]:
    """The distances (k,), plain and studentised."""
    distance, chance = _distances(products, chosen)
    studentised = np.divide(distance, chance, out=np.zeros_like(distance), where=chance > 1e-15)
    return distance, studentised


def _distances(products: Floats, chosen: Floats) -> tuple[Floats, Floats]:
    """Squared distances (k,) between the means of chosen lots and of the others, and what chance makes them.

    Args:
        products: float64 (m, m), of all lots, centred, with each other.
        chosen: float64 (k, m), 1 for the lots of a window, 0 for the others; as many in each row.
    """
    m, window = len(products), chosen[0].sum()
    others = m - window
    summed = np.einsum("ij,ij->i", chosen @ products, chosen)  # of the others as well: all sum to 0
    squares = chosen @ np.diag(products)
    distance = summed * (1 / window + 1 / others) ** 2
    spread = np.maximum(squares - summed / window, 0) / (window - 1)
    spread_of_others = np.maximum(np.trace(products) - squares - summed / others, 0) / (others - 1)
    return distance, spread / window + spread_of_others / others

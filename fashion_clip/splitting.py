"""Truth in three parts: what a new model learns from, what tells when to stop, and what judges it.

A photo of which another one has been seen judges nothing: photos of one product, of the same bytes, or nearly
the same picture, stay on one side. What judges is newer truth, since the model is wanted for the photos that
come next; but only every second one of it, since what is new has to be learned too: after a drop in accuracy
nothing but the newest truth tells of what has changed, and a model that saw none of that cannot be better.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fashion_clip.calibration import share_of
from fashion_clip.predictions import product_codes

NEAR = 0.995  # cosine from which two embeddings are of nearly the same picture
BLOCK = 1_024  # vectors that are compared with as many others at once: 4 MB of cosines
# Vectors that were stored as float16 are not quite of length 1.
_ROUNDING = 1e-3
_SAMPLE = 2_000  # vectors that tell in which direction all spread the most
_DIGITS = 2**53  # of a group's number: what a float holds exactly

NEWER_SHARE = 2 / 3  # of the groups, from which judges are drawn
JUDGE_SHARE = 1 / 2  # of these: a third of all
VALIDATION_SHARE = 1 / 4  # of what does not judge

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Parts:
    """Numbers of photos, each ascending; every photo is in one of them. A part may be empty."""

    training: Indices
    validation: Indices
    judge: Indices


def groups(products: Sequence[str], contents: Ints, vectors: Floats, near: float = NEAR) -> Ints:
    """int64 (n,): a number for each of n photos, equal where one may not judge what another has taught.

    That is so of photos of one product, of one content, with vectors as near as `near`, and of all that are
    linked through such ones. A group's number is drawn by a digest from its products' ids: the same wherever
    and beside whatever else the group is met.

    Args:
        products: the n product ids.
        contents: int (n,), the n content ids.
        vectors: (n, dimension), unit rows; photos of one content have the same.
        near: the least cosine, above 0.
    """
    codes = product_codes(products)
    _, first, same_bytes = np.unique(contents, return_index=True, return_inverse=True)
    part = _joined(codes, np.arange(len(codes)), first[same_bytes])
    for one, other in _near_pairs(vectors[first], near):
        one, other = first[one], first[other]
        apart = part[one] != part[other]
        if apart.any():
            part = _joined(part, one[apart], other[apart])
    return _numbers(products, part)


def split(groups: Ints, given_at: npt.NDArray[np.float64]) -> Parts:
    """Half of the newer groups judge; of the others a part validates, and the rest trains.

    Which do is as good as drawn at random. A group is as new as its newest truth; among groups of one age,
    such as those of a single import, the digest of their numbers decides. Truth that is older than all there
    is takes no judge away, and moves nothing between training and validation.

    Args:
        groups: int (n,), see `groups`.
        given_at: (n,), when the truth of each photo was given, in seconds.
    """
    numbers, group = np.unique(groups, return_inverse=True)
    newest = np.full(len(numbers), -np.inf)
    np.maximum.at(newest, group, given_at)
    by_age = np.lexsort((_lots("age", numbers), newest))
    newer = np.zeros(len(numbers), dtype=bool)
    newer[by_age[len(numbers) - round(NEWER_SHARE * len(numbers)) :]] = True
    judges = newer & (_lots("judge", numbers) < JUDGE_SHARE)
    validates = ~judges & (_lots("validation", numbers) < VALIDATION_SHARE)
    trains = ~judges & ~validates
    return Parts(*(np.flatnonzero(side[group]) for side in (trains, validates, judges)))


def _joined(part: Ints, one: Indices, other: Indices) -> Ints:
    """The parts of all photos, numbered anew from 0, when each photo of `one` is in a part with its other."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    parts = int(part.max(initial=-1)) + 1
    if parts == 0:
        return part
    links = coo_array((np.ones(len(one), dtype=bool), (part[one], part[other])), shape=(parts, parts))
    _, now = connected_components(links, directed=False)
    joined: Ints = now[part].astype(np.int64)
    return joined


def _near_pairs(vectors: Floats, near: float) -> Iterator[tuple[Indices, Indices]]:
    """All pairs with a cosine of at least `near`, block by block; a vector may be paired with itself.

    Unit vectors with that cosine are at most sqrt(2 - 2 near) apart, and no further apart in any one
    direction. So they are sorted along the one in which they spread the most, and each is compared only with
    those within that distance of it.
    """
    along = vectors @ _widest(vectors)
    order = np.argsort(along, kind="stable")
    reach = math.sqrt(2 - 2 * near + _ROUNDING)
    for first in range(0, len(order), BLOCK):
        rows = order[first : first + BLOCK]
        end = int(np.searchsorted(along[order], along[rows[-1]] + reach, side="right"))
        for start in range(first, end, BLOCK):
            columns = order[start : min(start + BLOCK, end)]
            one, other = np.nonzero(vectors[rows] @ vectors[columns].T >= near)
            yield rows[one], columns[other]


def _widest(vectors: Floats) -> Floats:
    """float32 (dimension,): the first principal direction of a sample, of length 1."""
    sample = vectors[:: len(vectors) // _SAMPLE + 1]
    if not len(sample):
        return np.zeros(vectors.shape[1], dtype=np.float32)
    direction: Floats = np.linalg.svd(sample - sample.mean(axis=0), full_matrices=False)[2][0]
    return direction


def _numbers(products: Sequence[str], part: Ints) -> Ints:
    """The least of what digests make of the ids of a part's products."""
    drawn = {product: int(share_of("group", product) * _DIGITS) for product in set(products)}
    least = np.full(int(part.max(initial=-1)) + 1, _DIGITS, dtype=np.int64)
    np.minimum.at(least, part, np.array([drawn[product] for product in products], dtype=np.int64))
    return least[part]


def _lots(purpose: str, numbers: Ints) -> npt.NDArray[np.float64]:
    """0..1 for each group, as good as drawn at random and always the same."""
    return np.array([share_of(purpose, str(number)) for number in numbers.tolist()], dtype=np.float64)

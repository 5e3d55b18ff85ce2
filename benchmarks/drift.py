"""How often nights without drift alarm, and how many nights it takes to see the photos of later years.

    python -m benchmarks.drift [--quick] [--years N]

Real photos as the small trained model sees them: of 2011 and 2012, which are the reference and nights
without drift, and of later years. A night is of deliveries, each so many photos whose ids follow each other,
from random places; `in order` are nights whose photos follow those of the night before. It is on such nights
that the least statistics of `embedding_drift.WINDOWS` were chosen. All seeds are made of SEED, the table and
the row.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported: processes share the cores here

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.judged import judged_photos
from benchmarks.report import Goal, arguments, machine, median_nights, shown_share, tell
from fashion_clip import unknown_share
from fashion_clip.embedding_drift import (
    LEVEL,
    LONGEST,
    LOTS,
    MOST_PHOTOS,
    NIGHTS,
    SETTLED,
    Night,
    Reference,
    look,
)
from fashion_clip.intervals import exact_interval
from fashion_clip.splitting import groups
from fashion_clip.unknown import fit_unknown
from fashion_clip.unknown_share import UnknownShare

SEED = 20261
AFTER = "2015-18"
KNOWN, LATER = ("2011", "2012"), ("2015", "2016", "2017", "2018")
BETWEEN = ("2013", "2014")  # for information; of 2014 there are 90 photos, so that nights repeat them
SIZES = (100, 500)  # photos a night
ALONE, SERIES, BRAND, WHOLE, ANY, IN_ORDER = 1, 10, 50, -1, 0, -2  # photos of a delivery
NAMES = {
    ALONE: "each by itself",
    SERIES: "10",
    BRAND: "50",
    WHOLE: "the whole night",
    ANY: "any of these",
    IN_ORDER: "in order",
}
DELIVERIES = (ALONE, SERIES, BRAND, WHOLE, ANY)
COLUMNS = ("photos a night", "a delivery", "reference")
BEFORE = 27  # nights without drift
FOLLOWED = 180
WANTED = 14
CHUNK = 25  # of seeds: the photos go to another process with each
MIXING = 180  # nights in which later photos come to be all, where they come slowly
PERMUTED = 10_000
STRANGE = 0.05  # of a night's photos that are unknown in addition

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
Draws = np.random.Generator


@dataclass(frozen=True, eq=False)
class Photos:
    """vectors: float32 (n, d), no two nearly the same, in the order of their ids. unknown: bool (n,)."""

    vectors: Floats
    unknown: Flags


@dataclass(frozen=True)
class Case:
    """A row: photos a night, how many a delivery has, and whether the reference knows of nights."""

    size: int
    delivery: int
    in_nights: bool = True

    def told(self) -> list[str]:
        return [f"{self.size}", NAMES[self.delivery], "nights" if self.in_nights else "one import"]


def main() -> None:
    """Prints four tables."""
    parser = arguments(__doc__)
    parser.add_argument("--years", type=int, default=50, help="simulated for each row")
    options = parser.parse_args()
    print(machine())
    years = 3 if options.quick else options.years
    known, later, *between = photos_of(options.shared)
    print(f"{len(known.vectors)} photos of {KNOWN}, {len(later.vectors)} of {LATER}, none like another")
    with ProcessPoolExecutor() as pool:
        tell_single(known, later, 5 if options.quick else 20)
        tell_false_alarms(pool, known, years, options.goals)
        after = {AFTER: later, **dict(zip(BETWEEN, between, strict=True))}
        tell_power(pool, known, after, years, options.goals)
    tell_unknown(known, years, options.goals)


def photos_of(shared: Path) -> list[Photos]:
    """Of KNOWN, LATER and each of BETWEEN; strangers are told by 3,000 drawn of KNOWN."""
    found = []
    for years in (KNOWN, LATER, *((year,) for year in BETWEEN)):
        judged = judged_photos(shared, *years)
        order = np.argsort([int(each) for each in judged.ids])
        vectors, ids = judged.vectors[order], [judged.ids[row] for row in order]
        first = np.unique(groups(ids, np.arange(len(ids)), vectors), return_index=True)[1]
        found.append(vectors[np.sort(first)])
    chosen = np.random.default_rng(SEED).permutation(len(found[0]))
    rule = fit_unknown(found[0][chosen[:2000]], found[0][chosen[2000:3000]])
    assert rule is not None
    return [Photos(vectors, rule.unknown(vectors)) for vectors in found]


def night(photos: int, size: int, delivery: int, draws: Draws) -> Rows:
    """Rows of a night's photos, of so many."""
    run = {WHOLE: size, ANY: int(draws.choice([ALONE, SERIES, BRAND, size]))}.get(delivery, delivery)
    run = min(run, size, photos)
    if run == 1 and size <= photos:
        return draws.choice(photos, size, replace=False)
    starts = draws.integers(0, photos - run + 1, size // run)
    rows: Rows = (starts[:, None] + np.arange(run)).ravel()
    return rows


def reference_for(known: Photos, case: Case, draws: Draws) -> Reference:
    """MOST_PHOTOS of each of LOTS nights, or lots drawn at random of all."""
    count = len(known.vectors)
    if case.in_nights:
        delivery = WHOLE if case.delivery == IN_ORDER else case.delivery
        size = max(case.size, MOST_PHOTOS)
        nights = [night(count, size, delivery, draws) for _ in range(LOTS)]
        lots = [draws.choice(each, MOST_PHOTOS, replace=False) for each in nights]
    else:
        lots = np.split(draws.choice(count, LOTS * MOST_PHOTOS, replace=False), LOTS)
    return Reference(np.stack([known.vectors[rows].mean(axis=0) for rows in lots]), MOST_PHOTOS)


def nights_of(photos: Photos, case: Case, nights: int, draws: Draws) -> list[Night]:
    """What `night_of` makes of them: all photos differ."""
    count = len(photos.vectors)
    if case.delivery == IN_ORDER:
        first = int(draws.integers(count))
        parts = [(first + each * case.size + np.arange(case.size)) % count for each in range(nights)]
    else:
        parts = [night(count, case.size, case.delivery, draws) for _ in range(nights)]
    return [Night(len(part), photos.vectors[part].mean(axis=0)) for part in parts]


def tell_single(known: Photos, later: Photos, nights: int) -> None:
    """What nights taken for independent draws do: a permutation test of photos, each night by itself."""
    rows = []
    for number, (size, delivery) in enumerate((size, each) for size in SIZES for each in DELIVERIES):
        shares = []
        for photos in (known, later):
            draws = np.random.default_rng([SEED, 0, number])
            reference = known.vectors[draws.choice(len(known.vectors), LOTS * MOST_PHOTOS, replace=False)]
            alarms = 0
            for _ in range(nights):
                tonight = photos.vectors[night(len(photos.vectors), size, delivery, draws)]
                alarms += permuted_photos(reference, tonight, draws) <= LEVEL
            shares.append(shown_share(alarms, nights))
        rows.append([f"{size}", NAMES[delivery], *shares])
    columns = ["photos a night", "a delivery", "nights without drift", f"nights of {AFTER}"]
    tell(f"Naive: photos permuted, alarms in {nights} single nights", columns, rows, [], None)


def permuted_photos(reference: Floats, tonight: Floats, draws: Draws) -> float:
    """The p-value of the distance between the means, as if all photos were drawn independently."""
    n, m = len(tonight), len(reference)
    together = np.concatenate([tonight, reference])
    together -= together.mean(axis=0)
    own, beyond, drawn = _far(together[:n].sum(axis=0)), 0, 0
    while drawn < PERMUTED and beyond < SETTLED:
        chosen = np.zeros((500, n + m), dtype=np.float32)
        lots = draws.random((500, n + m), dtype=np.float32)
        np.put_along_axis(chosen, np.argpartition(lots, n, axis=1)[:, :n], 1.0, axis=1)
        beyond += int((_far(chosen @ together) >= own).sum())
        drawn += 500
    return (1 + beyond) / (1 + drawn)


def _far(sums: Floats) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = np.square(sums.astype(np.float64)).sum(axis=-1)
    return found


def tell_false_alarms(pool: ProcessPoolExecutor, known: Photos, years: int, goals: Path | None) -> None:
    """Years without drift in which a night alarmed."""
    cases = [Case(size, each) for size in SIZES for each in DELIVERIES]
    cases += [Case(size, each, in_nights=False) for size in SIZES for each in (BRAND, WHOLE, ANY)]
    cases += [Case(size, IN_ORDER) for size in (33, *SIZES)]
    rows, met = [], []
    for number, case in enumerate(cases):
        seeds = [[SEED, 1, number, year] for year in range(years)]
        found = pool.map(partial(quiet_year, known, case), seeds, chunksize=CHUNK)
        alarms = sum(found)
        rows.append([*case.told(), shown_share(alarms, years)])
        if case.size in SIZES:
            low, _ = exact_interval(alarms, years)
            what = f"years with a false alarm, {' / '.join(case.told())}"
            met.append(Goal(what, "<= 5%", shown_share(alarms, years), low <= 0.05))
    title = f"False alarms in {years} years of {NIGHTS} nights (95 % intervals)"
    tell(title, [*COLUMNS, "years with an alarm"], rows, met, goals)


def quiet_year(known: Photos, case: Case, seed: Sequence[int]) -> bool:
    """Whether a night alarmed."""
    draws = np.random.default_rng(seed)
    reference = reference_for(known, case, draws)
    return first_alarm(reference, nights_of(known, case, NIGHTS, draws), 0) < NIGHTS


def first_alarm(reference: Reference, nights: Sequence[Night], begun: int) -> int:
    """The night, of those from `begun` on; the number of nights if there is none."""
    for tonight in range(begun, len(nights)):
        if look(reference, nights[max(tonight - LONGEST, 0) : tonight + 1]).drifted:
            return tonight
    return len(nights)


def tell_power(
    pool: ProcessPoolExecutor, known: Photos, later: dict[str, Photos], years: int, goals: Path | None
) -> None:
    """Nights until photos of later years are seen, after BEFORE nights without drift."""
    rows, met = [], []
    cases = [Case(size, each) for size in SIZES for each in DELIVERIES]
    cases += [Case(size, each, in_nights=False) for size in SIZES for each in (ALONE, ANY)]
    for number, case in enumerate(cases):
        seeds = [[SEED, 2, number, year] for year in range(years)]
        ways = [partial(delay, known, photos, case, False) for photos in later.values()]
        ways.append(partial(delay, known, later[AFTER], case, True))
        told = [list(pool.map(way, seeds, chunksize=CHUNK)) for way in ways]
        rows.append([*case.told(), *(median_nights(nights, FOLLOWED) for nights in told)])
        median = float(np.median(told[0]))
        what = f"nights until {AFTER} are seen, {' / '.join(case.told())}"
        met.append(Goal(what, f"<= {WANTED}", median_nights(told[0], FOLLOWED), median <= WANTED))
    columns = [*COLUMNS, *later, f"{AFTER} within {MIXING} nights"]
    tell(f"Median nights until drift is seen, {years} times (quartiles)", columns, rows, met, goals)


def delay(known: Photos, later: Photos, case: Case, slowly: bool, seed: Sequence[int]) -> int:
    """Nights with photos of `later` until the alarm, its own included; more than FOLLOWED if there is none.

    slowly: their part of a night grows to all in MIXING nights; at once otherwise.
    """
    draws = np.random.default_rng(seed)
    reference = reference_for(known, case, draws)
    nights = nights_of(known, case, BEFORE + (MIXING if slowly else 0), draws)
    come = nights_of(later, case, MIXING if slowly else FOLLOWED, draws)
    if slowly:
        parts = (1 + np.arange(MIXING)) / MIXING
        nights[BEFORE:] = [mixed(*each) for each in zip(nights[BEFORE:], come, parts, strict=True)]
    else:
        nights += come
    return first_alarm(reference, nights, BEFORE) - BEFORE + 1


def mixed(known: Night, later: Night, part: float) -> Night:
    """A night of which a part is later photos."""
    return Night(known.n, (1 - part) * known.mean + np.float32(part) * later.mean)


def tell_unknown(known: Photos, years: int, goals: Path | None) -> None:
    """Years in which the share of unknown photos alarmed, and nights until STRANGE more of them are seen."""
    rows, met = [], []
    for number, (size, delivery) in enumerate((size, each) for size in SIZES for each in DELIVERIES):
        draws = np.random.default_rng([SEED, 3, number])
        naive, alarms, nights = 0, 0, []
        for _ in range(years):
            reference = draws.choice(known.unknown, LOTS * MOST_PHOTOS, replace=False)
            begun = unknown_share.begin(int(reference.sum()), len(reference))
            counts = [
                int(known.unknown[night(len(known.unknown), size, delivery, draws)].sum())
                for _ in range(NIGHTS)
            ]
            naive += bool((binomial_tails(np.array(counts), size, begun.most) <= LEVEL).any())
            alarms += nights_to_alarm(begun, counts, size) <= NIGHTS
            added = draws.binomial(size, STRANGE, FOLLOWED)
            come = [min(count + int(more), size) for count, more in zip(counts, added, strict=False)]
            nights.append(min(nights_to_alarm(begun, come, size), FOLLOWED + 1))
        rows.append(
            [
                f"{size}",
                NAMES[delivery],
                shown_share(naive, years),
                shown_share(alarms, years),
                median_nights(nights, FOLLOWED),
            ]
        )
        low, _ = exact_interval(alarms, years)
        what = f"years with a false alarm of unknown photos, {size} / {NAMES[delivery]}"
        met.append(Goal(what, "<= 5%", shown_share(alarms, years), low <= 0.05))
    columns = ["photos a night", "a delivery", "binomial test", "by betting", f"nights, {STRANGE:.0%} more"]
    tell(f"Unknown photos: false alarms in {years} years, and power by betting", columns, rows, met, goals)


def binomial_tails(counts: npt.NDArray[np.int64], size: int, most: float) -> npt.NDArray[np.float64]:
    """How probable so many or more unknown photos are, each night."""
    from scipy.stats import binom

    tails: npt.NDArray[np.float64] = binom.sf(counts - 1, size, most)
    return tails


def nights_to_alarm(state: UnknownShare, counts: Sequence[int], size: int) -> int:
    """One more than there are if there is no alarm."""
    for number, unknown in enumerate(counts):
        state = unknown_share.after(state, unknown, size)
        if state.drifted:
            return number + 1
    return len(counts) + 1


if __name__ == "__main__":
    main()

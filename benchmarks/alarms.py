"""How often the accuracy alarm is false, and how many nights it takes to see a fall; naive rules beside.

    python -m benchmarks.alarms [--quick] [--years N]

Simulated with the alarm's own code: seven attributes, a champion that is right of 90 %, and a number of
truths each night. All seeds are made of SEED, the table and the row.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported: more threads only wait for each other

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.report import Goal, arguments, machine, median_nights, shown_share, tell
from fashion_clip.accuracy_alarm import (
    FALLS,
    NIGHTS,
    after_night,
    baseline_bound,
    begin,
    bets_against,
    has_dropped,
)
from fashion_clip.intervals import exact_interval

SEED, ATTRIBUTES, PROMISED = 20260, 7, 0.05
ACCURACY, LOST = 0.9, (0.03, 0.05, 0.10)
TRUTHS, USUAL = (5, 20, 100), 20
ESTIMATED_ON, CHALLENGERS, CHOSEN_ON = 1000, 5, 500
VARYING = 0.02  # standard deviation of accuracy between nights, which the alarm takes for none
FOLLOWED = 2 * NIGHTS  # nights after a fall's first
WANTED = {0.10: 9, 0.05: 27}  # nights of a fall, fewer than which are wanted
BELOW, WEEK, Z = 0.05, 7, 1.645  # of the naive rules

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Baselines = Callable[[int, np.random.Generator], Floats]
Rule = Callable[[Counts, Counts], Flags]  # truths (nights,) and wrong ones (nights, m): alarms (nights, m)


def known(m: int, draws: np.random.Generator) -> Floats:
    """The accuracy itself, float64 (m,)."""
    return np.full(m, ACCURACY)


def bound(m: int, draws: np.random.Generator) -> Floats:
    """The lower bound of 95 % from truth that did not choose the champion."""
    return _bounds(draws.binomial(ESTIMATED_ON, ACCURACY, m), ESTIMATED_ON)


def bound_of_the_best(m: int, draws: np.random.Generator) -> Floats:
    """Of the best of five equal challengers: what chose it is not what the bound is of."""
    chosen = draws.binomial(CHOSEN_ON, ACCURACY, (m, CHALLENGERS)).argmax(axis=1)
    others = draws.binomial(ESTIMATED_ON, ACCURACY, (m, CHALLENGERS))
    return _bounds(others[np.arange(m), chosen], ESTIMATED_ON)


def estimate(m: int, draws: np.random.Generator) -> Floats:
    """An estimate taken for known."""
    return draws.binomial(ESTIMATED_ON, ACCURACY, m) / ESTIMATED_ON


def estimate_of_the_best(m: int, draws: np.random.Generator) -> Floats:
    """The same, on the truth that chose the best of five equal challengers."""
    best: Counts = draws.binomial(CHOSEN_ON, ACCURACY, (m, CHALLENGERS)).max(axis=1)
    return best / CHOSEN_ON


def bound_that_chose(m: int, draws: np.random.Generator) -> Floats:
    """The lower bound, from the truth that chose the best of five."""
    return _bounds(draws.binomial(CHOSEN_ON, ACCURACY, (m, CHALLENGERS)).max(axis=1), CHOSEN_ON)


def _bounds(hits: Counts, n: int) -> Floats:
    return np.array([baseline_bound(int(each), n) for each in hits])


BASELINES: dict[str, Baselines] = {
    "known": known,
    f"bound of {ESTIMATED_ON} truths": bound,
    f"best of {CHALLENGERS}, bound of {ESTIMATED_ON} others": bound_of_the_best,
}
CARELESS: dict[str, Baselines] = {
    f"estimate of {ESTIMATED_ON} truths": estimate,
    f"best of {CHALLENGERS}, estimate of the {CHOSEN_ON} that chose": estimate_of_the_best,
    f"best of {CHALLENGERS}, bound of the {CHOSEN_ON} that chose": bound_that_chose,
}


def main() -> None:
    """Prints three tables."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--years", type=int, default=4000, help="simulated for each row; a fourth as many falls"
    )
    options = parser.parse_args()
    print(machine())
    print(f"seed {SEED}; {ATTRIBUTES} attributes, {ACCURACY:.0%} right, falls bet on: {FALLS}")
    years = 200 if options.quick else options.years
    tell_false_alarms(years, options.goals)
    tell_delays(max(years // 4, 1), options.goals)
    tell_naive(max(years // 4, 1))


def level_of(watched: int) -> float:
    """Of an alarm, where so many attributes are watched together."""
    return begin(ACCURACY, watched).level


def nightly(n: int, nights: int) -> Counts:
    """Truths of each night, all alike."""
    return np.full(nights, n)


def weekly(n: int, nights: int) -> Counts:
    """As many in all, those of a week in one night."""
    return np.where(np.arange(nights) % WEEK == WEEK - 1, WEEK * n, 0)


def first_alarm(
    baselines: Floats,
    starts: Counts,
    lost: float,
    arriving: Counts,
    level: float,
    draws: np.random.Generator,
    varying: float = 0.0,
) -> Counts:
    """The night (m,) on which each alarm is given, the number of nights if none is.

    Args:
        baselines: float64 (m,). starts: int64 (m,), the first night on which `lost` is lost of ACCURACY.
        arriving: int64 (nights,), truths.
        varying: the standard deviation of accuracy between nights.
    """
    bets = {int(n): bets_against(baselines, int(n)) for n in np.unique(arriving)}
    capital = np.zeros((len(baselines), len(FALLS)))
    found = np.full(len(baselines), len(arriving))
    for night, n in enumerate(arriving):
        error = 1 - ACCURACY + lost * (night >= starts)
        if varying:
            narrow = ACCURACY * (1 - ACCURACY) / varying**2 - 1
            error = draws.beta(error * narrow, (1 - error) * narrow)
        wrong = draws.binomial(n, error)
        capital = after_night(capital, bets[int(n)], wrong, level)
        found[has_dropped(capital, level) & (found == len(arriving))] = night
        if (found < len(arriving)).all():
            break
    return found


def tell_false_alarms(years: int, goals: Path | None) -> None:
    """Years without a drop in which an alarm of any attribute was given."""
    rows, met = [], []
    for number, (baseline, of) in enumerate(BASELINES.items()):
        for n in TRUTHS:
            false = _false_years(of, nightly(n, NIGHTS), years, [SEED, 0, number, n])[0]
            rows.append([baseline, f"{n}", shown_share(false, years)])
            low, _ = exact_interval(false, years)
            what = f"years with a false alarm, {n} truths a night, {baseline}"
            met.append(Goal(what, f"<= {PROMISED:.0%}", shown_share(false, years), low <= PROMISED))
    late = _false_years(known, nightly(USUAL, 2 * NIGHTS), years, [SEED, 1])[1]
    rows.append(["known, the second year", f"{USUAL}", shown_share(late, years)])
    bursts = _false_years(known, weekly(USUAL, NIGHTS), years, [SEED, 2])[0]
    rows.append(["known, one night a week", f"{WEEK * USUAL}", shown_share(bursts, years)])
    for n in TRUTHS:
        false = _false_years(bound, nightly(n, NIGHTS), years, [SEED, 9, n], VARYING)[0]
        rows.append(
            [f"bound, nights differ by {100 * VARYING:.0f} points", f"{n}", shown_share(false, years)]
        )
    for number, (baseline, of) in enumerate(CARELESS.items()):
        false = _false_years(of, nightly(USUAL, NIGHTS), years, [SEED, 3, number])[0]
        rows.append([f"careless: {baseline}", f"{USUAL}", shown_share(false, years)])
    title = f"False alarms in {years} years, {ATTRIBUTES} attributes together (95 % intervals)"
    tell(title, ["baseline", "truths a night", "years"], rows, met, goals)


def _false_years(
    baselines: Baselines, arriving: Counts, years: int, seed: list[int], varying: float = 0.0
) -> list[int]:
    """How many first years have a first alarm of any attribute, second ones, and so on."""
    draws = np.random.default_rng(seed)
    m = years * ATTRIBUTES
    never = np.full(m, len(arriving))
    found = first_alarm(baselines(m, draws), never, 0, arriving, level_of(ATTRIBUTES), draws, varying)
    of_years = found.reshape(years, ATTRIBUTES) // NIGHTS
    return [int((of_years == year).any(axis=1).sum()) for year in range(len(arriving) // NIGHTS)]


def tell_delays(years: int, goals: Path | None) -> None:
    """Nights of fallen accuracy until the alarm, that of its own included; it begins on a random night."""
    rows, met = [], []
    for number, (baseline, of) in enumerate(BASELINES.items()):
        for n in TRUTHS:
            told = [_delays(of, n, lost, years, [SEED, 4, number, n]) for lost in LOST]
            rows.append(
                [baseline, f"{n}", "one of seven", *(median_nights(nights, FOLLOWED) for nights in told)]
            )
            if n == USUAL and of is known:
                met += _goals_of(told, "one attribute of seven")
    for number, (baseline, of) in enumerate(BASELINES.items()):
        told = [_delays(of, USUAL, lost, years, [SEED, 5, number], falling=ATTRIBUTES) for lost in LOST]
        rows.append(
            [
                baseline,
                f"{USUAL}",
                "all seven, the first",
                *(median_nights(nights, FOLLOWED) for nights in told),
            ]
        )
        told = [_delays(of, USUAL, lost, years, [SEED, 6, number], watched=1) for lost in LOST]
        rows.append(
            [
                baseline,
                f"{USUAL}",
                "the only one watched",
                *(median_nights(nights, FOLLOWED) for nights in told),
            ]
        )
        if of is known:
            met += _goals_of(told, "the only attribute")
    told = [best_possible(lost, years, [SEED, 7]) for lost in LOST]
    rows.append(
        [
            "CUSUM told fall and accuracy",
            f"{USUAL}",
            "one of seven",
            *(median_nights(nights, FOLLOWED) for nights in told),
        ]
    )
    title = f"Median nights until a fall is seen, {years} falls each (quartiles)"
    columns = ["baseline", "truths a night", "falls", *(f"{100 * lost:.0f} points" for lost in LOST)]
    tell(title, columns, rows, met, goals)


def _delays(
    baselines: Baselines,
    n: int,
    lost: float,
    years: int,
    seed: list[int],
    falling: int = 1,
    watched: int = ATTRIBUTES,
) -> Counts:
    """Nights of each fall, 1 if its first; more than FOLLOWED if unseen; none of a fall after an alarm."""
    draws = np.random.default_rng([*seed, int(1000 * lost)])
    starts = np.repeat(draws.integers(0, NIGHTS, years), falling)
    arriving = nightly(n, NIGHTS + FOLLOWED)
    found = first_alarm(baselines(years * falling, draws), starts, lost, arriving, level_of(watched), draws)
    nights: Counts = (found - starts + 1).reshape(years, falling).min(axis=1)
    return np.minimum(nights[nights > 0], FOLLOWED + 1)


def best_possible(lost: float, years: int, seed: list[int]) -> Counts:
    """Nights until Page's CUSUM sees a fall of which it knows the size, with a limit found by simulation.

    Its limit is passed in as few years without a fall as the alarm's is at most. Hardly any rule can be
    quicker with as few false alarms (Moustakides, Annals of Statistics 14, 1986).
    """
    draws = np.random.default_rng([*seed, int(1000 * lost)])
    sums = _cusum(np.full(40 * years, NIGHTS), lost, NIGHTS, draws)
    limit = np.quantile(sums.max(axis=0), 1 - level_of(ATTRIBUTES))
    starts = draws.integers(0, NIGHTS, years)
    passed = _cusum(starts, lost, NIGHTS + FOLLOWED, draws) > limit
    return _nights(passed, starts)


def _cusum(starts: Counts, lost: float, nights: int, draws: np.random.Generator) -> Floats:
    right, wrong = np.log1p(-lost / ACCURACY), np.log1p(lost / (1 - ACCURACY))
    sums = np.zeros((nights, len(starts)), dtype=np.float32)
    last = np.zeros(len(starts))
    for night in range(nights):
        count = draws.binomial(USUAL, 1 - ACCURACY + lost * (night >= starts))
        last = np.maximum(last, 0) + right * (USUAL - count) + wrong * count
        sums[night] = last
    return sums.astype(np.float64)


def _nights(alarms: Flags, starts: Counts) -> Counts:
    """Of a rule that alarms whenever it does (nights, m): until the first alarm that is due to the fall."""
    due = alarms & (np.arange(len(alarms))[:, None] >= starts)
    return np.where(due.any(axis=0), due.argmax(axis=0) - starts + 1, FOLLOWED + 1)


def fixed_threshold(arriving: Counts, wrong: Counts) -> Flags:
    """Accuracy of the last seven nights that is 5 points or more below the baseline."""
    lagged = np.concatenate([np.zeros((WEEK, wrong.shape[1]), dtype=np.int64), wrong.cumsum(axis=0)])
    of_week = lagged[WEEK:] - lagged[:-WEEK]
    full = np.arange(len(wrong))[:, None] >= WEEK - 1
    found: Flags = full & (of_week >= (1 - ACCURACY + BELOW) * WEEK * arriving[:, None] - 1e-9)
    return found


def z_test(arriving: Counts, wrong: Counts) -> Flags:
    """The night's accuracy is below the baseline, one-sided at 5 %."""
    n = arriving[:, None]
    found: Flags = wrong - (1 - ACCURACY) * n > Z * np.sqrt(n * ACCURACY * (1 - ACCURACY))
    return found


NAIVE: dict[str, Rule] = {
    f"a week's accuracy {100 * BELOW:.0f} points below": fixed_threshold,
    "nightly z-test at 5 %": z_test,
}


def tell_naive(years: int) -> None:
    """What is commonly done, with the baseline known: years with a false alarm, and nights of a fall."""
    rows = []
    for number, (name, rule) in enumerate(NAIVE.items()):
        for n in TRUTHS:
            draws = np.random.default_rng([SEED, 8, number, n])
            wrong = draws.binomial(n, 1 - ACCURACY, (NIGHTS, years * ATTRIBUTES))
            alarms = rule(nightly(n, NIGHTS), wrong).any(axis=0).reshape(years, ATTRIBUTES)
            told = [median_nights(_naive_delays(rule, n, lost, years, draws), FOLLOWED) for lost in LOST]
            rows.append([name, f"{n}", shown_share(int(alarms.any(axis=1).sum()), years), *told])
    columns = [
        "",
        "truths a night",
        "years with a false alarm",
        *(f"{100 * lost:.0f} points" for lost in LOST),
    ]
    tell(f"Naive rules, {years} years and falls, baseline known", columns, rows, [], None)


def _naive_delays(rule: Rule, n: int, lost: float, years: int, draws: np.random.Generator) -> Counts:
    starts = draws.integers(0, NIGHTS, years)
    nights = NIGHTS + FOLLOWED
    fallen = np.arange(nights)[:, None] >= starts
    wrong = draws.binomial(n, 1 - ACCURACY + lost * fallen)
    return _nights(rule(nightly(n, nights), wrong), starts)


def _goals_of(told: list[Counts], which: str) -> list[Goal]:
    goals = []
    for lost, nights in zip(LOST, told, strict=True):
        if lost in WANTED:
            what = f"{100 * lost:.0f} points seen, {which}, {USUAL} truths a night, baseline known"
            met = bool(np.median(nights) < WANTED[lost])
            goals.append(Goal(what, f"< {WANTED[lost]} nights", median_nights(nights, FOLLOWED), met))
    return goals


if __name__ == "__main__":
    main()

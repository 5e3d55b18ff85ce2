"""How often the gate lets through what is no better, what is better, and what ruins a class.

    python -m benchmarks.gate [--quick] [--draws N] [--picture FILE.png]

Of real outcomes: two classifiers on the small trained model's vectors of photos of 2012, seven attributes, of
which every draw takes products and challengers anew. All seeds are made of SEED, the table and the draw.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported: more threads only wait for each other

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.gate_material import (
    SEED,
    Base,
    Flags,
    Rows,
    better,
    mixed,
    real_models,
    turned,
    with_attribute,
)
from benchmarks.report import Goal, arguments, console, machine, tell
from fashion_clip.gate import Judged, Rules, error_rate, judge
from fashion_clip.intervals import exact_interval
from fashion_clip.paired_tests import sign_test
from fashion_clip.verdict import Kind, Verdict

RULES = Rules(primary="subCategory")
RUNGS, CLIMBS, TOTAL = 4, 5, 0.05
SIZES, LARGER = (200, 500, 2000), (5000,)
GAINS = (0.01, 0.02, 0.05)
LOSSES = (0.2, 0.3, 0.5, 1.0)  # of the recall of one class
CLASS, GAINED, PRODUCTS = 60, 0.05, 2000


def main() -> None:
    """Prints four tables."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--draws", type=int, default=2000, help="climbs simulated for each number of products"
    )
    parser.add_argument("--picture", type=Path, help="where the picture of a ruined class goes")
    options = parser.parse_args()
    print(machine())
    base = real_models(options.shared)
    print(f"seed {SEED}; {base.size} photos; {_of_base(base)}")
    draws = 50 if options.quick else options.draws
    tell_equals(base, draws, options.goals)
    tell_vetoes(base, max(draws // 10, 20))
    tell_gains(base, max(draws // 10, 20))
    tell_ruined(base, max(draws // 20, 10), options.goals, options.picture)


def _of_base(base: Base) -> str:
    told = []
    for first, second in zip(base.first, base.second, strict=True):
        apart = np.mean(first.hits != second.hits)
        told.append(f"{first.attribute} {first.hits.mean():.3f} {second.hits.mean():.3f} ({apart:.1%} apart)")
    return "accuracies: " + ", ".join(told)


def draw_products(base: Base, count: int, draws: np.random.Generator) -> Rows:
    """Photos without replacement while there are enough."""
    return draws.choice(base.size, count, replace=count > base.size)


def coins(count: int, draws: np.random.Generator) -> Flags:
    """bool (count,), fair."""
    return draws.random(count) < 0.5


@dataclass(frozen=True)
class Climbing:
    """Whether a climb promoted an equal challenger; careless: the first would, with each rung at TOTAL."""

    promoted: tuple[bool, ...]
    careless: bool


def tell_equals(base: Base, draws: int, goals: Path | None) -> None:
    """Equal challengers: how often one is promoted in a climb of four rungs, and in any of five climbs."""
    rows, met = [], []
    for count in SIZES:
        found = [climb(base, count, np.random.default_rng([SEED, count, draw])) for draw in range(draws)]
        shares = {
            "one climb": sum(one.promoted[0] for one in found),
            f"any of {CLIMBS} climbs": sum(any(one.promoted) for one in found),
        }
        for what, promoted in shares.items():
            low, _ = exact_interval(promoted, draws)
            goal = f"equal challengers promoted, {count} products, {what}"
            met.append(Goal(goal, f"<= {TOTAL:.0%}", _share(promoted, draws), low <= TOTAL))
        careless = _share(sum(one.careless for one in found), draws)
        told = [_share(promoted, draws) for promoted in shares.values()]
        rows.append([f"{count} products", *told, careless])
    title = f"Equal challengers promoted, {draws} champions, {RUNGS} rungs a climb (95 % intervals)"
    tell(title, ["", *shares, f"one climb, each rung at {TOTAL:.0%}"], rows, met, goals)


def climb(base: Base, count: int, draws: np.random.Generator) -> Climbing:
    """Climbs against one champion, on the same products each time.

    The whole gate is asked only where the primary attribute's test is at the level: else it rejects anyway.
    """
    rows = draw_products(base, count, draws)
    of_champion = coins(count, draws)
    hits = [one.hits[rows] for one in base.attribute(RULES.primary)]
    champion = np.where(of_champion, hits[1], hits[0])
    promoted, least = [], []
    for number in range(1, CLIMBS + 1):
        level = error_rate(number, RUNGS, TOTAL)
        of_challengers = [coins(count, draws) for _ in range(RUNGS)]
        p_values = [_p_value(champion, np.where(one, hits[1], hits[0])) for one in of_challengers]
        passes = [
            judge(mixed(base, rows, of_champion), mixed(base, rows, one), RULES, level).passed
            for one, p_value in zip(of_challengers, p_values, strict=True)
            if p_value <= level
        ]
        promoted.append(any(passes))
        least.append(min(p_values))
    return Climbing(tuple(promoted), least[0] <= TOTAL)


def _p_value(champion: Flags, challenger: Flags) -> float:
    gains, losses = (challenger & ~champion).sum(), (champion & ~challenger).sum()
    return sign_test(float(gains), float(losses))


def tell_vetoes(base: Base, draws: int) -> None:
    """Equal challengers: how often chance alone vetoes, and which check does."""
    kinds = (Kind.ATTRIBUTE, Kind.LABEL, Kind.CALIBRATION)
    rows = []
    for count in (*SIZES, *LARGER):
        found = []
        for draw in range(draws):
            random = np.random.default_rng([SEED, 1, count, draw])
            products = draw_products(base, count, random)
            one, other = (mixed(base, products, coins(count, random)) for _ in range(2))
            found.append(judge(one, other, RULES, error_rate(1, RUNGS, TOTAL)))
        vetoed = [sum(any(check.kind is kind for check in one.failed) for one in found) for kind in kinds]
        anything = sum(any(check.kind in kinds for check in one.failed) for one in found)
        labels = np.median([len(one.of(Kind.LABEL)) for one in found])
        told = [_share(number, draws) for number in (*vetoed, anything)]
        rows.append([f"{count} products", f"{labels:.0f}", *told])
    columns = ["", "labels with truth", *kinds, "any"]
    tell(f"Equal challengers vetoed by chance, {draws} draws", columns, rows, [], None)


def tell_gains(base: Base, draws: int) -> None:
    """Challengers that are better on the primary attribute and equal on all others: how often they pass."""
    rows = []
    for gain in GAINS:
        for count in (*SIZES, *LARGER):
            verdicts = [_better(base, gain, count, draw) for draw in range(draws)]
            gained = sum(one.of(Kind.GAIN)[0].passed for one in verdicts)
            promoted = sum(one.passed for one in verdicts)
            told = [_share(gained, draws), _share(promoted, draws)]
            rows.append([f"{100 * gain:+.0f} points, {count} products", *told])
    title = f"Better challengers, first rung of {RUNGS}, {draws} draws"
    tell(title, ["", "gain shown", "promoted"], rows, [], None)


def _better(base: Base, gain: float, count: int, draw: int) -> Verdict:
    draws = np.random.default_rng([SEED, 2, count, int(1000 * gain), draw])
    rows = draw_products(base, count, draws)
    champion, challenger = (mixed(base, rows, coins(count, draws)) for _ in range(2))
    [primary] = [one for one in champion.predictions if one.attribute == RULES.primary]
    challenger = with_attribute(challenger, better(primary, gain, draws))
    return judge(champion, challenger, RULES, error_rate(1, RUNGS, TOTAL))


def tell_ruined(base: Base, draws: int, goals: Path | None, picture: Path | None) -> None:
    """Challengers that gain on average, and lose recall of one class of few products."""
    rows = []
    for loss in LOSSES:
        verdicts = [judge(*ruining(base, loss, draw), RULES, error_rate(1, RUNGS)) for draw in range(draws)]
        gained = sum(one.of(Kind.GAIN)[0].passed for one in verdicts)
        vetoed = sum(any(check.kind is Kind.LABEL for check in one.failed) for one in verdicts)
        rows.append([f"{loss:.0%} of its recall", _share(gained, draws), _share(vetoed, draws)])
    share = f"{vetoed / draws:.0%}"
    goal = Goal(
        f"+{GAINED:.0%} and a ruined class of {CLASS}: rejected for it", "100%", share, vetoed == draws
    )
    title = f"A class of {CLASS} of {PRODUCTS} products that loses, {100 * GAINED:+.0f} points on average"
    tell(f"{title}, {draws} draws", ["", "gain shown", "vetoed for it"], rows, [goal], goals)
    console().print(verdicts[0].sentence, highlight=False)
    if picture is not None:
        from fashion_clip.plots.gate import gate
        from fashion_clip.plots.style import to_png

        picture.write_bytes(to_png(gate(verdicts[0])))


def ruining(base: Base, loss: float, draw: int) -> tuple[Judged, Judged]:
    """Champion and challenger on PRODUCTS, of which CLASS have one label: the best told of those so large."""
    draws = np.random.default_rng([SEED, 3, int(100 * loss), draw])
    first, _ = base.attribute(RULES.primary)
    label = _class(first.truth, first.hits)
    of_class, others = (np.flatnonzero(part) for part in (first.truth == label, first.truth != label))
    rows = np.concatenate(
        [draws.choice(of_class, CLASS, replace=False), draws.choice(others, PRODUCTS - CLASS, replace=False)]
    )
    champion, challenger = (mixed(base, rows, coins(PRODUCTS, draws)) for _ in range(2))
    [primary] = [one for one in champion.predictions if one.attribute == RULES.primary]
    in_class = np.arange(PRODUCTS) < CLASS
    lost = in_class & primary.hits & (draws.random(PRODUCTS) < loss)
    wrong = np.flatnonzero(~in_class & ~primary.hits)
    won = np.zeros(PRODUCTS, dtype=bool)
    won[draws.choice(wrong, round(GAINED * PRODUCTS) + lost.sum(), replace=False)] = True
    return champion, with_attribute(challenger, turned(primary, lost | won))


def _class(truth: np.ndarray[tuple[int], np.dtype[np.int64]], hits: Flags) -> int:
    counts = np.bincount(truth)
    recall = np.bincount(truth, hits) / np.maximum(counts, 1)
    return int(np.where(counts >= CLASS, recall, -1).argmax())


def _share(number: int, of: int) -> str:
    low, high = exact_interval(number, of)
    return f"{number / of:.2%} ({low:.1%}-{high:.1%})"


if __name__ == "__main__":
    main()

"""What heads gain: accuracy in domain and in later years, and what learning them takes.

    python -m benchmarks.ladder [--quick] [--draws N]

The small trained model, which saw photos up to 2011, learns from photos of 2012; the raw label names are its
prompts. Products are numbered as they came: the newest NEWEST of 2012 judge, truth is drawn from the others,
and all photos from 2013 on are the later years. Beside each rung stand scikit-learn's LogisticRegression (C =
1) and a plain linear probe (the same without regularisation, from 0) on the same embeddings. The rungs that
move the towers are measured by `benchmarks.ladder_towers`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.judged import Judged, judged_photos
from benchmarks.report import Goal, arguments, machine, tell
from fashion_clip.calibrating import Truths
from fashion_clip.heads import fit_head, with_learned
from fashion_clip.predictions import NONE_OF_THEM
from fashion_clip.scoring import Head

YEAR, LATER = ("2012",), ("2013", "2014", "2015", "2016", "2017", "2018", "2019")
NEWEST = 1_400
AMOUNTS = (50, 500, 5_000)
MARGIN = 0.005

Rows = npt.NDArray[np.intp]
Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Scene:
    """inside: photos of 2012. later: those of the years after. judge, pool: rows of inside."""

    inside: Judged
    later: Judged
    judge: Rows
    pool: Rows


def main() -> None:
    """Prints a table an amount of truth, and one of the towers if asked for."""
    parser = arguments(__doc__)
    parser.add_argument("--draws", type=int, default=10, help="of the truth, for the small amounts")
    options = parser.parse_args()
    print(machine())
    scene = scene_of(options.shared)
    for amount in AMOUNTS[: 2 if options.quick else None]:
        draws = 2 if options.quick else max(options.draws if amount < 5_000 else 1, 1)
        tell_heads(scene, amount, draws, options.goals)
    tell_speed(20_000 if options.quick else 100_000, options.goals)


def scene_of(shared: Path) -> Scene:
    """The photos, embedded once."""
    inside, later = judged_photos(shared, *YEAR), judged_photos(shared, *LATER)
    order = np.argsort([int(photo) for photo in inside.ids])
    return Scene(inside, later, np.sort(order[-NEWEST:]), np.sort(order[:-NEWEST]))


def tell_heads(scene: Scene, amount: int, draws: int, goals: Path | None) -> None:
    """Accuracy of each way to learn from that much truth; medians over the draws."""
    rows, met = [], []
    for head in scene.inside.labeller.heads:
        found: dict[str, list[tuple[float, float]]] = {}
        for draw in range(draws):
            chosen = drawn(scene, amount, draw)
            truths = scene.inside.truths(chosen)[head.attribute]
            for name, predict in ways(head, truths).items():
                found.setdefault(name, []).append(
                    (
                        accuracy(scene.inside, head.attribute, scene.judge, predict),
                        accuracy(scene.later, head.attribute, np.arange(len(scene.later.ids)), predict),
                    )
                )
        medians = {name: np.median(np.array(pairs), axis=0) for name, pairs in found.items()}
        rows.append([head.attribute, *(f"{inside:.3f} / {later:.3f}" for inside, later in medians.values())])
        less = medians["head"][0] - medians["LogisticRegression"][0]
        met.append(_goal(f"head less regression, {head.attribute}, {amount}", less, -MARGIN))
        if amount == AMOUNTS[0]:
            gain = medians["head"][0] - medians["zero-shot"][0]
            met.append(_goal(f"head less zero-shot, {head.attribute}, {amount}", gain, 0.0))
    title = f"{amount} truths of 2012, {draws} draws: accuracy on the newest of 2012 / on later years"
    tell(title, ["attribute", *medians], rows, met, goals)


def drawn(scene: Scene, amount: int, seed: int) -> Rows:
    """Photos of the pool whose truth is known."""
    draw = np.random.default_rng(seed)
    return np.sort(draw.choice(scene.pool, min(amount, len(scene.pool)), replace=False))


def _goal(what: str, measured: float, least: float) -> Goal:
    return Goal(what, f">= {least:+.3f}", f"{measured:+.3f}", bool(measured >= least))


def ways(head: Head, truths: Truths) -> dict[str, Predict]:
    """By name, what gives labels of vectors."""
    learned = with_learned(head, fit_head(head, truths))
    return {
        "zero-shot": lambda vectors: _best(head, vectors),
        "head": lambda vectors: _best(learned, vectors),
        "LogisticRegression": regression(truths, 1.0),
        "linear probe": regression(truths, np.inf),
    }


def regression(truths: Truths, strength: float) -> Predict:
    """scikit-learn's, of the labels that have an example."""
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(truths.truth)) == 1:
        return lambda vectors: np.full(len(vectors), truths.truth[0])
    fitted = LogisticRegression(C=strength, max_iter=500).fit(truths.vectors, truths.truth)
    return lambda vectors: np.asarray(fitted.predict(vectors), dtype=np.int64)


def accuracy(judged: Judged, attribute: str, rows: Rows, predict: Predict) -> float:
    """Of photos whose true label is in the taxonomy."""
    truth = judged.truth[attribute][rows]
    known = truth != NONE_OF_THEM
    return float((predict(judged.vectors[rows[known]]) == truth[known]).mean())


def _best(head: Head, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    best: npt.NDArray[np.int64] = head.logits(vectors @ head.weights.T).argmax(axis=1)
    return best


def tell_speed(count: int, goals: Path | None) -> None:
    """Seconds and memory of all heads of the shipped taxonomy on that many made-up embeddings."""
    import resource

    from benchmarks.relabel import DIMENSION, labeller_of, taxonomy_of

    draw = np.random.default_rng(1)
    labeller = labeller_of(taxonomy_of(258), 1)
    vectors = draw.standard_normal((count, DIMENSION), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    products = tuple(str(number) for number in range(count))
    rows = []
    for head in labeller.heads:
        # True labels that the embeddings tell, but for noise.
        noise = draw.gumbel(size=(count, len(head.labels)))
        logits = 8 * np.sqrt(DIMENSION) * (vectors @ head.weights.T) + noise
        truths = Truths(vectors, logits.argmax(axis=1), products, np.ones(count))
        started = time.perf_counter()
        learned = fit_head(head, truths)
        rows.append([head.attribute, str(len(head.labels)), f"{time.perf_counter() - started:.1f}"])
        rows[-1] += [f"{learned.prompt_share:g}", f"{learned.penalty:g}"]
    seconds = sum(float(row[2]) for row in rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows.append(["all", "", f"{seconds:.1f}", "", ""])
    goal = Goal("heads of 100,000 embeddings, seconds", "<= 60", f"{seconds:.0f}", seconds <= 60)
    title = f"Heads on {count:,} embeddings x 7 attributes; peak {peak:.0f} MB, data made included"
    tell(title, ["attribute", "labels", "seconds", "held to prompts", "penalty"], rows, [goal], goals)


if __name__ == "__main__":
    main()

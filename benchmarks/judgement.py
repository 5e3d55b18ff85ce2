"""How far labels can be trusted: calibration, the promise of accepted labels, audits, hierarchy, strangers.

    python -m benchmarks.judgement [--quick] [--splits N] [--picture FILE.png]

On photos of 2012 with the small trained model, which never saw a photo of that year. The prompts are the raw
label names that it knows. Everything is drawn with fixed seeds.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported: processes share the cores here

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.judged import Judged, judged_photos, stand_in, strange_photos
from benchmarks.report import Goal, arguments, machine, spread, tell
from fashion_clip.calibrating import calibrate
from fashion_clip.calibration import Calibration
from fashion_clip.hierarchy import allowed
from fashion_clip.intervals import share_with_interval
from fashion_clip.labeller import label
from fashion_clip.metrics import calibration_error
from fashion_clip.predictions import NONE_OF_THEM, Predictions
from fashion_clip.scoring import Decision, TopLabels
from fashion_clip.taxonomy import Taxonomy
from fashion_clip.unknown import fit_unknown

YEAR, PRECISION, CERTAINTY = "2012", 0.95, 0.9
TRUTHS = (200, 1000, 3000)
CALIBRATED = ("masterCategory", "subCategory", "gender")  # that have a goal of MOST_ERROR
MOST_ERROR = 0.03
CHAIN = ("masterCategory", "subCategory", "articleType")
NO_REFERENCE = np.empty((0, 0), dtype=np.float32)

Rows = npt.NDArray[np.intp]


def main() -> None:
    """Prints five tables."""
    parser = arguments(__doc__)
    parser.add_argument("--splits", type=int, default=200, help="random splits into truth and other photos")
    parser.add_argument("--picture", type=Path, help="where the reliability diagram goes")
    options = parser.parse_args()
    print(machine())
    judged = judged_photos(options.shared, YEAR)
    splits = 4 if options.quick else options.splits
    tell_splits(judged, splits, TRUTHS[: 2 if options.quick else None], options.goals)
    if options.picture is not None:
        draw_reliability(judged, options.picture)
    tell_hierarchy(judged, options.goals)
    tell_audit(judged, 50 if options.quick else 500, options.goals)
    tell_strange(judged, options.shared, options.goals)


def drawn(judged: Judged, count: int, seed: int) -> tuple[Rows, Rows]:
    """Photos whose truth is known, and all others."""
    chosen = np.random.default_rng(seed).choice(len(judged.ids), count, replace=False)
    return np.sort(chosen), np.setdiff1d(np.arange(len(judged.ids)), chosen)


def calibrated(judged: Judged, chosen: Rows) -> Calibration:
    """On the truth of these photos."""
    return calibrate(judged.labeller, judged.truths(chosen), NO_REFERENCE, PRECISION, CERTAINTY)


def predictions(judged: Judged, calibration: Calibration | None, rows: Rows) -> dict[str, Predictions]:
    """What is said of photos whose truth is some label, before or after calibration."""
    top = label(replace(judged.labeller, calibration=calibration), judged.vectors[rows])
    return {name: _predictions(judged, name, rows, found) for name, found in top.items()}


def _predictions(judged: Judged, name: str, rows: Rows, top: TopLabels) -> Predictions:
    truth = judged.truth[name][rows]
    told = np.flatnonzero(truth != NONE_OF_THEM)
    photos = tuple(judged.ids[row] for row in rows[told])
    labels = judged.labeller.head(name).labels
    products = np.arange(len(told), dtype=np.int64)
    return Predictions(name, labels, truth[told], top.rows(told), photos, products, np.ones(len(told)))


@dataclass(frozen=True)
class Outcome:
    """One attribute of one split, on the photos that calibration had no part in; all are 0..1.

    precision: among accepted, 1 where nothing is. accepted: the share of photos.
    """

    error_before: float
    error_after: float
    accuracy_before: float
    accuracy_after: float
    precision: float
    accepted: float


def tell_splits(judged: Judged, splits: int, truths: Sequence[int], goals: Path | None) -> None:
    """Calibration, and how often accepted labels were as precise as promised, over random splits."""
    errors, promises, goals_of_errors, goals_of_promises = [], [], [], []
    for count in truths:
        with ProcessPoolExecutor() as pool:
            outcomes = list(pool.map(partial(_outcomes, judged, count), range(splits), chunksize=5))
        for name in judged.truth:
            found = [outcome[name] for outcome in outcomes]
            row = f"{count} truths, {name}"
            errors.append([row, *_errors_told(found)])
            promises.append([row, *_promise_told(found)])
            kept = float(np.mean([one.precision >= PRECISION for one in found]))
            goals_of_promises.append(Goal(f"promise kept, {row}", ">= 90%", f"{kept:.1%}", kept >= 0.9))
            if count == TRUTHS[1]:
                goals_of_errors.append(_error_goal(row, name, found))
    columns = ["", "error before", "error after", "no worse", "accuracy before", "accuracy after"]
    tell(f"Calibration, {splits} splits of photos of {YEAR}", columns, errors, goals_of_errors, goals)
    title = f"{PRECISION:.0%} precision with {CERTAINTY:.0%} certainty, {splits} splits"
    tell(title, ["", "kept", "accepts any", "share accepted"], promises, goals_of_promises, goals)


def _outcomes(judged: Judged, count: int, split: int) -> dict[str, Outcome]:
    chosen, rest = drawn(judged, count, seed=1000 + split)
    before = predictions(judged, None, rest)
    after = predictions(judged, calibrated(judged, chosen), rest)
    return {name: _outcome(before[name], after[name]) for name in after}


def _outcome(before: Predictions, after: Predictions) -> Outcome:
    accepted = after.top.decision == Decision.ACCEPTED
    return Outcome(
        calibration_error(before.confidence, before.hits),
        calibration_error(after.confidence, after.hits),
        float(before.hits.mean()),
        float(after.hits.mean()),
        float(after.hits[accepted].mean()) if accepted.any() else 1.0,
        float(accepted.mean()),
    )


def _errors_told(found: Sequence[Outcome]) -> list[str]:
    errors = [spread([getattr(one, name) for one in found], 3) for name in ("error_before", "error_after")]
    no_worse = np.mean([one.error_after <= one.error_before for one in found])
    accuracies = [
        np.mean([getattr(one, f"accuracy_{when}") for one in found]) for when in ("before", "after")
    ]
    return [*errors, f"{no_worse:.0%}", *(f"{accuracy:.3f}" for accuracy in accuracies)]


def _promise_told(found: Sequence[Outcome]) -> list[str]:
    shares = [
        np.mean([one.precision >= PRECISION for one in found]),
        np.mean([one.accepted > 0 for one in found]),
    ]
    return [*(f"{share:.1%}" for share in shares), spread([one.accepted for one in found], 3)]


def _error_goal(row: str, name: str, found: Sequence[Outcome]) -> Goal:
    """Of the median split; no attribute may be worse than before."""
    before, after = (
        float(np.median([getattr(one, key) for one in found])) for key in ("error_before", "error_after")
    )
    most = min(before, MOST_ERROR) if name in CALIBRATED else before
    return Goal(f"calibration error, {row}", f"<= {most:.3f}", f"{after:.3f}", after <= most)


def draw_reliability(judged: Judged, file: Path) -> None:
    """Diagrams before and after, of one split with 1,000 truths."""
    from fashion_clip.plots.reliability import reliability

    chosen, rest = drawn(judged, TRUTHS[1], seed=1)
    before, after = predictions(judged, None, rest), predictions(judged, calibrated(judged, chosen), rest)
    for name in CALIBRATED:
        reliability(after[name], before[name]).savefig(file.with_stem(f"{file.stem}_{name}"), dpi=110)


def tell_hierarchy(judged: Judged, goals: Path | None) -> None:
    """Labels that contradict each other, and accuracy, with attributes by themselves and together."""
    chosen, rest = drawn(judged, 3000, seed=1)
    apart = replace(judged, labeller=replace(judged.labeller, taxonomy=_unlinked(judged.labeller.taxonomy)))
    found = {
        "uncalibrated": label(judged.labeller, judged.vectors[rest]),
        "calibrated, each by itself": _labelled(apart, calibrated(apart, chosen), rest),
        "calibrated, together": _labelled(judged, calibrated(judged, chosen), rest),
    }
    rows = []
    for way, top in found.items():
        shares = [_contradicting(judged, top, accepted) for accepted in (False, True)]
        accuracies = [np.mean(top[name].index[:, 0] == judged.truth[name][rest]) for name in CHAIN]
        rows.append([way, *(f"{share:.2%}" for share in shares), *(f"{value:.3f}" for value in accuracies)])
    last = _contradicting(judged, found["calibrated, together"], accepted=True)
    goal = Goal("contradictions among accepted labels", "0", f"{last:.2%}", last == 0)
    columns = ["", "contradict", "accepted and contradict", *(f"accuracy {name}" for name in CHAIN)]
    tell("Labels along the hierarchy, 3000 truths, seed 1", columns, rows, [goal], goals)


def _labelled(judged: Judged, calibration: Calibration, rows: Rows) -> dict[str, TopLabels]:
    return label(replace(judged.labeller, calibration=calibration), judged.vectors[rows])


def _unlinked(taxonomy: Taxonomy) -> Taxonomy:
    return Taxonomy(taxonomy.name, tuple(replace(each, parent=None) for each in taxonomy.attributes))


def _contradicting(judged: Judged, top: dict[str, TopLabels], accepted: bool) -> float:
    """The share of photos of which a label, or an accepted one, does not stand below its parent's."""
    by_name = {each.name: each for each in judged.labeller.taxonomy.attributes}
    wrong = np.zeros(len(top[CHAIN[0]].index), dtype=bool)
    for above, below in pairwise(CHAIN):
        stands = allowed(by_name[below], by_name[above])[top[above].index[:, 0], top[below].index[:, 0]]
        both = [top[name].decision == Decision.ACCEPTED for name in (above, below)]
        wrong |= ~stands & (both[0] & both[1] if accepted else True)
    return float(wrong.mean())


def tell_audit(judged: Judged, nights: int, goals: Path | None) -> None:
    """Accuracy estimated from an audit sample, beside that from all that reviewers looked at."""
    everything = np.arange(len(judged.ids))
    found = predictions(judged, None, everything)["masterCategory"]
    rows, met = [], []
    for truths in (20, 50, 200):
        draws = np.random.default_rng(truths)
        results = [_night(found, truths, draws) for _ in range(nights)]
        audit, naive = (np.array(part) for part in zip(*results, strict=True))
        told = [[f"{part[:, 0].mean():+.3f}", f"{part[:, 1].mean():.3f}"] for part in (audit, naive)]
        rows.append([f"{truths} truths", *told[0], *told[1]])
        covered = float(audit[:, 1].mean())
        met.append(
            Goal(f"audit interval covers, {truths} truths", ">= 0.93", f"{covered:.3f}", covered >= 0.93)
        )
    columns = ["", "audit: mean error", "coverage", "naive: mean error", "coverage"]
    tell(f"Accuracy from reviewed photos, {nights} times, a biased queue beside", columns, rows, met, goals)


def _night(found: Predictions, truths: int, draws: np.random.Generator) -> tuple[list[float], list[float]]:
    """[error, covered] of the audit's estimate and of the naive one.

    Two nights of very different size, of which the larger has the harder photos; half of the audit's truths
    comes from each, so that they weigh differently. The reviewers' queue holds the least sure photos as well.
    """
    order = np.argsort(found.confidence + draws.normal(0, 0.3, len(found.photos)))
    small, large = draws.integers(300, 600), draws.integers(2000, 4000)
    parts = [draws.permutation(order[:large]), draws.permutation(order[large : large + small])]
    tonight = np.concatenate(parts)
    sampled = [part[: truths // 2] for part in parts]
    weights = np.concatenate([np.full(truths // 2, len(part) / (truths // 2)) for part in parts])
    chosen, real = np.concatenate(sampled), float(found.hits[tonight].mean())
    unsure = tonight[np.argsort(found.confidence[tonight])[:truths]]
    looked_at = np.union1d(chosen, unsure)
    estimates = [
        share_with_interval(found.hits[chosen], chosen, weights),
        share_with_interval(found.hits[looked_at], looked_at),
    ]
    audit, naive = ([one.estimate - real, float(one.low <= real <= one.high)] for one in estimates)
    return audit, naive


def tell_strange(judged: Judged, shared: Path, goals: Path | None) -> None:
    """Pictures that are no fashion among products."""
    from sklearn.metrics import roc_auc_score

    strange = strange_photos(shared, stand_in(shared))
    order = np.random.default_rng(1).permutation(len(judged.ids))
    reference, known, others = (judged.vectors[part] for part in np.split(order, (2000, 3000)))
    rule = fit_unknown(reference, known)
    assert rule is not None
    products = others[:2000]
    scores = np.concatenate([rule.scores(products), rule.scores(strange)])
    area = roc_auc_score(np.repeat([0, 1], [len(products), len(strange)]), scores)
    shares = [float(rule.unknown(part).mean()) for part in (products, strange)]
    row = [
        f"{len(products)} products, {len(strange)} others",
        f"{area:.3f}",
        *(f"{share:.1%}" for share in shares),
    ]
    columns = ["", "AUROC", "products sent to review", "others sent to review"]
    goal = Goal("products taken for unknown", "<= 2%", f"{shares[0]:.1%}", shares[0] <= 0.02)
    tell("Pictures that are no fashion, 2000 reference photos, 1000 truths", columns, [row], [goal], goals)


if __name__ == "__main__":
    main()

"""Fits a calibration on truth: a part of it fits the confidences, the rest finds thresholds and judges."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fashion_clip.acceptance import Sample, acceptance_threshold
from fashion_clip.calibration import (
    AttributeCalibration,
    Calibration,
    attribute_version,
    is_fitting,
    share_of,
)
from fashion_clip.labeller import Labeller, label
from fashion_clip.metrics import calibration_error
from fashion_clip.predictions import NONE_OF_THEM
from fashion_clip.scaling import FOLDS, Fit, choose_correction, choose_fit
from fashion_clip.scoring import Decision, TopLabels, top_labels
from fashion_clip.unknown import fit_unknown

LEAST_TRUTHS = 100  # products that a label fits; with fewer an attribute stays uncalibrated
# How many products fit; the rest judges, which are at least half of all and at most two thirds.
FITTING = 300


@dataclass(frozen=True, eq=False)
class Truths:
    """One attribute's truth of n photos, drawn at random.

    vectors: float32 (n, dimension), unit rows. truth: int (n,), into the attribute's labels, or NONE_OF_THEM.
    products: n product ids. weights: float64 (n,), 1 / inclusion probability.
    """

    vectors: npt.NDArray[np.float32]
    truth: npt.NDArray[np.int64]
    products: tuple[str, ...]
    weights: npt.NDArray[np.float64]

    def rows(self, rows: npt.NDArray[np.intp]) -> "Truths":
        """Those of some of the photos."""
        products = tuple(self.products[row] for row in rows)
        return Truths(self.vectors[rows], self.truth[rows], products, self.weights[rows])


def calibrate(
    labeller: Labeller,
    truths: Mapping[str, Truths],
    reference: npt.NDArray[np.float32],
    precision: float,
    certainty: float,
) -> Calibration:
    """A calibration of the labeller's heads; whatever calibration it has is not looked at.

    Each product counts once, by one of its photos. An attribute with fewer than LEAST_TRUTHS is left out.
    Whether a product fits or judges depends on its id alone, so that no attribute's judge had a part in
    another's labels.

    Args:
        truths: attribute -> truth.
        reference: float32 (m, dimension), vectors spread over the catalogue, of photos that judge nothing.
        precision, certainty: what is promised of accepted labels, see fashion_clip.acceptance.
    """
    once = {name: _one_a_product(found) for name, found in truths.items()}
    enough = {name: found for name, found in once.items() if _with_label(found) >= LEAST_TRUTHS}
    share = _fitting_share(enough)
    parts = {name: _split(found, share) for name, found in enough.items()}
    fitting = {name: part for name, (part, _) in parts.items()}
    unknown = fit_unknown(reference, _products(once))
    started = Calibration(precision, certainty, _version(enough), share, unknown=unknown)
    empty = replace(labeller, calibration=started)
    fits = {name: choose_fit(*_logits(labeller, name, part)) for name, part in fitting.items()}
    held_out = _held_out(empty, fitting, fits)
    entries = {}
    for name, entry in _scaled(empty, fitting, fits).calibrated().items():
        folds = [(one.confidence, one.hits, one.weights) for one in held_out[name]]
        slope, intercept = choose_correction(folds)
        entries[name] = replace(entry, slope=slope, intercept=intercept, truths=len(enough[name].truth))
    trial = replace(labeller, calibration=replace(started, attributes=entries))
    judged = {name: _judged(trial, name, parts[name], precision, certainty) for name in entries}
    return replace(started, attributes=judged)


def _one_a_product(truths: Truths) -> Truths:
    """Of each product the photo whose vector has the least digest: as good as drawn, the same each time."""
    digests = [hashlib.sha256(vector.tobytes()).digest() for vector in truths.vectors]
    chosen: dict[str, int] = {}
    for row in sorted(range(len(digests)), key=digests.__getitem__):
        chosen.setdefault(truths.products[row], row)
    return truths.rows(np.array(sorted(chosen.values()), dtype=np.intp))


def _with_label(truths: Truths) -> int:
    return int(np.count_nonzero(truths.truth != NONE_OF_THEM))


def _products(truths: Mapping[str, Truths]) -> npt.NDArray[np.float32]:
    """The vectors of what is a product, by the attribute that knows most."""
    known = [told.vectors[told.truth != NONE_OF_THEM] for told in truths.values()]
    return max(known, key=len, default=np.empty((0, 0), dtype=np.float32))


def _fitting_share(truths: Mapping[str, Truths]) -> float:
    products = {product for told in truths.values() for product in told.products}
    return float(np.clip(FITTING / max(len(products), 1), 1 / 3, 1 / 2))


def _split(truths: Truths, share: float) -> tuple[Truths, Truths]:
    fits = np.array([is_fitting(product, share) for product in truths.products], dtype=bool)
    return truths.rows(np.flatnonzero(fits)), truths.rows(np.flatnonzero(~fits))


def _version(truths: Mapping[str, Truths]) -> str:
    digest = hashlib.sha256()
    for name in sorted(truths):
        digest.update(f"{name}\n".encode())
        for product, true, weight in sorted(
            zip(truths[name].products, truths[name].truth.tolist(), truths[name].weights, strict=True)
        ):
            digest.update(f"{product!r} {true} {weight:.12g}\n".encode())
    return digest.hexdigest()


def _logits(
    labeller: Labeller, attribute: str, truths: Truths
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Logits, truth and weights of those whose true label is among the attribute's."""
    told = truths.rows(np.flatnonzero(truths.truth != NONE_OF_THEM))
    head = labeller.head(attribute)
    logits = head.logits(told.vectors @ head.weights.T).astype(np.float64)
    return logits, told.truth, told.weights


def _scaled(labeller: Labeller, truths: Mapping[str, Truths], fits: Mapping[str, Fit]) -> Labeller:
    """With temperatures and biases fitted to these truths, and nothing accepted yet."""
    entries = {}
    for attribute in labeller.taxonomy.attributes:
        if attribute.name in truths:
            scaling = fits[attribute.name](*_logits(labeller, attribute.name, truths[attribute.name]))
            bias = tuple(scaling.bias.tolist())
            entries[attribute.name] = AttributeCalibration(
                attribute_version(labeller.taxonomy, attribute), scaling.temperature, bias,
                slope=1.0, intercept=0.0, threshold=None, truths=0,
                error_before=0.0, error_after=0.0, accepted=0.0,
            )  # fmt: skip
    assert labeller.calibration is not None
    return replace(labeller, calibration=replace(labeller.calibration, attributes=entries))


def _held_out(
    labeller: Labeller, truths: Mapping[str, Truths], fits: Mapping[str, Fit]
) -> dict[str, list[Sample]]:
    """Attribute -> what scalings say of truth that they were not fitted to, a sample a fold."""
    folds = {name: _folds(told) for name, told in truths.items()}
    samples: dict[str, list[Sample]] = {name: [] for name in truths}
    for fold in range(FOLDS):
        others = {name: told.rows(np.flatnonzero(folds[name] != fold)) for name, told in truths.items()}
        scaled = _scaled(labeller, others, fits)
        for name, told in truths.items():
            held = told.rows(np.flatnonzero(folds[name] == fold))
            samples[name].append(_sample(label(scaled, held.vectors)[name], held))
    return samples


def _folds(truths: Truths) -> npt.NDArray[np.int64]:
    """int (n,): the same for a product whatever the attribute."""
    return np.array([int(share_of("fold", product) * FOLDS) for product in truths.products], dtype=np.int64)


def _judged(
    trial: Labeller, name: str, parts: tuple[Truths, Truths], precision: float, certainty: float
) -> AttributeCalibration:
    """With the threshold that keeps the promise, and the figures on truth that fitted nothing."""
    said = [label(trial, part.vectors)[name] for part in parts]
    proposing, judging = (_sample(_acceptable(top), part) for top, part in zip(said, parts, strict=True))
    threshold = acceptance_threshold(proposing, judging, precision, certainty)
    raw, after = (_sample(top, parts[1]) for top in (top_labels(trial.head(name), parts[1].vectors), said[1]))
    return replace(
        trial.calibrated()[name],
        threshold=threshold,
        error_before=calibration_error(raw.confidence, raw.hits, raw.weights),
        error_after=calibration_error(after.confidence, after.hits, after.weights),
        accepted=0.0
        if threshold is None
        else float(np.average(judging.confidence >= threshold, weights=judging.weights)),
    )


def _acceptable(top: TopLabels) -> TopLabels:
    """With no confidence where a label is not accepted whatever its confidence."""
    never = np.isin(top.decision, (Decision.UNKNOWN, Decision.CONFLICT))
    return replace(top, confidence=np.where(never[:, None], np.float32(0), top.confidence))


def _sample(top: TopLabels, truths: Truths) -> Sample:
    return Sample(top.confidence[:, 0].astype(np.float64), top.index[:, 0] == truths.truth, truths.weights)

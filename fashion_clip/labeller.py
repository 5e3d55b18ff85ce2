"""Embeddings to labels and decisions: one piece of code for nights, relabelling, previews and evaluation."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fashion_clip.calibration import AttributeCalibration, Calibration
from fashion_clip.hierarchy import best_together
from fashion_clip.scaling import LEAST_DOUBT, corrected
from fashion_clip.scoring import Decision, Head, TopLabels, log_softmax, ranked, top_labels
from fashion_clip.taxonomy import Taxonomy

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Labeller:
    """A head for each attribute of the taxonomy, in its order, and what is known of their confidences."""

    taxonomy: Taxonomy
    heads: tuple[Head, ...]
    calibration: Calibration | None = None

    def head(self, attribute: str) -> Head:
        """That of an attribute."""
        return next(head for head in self.heads if head.attribute == attribute)

    def calibrated(self) -> dict[str, AttributeCalibration]:
        """The calibrations that hold for this taxonomy, by attribute."""
        if self.calibration is None:
            return {}
        found = {
            attribute.name: self.calibration.of(self.taxonomy, attribute)
            for attribute in self.taxonomy.attributes
        }
        return {name: calibration for name, calibration in found.items() if calibration is not None}


def label(labeller: Labeller, vectors: Floats, k: int = 5) -> dict[str, TopLabels]:
    """Attribute -> the best k labels of vectors (n, dimension) with rows of length 1, and what is decided.

    An attribute that is not calibrated has its labels by its head's logits, UNCALIBRATED. Calibrated ones are
    chosen together, so that each label stands below its parent's; the chosen label comes first, then the
    others by confidence. What is unlike the catalogue's photos is accepted in none of them.
    """
    calibrated = labeller.calibrated()
    similarity = {head.attribute: vectors @ head.weights.T for head in labeller.heads}
    logs = {
        head.attribute: log_softmax(scaled(head, similarity[head.attribute], calibrated[head.attribute]))
        for head in labeller.heads
        if head.attribute in calibrated
    }
    together = best_together(logs, labeller.taxonomy)
    rule = labeller.calibration.unknown if labeller.calibration else None
    unknown = np.zeros(len(vectors), dtype=bool) if rule is None else rule.unknown(vectors)
    top = {}
    for head in labeller.heads:
        name = head.attribute
        if name not in calibrated:
            top[name] = top_labels(head, vectors, k)
            continue
        chosen, probability = together.index[name][:, None], together.probability[name]
        order = probability.copy()
        np.put_along_axis(order, chosen, np.float32(np.inf), axis=1)
        best = ranked(order, similarity[name], _confidence(probability, chosen, calibrated[name]), k)
        decision = _decided(best, calibrated[name], together.conflict[name])
        top[name] = replace(best, decision=np.where(unknown, Decision.UNKNOWN, decision).astype(np.int8))
    return top


def _confidence(
    probability: Floats, chosen: npt.NDArray[np.intp], calibration: AttributeCalibration
) -> Floats:
    """(n, labels): the chosen label's corrected, the others' so that all still add up to 1."""
    before = np.take_along_axis(probability, chosen, axis=1)
    after = corrected(before, calibration.slope, calibration.intercept)
    # Where one label holds all, the others have nothing that could be shared out.
    rest = (1 - after) / np.maximum(1 - before, np.float32(LEAST_DOUBT))
    confidence = np.minimum(probability * rest, 1)
    np.put_along_axis(confidence, chosen, after, axis=1)
    return confidence


def scaled(head: Head, similarity: Floats, calibration: AttributeCalibration) -> Floats:
    """Calibrated logits of similarities, both (n, labels)."""
    logits = head.logits(similarity) / np.float32(calibration.temperature)
    return logits + np.asarray(calibration.bias, dtype=np.float32) if calibration.bias else logits


def _decided(
    top: TopLabels, calibration: AttributeCalibration, conflict: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int_]:
    least = np.inf if calibration.threshold is None else calibration.threshold
    decision = np.where(top.confidence[:, 0] >= least, Decision.ACCEPTED, Decision.UNCERTAIN)
    return np.where(conflict, Decision.CONFLICT, decision)

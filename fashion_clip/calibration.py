"""What turns a model's scores into confidences that mean something, and says which labels are accepted.

    p(label) = softmax(scale * cosine / temperature + bias)          each attribute by itself
    q(label) = p, given that linked labels stand below each other    fashion_clip.hierarchy
    confidence(chosen label) = sigmoid(slope * logit(q) + intercept)

A temperature per attribute (Guo and others, On Calibration of Modern Neural Networks, ICML 2017, section 4.2)
and, where cross-validation shows that it earns its place, a bias per label (their vector scaling, with the
slopes held together). Attributes are no independent witnesses, and q is too sure of itself: slope and
intercept put that right (Platt scaling of the top label: Gupta and Ramdas, Top-label calibration, ICLR 2022).
A calibration is part of a model version and never changes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from fashion_clip.errors import CheckpointError
from fashion_clip.taxonomy import Attribute, Taxonomy
from fashion_clip.unknown import UnknownRule, rule_from_dict

_MOST = 3e38  # that float32 holds, in which scores are computed
_LEAST_TEMPERATURE = 1e-30


@dataclass(frozen=True)
class AttributeCalibration:
    """Of one attribute, as it was when it was calibrated.

    attribute_version: see `attribute_version`; for any other wording this calibration says nothing.
    bias: added to the logits, one a label; empty for none.
    slope, intercept: of the chosen label's confidence.
    threshold: the confidence from which labels are accepted, 0..1; None where none are.
    truths: products of sampled truth it was made from.
    error_before, error_after: calibration error on the truth that it was not fitted on, 0..1.
    accepted: the share of that truth that is accepted, 0..1.
    """

    attribute_version: str
    temperature: float
    bias: tuple[float, ...]
    slope: float
    intercept: float
    threshold: float | None
    truths: int
    error_before: float
    error_after: float
    accepted: float


@dataclass(frozen=True)
class Calibration:
    """Of a model: an attribute that is not named stays uncalibrated.

    precision, certainty: what was promised of accepted labels, and how surely; each 0..1.
    truth_version: sha256 of the truth that it was made from.
    fitting: the share of products that scores were fitted to, see `is_fitting`; their truth does not judge.
    unknown: what tells photos that are unlike the catalogue's; None where too little was known.
    """

    precision: float
    certainty: float
    truth_version: str
    fitting: float
    attributes: Mapping[str, AttributeCalibration] = field(default_factory=dict)
    unknown: UnknownRule | None = None

    @cached_property
    def version(self) -> str:
        """sha256 (64 hex digits) of all of it."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """A document that `parse_calibration` reads back."""
        document = {
            "precision": self.precision,
            "certainty": self.certainty,
            "truth_version": self.truth_version,
            "fitting": self.fitting,
            "attributes": {name: asdict(entry) for name, entry in self.attributes.items()},
            "unknown": self.unknown.as_dict() if self.unknown else None,
        }
        return json.dumps(document, sort_keys=True, ensure_ascii=False)

    def of(self, taxonomy: Taxonomy, attribute: Attribute) -> AttributeCalibration | None:
        """That of an attribute of the taxonomy, if it was calibrated where it stands now."""
        found = self.attributes.get(attribute.name)
        version = attribute_version(taxonomy, attribute)
        return found if found and found.attribute_version == version else None


def parse_calibration(document: str) -> Calibration:
    """What `to_json` wrote.

    Raises:
        CheckpointError: it is not that, or its numbers are out of their ranges.
    """
    try:
        fields = json.loads(document)
        unknown = fields.pop("unknown")
        attributes = {name: _entry(entry) for name, entry in fields.pop("attributes").items()}
        for name in ("precision", "certainty", "fitting"):
            _check_number(name, fields[name], 0, 1)
        _check_text("truth_version", fields["truth_version"])
        rule = None if unknown is None else rule_from_dict(unknown)
        return Calibration(**fields, attributes=attributes, unknown=rule)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"its calibration cannot be used ({type(error).__name__}: {error}); calibrate the model again"
        ) from error


def _entry(found: dict[str, Any]) -> AttributeCalibration:
    """Raises ValueError and others if it is none."""
    _check_text("attribute_version", found["attribute_version"])
    if not isinstance(found["bias"], list):
        raise ValueError(f"bias must be a list of numbers, not {found['bias']!r}")
    for number in (found["slope"], found["intercept"], *found["bias"]):
        _check_number("slope, intercept and bias", number, -_MOST, _MOST)
    _check_number("temperature", found["temperature"], _LEAST_TEMPERATURE, _MOST)
    _check_number("truths", found["truths"], 0, _MOST)
    if found["threshold"] is not None:
        _check_number("threshold", found["threshold"], 0, 1)
    for name in ("error_before", "error_after", "accepted"):
        _check_number(name, found[name], 0, 1)
    return AttributeCalibration(**{**found, "bias": tuple(found["bias"])})


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} must be a number between {low:.3g} and {high:.3g}, not {value!r}")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, not {value!r}")


def attribute_version(taxonomy: Taxonomy, attribute: Attribute) -> str:
    """sha256 hex of all that an attribute's confidences depend on.

    That is its labels, texts and templates, in their order, and those of all attributes that are linked to it
    by parents, with the links: a label's confidence is that of all that can stand with it.
    """
    tree = taxonomy.linked(attribute.name)
    linked = [
        [each.name, each.parent, [[label.name, label.parents, *each.prompts(label)] for label in each.labels]]
        for each in sorted(taxonomy.attributes, key=lambda each: each.name)
        if each.name in tree
    ]
    return hashlib.sha256(json.dumps([attribute.name, linked]).encode()).hexdigest()


def is_fitting(product: str, share: float) -> bool:
    """Whether a product is of the part of the truth that scores are fitted to."""
    return share_of("part", product) < share


def share_of(purpose: str, product: str) -> float:
    """0..1, as good as drawn at random, and the same for a product wherever it is asked for.

    The digest is of more than the id: who draws a sample of products by the digests of their ids would else
    have drawn the parts as well.
    """
    text = f"fashion-clip calibration {purpose} {product}"
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8]) / 2**64

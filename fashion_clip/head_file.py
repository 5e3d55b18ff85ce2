"""Learned heads as a file, `head.safetensors`: arrays and names, and nothing that could run."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fashion_clip.errors import CheckpointError
from fashion_clip.heads import LearnedHead, with_learned
from fashion_clip.scoring import Head

HEAD_FILE = "head.safetensors"
_ARRAYS = ("weights", "scales", "biases")
_NUMBERS = ("prompt_scale", "prompt_bias", "prompt_share", "penalty")
_FACTS = ("attribute", "labels", *_NUMBERS)
_UNIT = 1e-3  # by how much a row's length may differ from 1


@dataclass(frozen=True, eq=False)
class LearnedHeads:
    """What a model learned of its attributes; an attribute that is not among them stays zero-shot."""

    heads: tuple[LearnedHead, ...]

    @cached_property
    def version(self) -> str:
        """sha256 (64 hex digits) of all of it."""
        digest = hashlib.sha256(_document(self).encode())
        for head in self.heads:
            for name in _ARRAYS:
                digest.update(np.ascontiguousarray(getattr(head, name), dtype="<f4").data)
        return digest.hexdigest()

    def applied(self, prompts: Sequence[Head]) -> tuple[Head, ...]:
        """Zero-shot heads, with what was learned in place of prompts."""
        learned = {head.attribute: head for head in self.heads}
        return tuple(
            with_learned(head, learned[head.attribute]) if head.attribute in learned else head
            for head in prompts
        )


def write_heads(learned: LearnedHeads, path: Path) -> None:
    """Writes a safetensors file."""
    from safetensors.numpy import save_file

    arrays = {
        f"{number}.{name}": np.ascontiguousarray(getattr(head, name), dtype=np.float32)
        for number, head in enumerate(learned.heads)
        for name in _ARRAYS
    }
    save_file(arrays, path, metadata={"heads": _document(learned)})
    path.chmod(0o644)  # it is written for the owner alone


def read_heads(path: Path, dimension: int) -> LearnedHeads:
    """What `write_heads` wrote, for embeddings of that length.

    Raises:
        CheckpointError: it is damaged, or another model's.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            facts: list[dict[str, Any]] = json.loads(file.metadata()["heads"])
            heads = tuple(
                LearnedHead(**_facts(one), **{name: file.get_tensor(f"{number}.{name}") for name in _ARRAYS})
                for number, one in enumerate(facts)
            )
    except Exception as error:
        # Every exception: safetensors raises its own and JSON, keys and types theirs on a damaged file.
        raise CheckpointError(
            f"{str(path)!r} is no file of learned heads ({type(error).__name__}: {error}); train or copy the "
            "model again"
        ) from error
    for head in heads:
        _check_arrays(head, path, dimension)
    return LearnedHeads(heads)


def _facts(found: dict[str, Any]) -> dict[str, Any]:
    """As `LearnedHead` has them. Raises ValueError unless they are of its types, and numbers are finite."""
    labels = found["labels"]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"labels must be a list of texts, not {labels!r}")
    if len(set(labels)) < len(labels) or not isinstance(found["attribute"], str):
        raise ValueError(f"attribute {found['attribute']!r} must be a text, and no label twice in {labels!r}")
    for name in _NUMBERS:
        if type(found[name]) not in (int, float) or not np.isfinite(found[name]):
            raise ValueError(f"{name} must be a finite number, not {found[name]!r}")
    return {**found, "labels": tuple(labels)}


def _check_arrays(head: LearnedHead, path: Path, dimension: int) -> None:
    wanted = {"weights": (len(head.labels), dimension), "scales": (len(head.labels),)}
    wanted["biases"] = wanted["scales"]
    for name, shape in wanted.items():
        found = getattr(head, name)
        if found.shape != shape or not np.isfinite(found).all():
            raise CheckpointError(
                f"{str(path)!r}: {name} of attribute {head.attribute!r} must be numbers of shape {shape}, "
                f"and are of shape {found.shape}; the file is damaged or another model's"
            )
    if (np.abs(np.linalg.norm(head.weights, axis=1) - 1) > _UNIT).any():
        raise CheckpointError(
            f"{str(path)!r}: the weights of attribute {head.attribute!r} must be rows of length 1; the file "
            "is damaged"
        )


def _document(learned: LearnedHeads) -> str:
    return json.dumps([{name: getattr(head, name) for name in _FACTS} for head in learned.heads])

"""Learned heads on disk: the same when read back, and refused when they are not what was written."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fashion_clip.errors import CheckpointError
from fashion_clip.head_file import LearnedHeads, read_heads, write_heads
from fashion_clip.heads import fit_head
from tests.fashion_clip.test_heads import DIMENSION, photos, prompts


@pytest.fixture
def learned() -> LearnedHeads:
    head = fit_head(prompts(0.3), photos(60, 1, labels=4))
    return LearnedHeads((head, replace(head, attribute='naïve "quoted"', labels=("a", "b", "c\nd", "é"))))


def test_what_is_written_is_read_back(learned: LearnedHeads, tmp_path: Path) -> None:
    write_heads(learned, tmp_path / "head.safetensors")
    found = read_heads(tmp_path / "head.safetensors", DIMENSION)
    assert found.version == learned.version
    for one, other in zip(found.heads, learned.heads, strict=True):
        assert (one.attribute, one.labels, one.prompt_bias) == (
            other.attribute,
            other.labels,
            other.prompt_bias,
        )
        np.testing.assert_array_equal(one.weights, other.weights)


def test_another_weight_or_name_is_another_version(learned: LearnedHeads) -> None:
    first, second = learned.heads
    changed = first.weights.copy()
    changed[0, 0] += 1e-6
    versions = {
        learned.version,
        LearnedHeads((replace(first, weights=changed), second)).version,
        LearnedHeads((replace(first, labels=("x", *first.labels[1:])), second)).version,
        LearnedHeads((replace(first, prompt_bias=0.5), second)).version,
        LearnedHeads((first,)).version,
    }
    assert len(versions) == 5


def test_an_attribute_that_was_not_learned_stays_as_it_is(learned: LearnedHeads) -> None:
    other = replace(prompts(0.1), attribute="colour")
    [kind, colour] = learned.applied([prompts(0.3), other])
    assert colour is other
    assert not np.array_equal(kind.weights, prompts(0.3).weights)


def test_another_models_head_is_refused(learned: LearnedHeads, tmp_path: Path) -> None:
    write_heads(learned, tmp_path / "head.safetensors")
    with pytest.raises(
        CheckpointError, match=r"weights of attribute 'kind' must be numbers of shape \(4, 32\)"
    ):
        read_heads(tmp_path / "head.safetensors", 32)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": "abcd"}, "labels must be a list of texts, not 'abcd'"),
        ({"labels": ("a", "b", "c", 4)}, "labels must be a list of texts"),
        ({"labels": ("a", "b", "c", "a")}, "no label twice"),
        ({"attribute": None}, "attribute None must be a text"),
        ({"prompt_bias": float("nan")}, "prompt_bias must be a finite number, not nan"),
        ({"prompt_scale": float("inf")}, "prompt_scale must be a finite number"),
        ({"penalty": "1"}, "penalty must be a finite number"),
        ({"prompt_share": True}, "prompt_share must be a finite number"),
        ({"weights": np.ones((4, DIMENSION))}, "must be rows of length 1"),
    ],
)
def test_a_head_of_other_types_is_refused(
    learned: LearnedHeads, tmp_path: Path, change: dict[str, object], told: str
) -> None:
    changed = replace(learned.heads[1], **change)  # type: ignore[arg-type]
    write_heads(LearnedHeads((learned.heads[0], changed)), tmp_path / "head.safetensors")
    with pytest.raises(CheckpointError, match=told):
        read_heads(tmp_path / "head.safetensors", DIMENSION)


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\x80\x04\x95pickle"])
def test_what_is_no_head_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "head.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="is no file of learned heads"):
        read_heads(tmp_path / "head.safetensors", DIMENSION)

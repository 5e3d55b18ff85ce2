"""Heads from prompts, and the best labels of embeddings."""

from random import Random
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fashion_clip.scoring import Head, prompt_head, top_labels, zero_shot_heads
from fashion_clip.taxonomy import Attribute, Label, Taxonomy

if TYPE_CHECKING:
    from fashion_clip.encoder import ClipEncoder

# Multiples of 1/16: their products and sums are exact in float32, so that ties are ties in any order.
exact = st.integers(-16, 16).map(lambda value: value / 16)


def head_of(weights: npt.NDArray[np.float32], scale: float = 100.0) -> Head:
    return prompt_head("kind", tuple(f"label {n}" for n in range(len(weights))), weights, scale)


@st.composite
def heads_and_embeddings(draw: st.DrawFn) -> tuple[Head, npt.NDArray[np.float32]]:
    labels, rows, dimension = draw(st.integers(1, 9)), draw(st.integers(0, 6)), draw(st.integers(1, 5))
    weights = draw(arrays(np.float32, (labels, dimension), elements=exact))
    embeddings = draw(arrays(np.float32, (rows, dimension), elements=exact))
    return head_of(weights, draw(st.sampled_from([0.5, 14.0, 100.0, 1000.0]))), embeddings


@given(heads_and_embeddings(), st.integers(1, 12))
def test_the_best_labels_against_a_plain_sort(case: tuple[Head, npt.NDArray[np.float32]], k: int) -> None:
    head, embeddings = case
    top = top_labels(head, embeddings, k)
    kept = min(k, len(head.labels))
    assert top.index.shape == top.similarity.shape == top.confidence.shape == (len(embeddings), kept)
    assert [top.index.dtype, top.similarity.dtype, top.confidence.dtype] == ["int32", "float32", "float32"]
    for row, embedding in enumerate(embeddings):
        similarity = [float(embedding @ weight) for weight in head.weights]
        best = sorted(range(len(similarity)), key=lambda n: (-similarity[n], n))[:kept]
        assert top.index[row].tolist() == best
        assert top.similarity[row].tolist() == [similarity[n] for n in best]


@given(heads_and_embeddings(), st.integers(1, 12))
def test_confidences_are_shares(case: tuple[Head, npt.NDArray[np.float32]], k: int) -> None:
    head, embeddings = case
    confidence = top_labels(head, embeddings, k).confidence
    assert np.isfinite(confidence).all()
    assert (confidence >= 0).all()
    assert (confidence.sum(axis=1) <= 1 + 1e-5).all()
    assert (np.diff(confidence, axis=1) <= 0).all()
    everything = top_labels(head, embeddings, len(head.labels)).confidence
    np.testing.assert_allclose(everything.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(everything[:, : confidence.shape[1]], confidence)


@given(heads_and_embeddings(), st.randoms(use_true_random=False))
def test_the_order_of_labels_and_rows_changes_no_score(
    case: tuple[Head, npt.NDArray[np.float32]], random: Random
) -> None:
    head, embeddings = case
    labels, rows = list(range(len(head.labels))), list(range(len(embeddings)))
    random.shuffle(labels)
    random.shuffle(rows)
    shuffled = prompt_head(
        "kind", [head.labels[n] for n in labels], head.weights[labels], float(head.scales[0])
    )
    top, other = top_labels(head, embeddings), top_labels(shuffled, embeddings[rows])
    np.testing.assert_array_equal(other.similarity, top.similarity[rows])
    np.testing.assert_allclose(other.confidence, top.confidence[rows], rtol=1e-5)


def test_confidence_is_the_softmax_of_scaled_cosines() -> None:
    weights = np.eye(3, dtype=np.float32)
    embeddings = np.array([[0.6, 0.8, 0.0]], dtype=np.float32)
    top = top_labels(head_of(weights, scale=10.0), embeddings, k=2)
    powers = np.exp(np.array([6.0, 8.0, 0.0]))
    assert top.index.tolist() == [[1, 0]]
    np.testing.assert_allclose(top.confidence[0], powers[[1, 0]] / powers.sum(), rtol=1e-5)


def test_equal_labels_come_in_the_order_of_the_head() -> None:
    same = np.ones((4, 2), dtype=np.float32)
    assert top_labels(head_of(same), np.ones((2, 2), dtype=np.float32), k=3).index.tolist() == [[0, 1, 2]] * 2


def attribute(name: str, labels: list[str], templates: list[str]) -> Attribute:
    return Attribute(name, tuple(Label(text, text) for text in labels), tuple(templates))


def test_a_zero_shot_head_is_the_normalised_mean_of_normalised_prompts(demo_encoder: "ClipEncoder") -> None:
    templates = ["a photo of a {text}", "one {text}"]
    taxonomy = Taxonomy("t", (attribute("kind", ["dress", "bag"], templates),))
    (head,) = zero_shot_heads(demo_encoder, taxonomy)
    assert (head.attribute, head.labels) == ("kind", ("dress", "bag"))
    assert (head.scales == np.float32(demo_encoder.logit_scale)).all()
    assert head.weights.dtype == np.float32
    for label, row in zip(head.labels, head.weights, strict=True):
        first, second = (
            demo_encoder.encode_texts([template.format(text=label)])[0] for template in templates
        )
        mean = (first + second) / 2
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-5)


def test_every_attribute_gets_its_own_labels(demo_encoder: "ClipEncoder") -> None:
    kinds = attribute("kind", [f"dress {n}" for n in range(40)], ["a {text}"])
    shared = attribute("other", ["dress 3", "shoe"], ["a {text}"])
    heads = zero_shot_heads(demo_encoder, Taxonomy("t", (kinds, shared)))
    assert [head.attribute for head in heads] == ["kind", "other"]
    np.testing.assert_array_equal(heads[1].weights[0], heads[0].weights[3])
    np.testing.assert_allclose(np.linalg.norm(heads[0].weights, axis=1), 1, atol=1e-6)
    assert heads[1].weights[0] == pytest.approx(demo_encoder.encode_texts(["a dress 3"])[0], abs=1e-5)

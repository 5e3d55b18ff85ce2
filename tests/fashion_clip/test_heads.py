"""Heads learned from truth: near the prompts with little of it, near the best regression with much."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from fashion_clip.calibrating import Truths
from fashion_clip.head_file import LearnedHeads
from fashion_clip.heads import LearnedHead, fit_head, out_of_fold, with_learned
from fashion_clip.predictions import NONE_OF_THEM
from fashion_clip.scoring import Head, log_softmax, prompt_head, top_labels
from tests.fashion_clip.made_truth import unit

LABELS, DIMENSION = 6, 24
NAMES = tuple(f"label {number}" for number in range(LABELS))


def centres() -> npt.NDArray[np.float32]:
    return unit(np.random.default_rng(1).normal(size=(LABELS, DIMENSION)))


def prompts(error: float) -> Head:
    """Prompts that point to the labels' centres, but for an error."""
    noise = np.random.default_rng(2).normal(size=(LABELS, DIMENSION))
    return prompt_head("kind", NAMES, unit(centres() + error * noise), 20.0)


def photos(n: int, seed: int, labels: int = LABELS) -> Truths:
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, labels, n)
    vectors = unit(centres()[truth] + 0.25 * draw.normal(size=(n, DIMENSION)))
    return Truths(vectors, truth, tuple(f"{seed}-{number}" for number in range(n)), np.ones(n))


def accuracy(head: Head, told: Truths) -> float:
    return float((top_labels(head, told.vectors, 1).index[:, 0] == told.truth).mean())


JUDGE = photos(2_000, 99)


@pytest.mark.parametrize("n", [30, 300, 3_000])
@pytest.mark.parametrize("error", [0.1, 0.6])
def test_it_is_no_worse_than_prompts_and_than_a_plain_regression(n: int, error: float) -> None:
    from sklearn.linear_model import LogisticRegression

    told = photos(n, 3)
    before = prompts(error)
    learned = with_learned(before, fit_head(before, told))
    regression = LogisticRegression(C=1.0, max_iter=1_000).fit(told.vectors, told.truth)
    plain = float((regression.predict(JUDGE.vectors) == JUDGE.truth).mean())
    assert accuracy(learned, JUDGE) >= max(accuracy(before, JUDGE), plain) - 0.01


def test_good_prompts_are_kept_where_there_is_little_truth() -> None:
    before = prompts(0.0)
    learned = fit_head(before, photos(20, 4))
    assert accuracy(with_learned(before, learned), JUDGE) >= accuracy(before, JUDGE) - 0.015


def test_labels_without_an_example_keep_their_prompts_and_their_order() -> None:
    before = prompts(0.2)
    learned = fit_head(before, photos(200, 5, labels=4))
    after = with_learned(before, learned)
    assert learned.labels == NAMES[:4]
    np.testing.assert_array_equal(after.weights[4:], before.weights[4:])
    assert len(set(after.scales[4:].tolist())) == len(set(after.biases[4:].tolist())) == 1
    # Among themselves they are what zero-shot says.
    unseen = JUDGE.rows(np.flatnonzero(JUDGE.truth >= 4))
    of_four = [np.argmax(after.logits(unseen.vectors @ after.weights.T)[:, 4:], axis=1)]
    zero_shot = [np.argmax(unseen.vectors @ before.weights[4:].T, axis=1)]
    np.testing.assert_array_equal(of_four, zero_shot)


def test_a_label_that_is_added_later_takes_part_by_its_prompt() -> None:
    learned = fit_head(prompts(0.1), photos(300, 6))
    wider = prompt_head(
        "kind", (*NAMES, "new"), np.vstack([prompts(0.1).weights, unit(np.ones((1, DIMENSION)))]), 20.0
    )
    head = with_learned(wider, learned)
    [own] = unit(np.ones((1, DIMENSION)))
    assert top_labels(head, own[None], 1).index[0, 0] == LABELS
    assert accuracy(head, JUDGE) >= accuracy(with_learned(prompts(0.1), learned), JUDGE) - 0.02


def test_the_same_truth_makes_the_same_head() -> None:
    one, other = (fit_head(prompts(0.3), photos(150, 7)) for _ in range(2))
    np.testing.assert_array_equal(one.weights, other.weights)
    assert LearnedHeads((one,)).version == LearnedHeads((other,)).version


def test_the_order_of_truth_is_nothing() -> None:
    told = photos(150, 7)
    told = replace(told, products=tuple(f"p{number // 3}" for number in range(150)))
    order = np.random.default_rng(0).permutation(150)
    turned = told.rows(order)
    one, other = (fit_head(prompts(0.3), each) for each in (told, turned))
    assert LearnedHeads((one,)).version == LearnedHeads((other,)).version
    before, after = (out_of_fold(prompts(0.3), each, one) for each in (told, turned))
    np.testing.assert_array_equal(before[order], after)


def test_truth_that_no_label_fits_teaches_nothing() -> None:
    told = photos(100, 8)
    strange = photos(50, 9)
    both = Truths(
        np.vstack([told.vectors, strange.vectors]),
        np.concatenate([told.truth, np.full(50, NONE_OF_THEM)]),
        told.products + strange.products,
        np.ones(150),
    )
    np.testing.assert_array_equal(fit_head(prompts(0.3), both).weights, fit_head(prompts(0.3), told).weights)


def test_one_photo_and_one_product_are_enough() -> None:
    one = photos(1, 10)
    assert fit_head(prompts(0.1), one).labels == (NAMES[one.truth[0]],)
    same = photos(5, 11)
    same = replace(same, products=("p",) * 5)
    learned = fit_head(prompts(0.1), same)
    assert isinstance(learned, LearnedHead)
    assert np.isfinite(learned.weights).all()
    logits = prompts(0.1).logits(same.vectors @ prompts(0.1).weights.T)
    np.testing.assert_allclose(out_of_fold(prompts(0.1), same, learned), np.exp(log_softmax(logits)))


def test_examples_of_one_label_do_not_make_all_photos_that_label() -> None:
    told = photos(30, 14, labels=1)
    before = prompts(0.3)
    learned = fit_head(before, told)
    assert (learned.labels, learned.prompt_share, learned.penalty) == (NAMES[:1], 1.0, 100.0)
    np.testing.assert_allclose(learned.weights, before.weights[:1], rtol=1e-5)
    given = top_labels(with_learned(before, learned), before.weights, 1).index[:, 0]
    assert given.tolist() == list(range(LABELS))


def test_many_photos_of_a_labels_only_product_are_as_one() -> None:
    """A label of one product leaves as much to labels not seen so far, however often it was photographed."""
    told = photos(60, 16, labels=4)
    last = told.rows(np.flatnonzero(told.truth == 3)[:1])
    others = told.rows(np.flatnonzero(told.truth != 3))
    biases = []
    for times in (1, 20):
        added = last.rows(np.zeros(times, dtype=np.intp))
        both = Truths(
            np.vstack([others.vectors, added.vectors]),
            np.concatenate([others.truth, added.truth]),
            others.products + added.products,
            np.ones(len(others.truth) + times),
        )
        learned = fit_head(prompts(0.3), both)
        head = with_learned(prompts(0.3), learned)
        shares = np.exp(log_softmax(head.logits(both.vectors @ head.weights.T)))
        expected = 1 / (len(others.truth) + 2)
        biases.append(shares[:, 4:].sum(axis=1).mean() / expected)
    assert biases == pytest.approx([1, 1], abs=0.02)


def test_without_any_example_it_says_so() -> None:
    with pytest.raises(ValueError, match="no example of attribute 'kind'"):
        fit_head(prompts(0.1), photos(3, 12).rows(np.array([], dtype=np.intp)))


def test_out_of_fold_probabilities_doubt_truth_that_was_exchanged() -> None:
    told = photos(600, 13)
    wrong = np.arange(0, 600, 20)
    truth = told.truth.copy()
    truth[wrong] = (truth[wrong] + 1) % LABELS
    told = replace(told, truth=truth)
    learned = fit_head(prompts(0.3), told)
    probabilities = out_of_fold(prompts(0.3), told, learned)
    assert probabilities.shape == (600, LABELS)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-4)
    own = probabilities[np.arange(600), truth]
    assert np.median(own[wrong]) < 0.1 < np.median(np.delete(own, wrong))

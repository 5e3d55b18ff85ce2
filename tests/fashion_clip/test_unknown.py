"""Products are taken for unknown as seldom as said, and what is none is told from them."""

import json

import numpy as np
import numpy.typing as npt
import pytest

from fashion_clip.unknown import COMPONENTS, FALSE_ALARMS, LEAST_TRUTHS, fit_unknown, rule_from_dict

DIMENSION = 192


def products(n: int, seed: int) -> npt.NDArray[np.float32]:
    """Vectors that lie near a subspace of ten directions, with heavy tails, as no Gaussian has them."""
    draw = np.random.default_rng(seed)
    basis = np.random.default_rng(0).normal(size=(10, DIMENSION))
    rows = draw.standard_t(5, (n, 10)) @ basis + 0.5 * draw.standard_t(5, (n, DIMENSION)) + 3
    unit: npt.NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def test_products_are_taken_for_unknown_as_seldom_as_said() -> None:
    shares = []
    for seed in range(8):
        rule = fit_unknown(products(500, 3 * seed), products(300, 3 * seed + 1))
        assert rule is not None
        shares.append(rule.unknown(products(1000, 3 * seed + 2)).mean())
    # On average over the draw of the truth, whatever the shape; 8 draws of it tell this to 0.003.
    assert np.mean(shares) < FALSE_ALARMS + 0.005


def test_what_points_elsewhere_is_unknown() -> None:
    rule = fit_unknown(products(500, 1), products(300, 2))
    assert rule is not None
    noise = np.random.default_rng(3).normal(size=(200, DIMENSION))
    noise = (noise / np.linalg.norm(noise, axis=1, keepdims=True)).astype(np.float32)
    assert rule.unknown(noise).mean() > 0.95


def test_scores_are_squared_distances_in_the_fitted_gaussian() -> None:
    rule = fit_unknown(products(500, 1), products(300, 2))
    assert rule is not None
    covariance = (rule.components.T * rule.variances) @ rule.components
    rest = np.eye(DIMENSION) - rule.components.T @ rule.components
    apart = products(20, 4) - rule.mean
    expected = np.einsum("nd,de,ne->n", apart, np.linalg.inv(covariance + rule.noise * rest), apart)
    assert rule.scores(products(20, 4)) == pytest.approx(expected, rel=1e-3)


def test_too_little_makes_no_rule() -> None:
    assert fit_unknown(products(500, 1), products(LEAST_TRUTHS - 1, 2)) is None
    assert fit_unknown(products(2 * COMPONENTS - 1, 1), products(300, 2)) is None
    assert fit_unknown(products(500, 1), products(LEAST_TRUTHS, 2)) is not None


def test_a_rule_can_be_written_down() -> None:
    rule = fit_unknown(products(500, 1), products(300, 2))
    assert rule is not None
    again = rule_from_dict(json.loads(json.dumps(rule.as_dict())))
    assert np.array_equal(again.scores(products(50, 5)), rule.scores(products(50, 5)))
    assert again.threshold == rule.threshold

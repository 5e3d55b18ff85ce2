"""The gate lets through what is better and nothing else, and says why in a sentence."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from fashion_clip.gate import Judged, Rules, error_rate, judge
from fashion_clip.predictions import NONE_OF_THEM, Predictions
from fashion_clip.verdict import Check, Kind, Verdict, parse_verdict
from tests.fashion_clip.predictions_made_up import at_random, written_out

RULES = Rules(primary="kind")
LEVEL = 0.0076
SURE = 0.8


def said(
    right: Sequence[bool],
    attribute: str = "kind",
    confidence: float = SURE,
    truth: Sequence[int] | None = None,
) -> Predictions:
    """One photo a product; a wrong label is the one after the true one."""
    true = [0] * len(right) if truth is None else list(truth)
    given_labels = [label if hit else (label + 1) % 3 for label, hit in zip(true, right, strict=True)]
    return written_out(true, given_labels, [confidence] * len(right), attribute=attribute)


def two(
    n: int, losses: int, gains: int, attribute: str = "kind", confidence: float = SURE
) -> tuple[Predictions, Predictions]:
    """Champion and challenger, who agree, and are right, on all but losses + gains of n products."""
    champion = [row >= gains for row in range(n)]
    challenger = [not gains <= row < gains + losses for row in range(n)]
    return said(champion, attribute), said(challenger, attribute, confidence)


def verdict(*pairs: tuple[Predictions, Predictions], rules: Rules = RULES, level: float = LEVEL) -> Verdict:
    champion, challenger = zip(*pairs, strict=True)
    return judge(Judged(champion), Judged(challenger), rules, level)


def only(found: Verdict, kind: Kind) -> Check:
    [check] = found.of(kind)
    return check


def test_a_better_challenger_passes() -> None:
    found = verdict(two(300, 5, 30), two(300, 3, 3, "colour"))
    assert found.passed
    check = only(found, Kind.GAIN)
    assert check.p_value == pytest.approx(binomtest(30, 35, 0.5, alternative="greater").pvalue)
    assert (check.n, check.champion, check.challenger) == pytest.approx((300, 0.9, 295 / 300))
    assert check.low is not None and check.high is not None
    assert 0 < check.low < check.difference < check.high
    assert found.sentence == (
        "better: the accuracy of kind rises from 90.0 to 98.3 % on 300 products (+8.3 points, interval "
        f"{100 * check.low:+.1f} to {100 * check.high:+.1f}), p = {check.p_value:.2g}, at most 0.0076 was "
        "asked, and none of 3 other checks found a loss beyond its margin"
    )


@pytest.mark.parametrize(
    ("losses", "gains", "minimum", "told"),
    [
        (10, 17, 0.0, "rises from 94.3 to 96.7 % on 300 products"),
        (10, 17, 0.0, "which may be chance (p = 0.12, at most 0.0076 is asked)"),
        (30, 5, 0.0, "falls from 98.3 to 90.0 %"),
        (10, 10, 0.0, "stays at 96.7 % on 300 products"),
        (5, 30, 0.1, "and at least 10 points are asked"),
    ],
)
def test_one_that_is_not_better_is_rejected(losses: int, gains: int, minimum: float, told: str) -> None:
    found = verdict(two(300, losses, gains), rules=replace(RULES, minimum_gain=minimum))
    assert not found.passed
    assert found.sentence.startswith("rejected, because the accuracy of kind ")
    assert told in found.sentence


def test_the_gain_that_is_asked_is_enough() -> None:
    found = verdict(two(300, 0, 30), rules=replace(RULES, minimum_gain=0.1))
    assert found.passed


@pytest.mark.parametrize(
    ("losses", "gains", "passed"),
    [(6, 0, True), (7, 0, False), (12, 5, False), (60, 53, True)],
)
def test_another_attribute_vetoes_beyond_the_margin_and_chance(losses: int, gains: int, passed: bool) -> None:
    """Of 300 products 6 are at the margin of 2 points; 60 against 53 is beyond it, but a coin's toss."""
    found = verdict(
        two(300, 5, 30), two(300, losses, gains, "colour"), rules=replace(RULES, label_margin=1.0)
    )
    assert only(found, Kind.ATTRIBUTE).passed is passed
    assert found.passed is passed
    assert passed or "the accuracy of colour falls from " in found.sentence


def with_a_ruined_label(products: int, lost: int) -> tuple[Predictions, Predictions]:
    """1,000 products of a label that gains 100, and some of another, of which as many are lost."""
    truth = [0] * 1000 + [1] * products
    champion = [row >= 100 for row in range(1000)] + [True] * products
    challenger = [True] * 1000 + [row >= lost for row in range(products)]
    return said(champion, truth=truth), said(challenger, truth=truth)


def test_a_ruined_label_vetoes() -> None:
    found = verdict(with_a_ruined_label(60, 60))
    assert only(found, Kind.GAIN).passed
    assert not found.passed
    assert found.sentence.startswith(
        "rejected, because the recall of 'b' in kind falls from 100.0 to 0.0 % on 60 products (-100.0 points"
    )
    ruined = found.of(Kind.LABEL)[1]
    assert (ruined.label, ruined.n, ruined.limit, ruined.passed) == ("b", 60, -0.1, False)
    assert ruined.high is not None and ruined.high < -0.1


@pytest.mark.parametrize(("products", "lost"), [(3, 3), (8, 8), (60, 8)])
def test_a_label_that_shows_no_loss_beyond_the_margin_does_not(products: int, lost: int) -> None:
    assert verdict(with_a_ruined_label(products, lost)).passed


def test_the_more_labels_the_more_a_loss_must_show() -> None:
    ruined = with_a_ruined_label(12, 12)
    alone = verdict(ruined).of(Kind.LABEL)[1]
    others = at_random([f"label {number}" for number in range(200)], 4000, 1, 1.0, "model")
    among = verdict(ruined, (others, others)).of(Kind.LABEL)[1]
    assert not alone.passed
    assert among.passed
    assert among.p_value is not None and alone.p_value is not None
    assert among.p_value == pytest.approx(min(1, 101 * alone.p_value), rel=0.99)


def test_labels_kept_out_of_training_must_hold() -> None:
    champion, challenger = two(300, 5, 30)
    kept = two(100, 12, 0, "kept")
    for kept_out, passed in ((two(100, 10, 0, "kept"), True), (kept, False)):
        first, second = kept_out
        models = Judged((champion,), kept_out=(first,)), Judged((challenger,), kept_out=(second,))
        found = judge(*models, RULES, LEVEL)
        check = only(found, Kind.KEPT_OUT)
        assert check.limit == pytest.approx(-0.1)
        assert found.passed is check.passed is passed
    assert "the accuracy of kept on labels kept out of training falls from 100.0 to 88.0 %" in found.sentence
    unchanged = judge(Judged((champion,), kept_out=(kept[0],)), Judged((challenger,)), RULES, LEVEL)
    assert unchanged.passed and not unchanged.of(Kind.KEPT_OUT)
    with pytest.raises(ValueError, match="same attributes"):
        judge(Judged((champion,)), Judged((challenger,), kept_out=(kept[1],)), RULES, LEVEL)


def test_confidences_must_not_err_more() -> None:
    champion, challenger = two(300, 5, 30, confidence=0.6)
    both, one = frozenset({"kind"}), frozenset[str]()
    for of_champion, of_challenger in ((both, one), (one, both)):
        models = Judged((champion,), calibrated=of_champion), Judged((challenger,), calibrated=of_challenger)
        assert judge(*models, RULES, LEVEL).passed
    found = judge(Judged((champion,), calibrated=both), Judged((challenger,), calibrated=both), RULES, LEVEL)
    check = only(found, Kind.CALIBRATION)
    assert (check.champion, check.challenger) == pytest.approx((0.1, 295 / 300 - 0.6))
    assert check.p_value == pytest.approx(1 / 200)
    assert not found.passed
    assert "the confidences of kind err by 0.383 instead of 0.100 on 300 products" in found.sentence
    surer = replace(challenger, top=champion.top)
    again = judge(Judged((champion,), calibrated=both), Judged((surer,), calibrated=both), RULES, LEVEL)
    assert only(again, Kind.CALIBRATION).passed


def calibrated(*errors: float) -> tuple[Judged, Judged]:
    """Two models that are right of all 300 products; the challenger is less sure by `errors`."""
    names = [f"attribute {number}" for number in range(len(errors))]
    champion, challenger = (
        tuple(said([True] * 300, name, 1 - share * error) for name, error in zip(names, errors, strict=True))
        for share in (0, 1)
    )
    return Judged(champion, calibrated=frozenset(names)), Judged(challenger, calibrated=frozenset(names))


def test_confidences_of_one_among_many_attributes_veto() -> None:
    found = judge(*calibrated(0.3, *[0.0] * 29), RULES, LEVEL)
    assert [check.attribute for check in found.failed if check.kind is Kind.CALIBRATION] == ["attribute 0"]


def test_the_largest_calibration_error_is_told_first() -> None:
    found = judge(*calibrated(0.1, 0.3, 0.2), RULES, LEVEL).sentence
    told = [found.index(f"confidences of attribute {number}") for number in (1, 2)]
    assert told == sorted(told)
    assert "confidences of attribute 0" not in found


def test_a_larger_calibration_error_that_may_be_chance_does_not_veto() -> None:
    """Two models of the same 60 products, equal but for chance."""
    vetoes = beyond = 0
    for seed in range(40):
        coins = np.random.default_rng(seed)
        confidence = coins.uniform(0.4, 1, (2, 60))
        hits = coins.random((2, 60)) < confidence
        first, second = (
            Judged(
                (written_out([0] * 60, (~hit).astype(int).tolist(), sure.tolist()),),
                calibrated=frozenset({"kind"}),
            )
            for hit, sure in zip(hits, confidence, strict=True)
        )
        check = only(judge(first, second, RULES, LEVEL), Kind.CALIBRATION)
        vetoes += not check.passed
        beyond += check.difference > check.limit
    assert vetoes <= binom.ppf(0.999, 40, 0.1) < beyond


@pytest.mark.parametrize(
    ("products", "gains", "told"),
    [
        (0, 0, "only 0 products have truth of kind that may judge, and at least 8 are needed"),
        (7, 7, "only 7 products have truth of kind that may judge, and at least 8 are needed"),
        (300, 7, "only 7 of 300 products of kind tell the two models apart, and at least 8 are needed"),
    ],
)
def test_too_little_truth_is_a_verdict(products: int, gains: int, told: str) -> None:
    found = verdict(two(products, 0, gains), two(50, 0, 0, "colour"))
    assert not found.passed
    assert found.sentence == f"rejected, because {told}"
    assert verdict(two(8, 0, 8)).passed


def test_an_attribute_that_nobody_judged_is_too_little_truth() -> None:
    found = verdict(two(300, 0, 100, "colour"))
    assert not found.passed
    assert "only 0 products have truth of kind" in found.sentence


def test_several_reasons_are_one_sentence_with_the_largest_losses() -> None:
    attributes = [two(300, 30 + number, 0, f"other {number}") for number in range(4)]
    found = verdict(two(300, 0, 0), *attributes)
    first, *others = found.sentence.split("; and ")
    assert first.startswith("rejected, because only 0 of 300 products of kind tell the two models apart")
    assert others[0].startswith("because the accuracy of other 3 falls")
    assert others[1].startswith("because the accuracy of other 2 falls")
    assert others[2:] == ["for 2 other reasons"]


def test_photos_may_come_in_any_order() -> None:
    champion, challenger = at_random("abcd", 300, 1, 0.5), at_random("abcd", 300, 1, 0.9)
    shuffled = challenger.rows(np.random.default_rng(0).permutation(300))
    assert verdict((champion, challenger)) == verdict((champion, shuffled))


def test_of_a_product_one_photo_counts() -> None:
    """As good as drawn: where each of 300 products gains one of its three photos, a third of them gains."""
    products = np.repeat(np.arange(300), 3)
    champion = replace(said([True, True, False] * 300), products=products)
    challenger = replace(said([True] * 900), products=products)
    check = only(verdict((champion, challenger)), Kind.GAIN)
    assert check.n == 300
    assert abs(check.difference - 1 / 3) < 0.1
    once = replace(champion, products=np.arange(900))
    assert only(verdict((once, replace(challenger, products=np.arange(900)))), Kind.GAIN).n == 900
    turned = np.random.default_rng(0).permutation(900)
    assert verdict((champion.rows(turned), challenger)).checks[0].difference == check.difference


def test_many_photos_of_few_products_are_few_draws() -> None:
    products = np.arange(200) % 5
    champion, challenger = (replace(one, products=products) for one in two(200, 0, 200))
    assert "only 5 products" in verdict((champion, challenger)).sentence


def test_weights_count() -> None:
    """30 gains of products that stand for one each, 10 losses of such as stand for ten."""
    champion, challenger = two(300, 10, 30)
    weights = np.where(champion.hits & ~challenger.hits, 10.0, 1.0)
    assert verdict((champion, challenger)).passed
    found = verdict((replace(champion, weights=weights), replace(challenger, weights=weights)))
    assert not found.passed
    assert only(found, Kind.GAIN).difference == pytest.approx((30 - 100) / 390)


def test_a_few_heavy_products_are_few_draws() -> None:
    """Five gains of products that stand for a hundred each are five coins, and show no gain."""
    champion, challenger = two(1_000, 0, 5)
    weights = np.where(champion.hits, 1.0, 100.0)
    assert "only 5 of 1,000 products of kind tell" in (
        verdict((replace(champion, weights=weights), replace(challenger, weights=weights))).sentence
    )
    champion, challenger = two(300, 3, 0, "colour")
    weights = np.where(challenger.hits, 1.0, 30.0)
    found = verdict(
        two(300, 5, 30), (replace(champion, weights=weights), replace(challenger, weights=weights))
    )
    check = only(found, Kind.ATTRIBUTE)
    assert check.passed and check.p_value == pytest.approx(1 / 8)


def test_truth_outside_of_the_labels_is_wrong_for_both() -> None:
    champion, challenger = two(300, 5, 30)
    truth = champion.truth.copy()
    truth[-60:] = NONE_OF_THEM
    found = verdict((replace(champion, truth=truth), replace(challenger, truth=truth)))
    check = only(found, Kind.GAIN)
    assert (check.n, check.champion) == pytest.approx((300, 0.7))
    assert check.p_value == only(verdict(two(300, 5, 30)), Kind.GAIN).p_value
    assert [label.n for label in found.of(Kind.LABEL)] == [240]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"attribute": "colour"}, "same attributes"),
        ({"labels": ("a", "c", "b")}, "other labels of 'kind'"),
        ({"photos": tuple("xyz")}, "other photos of 'kind'"),
        ({"truth": np.array([0, 0, 1])}, "another truth of 'kind'"),
    ],
)
def test_what_cannot_be_compared_is_refused(change: dict[str, object], told: str) -> None:
    champion, challenger = two(3, 1, 1)
    with pytest.raises(ValueError, match=told):
        verdict((champion, replace(challenger, **change)))  # type: ignore[arg-type]


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0])
def test_a_level_that_is_none_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        verdict(two(300, 5, 30), level=level)


def random_pair(seed: int) -> tuple[Judged, Judged]:
    """Two models of two attributes of 120 photos, two a product, with weights."""
    draws = np.random.default_rng(seed)
    first, second = draws.uniform(0.3, 0.9, 2)
    models = []
    for right, other in ((first, second), (second, first)):
        kind = at_random("abcd", 120, seed, right)
        models.append(
            Judged((kind, at_random("xyz", 120, seed + 1, other, "colour")), calibrated=frozenset({"kind"}))
        )
    return models[0], models[1]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_the_other_way_round_differences_are_mirrored(seed: int) -> None:
    champion, challenger = random_pair(seed)
    there, back = judge(champion, challenger, RULES, 0.05), judge(challenger, champion, RULES, 0.05)
    assert not (there.passed and back.passed)
    for one, other in zip(there.checks, back.checks, strict=True):
        assert (one.champion, one.challenger) == (other.challenger, other.champion)
        assert one.difference == pytest.approx(-other.difference)
        assert one.difference == pytest.approx(one.challenger - one.champion)
        if one.low is not None and one.high is not None:
            assert (other.low, other.high) == pytest.approx((-one.high, -one.low))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.floats(1e-6, 0.9), st.floats(1e-6, 0.9))
def test_what_passes_at_a_level_passes_at_any_larger_one(seed: int, one: float, other: float) -> None:
    models = random_pair(seed)
    strict, lenient = (judge(*models, RULES, level) for level in sorted((one, other)))
    assert strict.passed <= lenient.passed
    assert [check.passed for check in strict.checks[1:]] == [check.passed for check in lenient.checks[1:]]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_a_verdict_is_read_back_from_json(seed: int) -> None:
    found = judge(*random_pair(seed), RULES, 0.05)
    assert parse_verdict(json.loads(json.dumps(found.as_dict(), allow_nan=False))) == found


def test_error_rates_add_up_to_what_is_allowed() -> None:
    assert error_rate(1, 1) == pytest.approx(0.05 * 6 / np.pi**2)
    rates = [error_rate(climb, 4) for climb in range(1, 2000)]
    assert 0.0499 < 4 * sum(rates) < 0.05
    assert sorted(rates, reverse=True) == rates
    assert error_rate(3, 2, 0.2) == pytest.approx(8 * error_rate(3, 4))


@pytest.mark.parametrize(("climb", "rungs", "total"), [(0, 4, 0.05), (1, 0, 0.05), (1, 4, 0.0), (1, 4, 1.0)])
def test_what_is_no_climb_is_refused(climb: int, rungs: int, total: float) -> None:
    with pytest.raises(ValueError, match="no error rate"):
        error_rate(climb, rungs, total)


def test_equal_challengers_are_promoted_as_rarely_as_promised() -> None:
    """Climbs of four rungs, of challengers that are right of any product as often as the champion."""
    climbs, products = 250, 100
    promoted = careless = 0
    for number in range(climbs):
        draws = np.random.default_rng(number)
        champion = said((draws.random(products) < 0.5).tolist())
        rungs = [said((draws.random(products) < 0.5).tolist()) for _ in range(4)]
        found = [verdict((champion, rung), level=error_rate(1, 4)) for rung in rungs]
        promoted += any(one.passed for one in found)
        careless += any((one.checks[0].p_value or 0) <= 0.05 for one in found)
    # At 5 % exactly, more of them would be promoted once in ten thousand times.
    assert promoted <= binom.ppf(1 - 1e-4, climbs, 0.05)
    assert careless > 0.08 * climbs  # with each rung at 5 %

"""Groups hold together what is alike, and no group is on two sides."""

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashion_clip import splitting
from fashion_clip.splitting import Parts, groups, split

DIMENSION = 16


def apart(n: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Unit vectors no two of which are near each other."""
    return unit(np.random.default_rng(seed).normal(size=(n, DIMENSION)))


def unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    vectors: npt.NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def at_cosine(vector: npt.NDArray[np.float32], cosine: float) -> npt.NDArray[np.float32]:
    """Another unit vector with that cosine to the first."""
    across = np.roll(vector, 1).astype(np.float64)
    across -= (across @ vector) * vector
    across /= np.linalg.norm(across)
    [other] = unit(cosine * vector + np.sqrt(1 - cosine**2) * across[None])
    return np.asarray(other)


def partition(numbers: npt.NDArray[np.int64]) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(numbers == number).tolist()) for number in set(numbers.tolist())}


def names(n: int) -> list[str]:
    return [f"product {number}" for number in range(n)]


# Groups -----------------------------------------------------------------------------------------------------


def test_photos_of_one_product_or_content_belong_together() -> None:
    products = ["a", "a", "b", "c", "d", "d"]
    contents = np.array([1, 2, 3, 3, 4, 5])
    found = groups(products, contents, apart(6)[contents])
    assert found.dtype == np.int64
    assert partition(found) == {frozenset({0, 1}), frozenset({2, 3}), frozenset({4, 5})}


def test_near_pictures_belong_together_from_the_threshold_on() -> None:
    vectors = apart(3)
    vectors[1], vectors[2] = at_cosine(vectors[0], 0.9952), at_cosine(vectors[0], 0.9948)
    one, two = groups(["a", "b"], np.arange(2), vectors[:2])
    assert one == two
    one, two = groups(["a", "c"], np.arange(2), vectors[[0, 2]])
    assert one != two
    one, two = groups(["a", "c"], np.arange(2), vectors[[0, 2]], near=0.99)
    assert one == two


def test_links_reach_through_others() -> None:
    vectors = apart(5)
    vectors[3] = at_cosine(vectors[2], 0.999)
    found = groups(["a", "a", "b", "c", "d"], np.array([1, 2, 2, 4, 5]), vectors[[0, 2, 2, 3, 4]])
    assert partition(found) == {frozenset({0, 1, 2, 3}), frozenset({4})}


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), max_size=25),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=4),
    st.integers(1, 7),
)
def test_groups_are_those_of_every_pair_compared(
    photos: list[tuple[int, int]], near: list[tuple[int, int]], block: int
) -> None:
    of_content = apart(13, seed=1)
    for one, other in near:
        of_content[other] = at_cosine(of_content[one], 0.9999)
    products = [f"p{product}" for product, _ in photos]
    contents = np.array([content for _, content in photos], dtype=np.int64)
    vectors = of_content[contents]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(splitting, "BLOCK", block)
        found = groups(products, contents, vectors)
    alike = {
        (i, j)
        for i, j in combinations(range(len(photos)), 2)
        if products[i] == products[j]
        or contents[i] == contents[j]
        or vectors[i] @ vectors[j] >= splitting.NEAR
    }
    assert partition(found) == closure(len(photos), alike)


def closure(n: int, pairs: set[tuple[int, int]]) -> set[frozenset[int]]:
    whole = {number: frozenset({number}) for number in range(n)}
    for one, other in pairs:
        joined = whole[one] | whole[other]
        whole |= dict.fromkeys(joined, joined)
    return set(whole.values())


def test_many_copies_of_one_picture_are_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "BLOCK", 64)
    vectors = np.repeat(apart(1), 500, axis=0)
    assert len(set(groups(names(500), np.arange(500), vectors).tolist())) == 1


def test_vectors_rounded_to_float16_lose_no_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "BLOCK", 16)
    first = apart(300, seed=4)
    both = np.concatenate([first, np.stack([at_cosine(vector, 0.99505) for vector in first])])
    rounded = both.astype(np.float16).astype(np.float32)
    found = groups(names(600), np.arange(600), rounded)
    expected = (rounded[:300] * rounded[300:]).sum(axis=1) >= splitting.NEAR
    assert (found[:300] == found[300:]).tolist() == expected.tolist()
    assert expected.mean() > 0.5


@pytest.mark.parametrize(("step", "expected"), [(0.0999, 1), (0.1005, 11)])
def test_neighbours_that_lie_along_the_widest_direction_are_found(
    step: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cosine of 0.995 is an angle of 0.1000."""
    monkeypatch.setattr(splitting, "BLOCK", 1)
    angles = step * np.arange(-5, 6)
    vectors = np.stack([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
    assert len(set(groups(names(11), np.arange(11), vectors).tolist())) == expected


def test_a_groups_number_is_the_same_beside_other_photos() -> None:
    products, contents, vectors = names(40), np.arange(40), apart(40)
    vectors[7] = vectors[3]
    whole = groups(products, contents, vectors)
    assert whole[7] == whole[3]
    for rows in (np.arange(10), np.array([7, 3, 1]), np.arange(39, 0, -1)):
        some = groups([products[row] for row in rows], contents[rows], vectors[rows])
        kept = np.isin(rows, [3, 7])
        assert some[~kept].tolist() == whole[rows[~kept]].tolist()
        if kept.sum() == 2:
            assert some[kept].tolist() == whole[rows[kept]].tolist()


def test_nothing_has_no_groups() -> None:
    found = groups([], np.empty(0, dtype=np.int64), np.empty((0, DIMENSION), dtype=np.float32))
    assert found.shape == (0,)


# Parts ------------------------------------------------------------------------------------------------------

PHOTOS = st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0.0, 1.0, 2.5, 1e9])), max_size=60)


def parts_of(photos: list[tuple[int, float]]) -> Parts:
    return split(
        np.array([group for group, _ in photos], dtype=np.int64),
        np.array([time for _, time in photos], dtype=np.float64),
    )


def sides(photos: list[tuple[int, float]], parts: Parts) -> dict[str, set[int]]:
    return {name: {photos[row][0] for row in rows.tolist()} for name, rows in vars(parts).items()}


@given(PHOTOS)
def test_every_photo_has_one_side_and_every_group_too(photos: list[tuple[int, float]]) -> None:
    parts = parts_of(photos)
    every = np.concatenate([parts.training, parts.validation, parts.judge])
    assert sorted(every.tolist()) == list(range(len(photos)))
    assert all((np.diff(rows) > 0).all() for rows in vars(parts).values())
    of_side = sides(photos, parts)
    assert sum(map(len, of_side.values())) == len({group for group, _ in photos})


@given(PHOTOS)
def test_the_oldest_third_judges_nothing(photos: list[tuple[int, float]]) -> None:
    newest: dict[int, float] = {}
    for group, time in photos:
        newest[group] = max(time, newest.get(group, time))
    for judge in sides(photos, parts_of(photos))["judge"]:
        newer = sum(time > newest[judge] for time in newest.values())
        assert newer < round(len(newest) * 2 / 3)


def test_what_is_newest_is_both_taught_and_judged() -> None:
    """After a drop nothing else tells of what has changed."""
    given_at = np.repeat([0.0, 1.0], [600, 200])
    parts = split(groups(names(800), np.arange(800), apart(800)), given_at)
    newest = [int((rows >= 600).sum()) for rows in vars(parts).values()]
    assert newest == pytest.approx([75, 25, 100], abs=20)


@given(PHOTOS, st.lists(st.integers(31, 60), max_size=30))
def test_older_truth_takes_no_judge_away_and_moves_no_other(
    photos: list[tuple[int, float]], older: list[int]
) -> None:
    before = sides(photos, parts_of(photos))
    more = [*photos, *((group, -1.0) for group in older)]
    after = sides(more, parts_of(more))
    assert before["judge"] <= after["judge"]
    assert before["training"] - after["judge"] <= after["training"]
    assert before["validation"] - after["judge"] <= after["validation"]


@given(PHOTOS)
def test_the_order_of_photos_is_nothing(photos: list[tuple[int, float]]) -> None:
    shuffled = sorted(photos, key=repr, reverse=True)
    assert sides(shuffled, parts_of(shuffled)) == sides(photos, parts_of(photos))


def test_truth_of_one_import_is_split_as_if_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = groups(names(3_000), np.arange(3_000), apart(3_000))
    parts = split(numbers, np.full(3_000, 1.8e9))
    assert len(parts.judge) == pytest.approx(1_000, abs=80)
    assert len(parts.validation) == pytest.approx(500, abs=60)
    half = split(numbers[:1_500], np.full(1_500, 1.8e9))
    kept = np.isin(half.judge, parts.judge).mean()
    assert kept > 0.9  # what decides is the group's own digest
    # Whoever judges says nothing of who would validate, nor does the number itself of either.
    in_order = split(np.arange(3_000), np.full(3_000, 1.8e9))
    assert [rows.mean() for rows in vars(in_order).values()] == pytest.approx([1_500] * 3, abs=100)
    monkeypatch.setattr(splitting, "JUDGE_SHARE", 0)
    other = split(numbers, np.full(3_000, 1.8e9))
    assert np.isin(parts.judge, other.validation).mean() == pytest.approx(0.25, abs=0.05)

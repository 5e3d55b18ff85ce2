"""The labels chosen together are the most probable ones among all that can stand together."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fashion_clip.hierarchy import allowed, best_together
from fashion_clip.scoring import log_softmax
from fashion_clip.taxonomy import Attribute, Label, Taxonomy, load_taxonomy

PHOTOS = 3


def attribute(name: str, labels: dict[str, tuple[str, ...]], parent: str | None = None) -> Attribute:
    return Attribute(
        name, tuple(Label(label, label, above) for label, above in labels.items()), ("{text}",), parent
    )


@st.composite
def taxonomies(draw: st.DrawFn) -> Taxonomy:
    """Up to four attributes of up to three labels, each below an earlier one or none, in any order."""
    attributes: list[Attribute] = []
    for number in range(draw(st.integers(1, 4))):
        above = draw(st.sampled_from([None, *attributes]))
        names = [f"{number}-{label}" for label in range(draw(st.integers(1, 3)))]
        parents = st.lists(st.sampled_from([x.name for x in above.labels] if above else [""]), unique=True)
        labels = {name: tuple(draw(parents)) if above else () for name in names}
        attributes.append(attribute(str(number), labels, above.name if above else None))
    return Taxonomy("made up", tuple(draw(st.permutations(attributes))))


def _score(
    logs: dict[str, npt.NDArray[np.float32]], names: list[str], photo: int, labels: tuple[int, ...]
) -> float:
    return sum(float(logs[name][photo, label]) for name, label in zip(names, labels, strict=True))


def stands(taxonomy: Taxonomy, chosen: dict[str, int]) -> bool:
    """Every label below its parent's, wherever that has labels below it."""
    by_name = {each.name: each for each in taxonomy.attributes}
    for each in taxonomy.attributes:
        if each.parent is not None:
            below = allowed(each, by_name[each.parent])[chosen[each.parent]]
            if below.any() and not below[chosen[each.name]]:
                return False
    return True


@settings(deadline=None, max_examples=150)
@given(st.data(), taxonomies())
def test_labels_and_probabilities_are_those_of_trying_everything(
    data: st.DataObject, taxonomy: Taxonomy
) -> None:
    seed = data.draw(st.integers(0, 2**32 - 1))
    draw = np.random.default_rng(seed)
    sharp = data.draw(st.sampled_from([1.0, 5.0, 30.0]))
    logs = {
        each.name: log_softmax(draw.normal(0, sharp, (PHOTOS, len(each.labels))).astype(np.float32))
        for each in taxonomy.attributes
    }
    found = best_together(logs, taxonomy)
    names = [each.name for each in taxonomy.attributes]
    possible = [
        labels
        for labels in itertools.product(*(range(len(each.labels)) for each in taxonomy.attributes))
        if stands(taxonomy, dict(zip(names, labels, strict=True)))
    ]
    for photo in range(PHOTOS):
        mine = {name: int(found.index[name][photo]) for name in names}
        assert stands(taxonomy, mine)
        scores = np.array([_score(logs, names, photo, labels) for labels in possible])
        chosen = _score(logs, names, photo, tuple(mine[name] for name in names))
        assert chosen == pytest.approx(scores.max(), abs=1e-3)
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        for place, each in enumerate(taxonomy.attributes):
            expected = np.bincount([labels[place] for labels in possible], shares, minlength=len(each.labels))
            assert found.probability[each.name][photo] == pytest.approx(expected, abs=1e-4)


def test_a_sure_parent_moves_an_unsure_child_and_the_other_way_round() -> None:
    taxonomy = Taxonomy(
        "shop",
        (
            attribute("type", {"Sandals": ("Footwear",), "Tops": ("Apparel",)}, "category"),
            attribute("category", {"Footwear": (), "Apparel": ()}),
        ),
    )
    unsure, sure = [0.45, 0.55], [0.99, 0.01]
    logs = np.log(np.array([[unsure, sure], [sure, unsure]], dtype=np.float32))
    found = best_together({"type": logs[:, 0], "category": logs[:, 1]}, taxonomy)
    assert found.index["type"].tolist() == found.index["category"].tolist() == [0, 0]
    assert not found.conflict["type"].any()


def test_a_parent_without_labels_below_it_may_win_and_is_told() -> None:
    taxonomy = Taxonomy(
        "shop",
        (
            attribute("category", {"Home": (), "Apparel": ()}),
            attribute("type", {"Tops": ("Apparel",), "Dresses": ("Apparel",)}, "category"),
        ),
    )
    logs = {
        "category": np.log(np.array([[0.9, 0.1], [0.1, 0.9]], dtype=np.float32)),
        "type": np.log(np.array([[0.2, 0.8], [0.2, 0.8]], dtype=np.float32)),
    }
    found = best_together(logs, taxonomy)
    assert found.index["category"].tolist() == [0, 1]
    assert found.index["type"].tolist() == [1, 1]
    assert found.conflict["type"].tolist() == [True, False]


def test_an_attribute_that_is_left_out_links_nothing() -> None:
    taxonomy = load_taxonomy("products")
    [sub] = [each for each in taxonomy.attributes if each.name == "subCategory"]
    draw = np.random.default_rng(0).dirichlet(np.ones(len(sub.labels)), 20)
    found = best_together({"subCategory": np.log(draw).astype(np.float32)}, taxonomy)
    assert found.index["subCategory"].tolist() == draw.argmax(axis=1).tolist()

"""A small shop whose truth is drawn from what its scores mean once they are scaled: so all can be checked."""

import numpy as np
import numpy.typing as npt

from fashion_clip.calibrating import Truths
from fashion_clip.labeller import Labeller
from fashion_clip.scoring import prompt_head
from fashion_clip.taxonomy import Attribute, Label, Taxonomy

DIMENSION = 24
TRUE_SCALE = 14.0  # what cosines are multiplied by where confidence is right
SCALE = 60.0  # what the model multiplies by: far too sure of itself

TEMPLATES = ("{text}",)
KINDS = {"Shirts": "Clothes", "Dresses": "Clothes", "Boots": "Shoes", "Sandals": "Shoes", "Bags": "Things"}
TAXONOMY = Taxonomy(
    "shop",
    (
        Attribute("kind", tuple(Label(kind, kind, (KINDS[kind],)) for kind in KINDS), TEMPLATES, "group"),
        Attribute("group", tuple(Label(name, name) for name in ("Clothes", "Shoes", "Things")), TEMPLATES),
        Attribute("colour", tuple(Label(name, name) for name in ("red", "blue")), TEMPLATES),
    ),
)  # fmt: skip


def unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    vectors: npt.NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def shop_labeller() -> Labeller:
    """Kinds of one group lie near their group's direction."""
    draw = np.random.default_rng(11)
    groups = {name: draw.normal(size=DIMENSION) for name in ("Clothes", "Shoes", "Things")}
    kinds = np.stack([groups[group] + 0.8 * draw.normal(size=DIMENSION) for group in KINDS.values()])
    rows = {
        "kind": kinds,
        "group": np.stack(list(groups.values())),
        "colour": draw.normal(size=(2, DIMENSION)),
    }
    heads = tuple(
        prompt_head(each.name, tuple(label.name for label in each.labels), unit(rows[each.name]), SCALE)
        for each in TAXONOMY.attributes
    )
    return Labeller(TAXONOMY, heads)


def vectors_of_photos(n: int, seed: int) -> npt.NDArray[np.float32]:
    """Photos like those of the shop: around its kinds, most of them."""
    draw = np.random.default_rng(seed)
    kinds = shop_labeller().head("kind").weights
    return unit(kinds[draw.integers(0, len(kinds), n)] * 0.9 + draw.normal(0, 0.2, (n, DIMENSION)))


def truths_of(n: int, seed: int) -> dict[str, Truths]:
    """n products: kinds and colours drawn by softmax(TRUE_SCALE * cosine), groups those of the kinds."""
    vectors = vectors_of_photos(n, seed)
    draw = np.random.default_rng(seed + 1)
    products = tuple(f"{seed}-{number}" for number in range(n))
    labeller = shop_labeller()
    kinds = drawn(vectors @ labeller.head("kind").weights.T * TRUE_SCALE, draw)
    group_of = np.array([("Clothes", "Shoes", "Things").index(group) for group in KINDS.values()])
    truth = {
        "kind": kinds,
        "group": group_of[kinds],
        "colour": drawn(vectors @ labeller.head("colour").weights.T * TRUE_SCALE, draw),
    }
    return {
        name: Truths(vectors, told.astype(np.int64), products, np.ones(n)) for name, told in truth.items()
    }


def drawn(logits: npt.NDArray[np.float32], draw: np.random.Generator) -> npt.NDArray[np.intp]:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    labels: npt.NDArray[np.intp] = (shares.cumsum(axis=1) > draw.random((len(logits), 1))).argmax(axis=1)
    return labels

"""Captions are true, of known labels only, and never utter what is kept out."""

from collections import Counter

import numpy as np

from fashion_clip.finetuning.captions import ANY, Caption, Sayings, draw_caption, find_sayings
from fashion_clip.finetuning.settings import NOT_KNOWN
from fashion_clip.predictions import NONE_OF_THEM
from fashion_clip.taxonomy import load_taxonomy, parse_taxonomy
from tests.fashion_clip.finetuning.demo_pairs import made_photos

SHOP = parse_taxonomy(
    {
        "name": "shop",
        "attributes": {
            "kind": {"labels": [{"name": "Accessories", "text": "an accessory, such as a bag"}, "Clothing"]},
            "article": {
                "templates": ["a photo of {text}", "{label}: {text}"],
                "labels": [
                    {"name": "Bags", "text": "a handbag"},
                    {"name": "Watches", "text": "a wristwatch"},
                    {"name": "Shirts", "text": "a shirt"},
                ],
            },
            "colour": {"labels": ["black", "white"]},
        },
    }
)
PHOTOS = made_photos(
    {
        "kind": [0, 0, 1, 1, NONE_OF_THEM],
        "article": [0, 1, 2, NOT_KNOWN, NONE_OF_THEM],
        "colour": [0, NOT_KNOWN, 1, 0, NOT_KNOWN],
    },
    ("", "Titan Watch", "White Shirt", "Bag for Life", ""),
)


def many(sayings: Sayings, row: int, draws: int = 400) -> list[Caption]:
    return [draw_caption(sayings, row, np.random.default_rng((0, draw))) for draw in range(draws)]


def test_captions_are_prompts_joined_texts_and_names() -> None:
    sayings = find_sayings(SHOP, PHOTOS, {})
    assert sayings.rows.tolist() == [0, 1, 2, 3]
    found = Counter(caption.text for caption in many(sayings, 2))
    single = {"a photo of Clothing", "a photo of a shirt", "Shirts: a shirt", "a photo of white"}
    joined = {text for text in found if ", " in text}
    assert single | {"White Shirt"} == set(found) - joined
    assert {frozenset(text.split(", ")) for text in joined} == {
        frozenset({"Clothing", "a shirt"}),
        frozenset({"Clothing", "white"}),
        frozenset({"a shirt", "white"}),
        frozenset({"Clothing", "a shirt", "white"}),
    }
    assert 0.2 < found["White Shirt"] / 400 < 0.3
    assert {caption.text for caption in many(sayings, 3)} >= {"Bag for Life", "a photo of black"}


def test_a_caption_demands_what_it_says() -> None:
    for caption in many(find_sayings(SHOP, PHOTOS, {}), 2):
        said = {
            0: "Clothing" in caption.text,
            1: "a shirt" in caption.text,
            2: "white" in caption.text,
            3: caption.text == "White Shirt",
        }
        assert [wanted != ANY for wanted in caption.demands] == list(said.values())
        assert all(wanted in (ANY, true) for wanted, true in zip(caption.demands, (1, 2, 1, 1), strict=True))


def test_what_is_not_known_or_none_of_them_is_not_said() -> None:
    sayings = find_sayings(SHOP, PHOTOS, {})
    assert {caption.demands[1] for caption in many(sayings, 3)} == {ANY}
    assert sayings.sayable[4].tolist() == [False] * 4
    first = parse_taxonomy({"name": "one", "attributes": {"only": {"labels": ["one"]}}})
    assert not find_sayings(first, made_photos({"only": [NOT_KNOWN, NONE_OF_THEM]}), {}).sayable.any()


def test_kept_out_labels_are_uttered_by_nothing() -> None:
    sayings = find_sayings(SHOP, PHOTOS, {"article": frozenset({"Bags", "Watches"})})
    texts = {caption.text for row in (0, 1, 2, 3) for caption in many(sayings, row)}
    assert "a photo of an accessory" in texts  # of its text "such as a bag" is left out
    assert {"White Shirt", "a photo of a shirt"} <= texts
    assert not [text for text in texts if "bag" in text.lower() or "watch" in text.lower()]
    assert sayings.truth[:2, 1].tolist() == [0, 1]  # and yet it is known what does not fit them


def test_photos_of_nothing_but_kept_out_labels_are_not_trained_on() -> None:
    photos = made_photos({"article": [0, 2, 1]}, ("Red Tote", "", "Titan"))
    sayings = find_sayings(SHOP, photos, {"article": frozenset({"Bags", "Watches"})})
    assert sayings.rows.tolist() == [1]


def test_words_are_whole() -> None:
    """Men may be kept out without Women."""
    taxonomy = load_taxonomy("products")
    gender = next(attribute for attribute in taxonomy.attributes if attribute.name == "gender")
    labels = [label.name for label in gender.labels]
    photos = made_photos({"gender": list(range(len(labels)))}, tuple(f"Puma {name} Polo" for name in labels))
    sayings = find_sayings(taxonomy, photos, {"gender": frozenset({"Men"})})
    assert [labels[row] for row in sayings.rows] == [name for name in labels if name != "Men"]

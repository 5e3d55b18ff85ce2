import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashion_clip.errors import TaxonomyError
from fashion_clip.taxonomy import (
    NAME_LIMIT,
    Attribute,
    Label,
    Taxonomy,
    attribute_from_labels,
    load_taxonomy,
    parse_taxonomy,
)

HOSTILE_NAMES = [
    "'); DROP TABLE labels;--",
    '=HYPERLINK("http://a.b","c")',
    "{label}",
    "NA",
    "a, b",
    "👩‍🔧",
    "साड़ी",
]


def attribute(**keys: object) -> dict[str, object]:
    return {"labels": ["Tops", "Shoes"], **keys}


def document(**attributes: object) -> dict[str, Any]:
    return {"name": "shop", "attributes": attributes or {"kind": attribute()}}


# --- reading --------------------------------------------------------------------------------------


def test_short_and_long_form_mix_and_mean_the_same() -> None:
    mixed = parse_taxonomy(
        document(kind={"labels": ["Tops", {"name": "Shoes"}, {"name": "Jeans", "text": "jeans"}]})
    )
    long = parse_taxonomy(
        document(
            kind={
                "labels": [
                    {"name": "Tops", "text": "Tops", "parents": []},
                    {"name": "Shoes", "text": "Shoes"},
                    {"name": "Jeans", "text": "jeans"},
                ],
                "templates": ["a photo of {text}"],
            }
        )
    )
    assert mixed.attributes[0].labels == (
        Label("Tops", "Tops"),
        Label("Shoes", "Shoes"),
        Label("Jeans", "jeans"),
    )
    assert mixed == long
    assert mixed.version == long.version


def test_prompts_fill_name_and_text_and_leave_their_braces_alone() -> None:
    entry = Attribute("kind", (Label("{text}", "a {label}"),), ("{label} or {text}", "{{{text}}}"))
    assert entry.prompts(entry.labels[0]) == ("{text} or a {label}", "{a {label}}")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_strange_names_are_plain_data(name: str) -> None:
    taxonomy = parse_taxonomy(document(**{name: attribute(labels=[name, {"name": "b", "text": name}])}))
    assert taxonomy.attributes[0].name == name
    assert taxonomy.attributes[0].labels == (Label(name, name), Label("b", name))
    assert taxonomy.attributes[0].prompts(taxonomy.attributes[0].labels[0]) == (f"a photo of {name}",)


def test_names_that_differ_by_a_letter_or_a_gap_are_two() -> None:
    entry = parse_taxonomy(document(kind={"labels": ["Tie", "Ties", "Tie s"]})).attributes[0]
    assert [label.name for label in entry.labels] == ["Tie", "Ties", "Tie s"]


def test_file_with_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_bytes(b'\xef\xbb\xbfname = "shop"\r\n[attributes.kind]\r\nlabels = ["Tops", "Shoes"]\r\n')
    assert load_taxonomy(path) == load_taxonomy(str(path)) == parse_taxonomy(document())


# --- version and round trip -----------------------------------------------------------------------

NAMES = (
    st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), min_size=1, max_size=12)
    .map(str.strip)
    .filter(bool)
)


def names(minimum: int = 1) -> st.SearchStrategy[list[str]]:
    # A letter of the alphabet in front of each keeps them apart, whatever case folding makes of the rest.
    return st.lists(NAMES, min_size=minimum, max_size=4).map(
        lambda found: [f"{letter} {name}" for letter, name in zip("abcd", found, strict=False)]
    )


@st.composite
def taxonomies(draw: st.DrawFn) -> Taxonomy:
    attributes: list[Attribute] = []
    for name in draw(names()):
        parent = draw(st.sampled_from([None, *attributes]))
        known = [label.name for label in parent.labels] if parent else []
        labels = [
            Label(
                label,
                draw(st.one_of(st.just(label), NAMES)),
                tuple(draw(st.lists(st.sampled_from(known), unique=True, min_size=1))) if known else (),
            )
            for label in draw(names())
        ]
        templates = [text.replace("{", "{{").replace("}", "}}") + " {text}" for text in draw(names())]
        attributes.append(Attribute(name, tuple(labels), tuple(templates), parent.name if parent else None))
    return Taxonomy(draw(NAMES), tuple(attributes))


@given(taxonomies())
def test_document_round_trip(taxonomy: Taxonomy) -> None:
    stored = json.dumps(taxonomy.to_document())
    assert parse_taxonomy(json.loads(stored)) == taxonomy
    with_sorted_keys = json.dumps(json.loads(stored), sort_keys=True)
    assert parse_taxonomy(json.loads(with_sorted_keys)).version == taxonomy.version


FAMILY: dict[str, Any] = {
    "group": {"labels": ["Clothes", "Shoes"], "templates": ["a photo of {text}", "{label}"]},
    "kind": {
        "parent": "group",
        "labels": [
            {"name": "Boots", "text": "boots", "parents": ["Shoes"]},
            {"name": "Socks", "parents": ["Clothes"]},
        ],
    },
}


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("label", {"labels": ["Clothes", "Shoes", "Bags"]}),
        ("order of labels", {"labels": ["Shoes", "Clothes"]}),
        ("text", {"labels": ["Clothes", {"name": "Shoes", "text": "shoes"}]}),
        ("template", {"templates": ["a photo of {text}", "{text}"]}),
        ("order of templates", {"templates": ["{label}", "a photo of {text}"]}),
    ],
)
def test_version_changes_with_any_content(key: str, change: dict[str, object]) -> None:
    plain = parse_taxonomy(document(**FAMILY))
    changed = parse_taxonomy(document(**{**FAMILY, "group": {**FAMILY["group"], **change}}))
    assert changed.version != plain.version, key


def test_version_changes_with_parents_and_name() -> None:
    plain = parse_taxonomy(document(**FAMILY))
    moved = json.loads(json.dumps(FAMILY))
    moved["kind"]["labels"][0]["parents"] = ["Shoes", "Clothes"]
    assert parse_taxonomy(document(**moved)).version != plain.version
    assert parse_taxonomy({**document(**FAMILY), "name": "other"}).version != plain.version


def test_version_is_the_same_on_every_machine() -> None:
    # The version is a key in people's databases: this figure may only change together with a migration.
    version = parse_taxonomy(document(**FAMILY)).version
    assert version == "8ad794f9d009d463c90d322a489f999bfc990a3e567d69bb3fcc9e677ef31db2"


# --- what is refused ------------------------------------------------------------------------------

REFUSED = {
    "unknown key at the top": (
        {**document(), "attribute": {}},
        ["'attribute'", "did you mean 'attributes'?"],
    ),
    "no name": ({"attributes": {"kind": attribute()}}, ["no name", 'name = "products"']),
    "name not a string": ({**document(), "name": 3}, ["the taxonomy's name", "not 3"]),
    "no attributes": ({"name": "shop"}, ["no attributes", "[attributes.colour]"]),
    "attributes not a table": ({**document(), "attributes": ["kind"]}, ["attributes", "table", "['kind']"]),
    "attribute not a table": (document(kind=["Tops"]), ["attribute 'kind'", "table", "['Tops']"]),
    "attribute with an empty name": (document(**{" ": attribute()}), ["name of an attribute", "empty"]),
    "repeated attribute": (document(kind=attribute(), Kind=attribute()), ["attribute 'Kind' repeats 'kind'"]),
    "unknown key of an attribute": (
        document(kind=attribute(template=["{text}"])),
        ["attribute 'kind'", "'template'", "did you mean 'templates'?"],
    ),
    "no labels": (document(kind={}), ["attribute 'kind' has no labels"]),
    "empty labels": (document(kind={"labels": []}), ["attribute 'kind' has no labels"]),
    "labels not a list": (
        document(kind={"labels": "Tops, Shoes"}),
        ["'kind': labels", "list", "'Tops, Shoes'"],
    ),
    "empty label": (document(kind={"labels": ["Tops", ""]}), ["attribute 'kind', label 2", "empty"]),
    "blanks around a label": (document(kind={"labels": [" Tops"]}), ["label 1", "blanks", "write 'Tops'"]),
    "line break in a label": (document(kind={"labels": ["To\nps"]}), ["label 1", "U+000A", r"'To\nps'"]),
    "right-to-left override": (document(kind={"labels": ["To\u202eps"]}), ["label 1", "U+202E"]),
    "lone surrogate": (document(kind={"labels": ["To\ud800ps"]}), ["label 1", "U+D800"]),
    "over-long label": (document(kind={"labels": ["x" * (NAME_LIMIT + 1)]}), ["label 1", "201", "200"]),
    "label of a wrong type": (document(kind={"labels": ["Tops", 7]}), ["attribute 'kind', label 2", "not 7"]),
    "repeated label": (document(kind={"labels": ["Tops", "Tops"]}), ["'kind': label 'Tops' repeats 'Tops'"]),
    "label repeated but for case": (document(kind={"labels": ["Tops", "TOPS"]}), ["'TOPS' repeats 'Tops'"]),
    "label repeated but for blanks": (document(kind={"labels": ["A  b", "A b"]}), ["'A b' repeats 'A  b'"]),
    "label repeated but for spelling": (
        document(kind={"labels": ["Caf\u00e9", "Cafe\u0301"]}),
        ["repeats"],
    ),
    "label without a name": (
        document(kind={"labels": [{"text": "a top"}]}),
        ["label 1 has no name", "a top"],
    ),
    "unknown key of a label": (
        document(kind={"labels": [{"name": "Tops", "parent": "x"}]}),
        ["label 1", "'parent'", "did you mean 'parents'?"],
    ),
    "empty text": (document(kind={"labels": [{"name": "Tops", "text": ""}]}), ["('Tops'): text", "empty"]),
    "templates not a list": (document(kind=attribute(templates="{text}")), ["'kind': templates", "list"]),
    "empty templates": (document(kind=attribute(templates=[])), ["templates is empty", "leave it out"]),
    "repeated template": (
        document(kind=attribute(templates=["{text}", "{text}"])),
        ["template '{text}' repeats"],
    ),
    "template without a placeholder": (
        document(kind=attribute(templates=["a photo"])),
        ["attribute 'kind'", "'a photo'", "neither {label} nor {text}"],
    ),
    "template with only escaped braces": (document(kind=attribute(templates=["a {{text}}"])), ["neither"]),
    "unknown placeholder": (
        document(kind=attribute(templates=["{text} {name}"])),
        ["'{text} {name}'", "'name'", "{label} or {text}"],
    ),
    "nameless placeholder": (document(kind=attribute(templates=["{}"])), ["placeholder ''"]),
    "placeholder that looks inside": (
        document(kind=attribute(templates=["{text.__class__}"])),
        ["text.__class__"],
    ),
    "placeholder with a conversion": (document(kind=attribute(templates=["{text!r}"])), ["exactly"]),
    "placeholder with a format": (document(kind=attribute(templates=["{text:>9}"])), ["exactly"]),
    "brace left open": (document(kind=attribute(templates=["a {text"])), ["'a {text'", "{{ or }}"]),
    "brace never opened": (document(kind=attribute(templates=["a text} {text}"])), ["{{ or }}"]),
    "unknown parent attribute": (
        document(group=attribute(), kind={"parent": "grop", "labels": [{"name": "a", "parents": ["Tops"]}]}),
        ["attribute 'kind'", "'grop'", "did you mean 'group'?"],
    ),
    "parent that the parent attribute lacks": (
        document(group=attribute(), kind={"parent": "group", "labels": [{"name": "a", "parents": ["Shoe"]}]}),
        ["attribute 'kind', label 'a'", "'Shoe'", "attribute 'group'", "did you mean 'Shoes'?"],
    ),
    "parents without a parent attribute": (
        document(kind={"labels": [{"name": "a", "parents": ["Tops"]}]}),
        ["attribute 'kind', label 'a'", "no parent", 'parent = "..."'],
    ),
    "parent attribute without parents": (
        document(group=attribute(), kind=attribute(parent="group")),
        ["attribute 'kind'", "'group'", "no label names parents"],
    ),
    "parents not a list": (
        document(group=attribute(), kind={"parent": "group", "labels": [{"name": "a", "parents": "Tops"}]}),
        ["('a'): parents", "list", "'Tops'"],
    ),
    "repeated parent": (
        document(
            group=attribute(),
            kind={"parent": "group", "labels": [{"name": "a", "parents": ["Tops", "Tops"]}]},
        ),
        ["('a'): parent 'Tops' repeats"],
    ),
    "own parent": (
        document(kind={"parent": "kind", "labels": [{"name": "a", "parents": ["a"]}]}),
        ["circle", "'kind' -> 'kind'"],
    ),
    "circle of parents": (
        document(
            a={"parent": "b", "labels": [{"name": "x", "parents": ["y"]}]},
            b={"parent": "a", "labels": [{"name": "y", "parents": ["x"]}]},
        ),
        ["circle", "'a' -> 'b' -> 'a'"],
    ),
}


@pytest.mark.parametrize(("content", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_a_message_that_helps(content: dict[str, object], said: list[str]) -> None:
    with pytest.raises(TaxonomyError) as caught:
        parse_taxonomy(content)
    message = str(caught.value)
    assert "\n" not in message
    assert [part for part in said if part not in message] == [], message


def test_file_errors_name_file_attribute_and_label(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text('name = "shop"\n[attributes.kind]\nlabels = ["Tops", "tops"]\n')
    with pytest.raises(TaxonomyError, match=r"shop\.toml': attribute 'kind': label 'tops' repeats 'Tops'"):
        load_taxonomy(path)


def test_broken_toml_is_located(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text('name = "shop"\nlabels = [oops]\n')
    with pytest.raises(TaxonomyError, match=r"shop\.toml' is not valid TOML: .*line 2, column 11"):
        load_taxonomy(path)


@pytest.mark.parametrize("content", ["x = " + "[" * 100_000, "x = " + "1" * 5_000])
def test_toml_that_exhausts_the_parser(tmp_path: Path, content: str) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(content)
    with pytest.raises(TaxonomyError, match="is not valid TOML"):
        load_taxonomy(path)


def test_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_bytes('name = "Café"'.encode("latin-1"))
    with pytest.raises(TaxonomyError, match="not UTF-8"):
        load_taxonomy(path)


def test_unknown_name_lists_what_ships() -> None:
    with pytest.raises(TaxonomyError, match=r"'prodcts'.*did you mean 'products'\?.*demo, products"):
        load_taxonomy("prodcts")


@pytest.mark.parametrize("spec", ["", ".", "no\0name", "~nobody-of-that-name/x.toml"])
def test_path_that_is_no_file(spec: str) -> None:
    with pytest.raises(TaxonomyError, match="cannot be read"):
        load_taxonomy(spec)


def test_shipped_name_wins_over_a_file_which_a_path_still_reaches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "products").write_text('name = "mine"\n[attributes.kind]\nlabels = ["Tops"]\n')
    monkeypatch.chdir(tmp_path)
    assert load_taxonomy("products").name == "products"
    assert load_taxonomy("./products").name == "mine"
    assert load_taxonomy(Path("products")).name == "mine"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_taxonomy("~/products").name == "mine"


# --- labels of the command line -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Tops, Bottoms, Shoes", ["Tops", "Bottoms", "Shoes"]),
        ("Tops,Bottoms", ["Tops", "Bottoms"]),
        ("  Tops  ,\tBottoms\t", ["Tops", "Bottoms"]),
        ("Tops,,Shoes,", ["Tops", "Shoes"]),
        ('"Shirts, formal", "a ""quoted"" top"', ["Shirts, formal", 'a "quoted" top']),
        ('5" heels, Tops', ['5" heels', "Tops"]),
        ("T-shirts/tops", ["T-shirts/tops"]),
    ],
)
def test_labels_of_the_command_line(given: str, expected: list[str]) -> None:
    entry = attribute_from_labels(given)
    assert entry.name == "label"
    assert [label.name for label in entry.labels] == expected
    assert entry.prompts(entry.labels[0]) == (f"a photo of {expected[0]}",)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", '"Tops, Bottoms, Shoes"'),
        (" , ,", '"Tops, Bottoms, Shoes"'),
        ('""', '"Tops, Bottoms, Shoes"'),
        ("Tops, Shoes, tops", "label 'tops' repeats 'Tops'"),
        ('"Tops, Shoes', "quotes in pairs"),
        ("Tops\nShoes", "must be one line"),
        ("Tops, Sho\x07es", "U+0007"),
    ],
)
def test_refused_labels_of_the_command_line(given: str, said: str) -> None:
    with pytest.raises(TaxonomyError) as caught:
        attribute_from_labels(given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# --- the taxonomies that ship ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def products() -> dict[str, Attribute]:
    return {entry.name: entry for entry in load_taxonomy("products").attributes}


def test_products_has_all_labels_of_the_catalogue(products: dict[str, Attribute]) -> None:
    assert {name: len(entry.labels) for name, entry in products.items()} == {
        "masterCategory": 7,
        "subCategory": 45,
        "articleType": 143,
        "baseColour": 46,
        "gender": 5,
        "season": 4,
        "usage": 8,
    }
    assert not [label for entry in products.values() for label in entry.labels if label.name in ("NA", "")]


def test_products_hierarchy_is_complete(products: dict[str, Attribute]) -> None:
    assert products["articleType"].parent == "subCategory"
    assert products["subCategory"].parent == "masterCategory"
    for name in ("articleType", "subCategory"):
        assert [label.name for label in products[name].labels if not label.parents] == []
    used = {parent for label in products["subCategory"].labels for parent in label.parents}
    assert used == {label.name for label in products["masterCategory"].labels}
    found = {label.name: label.parents for label in products["articleType"].labels}
    assert found["Tshirts"] == ("Topwear",)  # one photo in 7,070 stands under Belts
    assert found["Kajal and Eyeliner"] == ("Makeup", "Eyes")
    assert found["Lehenga Choli"] == ("Topwear",)  # four photos in all: the most frequent parent stays
    assert {label.name: label.parents for label in products["subCategory"].labels}["Socks"] == (
        "Accessories",
        "Apparel",
    )


def test_products_prompts_are_short_and_distinct(products: dict[str, Attribute]) -> None:
    for entry in products.values():
        prompts = [prompt for label in entry.labels for prompt in entry.prompts(label)]
        assert len(set(prompts)) == len(prompts)
        # The longest of them, 22 words, is 27 of the 77 tokens that CLIP reads.
        assert max(len(prompt.split()) for prompt in prompts) <= 25
        assert all(prompt.isascii() for prompt in prompts)


def test_products_texts_are_english(products: dict[str, Attribute]) -> None:
    texts = {(name, label.name): label.text for name, entry in products.items() for label in entry.labels}
    assert texts["articleType", "Tshirts"] == "a t-shirt"
    assert texts["articleType", "Jeans"] == "a pair of jeans"
    assert texts["articleType", "Kurta Sets"] == "a kurta set, an Indian tunic with matching trousers"
    assert texts["articleType", "Umbrellas"] == "an umbrella"
    assert texts["baseColour", "Navy Blue"] == "navy blue"
    assert texts["gender", "Unisex"] == "for both men and women"
    prompts = [
        prompt for entry in products.values() for label in entry.labels for prompt in entry.prompts(label)
    ]
    assert [prompt for prompt in prompts if any(is_wrong(*pair) for pair in pairwise(prompt.split()))] == []


def is_wrong(article: str, noun: str) -> bool:
    if article == "a":
        return noun[0] in "aeio" or noun == "umbrella"
    return article == "an" and noun[0] not in "aeiouI"


def test_demo_loads() -> None:
    assert [entry.name for entry in load_taxonomy("demo").attributes] == ["category", "articleType"]


def test_linked_attributes_are_those_of_one_tree() -> None:
    products = load_taxonomy("products")
    tree = {"masterCategory", "subCategory", "articleType"}
    assert [products.linked(name) for name in sorted(tree)] == [tree] * 3
    assert products.linked("gender") == {"gender"}

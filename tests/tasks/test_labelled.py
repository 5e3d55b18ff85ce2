"""Photos with truth: class folders, a CSV beside them, data sets; and what is told of what does not fit."""

import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashion_clip.demo import truth
from fashion_clip.errors import SourceError, TaxonomyError, UsageError
from fashion_clip.taxonomy import Attribute, Label, load_taxonomy, parse_taxonomy
from tasks.labelled import NO_TRUTH, NOT_KNOWN, Labelled, _told, _truth, open_labelled
from tests.catalogue_fixtures import DEMO_PHOTOS
from tests.tasks.sources.conftest import datasets_cache
from tests.tasks.sources.stores import PICTURES

__all__ = ["datasets_cache"]

pytestmark = pytest.mark.usefixtures("clean_environment", "datasets_cache")

DEMO = load_taxonomy("demo")
TRUTH = truth()
PHOTOS = DEMO_PHOTOS[:30]


def class_folders(folder: Path, attribute: str = "articleType", photos: Sequence[Path] = PHOTOS) -> Path:
    for photo in photos:
        of_class = folder / TRUTH[photo.name][attribute]
        of_class.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, of_class / photo.name)
    return folder


def csv_folder(folder: Path, rows: Sequence[Mapping[str, str]], name: str = "labels.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for photo in PHOTOS:
        shutil.copy(photo, folder / photo.name)
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def parquet(file: Path, columns: Mapping[str, Sequence[object]]) -> str:
    """A Parquet file of the first photos, as many as the columns have values."""
    count = len(next(iter(columns.values())))
    pictures = pa.array([{"bytes": photo.read_bytes(), "path": None} for photo in PHOTOS[:count]], PICTURES)
    pq.write_table(pa.table({"image": pictures, **columns}), file)
    return str(file)


def said(labelled: Labelled, attribute: str) -> dict[str, str]:
    """Key -> label, of the photos that have truth in the attribute."""
    [entry] = [entry for entry in labelled.taxonomy.attributes if entry.name == attribute]
    return {
        labelled.source.key(uri): entry.labels[number].name
        for uri, number in zip(labelled.uris, labelled.truth[attribute], strict=True)
        if number != NO_TRUTH
    }


def test_class_folders_are_labels_by_themselves(tmp_path: Path) -> None:
    labelled = open_labelled(str(class_folders(tmp_path / "data")), None)
    [attribute] = labelled.taxonomy.attributes
    assert attribute.name == "label"
    assert [label.name for label in attribute.labels] == sorted(
        {TRUTH[photo.name]["articleType"] for photo in PHOTOS}
    )
    assert attribute.prompts(attribute.labels[0])[0] == f"a photo of {attribute.labels[0].name}"
    assert said(labelled, "label") == {
        f"{TRUTH[photo.name]['articleType']}/{photo.name}": TRUTH[photo.name]["articleType"]
        for photo in PHOTOS
    }
    assert labelled.warnings == ()
    assert labelled.uris == tuple(sorted(labelled.uris))


def test_an_underscore_is_a_space_in_the_prompt_alone(tmp_path: Path) -> None:
    (tmp_path / "ankle_boots").mkdir()
    shutil.copy(PHOTOS[0], tmp_path / "ankle_boots")
    [attribute] = open_labelled(str(tmp_path), None).taxonomy.attributes
    assert attribute.labels == (Label("ankle_boots", "ankle boots"),)


@pytest.mark.parametrize("attribute", ["articleType", "category"])
def test_class_folders_are_the_attribute_that_knows_them(tmp_path: Path, attribute: str) -> None:
    labelled = open_labelled(str(class_folders(tmp_path / "data", attribute)), DEMO)
    assert list(labelled.truth) == [attribute]
    assert labelled.taxonomy == DEMO  # whole: labels of linked attributes are chosen together
    assert set(said(labelled, attribute).values()) == {TRUTH[photo.name][attribute] for photo in PHOTOS}


def test_the_attribute_that_is_asked_for_is_taken(tmp_path: Path) -> None:
    folder = str(class_folders(tmp_path / "data", "category"))
    assert list(open_labelled(folder, DEMO, "category").truth) == ["category"]
    # Without a taxonomy the shipped one has it, with other labels.
    with pytest.raises(UsageError, match=r"has a label of the taxonomy; articleType: 30 photos"):
        open_labelled(folder, None, "articleType")
    with pytest.raises(UsageError, match=r"'size' is neither an attribute of taxonomy 'demo', which has"):
        open_labelled(folder, DEMO, "size")


def test_two_classes_may_number_their_photos_alike(tmp_path: Path) -> None:
    for name in ("Bags", "Coats"):
        (tmp_path / name).mkdir()
        shutil.copy(PHOTOS[0], tmp_path / name / "1.png")
    assert open_labelled(str(tmp_path), None).products == ("Bags/1", "Coats/1")


def test_products_are_found_in_names_as_when_tagging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Bags").mkdir()
    for name in ("7_front.png", "7_back.png"):
        shutil.copy(PHOTOS[0], tmp_path / "Bags" / name)
    monkeypatch.setenv("FASHION_CLIP_PRODUCT_ID", r"([^/_]*)_")
    assert set(open_labelled(str(tmp_path), None).products) == {"Bags/7"}


def test_what_the_taxonomy_lacks_is_left_out_and_told(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "data")
    for name, count in (("Hats", 3), ("Scarves", 2), ("Gloves", 1), ("Ties", 1), ("NA", 2)):
        (folder / name).mkdir()
        for photo in PHOTOS[:count]:
            shutil.copy(photo, folder / name)
    labelled = open_labelled(str(folder), DEMO)
    assert len(labelled.uris) == len(PHOTOS)
    assert labelled.warnings == (
        "articleType: 7 photos have labels that the taxonomy lacks and are left out: "
        "'Hats' (3), 'Scarves' (2), 'Gloves' (1) and 1 others",
        "9 photos have no label and are left out",
    )


def test_photos_beside_the_class_folders_are_told(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "data")
    shutil.copy(PHOTOS[0], folder)
    assert open_labelled(str(folder), DEMO).warnings == ("1 photos lie in no class folder and are left out",)


def test_a_folder_of_splits_is_no_folder_of_classes(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "test", photos=PHOTOS[:9])
    with pytest.raises(UsageError, match=r"are splits, not classes: test, train; give one of them"):
        open_labelled(str(tmp_path), None)
    assert len(open_labelled(str(tmp_path / "test"), None).uris) == 9


@pytest.mark.parametrize(("name", "column"), [("labels.csv", "filename"), ("metadata.csv", "file_name")])
def test_a_csv_file_tells_of_the_photos_beside_it(tmp_path: Path, name: str, column: str) -> None:
    rows = [{column: photo.name, "shelf": "A", **TRUTH[photo.name]} for photo in PHOTOS]
    labelled = open_labelled(str(csv_folder(tmp_path / "data", rows, name)), DEMO)
    assert list(labelled.truth) == ["category", "articleType"]
    for attribute in labelled.truth:
        assert said(labelled, attribute) == {photo.name: TRUTH[photo.name][attribute] for photo in PHOTOS}
    assert labelled.products == tuple(photo.stem for photo in PHOTOS)
    assert labelled.columns["shelf"] == ["A"] * len(PHOTOS)
    assert labelled.warnings == ()


def test_a_csv_file_may_name_photos_without_their_folders(tmp_path: Path) -> None:
    folder = csv_folder(
        tmp_path, [{"filename": "x.png", "label": "Bags"}, {"filename": "y.png", "label": "Bags"}]
    )
    for photo in PHOTOS:
        (folder / photo.name).unlink()
    for name in ("a/x.png", "a/y.png", "b/y.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(PHOTOS[0], folder / name)
    labelled = open_labelled(str(folder), DEMO)
    assert [labelled.source.key(uri) for uri in labelled.uris] == ["a/x.png"]
    assert labelled.warnings == (
        "1 rows of labels.csv name no photo of the folder, such as 'y.png'",  # which of the two is meant?
        "2 photos have no row in labels.csv and are left out",
    )


def test_a_csv_file_without_attributes_may_have_labels(tmp_path: Path) -> None:
    rows = [{"filename": photo.name, "label": TRUTH[photo.name]["category"]} for photo in PHOTOS]
    folder = csv_folder(tmp_path / "data", rows)
    assert list(open_labelled(str(folder), None).truth) == ["label"]
    assert list(open_labelled(str(folder), DEMO).truth) == ["category"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", r"labels.csv' is empty"),
        (
            b"photo,label\na.png,Bags\n",
            r"has no column filename or file_name or file; its columns are photo, label",
        ),
        (b"filename,label\nx.png,Bags,red\n", r"row 2 has 3 values, the header 2"),
        (b"filename,label\n\xff.png,Bags\n", r"cannot be read as CSV in UTF-8"),
        (
            f"filename,label\n{PHOTOS[0].name},Bags\n{PHOTOS[0].name},Coats\n".encode(),
            rf"names the photo '{PHOTOS[0].name}' twice",
        ),
        (
            b"filename,colour\nx.png,red\n",
            r"its columns are colour, and taxonomy 'demo' has category, articleType",
        ),
    ],
)
def test_a_csv_file_that_cannot_be_used(tmp_path: Path, content: bytes, told: str) -> None:
    folder = csv_folder(tmp_path / "data", [{"filename": "x"}])
    (folder / "labels.csv").write_bytes(content)
    with pytest.raises(UsageError, match=told):
        open_labelled(str(folder), DEMO)


def test_columns_of_a_parquet_file_are_attributes_in_any_case(tmp_path: Path) -> None:
    names = [photo.name for photo in PHOTOS]
    columns: dict[str, Sequence[object]] = {
        "filename": names,
        "ARTICLETYPE": [TRUTH[name]["articleType"].upper() for name in names],
        "category": ["", "NA", None, *(TRUTH[name]["category"] for name in names[3:])],
        "year": [2011.0, None, float("nan"), *range(len(names) - 3)],
        "shoe": [True] * len(names),
    }
    labelled = open_labelled(parquet(tmp_path / "shop.parquet", columns), DEMO)
    assert said(labelled, "articleType") == {name: TRUTH[name]["articleType"] for name in names}
    assert said(labelled, "category") == {name: TRUTH[name]["category"] for name in names[3:]}
    assert labelled.columns["year"][:4] == ["2011", "", "", "0"]
    assert labelled.columns["shoe"][0] == "True"
    assert "image" not in labelled.columns
    assert labelled.warnings == ()


@pytest.mark.parametrize(("column", "first"), [("id", "10"), ("product_id", "shirt 10")])
def test_a_column_may_name_the_product(tmp_path: Path, column: str, first: str) -> None:
    columns = {
        "filename": ["a.png", "b.png", "c.png"],
        "category": ["Clothing"] * 3,
        "id": pa.array([10, 10, None], pa.int64()),
        **({"product_id": ["shirt 10", "shirt 10", ""]} if column == "product_id" else {}),
    }
    labelled = open_labelled(parquet(tmp_path / "shop.parquet", columns), DEMO)
    assert labelled.products == (first, first, "c")


def test_one_attribute_of_several_may_be_asked_for(tmp_path: Path) -> None:
    columns = {"category": ["Clothing"], "articleType": ["Shirts"], "maker": ["us"]}
    file = parquet(tmp_path / "shop.parquet", columns)
    assert list(open_labelled(file, DEMO, "category").truth) == ["category"]
    assert list(open_labelled(file, None, "maker").truth) == ["maker"]  # a column without a taxonomy
    with pytest.raises(UsageError, match=r"'maker' is neither"):
        open_labelled(file, DEMO, "maker")


def test_the_taxonomy_of_the_settings_goes_with_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = parquet(tmp_path / "shop.parquet", {"articleType": ["Pullovers", "Sweaters"]})
    assert open_labelled(file, None).taxonomy.name == "products"
    monkeypatch.setenv("FASHION_CLIP_TAXONOMY", "demo")
    labelled = open_labelled(file, None)
    assert (labelled.taxonomy.name, set(said(labelled, "articleType").values())) == ("demo", {"Pullovers"})


def test_a_data_set_may_number_its_classes(tmp_path: Path) -> None:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["Bags", "Coats"])}
    )
    rows = {
        "image": [{"bytes": photo.read_bytes(), "path": None} for photo in PHOTOS[:3]],
        "label": [1, 0, None],
    }
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "classes.parquet")
    labelled = open_labelled(str(tmp_path / "classes.parquet"), None)
    assert said(labelled, "label") == {"0": "Coats", "1": "Bags"}
    assert labelled.warnings == ("1 photos have no label and are left out",)


def test_nul_which_postgresql_cannot_hold_is_told_otherwise(tmp_path: Path) -> None:
    file = parquet(tmp_path / "shop.parquet", {"category": ["Clothing"], "maker": ["a\0b"]})
    assert open_labelled(file, DEMO).columns["maker"] == ["a\\x00b"]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("./nowhere", r"source './nowhere' does not exist"),
        ("~/nowhere/at/all", r"does not exist"),
        ("", r"does not exist"),
        ("ftp://x", r"source 'ftp://x': expected the path"),
        ("s3://KEY:SECRET@bucket", r"a source with a key or a password in it is refused"),
        ("hf://a b", r"neither a folder nor a name"),
    ],
)
def test_no_such_data_is_wrong_use(spec: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        open_labelled(spec, None)


def test_a_name_may_be_of_the_hub_or_lie_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SourceError, match=r"'shop/test' is nothing that lies here, and on the hub: .*hf://shop/test"
    ):
        open_labelled("shop/test", None)
    class_folders(tmp_path / "shop" / "test")
    assert len(open_labelled("shop/test", None).uris) == len(PHOTOS)
    with pytest.raises(UsageError, match=r"source 'shop/tset' does not exist"):  # the hub is not asked
        open_labelled("shop/tset", None)


def test_a_folder_without_photos_or_classes(tmp_path: Path) -> None:
    (tmp_path / "x.txt").touch()
    with pytest.raises(UsageError, match=r"holds no photos; .*are ignored: 1"):
        open_labelled(str(tmp_path), None)
    shutil.copy(PHOTOS[0], tmp_path)
    with pytest.raises(UsageError, match=r"has no class folders: expected FOLDER/CLASS/PHOTO, or labels.csv"):
        open_labelled(str(tmp_path), None)
    pq.write_table(pa.table({"image": pa.array([], PICTURES)}), tmp_path / "empty.parquet")
    with pytest.raises(UsageError, match="holds no photos"):
        open_labelled(str(tmp_path / "empty.parquet"), None)


def test_data_that_no_attribute_knows(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "data")
    other = parse_taxonomy({"name": "other", "attributes": {"mood": {"labels": ["warm"]}}})
    with pytest.raises(
        UsageError, match=r"no attribute of taxonomy 'other' has labels such as 'Ankle boots'"
    ):
        open_labelled(str(folder), other)
    file = parquet(tmp_path / "shop.parquet", {"colour": ["red"]})
    with pytest.raises(
        UsageError, match=r"its columns are colour, and taxonomy 'other' has mood; name a column"
    ):
        open_labelled(file, other)
    with pytest.raises(UsageError, match=r"'colour' is neither an attribute of taxonomy 'other'"):
        open_labelled(file, other, "colour")
    with pytest.raises(UsageError, match=r"column 'label' is empty"):
        open_labelled(parquet(tmp_path / "empty.parquet", {"label": ["NA", ""]}), None)


def test_class_folders_that_no_taxonomy_could_have_are_told(tmp_path: Path) -> None:
    for name in ("bags", "Bags"):
        (tmp_path / name).mkdir()
        shutil.copy(PHOTOS[0], tmp_path / name)
    with pytest.raises(TaxonomyError, match="repeats"):
        open_labelled(str(tmp_path), None)


def test_a_draw_is_the_same_each_time_and_told(tmp_path: Path) -> None:
    folder = str(class_folders(tmp_path / "data"))
    whole = open_labelled(folder, DEMO)
    drawn, again = (open_labelled(folder, DEMO).drawn(12) for _ in range(2))
    assert drawn.uris == again.uris
    assert len(drawn.uris) == len(set(drawn.uris)) == 12
    assert said(drawn, "articleType").items() <= said(whole, "articleType").items()
    assert len(set(said(drawn, "articleType").values())) > 3  # not the first classes alone
    assert drawn.warnings == ("12 of 30 photos, drawn at random",)
    assert whole.drawn(30) is whole


@given(
    st.lists(
        st.sampled_from(["Bags", "bags", " BAGS", "Coats", "Hats", "hats", "", "NA", "na", "日本"]),
        min_size=1,
    )
)
def test_every_photo_has_truth_or_is_told_or_says_nothing(values: list[str]) -> None:
    attribute = Attribute("kind", (Label("Bags", "b"), Label("Coats", "c")), ("{text}",))
    truth, unknown = _truth(attribute, values)
    silent = sum(value in NOT_KNOWN for value in values)
    assert len(values) == int((truth != NO_TRUTH).sum()) + unknown.total() + silent
    assert [value.strip().lower() for value, number in zip(values, truth, strict=True) if number == 0] == [
        "bags"
    ] * int(np.sum(truth == 0))
    assert bool(_told("kind", unknown)) == bool(unknown)

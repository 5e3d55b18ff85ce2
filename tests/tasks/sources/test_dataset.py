"""What a data set has that a folder has not: columns, names from anywhere, one state for all rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_clip.errors import ImageError, SourceError
from tasks.sources import Source, open_source
from tasks.sources.dataset import DatasetSource
from tests.tasks.sources.stores import PICTURES, ParquetStore, hub_folder, write_parquet

SUFFIXES = frozenset({".jpg"})

pytestmark = pytest.mark.usefixtures("datasets_cache")


def pictures(*contents: bytes | None) -> pa.Array:
    return pa.array([{"bytes": data, "path": None} for data in contents], PICTURES)


def parquet(folder: Path, columns: Mapping[str, pa.Array | Sequence[object]]) -> Source:
    file = folder / "shop.parquet"
    pq.write_table(pa.table(dict(columns)), file)
    return open_source(str(file), SUFFIXES)


def names(source: Source) -> list[str]:
    return [source.key(photo.uri) for photo in source.listing()]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"filename": ["b.jpg", "a.jpg"], "file_name": ["x", "y"], "id": ["1", "2"]}, ["a.jpg", "b.jpg"]),
        ({"id": ["1", "2"], "file_name": ["b.jpg", "a.jpg"]}, ["a.jpg", "b.jpg"]),
        ({"id": ["b", "a"], "name": ["x", "y"]}, ["a", "b"]),
        ({"id": pa.array([10, 9], pa.int64())}, ["10", "9"]),
        ({"id": pa.array([10, 9], pa.uint8())}, ["10", "9"]),
        ({"id": pa.array(["b", "a"], pa.large_string())}, ["a", "b"]),
        ({"id": [1.5, 2.5]}, ["0", "1"]),
        ({"title": ["x", "y"]}, ["0", "1"]),
    ],
)
def test_a_photo_is_called_by_the_first_column_that_can_name_it(
    tmp_path: Path, columns: Mapping[str, Sequence[object]], expected: list[str]
) -> None:
    assert names(parquet(tmp_path, {"image": pictures(b"x", b"y"), **columns})) == expected


def test_rows_without_names_are_numbered(tmp_path: Path) -> None:
    contents = [str(number).encode() for number in range(120)]
    source = parquet(tmp_path, {"image": pictures(*contents)})
    assert names(source) == sorted(map(str, range(120)))
    assert source.read(source.uri + "107").data == b"107"


def test_names_without_a_suffix_are_photos_and_others_go_by_it(tmp_path: Path) -> None:
    contents = pictures(*[b"x"] * 6)
    source = parquet(tmp_path, {"image": contents, "id": ["1", "a.b/c", "x.JPG", "y.txt", ".jpg", "z.tiff"]})
    assert names(source) == [".jpg", "1", "a.b/c", "x.JPG"]
    assert source.ignored == 2


def test_the_table_has_the_other_columns_of_the_listed_rows(tmp_path: Path) -> None:
    columns = {
        "image": pictures(b"x", b"y", b"z", b"w"),
        "filename": ["c.jpg", "a.jpg", "d.txt", "b.jpg"],
        "year": pa.array([2011, None, 2013, 2014.5], pa.float64()),
        "sold": [True, None, False, False],
        "tags": [["a"], [], ["b"], None],
        "raw": pa.array([b"1", b"2", b"3", b"4"], pa.binary()),
    }
    source = parquet(tmp_path, columns)
    assert isinstance(source, DatasetSource)
    uris, table = source.table()
    assert uris == [photo.uri for photo in source.listing()]
    assert table == {
        "filename": ["a.jpg", "b.jpg", "c.jpg"],
        "year": ["", "2014.5", "2011"],
        "sold": ["", "False", "True"],
    }
    assert source.ignored == 1


@pytest.mark.parametrize(
    "column",
    [
        pictures(b"photo"),
        pa.array([b"photo"], pa.binary()),
        pa.array([b"photo"], pa.large_binary()),
        pa.array([{"bytes": b"photo"}]),
        pa.array([{"path": "/nowhere", "bytes": b"photo"}]),
    ],
)
def test_pictures_come_in_several_forms(tmp_path: Path, column: pa.Array) -> None:
    source = parquet(tmp_path, {"picture": column, "id": ["a"], "thumb": ["x"]})
    assert source.read(source.uri + "a").data == b"photo"


def test_of_several_columns_of_pictures_one_must_be_called_image(tmp_path: Path) -> None:
    both = {"front": pictures(b"front"), "back": pictures(b"back")}
    with pytest.raises(SourceError, match=r"\['front', 'back'\] one must be called 'image'"):
        list(parquet(tmp_path, both).listing())
    source = parquet(tmp_path, both | {"image": pictures(b"photo"), "hash": [b"\1\2"]})
    assert source.read(source.uri + "0").data == b"photo"


def test_a_file_without_pictures_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no column holds pictures, of \['title', 'url'\]"):
        list(parquet(tmp_path, {"title": ["x"], "url": ["http://host/x.jpg"]}).listing())


def test_a_path_in_a_row_opens_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    rows = pa.array(
        [{"bytes": None, "path": str(secret)}, None, {"bytes": b"own", "path": str(secret)}], PICTURES
    )
    source = parquet(tmp_path, {"image": rows, "id": ["path", "null", "bytes"]})
    for name in ("path", "null"):
        with pytest.raises(ImageError, match="no bytes") as caught:
            source.read(source.uri + name)
        assert caught.value.reason == "unreadable"
    assert source.read(source.uri + "bytes").data == b"own"


def test_two_rows_of_one_name_are_refused(tmp_path: Path) -> None:
    source = parquet(tmp_path, {"image": pictures(b"x", b"y", b"z"), "id": ["twice", "once", "twice"]})
    for work in (lambda: list(source.listing()), lambda: source.read(source.uri + "once")):
        with pytest.raises(SourceError, match=r"rows 0 and 2 are both called 'twice'"):
            work()


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_row_without_a_name_is_refused(tmp_path: Path, nothing: str | None) -> None:
    with pytest.raises(SourceError, match=r"row 1 has no name"):
        list(parquet(tmp_path, {"image": pictures(b"x", b"y"), "filename": ["a.jpg", nothing]}).listing())


@pytest.mark.parametrize("data", [b"", b"no Parquet file", b"PAR1" + b"\xff" * 100 + b"PAR1"])
def test_a_file_that_is_none_is_told_in_one_line(
    tmp_path: Path, data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "shop.parquet"
    file.write_bytes(data)
    with pytest.raises(SourceError, match="as a data set") as caught:
        list(open_source(str(file), SUFFIXES).listing())
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_nothing_is_told_while_rows_are_prepared(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert names(parquet(tmp_path, {"image": pictures(b"x")})) == ["0"]
    assert capfd.readouterr() == ("", "")


def test_an_unknown_split_is_told(tmp_path: Path) -> None:
    write_parquet(hub_folder(tmp_path / "shop"), {"a.jpg": b"x"})
    with pytest.raises(SourceError, match=r"[Uu]nknown split.*train"):
        list(open_source(f"hf://{tmp_path}/shop:test", SUFFIXES).listing())


def test_a_hub_name_that_is_not_here_is_told(tmp_path: Path) -> None:
    """The tests' environment says that the hub is out of reach."""
    with pytest.raises(SourceError, match="hf://nobody/nothing:train/"):
        list(open_source("hf://nobody/nothing", SUFFIXES).listing())


def test_code_in_a_data_set_is_not_run(tmp_path: Path) -> None:
    write_parquet(hub_folder(tmp_path / "shop"), {"a.jpg": b"x"})
    (tmp_path / "shop" / "shop.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(SourceError, match="scripts are no longer supported"):
        names(open_source(f"hf://{tmp_path}/shop", SUFFIXES))
    assert not (tmp_path / "ran").exists()


def test_a_folder_of_several_files_is_one_data_set(tmp_path: Path) -> None:
    first = hub_folder(tmp_path / "shop")
    write_parquet(first.with_name("train-00000-of-00002.parquet"), {"b.jpg": b"b", "d.jpg": b"d"})
    write_parquet(first.with_name("train-00001-of-00002.parquet"), {"a.jpg": b"a", "c.jpg": b"c"})
    source = open_source(f"hf://{tmp_path}/shop", SUFFIXES)
    assert names(source) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert [source.read(photo.uri).data for photo in source.listing()] == [b"a", b"b", b"c", b"d"]


def test_a_source_stays_in_one_state_until_it_is_listed_again(tmp_path: Path) -> None:
    store = ParquetStore(str(tmp_path / "shop.parquet"), tmp_path / "shop.parquet")
    store.put({"a.jpg": b"old"})
    source = open_source(store.spec, SUFFIXES)
    [listed] = source.listing()
    store.put({"a.jpg": b"new", "b.jpg": b"more"})
    photo = source.read(listed.uri)
    assert (photo.data, photo.change_token) == (b"old", listed.change_token)
    assert len(list(source.listing())) == 2
    assert source.read(listed.uri).data == b"new"


def test_copies_of_earlier_states_are_deleted(tmp_path: Path) -> None:
    store = ParquetStore(str(tmp_path / "shop.parquet"), tmp_path / "shop.parquet")
    other = ParquetStore(str(tmp_path / "other.parquet"), tmp_path / "other.parquet")
    copies = tmp_path / "datasets-cache" / "fashion-clip-flows"
    for number in range(3):
        for changed in (store, other):
            changed.put({f"{number}.jpg": b"x"})
            assert len(names(open_source(changed.spec, SUFFIXES))) == number + 1
    assert len(list(copies.iterdir())) == 2
    assert len(list(copies.glob("*/*"))) == 2

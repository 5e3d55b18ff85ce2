"""What every source does, whatever lies behind it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest

from fashion_clip.errors import ImageError, SourceError
from tasks.sources import Photo, Source, open_source, spec_of
from tests.tasks.sources.stores import ODD_ORDER, FolderStore, ParquetStore, S3Store, Store, hub_folder

SUFFIXES = frozenset({".jpg", ".PNG"})


def folder_store(tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    return FolderStore(tmp_path / "fotos é [1]")


def s3_store(tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    store: Store = request.getfixturevalue("bucket")
    return store


def s3_prefix_store(tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    whole: S3Store = request.getfixturevalue("bucket")
    whole.put({"fotos é [1]-old/other.jpg": b"other", "fotos é [1].jpg": b"other"})
    return S3Store(whole.client, whole.bucket, "fotos é [1]/")


def parquet_store(tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    request.getfixturevalue("datasets_cache")
    (tmp_path / "fotos é [1]").mkdir()
    file = tmp_path / "fotos é [1]" / "shop*.parquet"
    return ParquetStore(str(file), file)


def hub_store(tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    request.getfixturevalue("datasets_cache")
    return ParquetStore(f"hf://{tmp_path}/shop:train", hub_folder(tmp_path / "shop"))


@pytest.fixture(params=[folder_store, s3_store, s3_prefix_store, parquet_store, hub_store])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    make: Callable[[Path, pytest.FixtureRequest], Store] = request.param
    return make(tmp_path, request)


def opened(store: Store) -> Source:
    return open_source(store.spec, SUFFIXES)


def tokens(store: Store) -> dict[str, str]:
    source = opened(store)
    return {source.key(photo.uri): photo.change_token for photo in source.listing()}


def read(store: Store, name: str) -> Photo:
    """As a shard does: with a source of its own."""
    source = opened(store)
    [uri] = [photo.uri for photo in source.listing() if source.key(photo.uri) == name]
    return opened(store).read(uri)


def test_a_listing_is_complete_in_byte_order_and_leads_back_to_the_bytes(store: Store) -> None:
    photos = {name: str(number).encode() for number, name in enumerate(store.odd_names + ODD_ORDER)}
    store.put(photos)
    source = opened(store)
    listed = list(source.listing())
    uris = [photo.uri for photo in listed]
    assert uris == sorted(uris, key=str.encode)
    assert len(set(uris)) == len(uris)
    shown = {name.replace("\0", "\\x00"): data for name, data in photos.items()}
    assert {source.key(uri) for uri in uris} == set(shown)
    for photo in listed:
        assert photo.uri.startswith(source.uri)
        assert photo.uri.isascii()
        assert photo.uri.isprintable()
        assert " " not in photo.uri
        assert source.read(photo.uri) == Photo(photo.uri, photo.change_token, shown[source.key(photo.uri)])


def test_suffixes_match_in_any_case_and_the_rest_is_counted_anew_each_time(store: Store) -> None:
    store.put(dict.fromkeys(("a.JPG", "b/c.jPg", "d.png", "e.txt", "f.jpg.bak", "g/h.gif"), b"x"))
    source = opened(store)
    assert [source.key(photo.uri) for photo in source.listing()] == ["a.JPG", "b/c.jPg", "d.png"]
    assert source.ignored == 3
    store.remove("e.txt")
    list(source.listing())
    assert source.ignored == 2


def test_a_token_stays_while_the_bytes_do_and_changes_with_them(store: Store) -> None:
    store.put({"a.jpg": b"old", "b.jpg": b"stays"})
    before = tokens(store)
    assert tokens(store) == before
    store.put({"a.jpg": b"new"})
    after = tokens(store)
    assert after["a.jpg"] != before["a.jpg"]
    whole = isinstance(store, ParquetStore)  # one file, one token
    assert (after["b.jpg"] == before["b.jpg"]) is not whole
    assert tokens(store) == after


def test_a_photo_changed_after_the_listing_has_the_token_of_what_was_read(store: Store) -> None:
    store.put({"a.jpg": b"old"})
    [listed] = opened(store).listing()
    store.put({"a.jpg": b"new"})
    photo = opened(store).read(listed.uri)
    assert photo.data == b"new"
    assert photo.change_token != listed.change_token
    assert {"a.jpg": photo.change_token} == tokens(store)


def test_a_photo_removed_after_the_listing_is_gone(store: Store) -> None:
    store.put(dict.fromkeys(("a.jpg", "b.jpg", "c.jpg"), b"x"))
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        uri = opened(store).uri + name
        store.remove(name)
        if name != "c.jpg":  # the last takes its prefix with it: a source that is empty, not gone
            store.put({"kept.jpg": b"x"})
        with pytest.raises(ImageError) as caught:
            opened(store).read(uri)
        assert caught.value.reason == "gone"


def test_an_empty_source_lists_nothing(store: Store) -> None:
    source = opened(store)
    if not store.spec.startswith("hf://"):  # datasets cannot load a folder whose files have no rows
        assert list(source.listing()) == []
    assert source.ignored == 0
    store.put({"a.txt": b"x"})
    assert list(source.listing()) == []
    assert source.ignored == 1


def test_a_photo_without_bytes_is_one(store: Store) -> None:
    store.put({"a.jpg": b""})
    assert read(store, "a.jpg").data == b""


def test_the_limit_of_bytes_is_inclusive(store: Store) -> None:
    store.put({"a.jpg": b"x" * 100, "b.jpg": b"x" * 101})
    source = open_source(store.spec, SUFFIXES, max_bytes=100)
    fits, too_large = source.listing()
    assert len(source.read(fits.uri).data) == 100
    with pytest.raises(ImageError, match=r"101 bytes, at most 100") as caught:
        source.read(too_large.uri)
    assert caught.value.reason == "too_large"


def test_a_source_that_is_gone_is_an_error_and_no_empty_listing(store: Store) -> None:
    store.put({"a.jpg": b"x"})
    source = opened(store)
    store.vanish()
    listing = source.listing()  # looks at nothing yet
    with pytest.raises(SourceError) as caught:
        next(listing)
    assert "\n" not in str(caught.value)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_listing_that_is_given_up_leaves_nothing_open(store: Store) -> None:
    store.put({f"{number % 3}/{number}.jpg": b"x" for number in range(9)})
    source = opened(store)
    list(source.listing())  # connections, and what a data set maps into memory, stay
    before = open_files()
    listing = source.listing()
    assert len(list(islice(listing, 5))) == 5
    del listing
    assert open_files() <= before


def test_several_threads_may_read_at_once(store: Store) -> None:
    photos = {f"{number}.jpg": f"photo {number}".encode() * 1000 for number in range(30)}
    store.put(photos)
    source = opened(store)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(source.read, [source.uri + name for name in photos]))
    assert [photo.data for photo in read] == list(photos.values())


def test_a_source_is_opened_again_by_its_uri(store: Store) -> None:
    store.put({"a.jpg": b"one"})
    first = opened(store)
    again = open_source(spec_of(first.uri), SUFFIXES)
    assert again.uri == first.uri
    [photo] = again.listing()
    assert again.read(photo.uri).data == b"one"

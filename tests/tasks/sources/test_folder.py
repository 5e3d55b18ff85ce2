"""A folder as a source: its order, its URIs, and what it makes of files that are no photos."""

import os
import resource
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fashion_clip.decode import MAX_BYTES
from fashion_clip.errors import ImageError, SourceError
from tasks.settings import Settings
from tasks.sources import ordering
from tasks.sources.folder import FolderSource
from tasks.sources.names import LONGEST_URI
from tests.catalogue_fixtures import without_root

SUFFIXES = Settings.model_fields["suffixes"].default
PHOTO_SUFFIXES = (b".jpg", b".JPG", b".JpEg", b".png", b".webp")
OTHER_SUFFIXES = (b"", b".", b".txt", b".jpg.bak", b".jp", b"jpg", b".jpg\n", b".jpg ")


def source_of(folder: Path, suffixes: frozenset[str] = SUFFIXES) -> FolderSource:
    return FolderSource(folder, suffixes, MAX_BYTES)


def names(source: FolderSource) -> list[str]:
    return [source.key(photo.uri) for photo in source.listing()]


PIECES = st.sampled_from(
    [piece.encode() for piece in (" ", "%", "%2F", "\n", "\r", '"', "'", "\u202e", "é", "服", "\x7f", "\x01")]
    + [piece.encode() for piece in "abA0~_.-\\#?&:"]
    + [b"\xff", b"\xc3"]  # no UTF-8
)
STEMS = st.lists(PIECES, min_size=1, max_size=4).map(b"".join).filter(lambda name: name not in (b".", b".."))
NAMES = st.builds(lambda stem, suffix: stem + suffix, STEMS, st.sampled_from(PHOTO_SUFFIXES + OTHER_SUFFIXES))
PATHS = st.builds(lambda folders, name: (*folders, name), st.lists(STEMS, max_size=2), NAMES)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trees")


def make_tree(root: Path, paths: list[tuple[bytes, ...]]) -> list[bytes]:
    """Writes the files, each with bytes of its own; returns those that could be, relative to the root."""
    made = []
    for number, path in enumerate(paths):
        file = os.path.join(os.fsencode(root), *path)  # noqa: PTH118 (bytes)
        try:
            os.makedirs(os.path.dirname(file), exist_ok=True)  # noqa: PTH103, PTH120
            with open(file, "xb") as opened:  # noqa: PTH123
                opened.write(b"%d" % number)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
        made.append(b"/".join(path))
    return made


@settings(deadline=None)
@given(st.lists(PATHS, max_size=12))
def test_a_listing_is_complete_in_byte_order_and_leads_back_to_the_files(
    workplace: Path, paths: list[tuple[bytes, ...]]
) -> None:
    with tempfile.TemporaryDirectory(dir=workplace) as root:
        made = make_tree(Path(root), paths)
        source = source_of(Path(root))
        listed = list(source.listing())
        uris = [photo.uri for photo in listed]

        assert uris == sorted(uris, key=str.encode)
        assert len(set(uris)) == len(uris)
        photos = {file for file in made if file.lower().endswith(tuple(os.fsencode(s) for s in SUFFIXES))}
        assert {unquote_to_bytes(uri.removeprefix(source.uri)) for uri in uris} == photos
        assert source.ignored == len(made) - len(photos)
        for photo in listed:
            assert photo.uri.startswith(source.uri)
            assert photo.uri.isascii()
            assert photo.uri.isprintable()
            relative = unquote_to_bytes(photo.uri.removeprefix(source.uri))
            assert source.key(photo.uri) == relative.decode("utf-8", "backslashreplace")
            read = source.read(photo.uri)
            with open(os.path.join(os.fsencode(root), relative), "rb") as file:  # noqa: PTH118, PTH123
                assert read.data == file.read()
            assert read.change_token == photo.change_token


def test_folders_sort_among_files_as_their_photos_do(tmp_path: Path) -> None:
    for name in ("a/x.jpg", "a-b.jpg", "a.jpg", "a0.jpg", "B.jpg", "a/b/c.jpg", "a b/x.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert names(source_of(tmp_path)) == [
        "B.jpg",
        "a b/x.jpg",
        "a-b.jpg",
        "a.jpg",
        "a/b/c.jpg",
        "a/x.jpg",
        "a0.jpg",
    ]


def test_a_folder_called_like_a_photo_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    (tmp_path / "x.jpg" / "y.jpg").write_bytes(b"x")
    source = source_of(tmp_path)
    assert names(source) == ["x.jpg/y.jpg"]
    assert source.ignored == 0


def test_a_file_without_bytes_is_a_photo_without_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    source = source_of(tmp_path)
    [photo] = source.listing()
    assert photo.change_token.startswith("0-")
    assert source.read(photo.uri).data == b""


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(b"secret")
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "file.jpg").symlink_to(outside / "secret.jpg")
    (photos / "folder").symlink_to(outside)
    (photos / "folder.jpg").symlink_to(outside)
    (photos / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    source = source_of(photos)
    assert names(source) == ["dangling.jpg", "file.jpg", "folder.jpg"]
    for photo in source.listing():
        with pytest.raises(ImageError) as caught:
            source.read(photo.uri)
        assert caught.value.reason == "not_a_file"


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    source = source_of(tmp_path)
    [photo] = source.listing()
    began = time.monotonic()
    with pytest.raises(ImageError) as caught:
        source.read(photo.uri)
    assert caught.value.reason == "not_a_file"
    assert time.monotonic() - began < 1


def test_a_folder_in_the_place_of_a_photo_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"x")
    source = source_of(tmp_path)
    [photo] = source.listing()
    (tmp_path / "x.jpg").unlink()
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(ImageError) as caught:
        source.read(photo.uri)
    assert caught.value.reason == "not_a_file"


def test_a_photo_changed_after_the_listing_has_the_token_of_what_was_read(tmp_path: Path) -> None:
    file = tmp_path / "x.jpg"
    file.write_bytes(b"old")
    source = source_of(tmp_path)
    [listed] = source.listing()
    file.write_bytes(b"new")  # of the same size: only the time of change tells
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    read = source.read(listed.uri)
    assert read.data == b"new"
    assert read.change_token != listed.change_token
    assert [read.change_token] == [photo.change_token for photo in source.listing()]


def test_a_photo_removed_during_the_listing_is_left_out(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(b"x")
    source = source_of(tmp_path)
    listing = source.listing()
    next(listing)
    (tmp_path / "b.jpg").unlink()
    assert [source.key(photo.uri) for photo in listing] == ["c.jpg"]


def test_a_photo_that_is_being_written_is_left_for_the_next_time() -> None:
    """The kernel's own files have a size of 0 and give bytes all the same."""
    source = source_of(Path(f"/proc/{os.getpid()}"))
    with pytest.raises(ImageError) as caught:
        source.read(source.uri + "status")
    assert caught.value.reason == "changing"


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.jpg"
    file.touch()
    os.truncate(file, MAX_BYTES + 1)
    source = source_of(tmp_path)
    with pytest.raises(ImageError) as caught:
        source.read(next(source.listing()).uri)
    assert caught.value.reason == "too_large"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are its user's only."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "a.jpg").write_bytes(b"x")
        (folder / "private").mkdir(mode=0o700)
        (folder / "private" / "b.jpg").write_bytes(b"x")
        yield folder
        (folder / "private").chmod(0o700)


def test_a_folder_that_may_not_be_read_ends_the_listing(open_folder: Path) -> None:
    if os.geteuid() != 0:
        (open_folder / "private").chmod(0)
    source = source_of(open_folder)
    with without_root(), pytest.raises(SourceError, match=r"private/.*Permission denied"):
        list(source.listing())


def test_a_photo_that_may_not_be_read_is_one_photo_less(open_folder: Path) -> None:
    (open_folder / "a.jpg").chmod(0)
    source = source_of(open_folder)
    with without_root(), pytest.raises(ImageError) as caught:
        source.read(source.uri + "a.jpg")
    assert caught.value.reason == "unreadable"
    assert "Permission denied" in caught.value.detail


def test_a_folder_removed_during_the_listing_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "b").mkdir()
    listing = source_of(tmp_path).listing()
    next(listing)
    (tmp_path / "b").rmdir()
    assert list(listing) == []


def test_the_root_folder_is_a_source_too(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"x")
    source = source_of(Path("/"))
    assert source.uri == "file:///"
    uri = (tmp_path / "x.jpg").as_uri()
    assert source.read(uri).data == b"x"
    assert source.key(uri) == str(tmp_path / "x.jpg").removeprefix("/")


def test_a_path_too_long_for_an_index_is_ignored(tmp_path: Path) -> None:
    """20 x 250 is also more than the 4,096 bytes that the system takes for a path."""
    (tmp_path / "x.jpg").touch()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=descriptor)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
        os.close(os.open("x.jpg", os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)
    source = source_of(tmp_path)
    listed = list(source.listing())
    assert all(source.read(photo.uri).data == b"" for photo in listed)
    assert max(len(photo.uri) for photo in listed) <= LONGEST_URI < len(source.uri) + 11 * 251
    # What lies too deep is one folder, which is not looked into.
    assert (len(listed), source.ignored) == (1 + (LONGEST_URI - len(source.uri) - 5) // 251, 1)


def test_more_folders_inside_each_other_than_can_be_open_end_the_listing(tmp_path: Path) -> None:
    (tmp_path / "/".join("a" * 60)).mkdir(parents=True)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (50, before[1]))
    try:
        with pytest.raises(SourceError, match=r"a/a/.*Too many open files"):
            list(source_of(tmp_path).listing())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_folder_of_any_size_is_sorted_on_flat_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(500):
        (tmp_path / f"{number * 7919 % 503}.jpg").touch()
    (tmp_path / "100").mkdir()
    (tmp_path / "100" / "x.jpg").touch()
    expected = list(source_of(tmp_path).listing())
    monkeypatch.setattr(ordering, "CHUNK_BYTES", 1000)
    assert list(source_of(tmp_path).listing()) == expected
    assert len(expected) == 501


@pytest.fixture
def exchanged(tmp_path: Path) -> Path:
    """A folder of photos that can be made a link to one outside."""
    for place, data in (("photos/in", b"inside"), ("outside/in", b"outside")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "x.jpg").write_bytes(data)
    return tmp_path


@pytest.mark.parametrize("name", ["in", "in/x.jpg"])
def test_what_is_exchanged_for_a_link_after_the_listing_leads_nowhere(exchanged: Path, name: str) -> None:
    source = source_of(exchanged / "photos")
    [photo] = source.listing()
    assert source.read(photo.uri).data == b"inside"
    (exchanged / "photos" / name).rename(exchanged / "moved")
    (exchanged / "photos" / name).symlink_to(exchanged / "outside" / name)
    with pytest.raises(ImageError) as caught:
        source.read(photo.uri)
    assert caught.value.reason == "not_a_file"


def test_a_folder_exchanged_for_a_link_during_the_listing_is_not_entered(exchanged: Path) -> None:
    (exchanged / "photos" / "a.jpg").touch()
    listing = source_of(exchanged / "photos").listing()
    next(listing)
    (exchanged / "photos" / "in").rename(exchanged / "moved")
    (exchanged / "photos" / "in").symlink_to(exchanged / "outside" / "in")
    assert list(listing) == []


def test_a_source_exchanged_for_a_link_is_gone(exchanged: Path) -> None:
    source = source_of(exchanged / "photos")
    (exchanged / "photos").rename(exchanged / "moved")
    (exchanged / "photos").symlink_to(exchanged / "outside")
    with pytest.raises(SourceError, match="is it mounted"):
        next(source.listing())
    with pytest.raises(SourceError, match="is it mounted"):
        source.read(source.uri + "in/x.jpg")


@pytest.mark.parametrize(
    "path",
    ["../out.jpg", "in/../../out.jpg", "..%2Fout.jpg", "%2E%2E/out.jpg", "in//x.jpg", "./in/x.jpg", "", "in/",
     "in%2Fx.jpg", "%00.jpg"],
)  # fmt: skip
def test_a_uri_cannot_lead_out_of_its_folder(exchanged: Path, path: str) -> None:
    (exchanged / "out.jpg").write_bytes(b"outside")
    source = source_of(exchanged / "photos")
    with pytest.raises(ImageError) as caught:
        source.read(source.uri + path)
    assert caught.value.reason == "not_a_file"


def test_a_uri_of_another_source_is_refused(exchanged: Path) -> None:
    with pytest.raises(ImageError) as caught:
        source_of(exchanged / "photos").read(source_of(exchanged / "outside").uri + "in/x.jpg")
    assert caught.value.reason == "not_a_file"


def test_a_name_that_looks_escaped_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "..%2Fout.jpg").write_bytes(b"inside")
    (tmp_path / "out.jpg").write_bytes(b"outside")
    source = source_of(tmp_path / "photos")
    [photo] = source.listing()
    assert source.read(photo.uri).data == b"inside"


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("x.jpg")
        source = source_of(tmp_path)
        [photo] = source.listing()
        with pytest.raises(ImageError) as caught:
            source.read(photo.uri)
    assert caught.value.reason == "not_a_file"


def test_reading_leaves_nothing_open(exchanged: Path) -> None:
    source = source_of(exchanged / "photos")
    (exchanged / "photos" / "link.jpg").symlink_to("in/x.jpg")
    before = set(Path("/proc/self/fd").iterdir())
    source.read(source.uri + "in/x.jpg")
    for bad in ("link.jpg", "gone.jpg", "in/x.jpg/y.jpg", "in"):
        with pytest.raises(ImageError):
            source.read(source.uri + bad)
    assert set(Path("/proc/self/fd").iterdir()) == before

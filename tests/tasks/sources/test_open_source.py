"""What names a source, what does not, and what is never repeated."""

import socket
from pathlib import Path, PurePosixPath
from urllib.parse import unquote_to_bytes

import pytest

from fashion_clip.decode import MAX_BYTES
from fashion_clip.errors import UsageError
from tasks.sources import open_source

SUFFIXES = frozenset({".jpg"})


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, which is the home folder too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_folder_is_the_one_that_its_name_leads_to(workplace: Path) -> None:
    folder = workplace / "fotos é"
    folder.mkdir()
    (workplace / "link").symlink_to(folder)
    uris = {open_source(spec, SUFFIXES).uri for spec in (str(folder), "fotos é", "link", "~/link", "./link/")}
    assert uris == {folder.resolve().as_uri() + "/"}
    assert PurePosixPath(unquote_to_bytes(uris.pop()).decode()).name == folder.name


def test_a_folder_called_like_a_file_is_a_folder(workplace: Path) -> None:
    (workplace / "x.parquet").mkdir()
    assert open_source("x.parquet", SUFFIXES).uri == f"file://{workplace}/x.parquet/"


@pytest.mark.parametrize(
    ("spec", "uri"),
    [
        ("s3://shop", "s3://shop/"),
        ("s3://shop/", "s3://shop/"),
        ("s3://shop/photos", "s3://shop/photos/"),
        ("s3://shop/photos/", "s3://shop/photos/"),
        ("s3://shop/fotos é/@home/a:b", "s3://shop/fotos%20%C3%A9/%40home/a%3Ab/"),
        ("s3://shop//photos", "s3://shop//photos/"),
        ("hf://shop", "hf://shop:train/"),
        ("hf://some-one/the.shop", "hf://some-one/the.shop:train/"),
        ("hf://some-one/shop:test", "hf://some-one/shop:test/"),
        ("hf://{folder}", "hf://{folder}:train/"),
        ("hf://{folder}:test", "hf://{folder}:test/"),
        ("hf://folder:test", "hf://{folder}:test/"),
        ("hf://~/folder", "hf://{folder}:train/"),
        ("hf://folder/a:b", "hf://{folder}/a%3Ab:train/"),
        ("hf://folder/a:b:test", "hf://{folder}/a%3Ab:test/"),
        ("x.parquet", "parquet://{workplace}/x.parquet/"),
        ("./y é.PARQUET", "parquet://{workplace}/y%20%C3%A9.PARQUET/"),
    ],
)
def test_what_names_a_source(workplace: Path, spec: str, uri: str) -> None:
    (workplace / "folder" / "a:b").mkdir(parents=True)
    for name in ("x.parquet", "y é.PARQUET"):
        (workplace / name).touch()
    places = {"workplace": str(workplace), "folder": str(workplace / "folder")}
    source = open_source(spec.format(**places), SUFFIXES)
    assert source.uri == uri.format(**places)
    assert source.ignored == 0


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("nowhere", "does not exist"),
        ("nowhere.parquet", "does not exist"),
        ("", "does not exist"),
        ("file.jpg", "neither a folder nor a .parquet file"),
        ("file.jpg/x", "does not exist"),
        ("x" * 300, "no path that can be opened"),
        ("nul\0byte", "no path that can be opened"),
        ("~no-such-user/x", "no path that can be opened"),
        ("ftp://host/x", "expected the path of a folder"),
        ("://", "expected the path of a folder"),
        ("S3://shop", "expected the path of a folder"),
        ("s3://", "s3://BUCKET/PREFIX"),
        ("s3:///photos", "s3://BUCKET/PREFIX"),
        ("s3://my shop/photos", "s3://BUCKET/PREFIX"),
        ("s3://shop:8000/photos", "s3://BUCKET/PREFIX"),
        ("s3://shop/\udcff", "no text"),
        ("hf://", "neither a folder nor a name"),
        ("hf:///nowhere", "neither a folder nor a name"),
        ("hf://./nowhere", "neither a folder nor a name"),
        ("hf://a/b/c", "neither a folder nor a name"),
        ("hf://é", "neither a folder nor a name"),
        ("hf://shop:", "no name of a split"),
        ("hf://shop:train[10]", "no name of a split"),
        ("hf://shop:train[:10%]", "neither a folder nor a name"),
        ("hf://\udcff", "neither a folder nor a name"),
    ],
)
def test_what_names_none_is_wrong_use(workplace: Path, spec: str, told: str) -> None:
    (workplace / "file.jpg").touch()
    with pytest.raises(UsageError) as caught:
        open_source(spec, SUFFIXES)
    assert told in str(caught.value)
    assert repr(spec) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        "s3://AKIDGEHEIM:geheim@shop/photos",
        "s3://AKIDGEHEIM:gehe/im+geheim@shop/photos",
        "s3://AKIDGEHEIM@shop",
        "S3://AKIDGEHEIM:geheim@shop",
        "https://user:geheim@host/x",
        "hf://user:geheim@shop",
    ],
)
def test_a_name_that_holds_a_secret_is_refused_without_repeating_it(spec: str) -> None:
    with pytest.raises(UsageError, match="AWS_SECRET_ACCESS_KEY") as caught:
        open_source(spec, SUFFIXES)
    assert "geheim" not in str(caught.value).lower()


def test_opening_asks_nothing_of_the_network(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refused)
    (workplace / "x.parquet").write_bytes(b"no parquet")
    for spec in ("s3://shop/photos", "hf://someone/shop", "x.parquet", "."):
        open_source(spec, SUFFIXES, MAX_BYTES)

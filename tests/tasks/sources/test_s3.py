"""What a bucket has that a folder has not: keys, pages, checksums, permissions, credentials."""

import socket
import zlib
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from itertools import pairwise

import pytest

from fashion_clip.errors import ImageError, SourceError
from tasks.sources import Source, open_source
from tasks.sources.patience import PATIENCE, Patience
from tasks.sources.s3 import MOST_DENIED, MOST_LOST, S3Source
from tasks.sources.s3_requests import CORRUPT_ATTEMPTS, client
from tests.servers.s3 import S3Server
from tests.tasks.sources.scripted_s3 import Refusal, ScriptedS3
from tests.tasks.sources.stores import S3Store

SUFFIXES = frozenset({".jpg"})
QUICK = Patience(retry_s=0.5, first_wait_s=0.02, longest_wait_s=0.1)
SECRET = "geheim"


def quick(prefix: str = "", max_bytes: int = 10_000) -> S3Source:
    return S3Source("shop", prefix, SUFFIXES, max_bytes, QUICK)


def names(source: Source) -> list[str]:
    return [source.key(photo.uri) for photo in source.listing()]


def test_keys_of_every_kind_are_one_to_one_with_uris(shop: ScriptedS3) -> None:
    keys = [
        "../x.jpg", "../../etc/x.jpg", "./x.jpg", "/x.jpg", "//x.jpg", "a//b.jpg", "a/./b.jpg", "a/../b.jpg",
        "new\nline\r\t.jpg", "\x01\x7f.jpg", "quote'\"`.jpg", "\u202egpj.exe.jpg", "a+b c%20d%2F.jpg",
        "?versionId=1.jpg", "#x.jpg", "http://host/x.jpg", "😀.jpg", "<&>.jpg", ".jpg", "k" * 1000 + ".jpg",
        "é" * 500 + ".jpg", " .jpg",
    ]  # fmt: skip
    shop.objects.update({key: key.encode() for key in keys})
    source = quick()
    listed = list(source.listing())
    uris = [photo.uri for photo in listed]
    assert all(one < other for one, other in pairwise(uris))
    assert {source.key(uri) for uri in uris} == set(keys)
    for photo in listed:
        assert photo.uri.isascii()
        assert photo.uri.isprintable()
        assert photo.uri.startswith("s3://shop/")
        read = source.read(photo.uri)
        assert (read.data.decode(), read.change_token) == (source.key(photo.uri), photo.change_token)


def test_a_bucket_of_several_pages_is_listed_whole(bucket: S3Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        puts = [pool.submit(bucket.put, {f"p/{number}.jpg": b"x"}) for number in range(1010)]
        for put in puts:
            put.result()
    bucket.put({"p/x.txt": b"x", "q.jpg": b"x"})
    source = open_source(bucket.spec + "p", SUFFIXES)
    assert names(source) == sorted(f"{number}.jpg" for number in range(1010))
    assert source.ignored == 1


def test_folders_markers_are_no_files(shop: ScriptedS3) -> None:
    shop.objects.update({"p/": b"", "p/a/": b"", "p/a.jpg/": b"", "p/a/x.jpg": b"x", "p/b/": b"no marker"})
    source = quick("p/")
    assert names(source) == ["a/x.jpg"]
    assert source.ignored == 1


def test_a_prefix_is_a_folder(bucket: S3Store) -> None:
    bucket.put(dict.fromkeys(("shop/a.jpg", "shop-old/b.jpg", "shop.jpg"), b"x"))
    assert names(open_source(bucket.spec + "shop", SUFFIXES)) == ["a.jpg"]


def test_a_listing_that_does_not_go_on_is_no_whole_one(shop: ScriptedS3) -> None:
    for token in ("", "<NextContinuationToken>same</NextContinuationToken>"):
        shop.page = f"<ListBucketResult><IsTruncated>true</IsTruncated>{token}</ListBucketResult>"
        with pytest.raises(SourceError, match="how it goes on"):
            list(quick().listing())


def test_a_stored_checksum_is_the_one_that_counts(shop: ScriptedS3) -> None:
    data = b"photo" * 100
    crc = b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    wrong = b64encode(b"\0\0\0\0").decode()
    shop.objects.update({"right.jpg": data, "wrong.jpg": data, "composite.jpg": data})
    shop.headers["right.jpg"] = {"x-amz-checksum-crc32": crc, "ETag": '"' + "0" * 32 + '"'}
    shop.headers["wrong.jpg"] = {"x-amz-checksum-crc32": wrong}
    shop.headers["composite.jpg"] = {
        "x-amz-checksum-crc32": wrong + "-2"
    }  # of the parts' checksums: not ours
    source = quick()
    assert source.read("s3://shop/right.jpg").data == data
    assert source.read("s3://shop/composite.jpg").data == data
    with pytest.raises(ImageError, match="stored checksum") as caught:
        source.read("s3://shop/wrong.jpg")
    assert caught.value.reason == "unreadable"


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"' + "0" * 32 + '-2"'},
        {"ETag": '"' + "0" * 32 + '"', "x-amz-server-side-encryption": "aws:kms"},
        {"ETag": '"' + "0" * 32 + '"', "x-amz-server-side-encryption": "aws:kms:dsse"},
        {"ETag": '"' + "0" * 32 + '"', "x-amz-server-side-encryption-customer-algorithm": "AES256"},
        {"ETag": '"some words"'},
    ],
)
def test_an_etag_that_is_no_md5_proves_nothing(shop: ScriptedS3, headers: dict[str, str | None]) -> None:
    shop.objects["a.jpg"] = b"photo"
    shop.headers["a.jpg"] = headers
    photo = quick().read("s3://shop/a.jpg")
    assert photo.data == b"photo"
    assert photo.change_token.isascii()
    assert " " not in photo.change_token


def test_bytes_that_the_store_has_wrong_are_given_up_soon(shop: ScriptedS3) -> None:
    """Amazon's own encryption leaves the ETag an MD5."""
    shop.objects["a.jpg"] = b"photo"
    shop.headers["a.jpg"] = {"ETag": '"' + "0" * 32 + '"', "x-amz-server-side-encryption": "AES256"}
    with pytest.raises(ImageError, match=md5(b"photo").hexdigest()) as caught:
        S3Source("shop", "", SUFFIXES, 10_000, Patience(retry_s=5, first_wait_s=0.02)).read("s3://shop/a.jpg")
    assert caught.value.reason == "unreadable"
    assert len([path for path in shop.asked if "a.jpg" in path]) == CORRUPT_ATTEMPTS


@pytest.mark.parametrize("missing", ["ETag", "Content-Length"])
def test_an_answer_that_tells_too_little_is_not_taken(shop: ScriptedS3, missing: str) -> None:
    shop.objects["a.jpg"] = b"photo"
    shop.headers["a.jpg"] = {missing: None, "Connection": "close"}
    with pytest.raises(ImageError) as caught:
        quick().read("s3://shop/a.jpg")
    assert caught.value.reason == "unreadable"


def test_what_is_too_large_is_not_fetched(shop: ScriptedS3) -> None:
    shop.objects["a.jpg"] = b"only a little of it comes"
    shop.headers["a.jpg"] = {"Content-Length": "10001"}
    with pytest.raises(ImageError, match="10001 bytes, at most 10000") as caught:
        quick().read("s3://shop/a.jpg")
    assert caught.value.reason == "too_large"


def test_one_photo_that_may_not_be_read_is_one_less(shop: ScriptedS3) -> None:
    shop.objects["a.jpg"] = b"photo"
    shop.denied["b.jpg"] = Refusal(403, "AccessDenied")
    source = quick()
    for _ in range(2):
        for _ in range(MOST_DENIED - 1):
            with pytest.raises(ImageError) as caught:
                source.read("s3://shop/b.jpg")
            assert caught.value.reason == "forbidden"
        source.read("s3://shop/a.jpg")


def test_a_role_that_may_read_nothing_ends_the_run(shop: ScriptedS3) -> None:
    shop.denied["b.jpg"] = Refusal(403, "AccessDenied")
    source = quick()
    for _ in range(MOST_DENIED - 1):
        with pytest.raises(ImageError):
            source.read("s3://shop/b.jpg")
    with pytest.raises(SourceError, match=r"the first 20 photos were denied.*s3:GetObject"):
        source.read("s3://shop/b.jpg")


def test_a_role_that_has_read_something_is_not_blamed_for_what_it_may_not_read(shop: ScriptedS3) -> None:
    shop.denied["b.jpg"] = Refusal(403, "AccessDenied")
    shop.objects["a.jpg"] = b"a"
    source = quick()
    source.read("s3://shop/a.jpg")
    for _ in range(2 * MOST_DENIED):
        with pytest.raises(ImageError):
            source.read("s3://shop/b.jpg")


@pytest.mark.parametrize(
    ("refusal", "reason", "told"),
    [
        (Refusal(404, "NoSuchKey"), "gone", "removed"),
        (Refusal(403, "InvalidObjectState"), "unreadable", "archived"),
        (Refusal(400, "InvalidRequest"), "unreadable", "InvalidRequest"),
        (Refusal(401, ""), "forbidden", "401"),
    ],
)
def test_what_can_be_wrong_with_one_object(
    shop: ScriptedS3, refusal: Refusal, reason: str, told: str
) -> None:
    shop.denied["a.jpg"] = refusal
    with pytest.raises(ImageError, match=told) as caught:
        quick().read("s3://shop/a.jpg")
    assert caught.value.reason == reason
    assert len(shop.asked) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(503, "SlowDown"), Refusal(500, "InternalError"), Refusal(502, ""), Refusal(504, ""),
        Refusal(429, ""), Refusal(400, "RequestTimeout"), Refusal(503, ""), Refusal(304, ""),
    ],
)  # fmt: skip
def test_a_busy_server_is_asked_again(shop: ScriptedS3, refusal: Refusal) -> None:
    shop.objects["a.jpg"] = b"photo"
    source = S3Source("shop", "", SUFFIXES, 10_000, Patience(retry_s=5, first_wait_s=0.02))
    shop.refusals.extend([refusal] * 2)
    assert names(source) == ["a.jpg"]
    shop.refusals.extend([refusal] * 2)
    assert source.read("s3://shop/a.jpg").data == b"photo"


def test_an_object_that_never_comes_is_one_photo_less(shop: ScriptedS3) -> None:
    shop.denied["a.jpg"] = Refusal(503, "SlowDown")
    with pytest.raises(ImageError, match=r"503 'SlowDown', however often") as caught:
        quick().read("s3://shop/a.jpg")
    assert caught.value.reason == "unreadable"
    assert len(shop.asked) > 2  # at least once more, and the look at the bucket


def test_a_bucket_that_lists_and_gives_no_photo_ends_the_run(shop: ScriptedS3) -> None:
    """One photo that is had in between begins the count anew."""
    shop.objects["a.jpg"] = b"photo"
    shop.denied["b.jpg"] = Refusal(503, "SlowDown")
    source = S3Source("shop", "", SUFFIXES, 10_000, Patience(retry_s=0))
    for _ in range(2):
        for _ in range(MOST_LOST - 1):
            with pytest.raises(ImageError):
                source.read("s3://shop/b.jpg")
        source.read("s3://shop/a.jpg")
    for _ in range(MOST_LOST - 1):
        with pytest.raises(ImageError):
            source.read("s3://shop/b.jpg")
    with pytest.raises(SourceError, match=r"'s3://shop/': 20 photos in a row.*503 'SlowDown'"):
        source.read("s3://shop/b.jpg")


def test_bytes_that_the_store_has_wrong_are_no_bucket_that_cannot_be_read(shop: ScriptedS3) -> None:
    shop.objects["a.jpg"] = b"photo"
    shop.headers["a.jpg"] = {"ETag": '"' + "0" * 32 + '"'}
    source = S3Source("shop", "", SUFFIXES, 10_000, Patience(retry_s=0))
    for _ in range(2 * MOST_LOST):
        with pytest.raises(ImageError):
            source.read("s3://shop/a.jpg")


@pytest.mark.parametrize("work", ["list", "read"])
def test_a_server_that_stays_busy_ends_the_run(shop: ScriptedS3, work: str) -> None:
    shop.refusals.extend([Refusal(503, "SlowDown")] * 10_000)
    with pytest.raises(SourceError, match=r"503 'SlowDown'"):
        next(quick().listing()) if work == "list" else quick().read("s3://shop/a.jpg")


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (Refusal(403, "InvalidAccessKeyId"), "AWS_ACCESS_KEY_ID"),
        (Refusal(403, "SignatureDoesNotMatch"), "AWS_SECRET_ACCESS_KEY"),
        (Refusal(400, "ExpiredToken"), "expired"),
        (Refusal(400, "InvalidToken"), "AWS_SESSION_TOKEN"),
        (Refusal(403, "RequestTimeTooSkewed"), "clock"),
        (Refusal(404, "NoSuchBucket"), "no such bucket"),
    ],
)
@pytest.mark.parametrize("work", ["list", "read"])
def test_what_somebody_must_see_to_ends_the_run_at_once(
    shop: ScriptedS3, refusal: Refusal, told: str, work: str
) -> None:
    shop.refusals.append(refusal)
    source = open_source("s3://shop", SUFFIXES)
    with pytest.raises(SourceError, match=told) as caught:
        next(source.listing()) if work == "list" else source.read("s3://shop/a.jpg")
    assert len(shop.asked) == 1
    assert_fit_to_be_shown(caught.value)


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (Refusal(403, "AccessDenied"), "s3:ListBucket"),
        (Refusal(403, ""), "s3:ListBucket"),
        (Refusal(404, ""), "no bucket"),
    ],
)
def test_a_bucket_that_may_not_be_listed_ends_the_run_at_once(
    shop: ScriptedS3, refusal: Refusal, told: str
) -> None:
    shop.refusals.append(refusal)
    with pytest.raises(SourceError, match=told):
        next(open_source("s3://shop", SUFFIXES).listing())
    assert len(shop.asked) == 1


def assert_fit_to_be_shown(error: SourceError) -> None:
    """One line, no secret, neither in what it hides."""
    assert "\n" not in str(error)
    assert SECRET not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_a_server_that_is_not_one_of_s3_ends_the_run(shop: ScriptedS3) -> None:
    shop.page = "<html><body>Welcome to the hotel's network</body>"
    with pytest.raises(SourceError, match=r"not one of S3|answer 500"):
        next(quick().listing())


def test_a_wrong_key_is_told_by_a_real_server(bucket: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(bucket.spec, SUFFIXES)
    bucket.put({"a.jpg": b"x"})
    assert names(source) == ["a.jpg"]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(SourceError, match="AWS_SECRET_ACCESS_KEY") as caught:
        next(source.listing())
    assert_fit_to_be_shown(caught.value)
    with pytest.raises(SourceError, match="AWS_SECRET_ACCESS_KEY"):
        source.read(source.uri + "a.jpg")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOTHER")
    with pytest.raises(SourceError, match="AWS_ACCESS_KEY_ID"):
        next(source.listing())


def test_a_missing_bucket_is_told_by_a_real_server(bucket: S3Store) -> None:
    with pytest.raises(SourceError, match="there is no such bucket"):
        next(open_source("s3://nowhere-to-be-found", SUFFIXES).listing())
    with pytest.raises(SourceError, match="there is no such bucket"):
        open_source("s3://nowhere-to-be-found", SUFFIXES).read("s3://nowhere-to-be-found/a.jpg")


def test_without_credentials_the_run_ends_soon(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata service of a cloud, which is asked last, takes the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.endpoint)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(SourceError, match=r"no usable credentials.*AWS_ACCESS_KEY_ID.*role") as caught:
            next(open_source("s3://shop", SUFFIXES).listing())
    assert_fit_to_be_shown(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_PROFILE", "nobody"),
        ("AWS_ENDPOINT_URL_S3", "no address"),
        ("AWS_ENDPOINT_URL", "geheim"),
        ("AWS_DEFAULT_REGION", "no region"),
    ],
)
def test_settings_that_cannot_be_used_are_told(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SourceError, match=f"check .*{name.removesuffix('_S3')}") as caught:
        next(open_source("s3://shop", SUFFIXES).listing())
    assert_fit_to_be_shown(caught.value)


def test_an_address_with_a_password_is_not_repeated(
    shop: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://me:{SECRET}@127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(SourceError, match="cannot be connected to") as caught:
            next(quick().listing())
    assert_fit_to_be_shown(caught.value)


def test_all_threads_share_one_client_of_the_same_settings(
    shop: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = client(PATIENCE)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(client, [PATIENCE] * 4)) == {first}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOTHER")
    assert client(PATIENCE) is not first


def test_after_expired_credentials_new_ones_are_looked_for(shop: ScriptedS3) -> None:
    first = client(PATIENCE)
    shop.refusals.append(Refusal(400, "ExpiredToken"))
    with pytest.raises(SourceError):
        next(open_source("s3://shop", SUFFIXES).listing())
    assert client(PATIENCE) is not first

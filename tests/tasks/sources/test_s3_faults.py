"""What a bad network does to a bucket: the right bytes, or an error in time, and never other bytes."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from boto3.session import Session
from botocore.config import Config

from fashion_clip.errors import ImageError, SourceError
from tasks.sources.patience import Patience, within
from tasks.sources.s3 import S3Source
from tests.servers.proxy import FaultProxy, fault_proxy
from tests.servers.s3 import S3Server
from tests.tasks.sources.scripted_s3 import ScriptedS3
from tests.tasks.sources.stores import S3Store

SUFFIXES = frozenset({".jpg"})
HASTY = Patience(
    connect_s=1, read_s=0.5, answer_s=1, page_s=1, bytes_per_s=1_000_000, retry_s=0.8,
    first_wait_s=0.02, longest_wait_s=0.2,
)  # fmt: skip
PERSISTENT = Patience(read_s=0.5, answer_s=1, page_s=1, retry_s=20, first_wait_s=0.02, longest_wait_s=0.1)
PHOTO = bytes(range(256)) * 400
BODY = 50_000  # a byte of the answer that is one of the photo's


@pytest.fixture(scope="module")
def module_proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    address = urlsplit(s3_server.endpoint)
    with fault_proxy((str(address.hostname), int(address.port or 0))) as proxy:
        yield proxy


@pytest.fixture
def proxy(module_proxy: FaultProxy, bucket: S3Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """Between the environment's client and the server; the bucket holds `a.jpg` and `b.jpg`."""
    bucket.put({"a.jpg": PHOTO, "b.jpg": PHOTO[:1000]})
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{module_proxy.port}")
    module_proxy.mode = "ok"
    yield module_proxy
    module_proxy.mode = "ok"


def source(bucket: S3Store, patience: Patience) -> S3Source:
    return S3Source(bucket.bucket, "", SUFFIXES, 1_000_000, patience)


@pytest.mark.parametrize(
    "fault",
    [
        f"cut:{BODY}:2", f"rst:{BODY}:2", "cut:0:2", "rst:0:2", "cut:100:2", "rst:100:2", "hang::2",
        f"corrupt:{BODY}:2", "rate:200:2",
    ],
)  # fmt: skip
def test_a_fault_that_passes_costs_nothing(proxy: FaultProxy, bucket: S3Store, fault: str) -> None:
    photos = source(bucket, PERSISTENT)
    [a, _] = photos.listing()
    struck = proxy.struck
    proxy.mode = f"{fault} on GET /{bucket.bucket}/a.jpg"
    photo = photos.read(a.uri)
    assert photo.data == PHOTO
    assert photo.change_token == a.change_token
    assert proxy.struck == struck + 2


@pytest.mark.parametrize("fault", ["cut:200:2", "cut:0:2", "rst:300:2", "hang::2"])
def test_a_listing_survives_a_fault_that_passes(proxy: FaultProxy, bucket: S3Store, fault: str) -> None:
    struck = proxy.struck
    proxy.mode = f"{fault} on GET /{bucket.bucket}?"
    assert len(list(source(bucket, PERSISTENT).listing())) == 2
    assert proxy.struck == struck + 2


@contextmanager
def refused_for_a_while(proxy: FaultProxy) -> Iterator[None]:
    proxy.mode = "refuse"
    back = threading.Timer(0.5, lambda: setattr(proxy, "mode", "ok"))
    back.start()
    yield
    back.join()


def test_a_server_that_comes_back_is_waited_for(proxy: FaultProxy, bucket: S3Store) -> None:
    photos = source(bucket, PERSISTENT)
    with refused_for_a_while(proxy):
        assert len(list(photos.listing())) == 2
    with refused_for_a_while(proxy):
        assert photos.read(photos.uri + "a.jpg").data == PHOTO


@pytest.mark.parametrize("fault", [f"cut:{BODY}", "hang", f"corrupt:{BODY}", "rate:1000"])
def test_a_fault_that_stays_with_one_photo_is_one_photo_less(
    proxy: FaultProxy, bucket: S3Store, fault: str
) -> None:
    photos = source(bucket, HASTY)
    proxy.mode = f"{fault} on GET /{bucket.bucket}/a.jpg"
    with pytest.raises(ImageError) as caught:
        photos.read(photos.uri + "a.jpg")
    assert caught.value.reason == "unreadable"
    assert photos.read(photos.uri + "b.jpg").data == PHOTO[:1000]


@pytest.mark.parametrize(
    ("fault", "work"),
    [("refuse", "list"), ("refuse", "read"), ("hang", "list"), ("hang", "read"), ("cut:0", "list"),
     ("cut:200", "list"), ("cut:200", "read"), ("rate:20", "read")],
)  # fmt: skip
def test_a_fault_that_stays_with_the_server_ends_the_run(
    proxy: FaultProxy, bucket: S3Store, fault: str, work: str
) -> None:
    photos = source(bucket, HASTY)
    proxy.mode = fault
    with pytest.raises(SourceError) as caught:
        next(photos.listing()) if work == "list" else photos.read(photos.uri + "a.jpg")
    assert photos.uri in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_flipped_bit_never_gives_other_bytes(
    proxy: FaultProxy, bucket: S3Store, s3_server: S3Server
) -> None:
    """Anywhere in the answer, its status and headers included; of the object only the MD5 is known.

    A bit of the ETag itself may pass: then the next listing has another token, and the photo is read again.
    """
    photos = source(bucket, PERSISTENT)
    put_without_checksum(s3_server, bucket.bucket, "b.jpg", PHOTO[:1000])
    [_, listed] = photos.listing()
    struck = proxy.struck
    flips = range(0, 1800, 31)
    for byte in flips:
        proxy.mode = f"corrupt:{byte}:1 on GET /{bucket.bucket}/b.jpg"
        assert photos.read(listed.uri).data == PHOTO[:1000]
    assert proxy.struck > struck + len(flips) / 2


def put_without_checksum(server: S3Server, bucket: str, key: str, data: bytes) -> None:
    """As clients did before 2025."""
    s3 = Session().client(
        "s3",
        endpoint_url=server.endpoint,
        config=Config(request_checksum_calculation="when_required", s3={"addressing_style": "path"}),
    )
    s3.put_object(Bucket=bucket, Key=key, Body=data)
    assert "ChecksumCRC32" not in s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")


@pytest.mark.parametrize("work", ["list", "read"])
def test_an_answer_that_drips_is_not_waited_for(shop: ScriptedS3, work: str) -> None:
    """Its headers alone would take a minute, and no byte is late."""
    shop.objects["a.jpg"] = b"photo"
    shop.drip_s = 0.2
    photos = S3Source("shop", "", SUFFIXES, 1_000_000, HASTY)
    began = time.monotonic()
    with pytest.raises(SourceError, match="no answer within"):
        next(photos.listing()) if work == "list" else photos.read("s3://shop/a.jpg")
    assert time.monotonic() - began < 10


def test_work_that_is_done_in_time_gives_what_it_gives() -> None:
    assert within(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)
    with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
        within(0.01, lambda: time.sleep(0.5))

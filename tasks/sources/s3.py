"""Photos in an S3 bucket: Amazon's, or any server's that AWS_ENDPOINT_URL_S3 names.

Who asks is told by AWS's own means: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the role of
the machine.
"""

import hashlib
import re
from collections.abc import Iterator
from threading import Lock
from typing import Any, NoReturn
from urllib.parse import quote, unquote_to_bytes

from fashion_clip.errors import ImageError, SourceError, UsageError
from tasks.sources import Listed, Photo
from tasks.sources.names import decoded, encoded, lowered
from tasks.sources.ordering import in_order
from tasks.sources.patience import PATIENCE, Patience, within
from tasks.sources.s3_errors import CorruptBytesError, Kind, S3Error, told_as_s3_errors
from tasks.sources.s3_requests import body_within, client, retried

MOST_DENIED = 20  # before any is read: then it is the role that may not read
MOST_LOST = 20  # in a row, each waited for to the end: then it is the bucket that cannot be read
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
_MD5 = re.compile(r"[0-9a-f]{32}")


def bucket_and_prefix(spec: str) -> tuple[str, str]:
    """`s3://shop/photos` -> ("shop", "photos/"); the prefix of a whole bucket is empty.

    Raises:
        UsageError: there can be no such bucket or prefix.
    """
    bucket, _, prefix = spec.removeprefix("s3://").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(f"source {spec!r}: expected s3://BUCKET/PREFIX, and {bucket!r} is no bucket's name")
    if any("\ud800" <= character <= "\udfff" for character in prefix):
        raise UsageError(f"source {spec!r}: the prefix is no text; keys of S3 are UTF-8")
    return bucket, prefix if prefix.endswith("/") or not prefix else prefix + "/"


class S3Source:
    """The objects below a prefix. Keys that end in / and hold nothing are folders' markers and no photos.

    The change token is ETag and size. The version is not in it, since listings do not tell it; other bytes
    have another ETag.

    Bytes are checked against the checksum that is stored with an object, where botocore knows its kind
    (without awscrt: CRC-32, SHA-1, SHA-256); else against the ETag where that is the MD5 of the bytes. What
    remains (objects uploaded in parts, or encrypted with a key of one's own, without such a checksum) is
    guarded by its length and by TLS alone.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        suffixes: frozenset[str],
        max_bytes: int,
        patience: Patience = PATIENCE,
    ):
        self.uri = f"s3://{bucket}/{encoded(prefix.encode())}"
        self.ignored = 0
        self._bucket, self._prefix = bucket, prefix
        self._suffixes = lowered(suffixes)
        self._max_bytes = max_bytes
        self._patience = patience
        self._denied = 0
        self._may_read = False
        self._lost = 0
        self._lock = Lock()

    def listing(self) -> Iterator[Listed]:
        """See `Source`. S3 lists in the order of keys, not of URIs: all of it is sorted before the first."""
        self.ignored = 0
        for record in in_order(self._records()):
            uri, _, token = record.partition(" ")
            yield Listed(uri, token)

    def _records(self) -> Iterator[str]:
        for entry in self._objects():
            key = entry["Key"].encode()
            if key.endswith(b"/") and entry["Size"] == 0:
                continue
            if key.lower().endswith(self._suffixes):
                yield f"s3://{self._bucket}/{encoded(key)} {_token(entry.get('ETag', ''), entry['Size'])}"
            else:
                self.ignored += 1

    def _objects(self) -> Iterator[dict[str, Any]]:
        after: str | None = None
        while True:
            page = self._page(after)
            yield from page.get("Contents", ())
            if not page.get("IsTruncated"):
                return
            before, after = after, page.get("NextContinuationToken")
            if after in (None, before):
                raise SourceError(f"cannot list {self.uri!r}: the server does not tell how it goes on")

    def _page(self, after: str | None) -> dict[str, Any]:
        request = {"ContinuationToken": after} if after else {}
        try:
            return retried(self._patience, lambda: self._list(**request))
        except S3Error as error:
            told = error.told
            if error.kind is Kind.PASSING:
                told = f"{told}, however often it was tried; is the server up?"
            if error.kind is Kind.DENIED:
                told = f"the credentials may not list it; allow them s3:ListBucket ({told})"
            if error.kind is Kind.GONE:
                told = f"there is no bucket; check its name, and AWS_ENDPOINT_URL_S3 ({told})"
            raise SourceError(f"cannot list {self.uri!r}: {told}") from None

    def _list(self, **request: Any) -> dict[str, Any]:
        with told_as_s3_errors():
            s3 = client(self._patience)
            page: dict[str, Any] = within(
                self._patience.page_s,
                lambda: s3.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, **request),
            )
        if "IsTruncated" not in page:
            # A connection that is closed among the headers looks like an answer of nothing.
            raise S3Error(Kind.PASSING, "the answer is not whole")
        return page

    def read(self, uri: str) -> Photo:
        """See `Source`. The token is that of the answer which brought the bytes."""
        key = unquote_to_bytes(uri.removeprefix(f"s3://{self._bucket}/")).decode()
        try:
            photo = retried(self._patience, lambda: self._attempt(uri, key))
        except S3Error as error:
            self._give_up(uri, error)
        self._may_read = True
        self._lost = 0
        return photo

    def _attempt(self, uri: str, key: str) -> Photo:
        with told_as_s3_errors():
            s3 = client(self._patience)
            answer = within(
                self._patience.answer_s,
                lambda: s3.get_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED"),
            )
            return self._photo(uri, answer)

    def _photo(self, uri: str, answer: dict[str, Any]) -> Photo:
        """Takes the body in, or closes it. Raises ImageError if it is too large, and botocore's errors."""
        body, etag, size = answer["Body"], answer.get("ETag"), answer.get("ContentLength")
        with body as connection:
            if etag is None or size is None:
                raise S3Error(Kind.PASSING, "the answer has no ETag or no Content-Length")
            if size > self._max_bytes:
                raise ImageError("too_large", f"{size} bytes, at most {self._max_bytes}")
            data = body_within(self._patience.body_s(size), body, connection)
        if _is_md5(etag, answer, self._bucket) and not _is_verified(body):
            digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
            if digest != _bare(etag):
                raise CorruptBytesError(f"the bytes have the MD5 {digest}, expected {_bare(etag)}")
        return Photo(uri, _token(etag, size), data)

    def _give_up(self, uri: str, error: S3Error) -> NoReturn:
        """Raises ImageError if it is this photo alone, else SourceError."""
        match error.kind:
            case Kind.GONE:
                raise ImageError("gone", "removed after it was listed") from None
            case Kind.OF_OBJECT:
                raise ImageError("unreadable", error.told) from None
            case Kind.DENIED:
                self._count_denied(error)
                raise ImageError("forbidden", f"the credentials may not read it ({error.told})") from None
            case Kind.PASSING:
                self._require_answer(uri, error)
                self._count_lost(error)
                raise ImageError("unreadable", f"{error.told}, however often it was tried") from None
            case Kind.OF_SOURCE:
                raise SourceError(f"cannot read from {self.uri!r}: {error.told}") from None

    def _count_denied(self, error: S3Error) -> None:
        with self._lock:
            self._denied += 1
            denied = self._denied
        if denied >= MOST_DENIED and not self._may_read:
            raise SourceError(
                f"cannot read from {self.uri!r}: the first {denied} photos were denied; "
                f"allow the credentials s3:GetObject ({error.told})"
            ) from None

    def _count_lost(self, error: S3Error) -> None:
        if isinstance(error, CorruptBytesError):  # it was read, and soon
            return
        with self._lock:
            self._lost += 1
            lost = self._lost
        if lost >= MOST_LOST:
            raise SourceError(
                f"cannot read from {self.uri!r}: {lost} photos in a row could not be had, however often each "
                f"was tried, although it can be listed ({error.told}); is the server well?"
            ) from None

    def _require_answer(self, uri: str, error: S3Error) -> None:
        try:
            retried(self._patience, lambda: self._list(MaxKeys=1))
        except S3Error as other:
            raise SourceError(
                f"cannot read {uri!r}: {error.told}; nor can {self.uri!r} be listed: {other.told}; "
                "is the server up?"
            ) from None

    def key(self, uri: str) -> str:
        """See `Source`."""
        return decoded(uri, self.uri)


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def _token(etag: str, size: int) -> str:
    return f"{quote(_bare(etag), safe='')}-{size}"


def _is_md5(etag: str, answer: dict[str, Any], bucket: str) -> bool:
    """Whether the ETag is the MD5 of the bytes: not with keys of one's own, nor in directory buckets."""
    own_key = answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer
    return _MD5.fullmatch(_bare(etag)) is not None and not own_key and not bucket.endswith("--x-s3")


def _is_verified(body: Any) -> bool:
    """Whether botocore has compared the bytes with a checksum that is stored with the object."""
    from botocore.httpchecksum import StreamingChecksumBody

    return isinstance(body, StreamingChecksumBody)

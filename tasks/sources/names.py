"""Names of photos as parts of URIs: ASCII, percent-encoded, one-to-one, and back."""

from urllib.parse import quote_from_bytes, unquote

# PostgreSQL's indexes take 2,704 bytes, after a compression that helps with the %XX of other scripts, so that
# a key of S3, which has 1,024 bytes at most, always fits.
LONGEST_URI = 2_600


def encoded(name: bytes) -> str:
    """The name as it stands in a URI: letters, digits, `_.-~/`, and %XX for every other byte."""
    return quote_from_bytes(name, safe="/")


def decoded(uri: str, prefix: str) -> str:
    """The name below `prefix`, for people; NUL and bytes that are no UTF-8 are told as \\xNN."""
    # PostgreSQL's text holds no NUL, which a key of S3 may.
    return unquote(uri.removeprefix(prefix), errors="backslashreplace").replace("\0", "\\x00")


def lowered(suffixes: frozenset[str]) -> tuple[bytes, ...]:
    """Suffixes as `name.lower().endswith(...)` wants them for names in bytes."""
    return tuple(suffix.lower().encode() for suffix in suffixes)

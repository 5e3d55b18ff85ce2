"""What became of one photo: what a shard brings to the catalogue."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

PhotoRow = Row[*tuple[Any, ...]]  # of the table `photos`, as it was before a shard


@dataclass(frozen=True)
class Outcome:
    """What became of one photo: it shows the content `sha256`, or it failed for a `reason`.

    change_token is that of the bytes that were read; if none could be, unread, that of the listing.
    """

    uri: str
    product_id: str
    change_token: str
    sha256: str | None = None
    reason: str = ""
    detail: str = ""
    unread: bool = False

"""What a truth is about: a photo by its URI or file name, or a product. Each look-up is of many at once."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Column, Connection, Index, Integer, MetaData, Table, Text, select, text

from tasks.catalog.tables import photos
from tasks.sources.names import encoded


@dataclass(frozen=True)
class Target:
    """As it stands in `truths`: a photo, or a product. product: the photo's, or the same again."""

    product_id: str
    photo_id: int
    product: str


@dataclass(frozen=True)
class _Named:
    """A photo of a name that was asked for."""

    uri: str
    present: bool
    target: Target


@dataclass(frozen=True)
class Several:
    """So many photos have a name."""

    photos: int


# The last part of each URI. What rtrim leaves of a URI ends with its last slash: it takes away, from the end,
# all letters that occur in the URI but slashes.
_BEFORE_NAME = "LENGTH(RTRIM(uri, REPLACE(uri, '/', '')))"
_names = Table(
    "photo_names",
    MetaData(),
    Column("photo_id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text),
    Index("ix_photo_names", "name"),
    prefixes=["TEMPORARY"],
)


def photos_by_uri(connection: Connection, uris: Collection[str]) -> dict[str, Target]:
    """Those there are, also the vanished ones."""
    columns = (photos.c.uri, photos.c.photo_id, photos.c.product_id)
    found = connection.execute(select(*columns).where(photos.c.uri.in_(uris))) if uris else ()
    return {uri: Target("", photo_id, product) for uri, photo_id, product in found}


def products(connection: Connection, product_ids: Collection[str]) -> dict[str, Target]:
    """Those of which there is a photo."""
    one = photos.c.product_id
    found = connection.execute(select(one).where(one.in_(product_ids)).distinct()) if product_ids else ()
    return {product: Target(product, 0, product) for (product,) in found}


def _last_part(path: str) -> str:
    return path.rpartition("/")[2]


class PhotosByName:
    """Finds photos by their file names, with folders before them or without.

    Catalogues know photos by URIs: the names of all are put into a temporary table when first asked for. It
    goes with the connection.
    """

    def __init__(self, connection: Connection):
        self._connection = connection
        self._made = False

    def find(self, names: Collection[str]) -> dict[str, Target | Several]:
        """Name -> its photo, or how many have it; of several the only one that is present, if any is."""
        ends = {name: "/" + encoded(name.removeprefix("./").lstrip("/").encode()) for name in names}
        named = self._named({_last_part(end) for end in ends.values()}) if ends else {}
        found: dict[str, Target | Several] = {}
        for name, end in ends.items():
            there = [photo for photo in named.get(_last_part(end), ()) if photo.uri.endswith(end)]
            there = [photo for photo in there if photo.present] or there
            if there:
                found[name] = there[0].target if len(there) == 1 else Several(len(there))
        return found

    def _named(self, last_parts: set[str]) -> Mapping[str, list[_Named]]:
        self._make()
        columns = (_names.c.name, photos.c.uri, photos.c.vanished_at, photos.c.photo_id, photos.c.product_id)
        query = select(*columns).join_from(_names, photos, photos.c.photo_id == _names.c.photo_id)
        found: dict[str, list[_Named]] = {}
        for name, uri, vanished_at, photo_id, product in self._connection.execute(
            query.where(_names.c.name.in_(last_parts))
        ):
            photo = _Named(uri, vanished_at is None, Target("", photo_id, product))
            found.setdefault(name, []).append(photo)
        return found

    def _make(self) -> None:
        if not self._made:
            _names.create(self._connection)
            self._connection.execute(
                text(
                    "INSERT INTO photo_names (photo_id, name)"
                    f" SELECT photo_id, SUBSTR(uri, {_BEFORE_NAME} + 1) FROM photos"
                )
            )
            self._made = True

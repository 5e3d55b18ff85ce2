"""Places that a source can be of, each filled and changed by its own means."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

PICTURES = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class Store(Protocol):
    """A place that a source can be of.

    `odd_names` are names that are hard on URIs, logs and databases, as far as the place can hold them.
    """

    spec: str
    odd_names: list[str]

    def put(self, photos: Mapping[str, bytes]) -> None:
        """Adds photos, or gives those that are there other bytes."""
        ...

    def remove(self, name: str) -> None:
        """Takes one photo away."""
        ...

    def vanish(self) -> None:
        """Takes the whole place away."""
        ...


ODD_NAMES = [
    "a b+c%20d.jpg",
    "%2e%2e%2fx.jpg",
    "a'b\"c`d$e;f&g|h<i>j*k?l[m]{n}~.jpg",
    "été/日本/😀.jpg",
    "\u202egpj.exe.jpg",
    "#frag?query=1&x:y@z,w=v!.jpg",
    "back\\slash.jpg",
    "\u00e9-composed.jpg",
    "e\u0301-decomposed.jpg",
    "/".join(["long" * 40] * 6) + ".jpg",
]
# In the order of keys these come the other way round than in that of URIs.
ODD_ORDER = [
    "z.jpg",
    "z:.jpg",
    "z0.jpg",
    "za/x.jpg",
    "za-.jpg",
    "za.jpg",
    "zé.jpg",
    "z~.jpg",
    "z_.jpg",
    "Z.jpg",
]


class FolderStore:
    """A folder."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self.spec = str(folder)
        self.odd_names = [*ODD_NAMES, "new\nline\r\t\x01.jpg"]
        self._folder = folder

    def put(self, photos: Mapping[str, bytes]) -> None:
        """Writes the files."""
        for name, data in photos.items():
            file = self._folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)

    def remove(self, name: str) -> None:
        """Deletes the file."""
        (self._folder / name).unlink()

    def vanish(self) -> None:
        """Moves the folder away."""
        self._folder.rename(self._folder.with_name("elsewhere"))


class S3Store:
    """A bucket, or what is below a prefix of it, with the bucket's folder."""

    def __init__(self, client: Any, bucket: str, prefix: str = ""):
        self.spec = f"s3://{bucket}/{prefix}"
        self.odd_names = ODD_NAMES
        self.client = client
        self.bucket = bucket
        self._prefix = prefix
        if not prefix:
            client.create_bucket(Bucket=bucket)

    def put(self, photos: Mapping[str, bytes]) -> None:
        """Uploads the photos, with a checksum, as boto3 does of itself."""
        for name, data in photos.items():
            self.client.put_object(Bucket=self.bucket, Key=self._prefix + name, Body=data)

    def remove(self, name: str) -> None:
        """Deletes the object."""
        self.client.delete_object(Bucket=self.bucket, Key=self._prefix + name)

    def vanish(self) -> None:
        """Deletes the bucket."""
        for entry in self.client.list_objects_v2(Bucket=self.bucket)["Contents"]:
            self.client.delete_object(Bucket=self.bucket, Key=entry["Key"])
        self.client.delete_bucket(Bucket=self.bucket)


class ParquetStore:
    """A Parquet file, written anew with each change, as whoever delivers one does."""

    def __init__(self, spec: str, file: Path):
        self.spec = spec
        self.odd_names = [
            *ODD_NAMES,
            "../x.jpg",
            "a//b.jpg",
            "/etc/x.jpg",
            "new\nline\r\t\x01.jpg",
            "nul\0.jpg",
        ]
        self._file = file
        self._photos: dict[str, bytes] = {}
        self.put({})

    def put(self, photos: Mapping[str, bytes]) -> None:
        """Writes the file anew."""
        self._photos.update(photos)
        write_parquet(self._file, self._photos)

    def remove(self, name: str) -> None:
        """Writes the file anew."""
        del self._photos[name]
        write_parquet(self._file, self._photos)

    def vanish(self) -> None:
        """Deletes the file."""
        self._file.unlink()


def write_parquet(file: Path, photos: Mapping[str, bytes], column: str = "filename") -> None:
    """A file as `datasets` writes it, but for its metadata; it appears at once and whole."""
    pictures = [{"bytes": data, "path": None} for data in photos.values()]
    table = pa.table({"image": pa.array(pictures, PICTURES), column: pa.array(list(photos), pa.string())})
    part = file.with_suffix(".part")
    pq.write_table(table, part, row_group_size=3)
    os.replace(part, file)  # noqa: PTH105


def hub_folder(folder: Path) -> Path:
    """The folder of a data set as `huggingface_hub` downloads one; returns the place of its only file."""
    (folder / "data").mkdir(parents=True)
    card = {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}]
    }
    (folder / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n# Shop\n")
    return folder / "data" / "train-00000-of-00001.parquet"

"""One digest over what a catalogue holds: two are equal if no photo, content, vector or label differs.

python -m tests.gates.label_digest FILE.db
"""

import hashlib
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

# Each table with its key, so that the order of rows does not depend on how they were written.
KEYS = {
    "labels": "label_set_id, content_id, attribute_id",
    "photos": "photo_id",
    "embeddings": "encoder_id, content_id",
    "contents": "content_id",
}


def label_digest(file: Path) -> str:
    """sha256 in hex over all rows of those tables. Raises sqlite3.Error if there is no such catalogue."""
    digest = hashlib.sha256()
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
        for table, key in KEYS.items():
            rows = database.execute(f"SELECT * FROM {table} ORDER BY {key}")
            digest.update(repr((table, [column[0] for column in rows.description])).encode())
            for row in rows:
                digest.update(repr(row).encode())
    return digest.hexdigest()


if __name__ == "__main__":
    print(label_digest(Path(sys.argv[1])))

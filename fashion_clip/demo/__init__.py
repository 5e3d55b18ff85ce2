"""The embedded demo: a small CLIP model and 300 photos of Fashion-MNIST with their truth.

`scripts/train_demo_model.py` makes the model, `scripts/make_demo_photos.py` the photos. Both belong to the
shipped taxonomy "demo".
"""

import csv
from pathlib import Path

# The last part of a checkpoint's path becomes the name of its model version in SQL.
MODEL_DIR = Path(__file__).parent / "fashion-mnist-clip"
PHOTOS_DIR = Path(__file__).parent / "photos"
TRUTH_FILE = Path(__file__).parent / "truth.csv"


def truth() -> dict[str, dict[str, str]]:
    """Read the truth of the demo photos: file name -> attribute -> label, 300 photos of 2 attributes."""
    with TRUTH_FILE.open(newline="", encoding="utf-8") as file:
        return {row.pop("file"): row for row in csv.DictReader(file)}

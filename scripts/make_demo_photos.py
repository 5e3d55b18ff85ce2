"""Write the demo photos: 30 test pictures of each Fashion-MNIST class as PNG files, and their truth.

    python -m scripts.make_demo_photos FASHION_MNIST_DIR

FASHION_MNIST_DIR holds the four .gz files as published, and LICENSE. The same input always gives the same
pictures, file names and truth; a file is named by its index in the test set, which says nothing of its class.
"""

import argparse
import csv
import gzip
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fashion_clip import demo
from fashion_clip.taxonomy import load_taxonomy

NOTICE_FILE = demo.PHOTOS_DIR.parent / "NOTICE"
PHOTOS_PER_CLASS = 30
SEED = 2017

NOTICE = """\
The pictures in photos/ are {count} unaltered pictures of the test set of Fashion-MNIST
(https://github.com/zalandoresearch/fashion-mnist), stored as PNG; the number in a file name is the
picture's index there. The model beside them was trained on the training set. Fashion-MNIST's licence:

"""

Bytes = npt.NDArray[np.uint8]


def read_images(folder: Path, part: str) -> Bytes:
    """Read the pictures of `part` ("train" or "t10k"): uint8 (n, 28, 28), 0 is the black background."""
    data = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    return np.frombuffer(data, np.uint8, offset=16).reshape(-1, 28, 28)


def read_classes(folder: Path, part: str) -> Bytes:
    """Read the class numbers of `part`: uint8 (n,), 0-9."""
    data = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(data, np.uint8, offset=8)


def class_truth() -> list[dict[str, str]]:
    """The demo taxonomy's labels of each class number: attribute -> label."""
    attributes = {attribute.name: attribute for attribute in load_taxonomy("demo").attributes}
    labels = attributes["articleType"].labels
    return [{"articleType": label.name, "category": label.parents[0]} for label in labels]


def choose(classes: Bytes) -> list[int]:
    """Draw the same number of test indices from every class, in rising order."""
    rng = np.random.default_rng(SEED)
    members = [np.flatnonzero(classes == number) for number in range(10)]
    drawn = [rng.choice(indices, PHOTOS_PER_CLASS, replace=False) for indices in members]
    return sorted(int(index) for index in np.concatenate(drawn))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the demo photos and their truth.")
    parser.add_argument("fashion_mnist", type=Path, help="folder of the files as published")
    source: Path = parser.parse_args().fashion_mnist

    images, classes, labels = read_images(source, "t10k"), read_classes(source, "t10k"), class_truth()
    shutil.rmtree(demo.PHOTOS_DIR, ignore_errors=True)
    demo.PHOTOS_DIR.mkdir()
    rows = []
    for index in choose(classes):
        name = f"fmnist-{index:05d}.png"
        Image.fromarray(images[index]).save(demo.PHOTOS_DIR / name, optimize=True)
        rows.append({"file": name, **labels[classes[index]]})
    with demo.TRUTH_FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["file", "articleType", "category"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    licence = (source / "LICENSE").read_text(encoding="utf-8")
    NOTICE_FILE.write_text(NOTICE.format(count=len(rows)) + licence, encoding="utf-8")
    print(f"wrote {len(rows)} photos to {demo.PHOTOS_DIR}")


if __name__ == "__main__":
    main()

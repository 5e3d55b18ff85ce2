"""Do quick embeddings say what exact ones say? bfloat16 and scaled decoding against float32 and exact ones.

    python -m benchmarks.agreement [--quick]

Cosines on real photos of several sizes, with the small trained model and with a ViT-B/32 of random weights;
labels, and accuracy on the true ones, of all small photos with the small model, which knows raw label names.
"""

import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.judged import raw_names
from benchmarks.material import make_vit_b_32, parquet_photos
from benchmarks.report import Goal, arguments, machine, tell
from fashion_clip.decode import Limits
from fashion_clip.encoder import ClipEncoder, load_encoder
from fashion_clip.preprocessing import photo_pixels
from fashion_clip.scoring import Head, zero_shot_heads
from fashion_clip.taxonomy import load_taxonomy

LEAST_COSINE, LEAST_AGREEMENT, MOST_POINTS = 0.999, 0.995, 0.2
BATCH = 256

Vectors = npt.NDArray[np.float32]


def main() -> None:
    """Prints two tables."""
    options = arguments(__doc__).parse_args()
    data, tiny = (
        options.shared / "data" / "fashion_products",
        options.shared / "models" / "products-clip-tiny",
    )
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        models = {"products-clip-tiny": tiny, "ViT-B/32": make_vit_b_32(Path(name) / "vit", options.shared)}
        sizes = _photos(data, 20 if options.quick else 350)
        rows, least = [], 1.0
        for model, folder in models.items():
            exact, quick = _encoders(folder)
            for size, photos in sizes.items():
                cosines = np.einsum("nd,nd->n", _embed(exact, photos), _embed(quick, photos))
                least = min(least, float(cosines.min()))
                told = [
                    f"{cosines.min():.5f}",
                    f"{np.quantile(cosines, 0.01):.5f}",
                    f"{np.median(cosines):.5f}",
                ]
                rows.append([f"{model}, {size}", str(len(photos)), *told])
        goal = Goal(
            "least cosine, bf16 and scaled", f">= {LEAST_COSINE}", f"{least:.5f}", least >= LEAST_COSINE
        )
        columns = ["", "photos", "least", "1st percentile", "median"]
        tell("Cosines of quick to exact embeddings", columns, rows, [goal], options.goals)
        _labels(data, *_encoders(tiny), options.quick, options.goals)


def _encoders(model: Path) -> tuple[ClipEncoder, ClipEncoder]:
    """The exact one and the quick one."""
    return (
        load_encoder(str(model), "cpu", "torch", "float32", "exact"),
        load_encoder(str(model), "cpu", "openvino", "bfloat16", "scaled"),
    )


def _photos(data: Path, count: int) -> dict[str, list[bytes]]:
    largest = parquet_photos(data / "max_512.parquet")[:count]
    return {
        "as they are, up to 512": largest,
        "800 x 1066": [_resized(photo, (800, 1066)) for photo in largest],
        "1800 x 2400": [_resized(photo, (1800, 2400)) for photo in largest[: count // 3]],
        "224 x 224": parquet_photos(data / "square_224.parquet")[:count],
        "60 x 80": parquet_photos(data / "small_60x80.parquet")[:count],
    }


def _resized(photo: bytes, size: tuple[int, int]) -> bytes:
    buffer = BytesIO()
    with Image.open(BytesIO(photo)) as image:
        image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _embed(encoder: ClipEncoder, photos: list[bytes]) -> Vectors:
    return np.concatenate(list(_batches(encoder, photos)))


def _batches(encoder: ClipEncoder, photos: list[bytes]) -> Iterator[Vectors]:
    for start in range(0, len(photos), BATCH):
        pixels = [
            photo_pixels(photo, encoder.preprocessing, Limits()) for photo in photos[start : start + BATCH]
        ]
        yield encoder.encode_pixels(np.stack(pixels))


def _labels(data: Path, exact: ClipEncoder, quick: ClipEncoder, few: bool, file: Path | None) -> None:
    """Labels and accuracy on the small photos, whose true labels are known."""
    from pyarrow import parquet

    table = parquet.read_table(data / "small_60x80.parquet")
    rows = table.slice(0, 1_000 if few else len(table)).to_pylist()
    photos = [row["image"]["bytes"] for row in rows]
    heads = zero_shot_heads(exact, raw_names(load_taxonomy("products")))
    vectors = {"exact": _embed(exact, photos), "quick": _embed(quick, photos)}
    told, agreements, points = [], [], []
    for head in heads:
        best = {name: _best(head, found) for name, found in vectors.items()}
        agreement = float((best["exact"] == best["quick"]).mean())
        truth = np.array([_place(head, row[head.attribute]) for row in rows])
        known = truth >= 0
        right = {name: float((found == truth)[known].mean()) for name, found in best.items()}
        agreements.append(agreement)
        points.append(100 * (right["quick"] - right["exact"]))
        shares = [f"{right[name]:.2%}" for name in ("exact", "quick")]
        told.append([head.attribute, f"{agreement:.2%}", *shares, f"{points[-1]:+.2f}"])
    least, most = min(agreements), max(map(abs, points))
    goals = [
        Goal(
            "label agreement, the worst attribute",
            f">= {LEAST_AGREEMENT:.1%}",
            f"{least:.2%}",
            least >= LEAST_AGREEMENT,
        ),
        Goal(
            "accuracy, the largest change in points", f"<= {MOST_POINTS}", f"{most:.2f}", most <= MOST_POINTS
        ),
    ]
    columns = ["attribute", "agree", "right, exact", "right, quick", "points"]
    tell(f"Labels of {len(rows):,} photos", columns, told, goals, file)


def _best(head: Head, vectors: Vectors) -> npt.NDArray[np.intp]:
    """Of vectors as they are stored."""
    stored = vectors.astype(np.float16).astype(np.float32)
    best: npt.NDArray[np.intp] = (stored @ head.weights.T).argmax(axis=1)
    return best


def _place(head: Head, label: str | None) -> int:
    return head.labels.index(label) if label in head.labels else -1


if __name__ == "__main__":
    main()

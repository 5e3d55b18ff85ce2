"""What the rungs that move the towers gain: in domain, in later years, and on labels kept out of training.

    python -m benchmarks.ladder_towers [--quick] [--fashion-mnist]

The split is that of `benchmarks.ladder`: the small trained model, which saw photos up to 2011, learns from
all photos of 2012 but the newest 1,400, of which a quarter only validates; those 1,400 judge, and the photos
from 2013 on are the later years. About a tenth of the labels is kept out of all captions. Each way is judged
by its prompts alone and with a head on its embeddings. With --fashion-mnist the embedded demo model learns
from 4,000 test pictures of Fashion-MNIST, which it never saw, and is judged on the other 6,000 and on these
half as bright.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.judged import raw_names, stand_in
from benchmarks.ladder import LATER, NEWEST, YEAR, regression
from benchmarks.report import Goal, arguments, machine, tell
from fashion_clip.calibrating import Truths
from fashion_clip.calibration import share_of
from fashion_clip.checkpoint import load_checkpoint
from fashion_clip.decode import Limits
from fashion_clip.demo import MODEL_DIR
from fashion_clip.encoder import ClipEncoder, load_encoder
from fashion_clip.finetuning.interpolation import choose_alpha, interpolate
from fashion_clip.finetuning.settings import TrainingPhotos, default_settings
from fashion_clip.finetuning.training import finetune
from fashion_clip.heads import fit_head, with_learned
from fashion_clip.predictions import NONE_OF_THEM
from fashion_clip.preprocessing import photo_pixels
from fashion_clip.scoring import Head, zero_shot_heads
from fashion_clip.taxonomy import Taxonomy, load_taxonomy
from tasks.tower_rungs import kept_out_labels

MOST_LATER = 3_000
MOST_WORSE, LEAST_KEPT, LEAST_GAIN = 0.0, 0.9, 0.02
AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Scene:
    """A model, and the photos it learns from, is stopped by, and is judged on: in domain, and shifted."""

    model: Path
    taxonomy: Taxonomy
    parts: Mapping[str, TrainingPhotos]
    kept_out: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Figures:
    """Accuracy by attribute, in domain and shifted; and among labels kept out, of both together."""

    inside: Mapping[str, float]
    shifted: Mapping[str, float]
    kept_out: float

    def mean(self, shifted: bool = False) -> float:
        """Over the attributes."""
        return float(np.mean(list((self.shifted if shifted else self.inside).values())))


def main() -> None:
    """Prints one table."""
    parser = arguments(__doc__)
    parser.add_argument("--fashion-mnist", action="store_true", help="the demo model instead")
    options = parser.parse_args()
    print(machine())
    scene = fashion_mnist(options.shared) if options.fashion_mnist else products(options.shared)
    if options.quick:
        scene = replace(scene, parts={name: _first(part, 300) for name, part in scene.parts.items()})
    with tempfile.TemporaryDirectory() as folder:
        found = ladder(scene, Path(folder), 1 if options.quick else None)
    attributes = list(found["zero-shot"].inside)
    rows = [
        [
            name,
            *(_both(one.inside[attribute], one.shifted[attribute]) for attribute in attributes),
            _both(one.mean(), one.mean(True)),
            f"{one.kept_out:.3f}",
        ]
        for name, one in found.items()
    ]
    columns = ["", *attributes, "mean", "kept out"]
    tell("Accuracy in domain / shifted", columns, rows, goals_of(found), options.goals)


def _both(inside: float, shifted: float) -> str:
    return f"{inside:.3f} / {shifted:.3f}"


def goals_of(found: Mapping[str, Figures]) -> list[Goal]:
    """What the issue of a better model asks for."""
    gain = found["full, head"].mean() - found["head"].mean()
    worse = found["full, head"].mean(True) - found["plain, head"].mean(True)
    kept = found["full"].kept_out / max(found["zero-shot"].kept_out, 1e-9)
    measured = (
        ("full with a head less head alone, in domain", gain, LEAST_GAIN),
        ("interpolated less plain, shifted", worse, MOST_WORSE),
        ("kept-out labels, share of zero-shot before", kept, LEAST_KEPT),
    )
    return [Goal(what, f">= {least:g}", f"{value:.3f}", value >= least) for what, value, least in measured]


def ladder(scene: Scene, work: Path, epochs: int | None) -> dict[str, Figures]:
    """Figures by the name of the way."""
    found: dict[str, Figures] = {}
    old = load_encoder(str(scene.model))
    _judge(found, "zero-shot", "head", old, scene)
    found["regression"] = _regressions(old, scene)
    checkpoint = load_checkpoint(str(scene.model))
    for method in ("lora", "full"):
        chosen = replace(default_settings(method, checkpoint), kept_out=scene.kept_out)
        chosen = replace(chosen, epochs=epochs or chosen.epochs)
        training, validation = scene.parts["training"], scene.parts["validation"]
        tuned = finetune(
            checkpoint, scene.taxonomy, training, validation, chosen, work / method, lambda *_: None
        )
        choice = choose_alpha(checkpoint, tuned, scene.taxonomy, validation, scene.kept_out)
        interpolate(checkpoint, tuned, choice.alpha, work / f"{method}-mixed")
        print(f"{method}: best epoch {tuned.history.best}, alpha {choice.alpha:g}")
        if method == "full":
            _judge(found, "plain", "plain, head", load_encoder(str(tuned.folder)), scene)
        _judge(found, method, f"{method}, head", load_encoder(str(work / f"{method}-mixed")), scene)
    return found


def _judge(found: dict[str, Figures], prompts: str, learned: str, encoder: ClipEncoder, scene: Scene) -> None:
    vectors = {name: _embedded(encoder, part) for name, part in scene.parts.items()}
    heads = zero_shot_heads(encoder, scene.taxonomy)
    found[prompts] = _figures(heads, vectors, scene, scene.kept_out)
    trained = [with_learned(head, fit_head(head, _truths(scene, head, vectors))) for head in heads]
    found[learned] = _figures(trained, vectors, scene, scene.kept_out)


def _truths(scene: Scene, head: Head, vectors: Mapping[str, Any]) -> Truths:
    truth = scene.parts["training"].truth[head.attribute]
    known = np.flatnonzero(truth >= 0)
    products = tuple(str(row) for row in known)
    return Truths(vectors["training"][known], truth[known], products, np.ones(len(known)))


def _regressions(encoder: ClipEncoder, scene: Scene) -> Figures:
    vectors = {name: _embedded(encoder, part) for name, part in scene.parts.items()}
    accuracy: dict[str, dict[str, float]] = {"inside": {}, "shifted": {}}
    for head in zero_shot_heads(encoder, scene.taxonomy):
        predict = regression(_truths(scene, head, vectors), 1.0)
        for name, of in accuracy.items():
            truth = scene.parts[name].truth[head.attribute]
            known = truth >= 0
            of[head.attribute] = float((predict(vectors[name][known]) == truth[known]).mean())
    return Figures(accuracy["inside"], accuracy["shifted"], 0.0)


def _figures(
    heads: Sequence[Head], vectors: Mapping[str, Any], scene: Scene, kept_out: Mapping[str, frozenset[str]]
) -> Figures:
    accuracy: dict[str, dict[str, float]] = {"inside": {}, "shifted": {}}
    right = asked = 0
    for head in heads:
        out = np.array([label in kept_out.get(head.attribute, ()) for label in head.labels])
        for name, of in accuracy.items():
            truth = scene.parts[name].truth[head.attribute]
            logits = head.logits(vectors[name] @ head.weights.T)
            known = truth >= 0
            of[head.attribute] = float((logits[known].argmax(axis=1) == truth[known]).mean())
            of_out = known & out[np.maximum(truth, 0)]
            if out.sum() > 1 and of_out.any():
                among = np.flatnonzero(out)[logits[of_out][:, out].argmax(axis=1)]
                right += int((among == truth[of_out]).sum())
                asked += int(of_out.sum())
    return Figures(accuracy["inside"], accuracy["shifted"], right / max(asked, 1))


def _embedded(encoder: ClipEncoder, photos: TrainingPhotos) -> npt.NDArray[np.float32]:
    starts = range(0, len(photos.names), AT_ONCE)
    return np.concatenate([encoder.encode_pixels(photos.pixels[start : start + AT_ONCE]) for start in starts])


def products(shared: Path) -> Scene:
    """The stand-in model and the photos of 2012 and later."""
    from pyarrow import parquet

    table = parquet.read_table(shared / "data" / "fashion_products" / "small_60x80.parquet").to_pylist()
    taxonomy, encoder = raw_names(load_taxonomy("products")), stand_in(shared)
    inside = sorted((row for row in table if row["year"] in YEAR), key=lambda row: int(row["id"]))
    later = [row for row in table if row["year"] in LATER]
    later = sorted(later, key=lambda row: share_of("later", row["id"]))[:MOST_LATER]
    pool = inside[:-NEWEST]
    validates = [share_of("validation", row["id"]) < 1 / 4 for row in pool]
    rows = {
        "training": [row for row, side in zip(pool, validates, strict=True) if not side],
        "validation": [row for row, side in zip(pool, validates, strict=True) if side],
        "inside": inside[-NEWEST:],
        "shifted": later,
    }
    parts = {name: _photos(encoder, taxonomy, of) for name, of in rows.items()}
    return Scene(
        encoder.folder, taxonomy, parts, kept_out_labels(parts["training"].truth, taxonomy.attributes)
    )


def _photos(encoder: ClipEncoder, taxonomy: Taxonomy, rows: Sequence[Mapping[str, Any]]) -> TrainingPhotos:
    pixels = [photo_pixels(row["image"]["bytes"], encoder.preprocessing, Limits()) for row in rows]
    truth = {}
    for attribute in taxonomy.attributes:
        place = {label.name: number for number, label in enumerate(attribute.labels)}
        told = [place.get(row[attribute.name], NONE_OF_THEM) for row in rows]
        truth[attribute.name] = np.array(told, dtype=np.int64)
    return TrainingPhotos(np.stack(pixels), truth, tuple(row["productDisplayName"] or "" for row in rows))


def fashion_mnist(shared: Path) -> Scene:
    """The demo model and the test pictures of Fashion-MNIST; two article types are kept out."""
    from scripts.make_demo_photos import class_truth, read_classes, read_images

    folder = shared / "data" / "fashion_mnist"
    images, classes = read_images(folder, "t10k"), read_classes(folder, "t10k")
    taxonomy, encoder = load_taxonomy("demo"), load_encoder(str(MODEL_DIR))
    order = np.random.default_rng(0).permutation(len(classes))
    rows = {"training": order[:3_000], "validation": order[3_000:4_000], "inside": order[4_000:]}
    rows["shifted"] = rows["inside"]
    told = class_truth()
    parts = {}
    for name, of in rows.items():
        dark = images[of] // 2 if name == "shifted" else images[of]
        pixels = np.stack([photo_pixels(_png(image), encoder.preprocessing, Limits()) for image in dark])
        truth = {}
        for attribute in taxonomy.attributes:
            place = {label.name: number for number, label in enumerate(attribute.labels)}
            labels = np.array([place[one[attribute.name]] for one in told], dtype=np.int64)
            truth[attribute.name] = labels[classes[of]]
        parts[name] = TrainingPhotos(pixels, truth, ("",) * len(of))
    return Scene(MODEL_DIR, taxonomy, parts, {"articleType": frozenset({"Shirts", "Coats"})})


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    out = BytesIO()
    Image.fromarray(image).convert("RGB").save(out, "PNG")
    return out.getvalue()


def _first(photos: TrainingPhotos, count: int) -> TrainingPhotos:
    truth = {name: column[:count] for name, column in photos.truth.items()}
    return TrainingPhotos(photos.pixels[:count], truth, photos.names[:count])


if __name__ == "__main__":
    main()

"""Do the labels in SQL equal those of a plain loop over CLIPModel and CLIPProcessor?

    python -m benchmarks.plain_loop FOLDER [--photos 1000]

FOLDER is one that `fashion-clip tag` has tagged into FASHION_CLIP_DATABASE_URL, a catalogue that began with
FASHION_CLIP_PRECISION=float32 and FASHION_CLIP_DECODE=exact. The loop takes its model and taxonomy from the
catalogue, encodes the same prompts in float32 and decodes each photo with Pillow. Labels may differ only
where two labels' cosines are closer than the float16 of stored embeddings tells apart.
"""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sqlalchemy import text

from fashion_clip.taxonomy import Attribute
from tasks.catalog.engine import reading
from tasks.catalog.models import LabelSet, served
from tasks.environment import catalogue
from tasks.environment import source as open_source

GAP = 0.001  # cosine between the two best labels from which on they must agree


def main() -> None:
    """Compares a seeded sample of photos and prints the shares that agree."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    label_set = served(catalogue())
    if label_set is None:
        raise SystemExit("the catalogue is empty: run fashion-clip tag first")
    if (label_set.precision, label_set.decode) != ("float32", "exact"):
        raise SystemExit(
            f"the catalogue is of {label_set.precision} and decoded {label_set.decode}; begin another with "
            "FASHION_CLIP_PRECISION=float32 FASHION_CLIP_DECODE=exact"
        )
    uris = [photo.uri for photo in open_source(str(arguments.folder)).listing()]
    sample = random.Random(arguments.seed).sample(uris, min(arguments.photos, len(uris)))
    in_sql = _labels_in_sql(sample)
    clear = {attribute.name: [0, 0] for attribute in label_set.taxonomy.attributes}
    close = {attribute.name: [0, 0] for attribute in label_set.taxonomy.attributes}
    for uri, attribute, label, gap in _labels_of_loop(label_set, arguments.folder, sample):
        tally = (clear if gap >= GAP else close)[attribute]
        tally[0] += in_sql.get((uri, attribute)) == label
        tally[1] += 1
    print(f"{len(sample)} photos, model {label_set.model_version}, seed {arguments.seed}")
    print(f"{'attribute':16} {'gap >= ' + str(GAP):>18} {'closer':>14}")
    for name, (agree, of) in clear.items():
        print(f"{name:16} {agree:>8} of {of:>6} {close[name][0]:>6} of {close[name][1]:>4}")


def _labels_in_sql(uris: list[str]) -> dict[tuple[str, str], str]:
    query = text("SELECT attribute, label FROM catalog_labels WHERE uri = :uri")
    with reading(catalogue()) as connection:
        return {
            (uri, attribute): label
            for uri in uris
            for attribute, label in connection.execute(query, {"uri": uri})
        }


def _labels_of_loop(
    label_set: LabelSet, folder: Path, uris: list[str]
) -> Iterator[tuple[str, str, str, float]]:
    from transformers import CLIPModel, CLIPProcessor

    model = CLIPModel.from_pretrained(label_set.checkpoint, dtype=torch.float32)  # in eval mode
    processor = CLIPProcessor.from_pretrained(label_set.checkpoint)
    weights = {
        attribute.name: _averaged_prompts(model, processor, attribute)
        for attribute in label_set.taxonomy.attributes
    }
    for uri in uris:
        with Image.open(folder / uri.rpartition("/")[2]) as image:
            pixels = processor(images=image.convert("RGB"), return_tensors="pt")
        with torch.inference_mode():
            vector = torch.nn.functional.normalize(model.get_image_features(**pixels).pooler_output)
        for attribute in label_set.taxonomy.attributes:
            cosines = (vector @ weights[attribute.name].T).numpy()[0]
            best, second = np.sort(cosines)[::-1][:2]
            yield uri, attribute.name, attribute.labels[int(cosines.argmax())].name, float(best - second)


def _averaged_prompts(model: Any, processor: Any, attribute: Attribute) -> torch.Tensor:
    rows = []
    for label in attribute.labels:
        tokens = processor(text=list(attribute.prompts(label)), padding=True, return_tensors="pt")
        with torch.inference_mode():
            vectors = torch.nn.functional.normalize(model.get_text_features(**tokens).pooler_output)
        rows.append(torch.nn.functional.normalize(vectors.mean(dim=0), dim=0))
    return torch.stack(rows)


if __name__ == "__main__":
    main()

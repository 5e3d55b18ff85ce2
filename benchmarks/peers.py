"""Other ways to say which of ten labels fits a photo, each in a process of its own.

    python -m benchmarks.peers WAY MODEL THREADS DEVICE      (started by benchmarks.end_to_end)

It says when it is ready by an empty line. Then it reads a JSON list of files a line and answers each with a
line of JSON: seconds, and the label of each.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from logging import ERROR
from typing import Any

import torch
from PIL import Image

from benchmarks.material import LABELS

BATCH = 32
PROMPTS = [f"a photo of {label}" for label in LABELS]

Way = Callable[[list[str]], list[str]]


def readme_loop(model: str, device: str) -> Way:
    """As CLIP's model card does it: processor and model for each photo, the texts encoded each time."""
    from transformers import CLIPModel, CLIPProcessor

    clip: Any = CLIPModel.from_pretrained(model).to(device)  # type: ignore[arg-type]
    processor = CLIPProcessor.from_pretrained(model)

    def classify(files: list[str]) -> list[str]:
        found = []
        for file in files:
            with Image.open(file) as image:
                inputs = processor(text=PROMPTS, images=image, return_tensors="pt", padding=True).to(device)
            with torch.no_grad():
                found.append(LABELS[int(clip(**inputs).logits_per_image.argmax())])
        return found

    return classify


def pipeline_one_by_one(model: str, device: str) -> Way:
    return _pipeline(model, device, 1)


def pipeline_batch_32(model: str, device: str) -> Way:
    return _pipeline(model, device, BATCH)


def _pipeline(model: str, device: str, batch: int) -> Way:
    from transformers import pipeline

    classifier: Any = pipeline("zero-shot-image-classification", model=model, device=device)

    def classify(files: list[str]) -> list[str]:
        options = {"candidate_labels": list(LABELS), "hypothesis_template": "a photo of {}"}
        if batch == 1:
            return [classifier(file, **options)[0]["label"] for file in files]
        return [found[0]["label"] for found in classifier(files, batch_size=batch, **options)]

    return classify


def sentence_transformers(model: str, device: str) -> Way:
    """Texts once, photos in batches of 32."""
    from sentence_transformers import SentenceTransformer, util
    from sentence_transformers.sentence_transformer.modules import CLIPModel

    clip = SentenceTransformer(modules=[CLIPModel(model)], device=device)
    texts = clip.encode(PROMPTS, convert_to_tensor=True)

    def classify(files: list[str]) -> list[str]:
        found = []
        for batch in _batches(files):
            images: Any = [Image.open(file) for file in batch]
            vectors = clip.encode(images, batch_size=BATCH, convert_to_tensor=True, show_progress_bar=False)
            found += [LABELS[int(row.argmax())] for row in util.cos_sim(vectors, texts)]
        return found

    return classify


def _batches(files: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(files), BATCH):
        yield files[start : start + BATCH]


WAYS: dict[str, Callable[[str, str], Way]] = {
    "README-style loop": readme_loop,
    "pipeline, one by one": pipeline_one_by_one,
    "pipeline, batches of 32": pipeline_batch_32,
    "sentence-transformers": sentence_transformers,
}


def main() -> None:
    """Answers until stdin ends."""
    from transformers.utils import logging

    logging.set_verbosity(ERROR)
    torch.set_num_threads(int(sys.argv[3]))
    classify = WAYS[sys.argv[1]](sys.argv[2], sys.argv[4])
    print(flush=True)  # it is ready
    for line in sys.stdin:
        files = json.loads(line)
        began = time.perf_counter()
        labels = classify(files)
        print(json.dumps({"seconds": time.perf_counter() - began, "labels": labels}), flush=True)


if __name__ == "__main__":
    main()

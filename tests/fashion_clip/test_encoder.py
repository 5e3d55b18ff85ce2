"""Embeddings equal those of transformers; identities name what made them."""

import json
import logging
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fashion_clip.decode import Picture, decode_image
from fashion_clip.demo import MODEL_DIR, PHOTOS_DIR
from fashion_clip.encoder import ClipEncoder, load_encoder
from fashion_clip.errors import CheckpointError, UsageError

Vectors = npt.NDArray[np.float32]


def pictures() -> list[Image.Image]:
    generator = np.random.default_rng(0)
    sizes = [(1, 1), (1, 300), (37, 501), (28, 28), (64, 64), (333, 20), (80, 60)]
    made = [
        Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for width, height in sizes
    ]
    return made + [decode_image(photo.read_bytes()) for photo in sorted(PHOTOS_DIR.iterdir())[:10]]


def transformers_model() -> Any:
    from transformers import CLIPModel

    return CLIPModel.from_pretrained(MODEL_DIR, dtype=torch.float32).train(False)


def cosines(one: Vectors, other: Vectors) -> Vectors:
    unit: Vectors = other / np.linalg.norm(other, axis=1, keepdims=True)
    return np.asarray(np.einsum("nd,nd->n", one, unit))


def test_images_as_transformers_embeds_them(demo_encoder: ClipEncoder) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images = pictures()
    inputs = CLIPImageProcessorPil.from_pretrained(MODEL_DIR)(images, return_tensors="pt")
    with torch.inference_mode():
        theirs = transformers_model().get_image_features(**inputs).pooler_output.numpy()
    ours = demo_encoder.encode_images(images)
    assert ours.dtype == np.float32
    assert ours.shape == (len(images), demo_encoder.dimension)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
    assert cosines(ours, theirs).min() >= 0.99999


def test_texts_as_transformers_embeds_them(demo_encoder: ClipEncoder) -> None:
    from transformers import AutoTokenizer

    texts = ["a photo of a dress", "BAG", "", "  two   spaces, ünïcode & 123 \U0001f457 ", "word " * 90]
    inputs = AutoTokenizer.from_pretrained(MODEL_DIR)(
        texts, padding=True, truncation=True, max_length=77, return_tensors="pt"
    )
    with torch.inference_mode():
        theirs = transformers_model().get_text_features(**inputs).pooler_output.numpy()
    ours = demo_encoder.encode_texts(texts)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
    assert cosines(ours, theirs).min() >= 0.99999


def test_scores_as_transformers_gives_them(demo_encoder: ClipEncoder) -> None:
    from transformers import CLIPProcessor

    images, texts = pictures(), ["a dress", "a bag", "an ankle boot"]
    inputs = CLIPProcessor.from_pretrained(MODEL_DIR)(
        text=texts, images=images, return_tensors="pt", padding=True
    )
    with torch.inference_mode():
        theirs = transformers_model()(**inputs).logits_per_image.numpy()
    ours = demo_encoder.encode_images(images) @ demo_encoder.encode_texts(texts).T * demo_encoder.logit_scale
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_nothing_in_nothing_out(demo_encoder: ClipEncoder) -> None:
    size = demo_encoder.preprocessing.output_size
    for vectors in (
        demo_encoder.encode_images([]),
        demo_encoder.encode_texts([]),
        demo_encoder.encode_pixels(np.empty((0, *size, 3), dtype=np.uint8)),
    ):
        assert vectors.shape == (0, demo_encoder.dimension)
        assert vectors.dtype == np.float32


def test_batches_do_not_show(demo_encoder: ClipEncoder) -> None:
    batch = demo_encoder.batch_size
    images = (pictures() * 5)[: 2 * batch + 3]
    texts = [f"{'long ' * (n % 7)}text {n}" for n in range(2 * batch + 3)]
    image_vectors, text_vectors = demo_encoder.encode_images(images), demo_encoder.encode_texts(texts)
    for n in (0, batch - 1, batch, 2 * batch + 2):
        np.testing.assert_allclose(image_vectors[n], demo_encoder.encode_images([images[n]])[0], atol=1e-5)
        np.testing.assert_allclose(text_vectors[n], demo_encoder.encode_texts([texts[n]])[0], atol=1e-5)
    pixels = np.stack([demo_encoder.preprocessing.pixels(Picture.whole(image)) for image in images])
    np.testing.assert_allclose(demo_encoder.encode_pixels(pixels), image_vectors, atol=1e-6)


def test_a_text_that_is_too_long_is_named(
    demo_encoder: ClipEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    fits, long = "x " * (demo_encoder.context_length - 2), "x\n" * (demo_encoder.context_length - 1)
    with caplog.at_level(logging.WARNING):
        demo_encoder.encode_texts([fits])
        assert caplog.messages == []
        vectors = demo_encoder.encode_texts([long, fits])
    assert len(caplog.messages) == 1
    assert "has 78 tokens; the last 1 are cut off" in caplog.messages[0]
    assert r"'x\nx\nx" in caplog.messages[0]
    assert len(caplog.messages[0]) < 300 + len(str(MODEL_DIR))
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


def test_threads_agree(demo_encoder: ClipEncoder) -> None:
    images, texts = pictures(), ["a dress", "a very long text about a bag and a shoe", "bag"]
    expected_images, expected_texts = demo_encoder.encode_images(images), demo_encoder.encode_texts(texts)
    with ThreadPoolExecutor(8) as pool:
        image_runs = [pool.submit(demo_encoder.encode_images, images) for _ in range(12)]
        text_runs = [pool.submit(demo_encoder.encode_texts, texts) for _ in range(40)]
    for run in image_runs:
        np.testing.assert_allclose(run.result(), expected_images, atol=1e-6)
    for run in text_runs:
        np.testing.assert_allclose(run.result(), expected_texts, atol=1e-6)


def copy_of_demo(tmp_path: Path, name: str) -> Path:
    return Path(shutil.copytree(MODEL_DIR, tmp_path / name))


def identities(folder: Path) -> tuple[str, str]:
    encoder = load_encoder(str(folder), "cpu", "torch", "float32", "exact")
    return encoder.identity, encoder.text_identity


def scale_tensor(folder: Path, name: str, factor: float = 1.001) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = tensors[name] * factor
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def set_field(folder: Path, file: str, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((folder / file).read_text(encoding="utf-8"))
    change(document)
    (folder / file).write_text(json.dumps(document), encoding="utf-8")


def test_the_identity_is_that_of_the_values(demo_encoder: ClipEncoder, tmp_path: Path) -> None:
    assert identities(copy_of_demo(tmp_path, "elsewhere")) == (
        demo_encoder.identity,
        demo_encoder.text_identity,
    )
    half, full = copy_of_demo(tmp_path, "half"), copy_of_demo(tmp_path, "full")
    tensors = {name: value.half() for name, value in load_file(MODEL_DIR / "model.safetensors").items()}
    save_file(tensors, half / "model.safetensors", metadata={"format": "pt"})
    save_file(
        {name: value.float() for name, value in tensors.items()},
        full / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert identities(half) == identities(full)
    assert len(demo_encoder.identity) == 64


IMAGE_ONLY: dict[str, Callable[[Path], None]] = {
    "weights": lambda folder: scale_tensor(folder, "vision_model.post_layernorm.weight"),
    "projection": lambda folder: scale_tensor(folder, "visual_projection.weight"),
    "preprocessing": lambda folder: set_field(
        folder, "preprocessor_config.json", lambda config: config.update(image_mean=[0.5, 0.5, 0.5])
    ),
    "activation": lambda folder: set_field(
        folder, "config.json", lambda config: config["vision_config"].update(hidden_act="relu")
    ),
}
TEXT_ONLY: dict[str, Callable[[Path], None]] = {
    "weights": lambda folder: scale_tensor(folder, "text_model.final_layer_norm.weight"),
    "projection": lambda folder: scale_tensor(folder, "text_projection.weight"),
    "scale": lambda folder: scale_tensor(folder, "logit_scale"),
    "activation": lambda folder: set_field(
        folder, "config.json", lambda config: config["text_config"].update(hidden_act="relu")
    ),
    "tokenizer": lambda folder: set_field(
        folder, "tokenizer.json", lambda document: document["model"]["merges"].pop()
    ),
}
NEITHER: dict[str, Callable[[Path], None]] = {
    "a stored truncation": lambda folder: set_field(
        folder,
        "tokenizer.json",
        lambda document: document.update(
            truncation={"direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
        ),
    ),
    "another way to write the size": lambda folder: set_field(
        folder,
        "preprocessor_config.json",
        lambda config: config.update(crop_size=config["crop_size"]["height"]),
    ),
}


@pytest.mark.parametrize(
    ("change", "image_differs", "text_differs"),
    [
        *(pytest.param(change, True, False, id=f"image {what}") for what, change in IMAGE_ONLY.items()),
        *(pytest.param(change, False, True, id=f"text {what}") for what, change in TEXT_ONLY.items()),
        *(pytest.param(change, False, False, id=what) for what, change in NEITHER.items()),
    ],
)
def test_each_identity_changes_with_what_it_names(
    demo_encoder: ClipEncoder,
    tmp_path: Path,
    change: Callable[[Path], None],
    image_differs: bool,
    text_differs: bool,
) -> None:
    folder = copy_of_demo(tmp_path, "changed")
    change(folder)
    image, text = identities(folder)
    assert (image != demo_encoder.identity) == image_differs
    assert (text != demo_encoder.text_identity) == text_differs


def test_a_stored_truncation_does_not_cut_texts(demo_encoder: ClipEncoder, tmp_path: Path) -> None:
    folder = copy_of_demo(tmp_path, "short")
    NEITHER["a stored truncation"](folder)
    text = ["a photo of a long dress with a belt and many small blue flowers"]
    np.testing.assert_array_equal(
        load_encoder(str(folder), "cpu", "torch").encode_texts(text), demo_encoder.encode_texts(text)
    )


def test_the_attributes(demo_encoder: ClipEncoder) -> None:
    stored = load_file(MODEL_DIR / "model.safetensors")
    assert demo_encoder.name == str(MODEL_DIR)
    assert demo_encoder.device == "cpu"
    assert demo_encoder.context_length == 77
    assert demo_encoder.dimension == stored["visual_projection.weight"].shape[0]
    assert demo_encoder.logit_scale == pytest.approx(float(stored["logit_scale"].float().exp()), rel=1e-6)


@pytest.mark.parametrize("device", ["cuda:99", "banana", "meta", "cpu:x"])
def test_a_device_that_cannot_be_used(device: str) -> None:
    with pytest.raises(UsageError, match=f"^device '{device}'"):
        load_encoder(str(MODEL_DIR), device)


def test_without_a_device_the_fastest_is_chosen() -> None:
    gpus = [("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()), ("cpu", True)]
    expected = next(name for name, available in gpus if available)
    assert load_encoder(str(MODEL_DIR)).device == expected


def test_a_model_that_does_not_exist() -> None:
    with pytest.raises(CheckpointError):
        load_encoder("./nowhere")

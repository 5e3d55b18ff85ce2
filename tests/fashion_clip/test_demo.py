"""The embedded demo model, its photos and its taxonomy belong together."""

import json

import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPModel, CLIPProcessor

from fashion_clip.demo import MODEL_DIR, PHOTOS_DIR, truth
from fashion_clip.taxonomy import Attribute, load_taxonomy

TAXONOMY = load_taxonomy("demo")
LOWEST_ACCURACY = 0.85  # of 300 photos; three standard errors below the accuracy on all test pictures


def unit(features: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(features, dim=-1)


@pytest.fixture(scope="module")
def model() -> CLIPModel:
    return CLIPModel.from_pretrained(MODEL_DIR)


@pytest.fixture(scope="module")
def processor() -> CLIPProcessor:
    return CLIPProcessor.from_pretrained(MODEL_DIR)


def text_features(
    model: CLIPModel, processor: CLIPProcessor, texts: list[str], **options: object
) -> torch.Tensor:
    tokens = processor.tokenizer(texts, return_tensors="pt", **options)
    with torch.inference_mode():
        return unit(model.get_text_features(**tokens).pooler_output)


def label_features(model: CLIPModel, processor: CLIPProcessor, attribute: Attribute) -> torch.Tensor:
    rows = [
        text_features(model, processor, list(attribute.prompts(label)), padding=True).mean(0)
        for label in attribute.labels
    ]
    return unit(torch.stack(rows))


@pytest.fixture(scope="module")
def photo_features(model: CLIPModel, processor: CLIPProcessor) -> torch.Tensor:
    photos = [Image.open(PHOTOS_DIR / name) for name in truth()]
    with torch.inference_mode():
        pixels = processor.image_processor(images=photos, return_tensors="pt")["pixel_values"]
        return unit(model.get_image_features(pixel_values=pixels).pooler_output)


@pytest.mark.parametrize("attribute", TAXONOMY.attributes, ids=lambda attribute: attribute.name)
def test_the_prompts_find_the_labels_of_the_photos(
    attribute: Attribute, model: CLIPModel, processor: CLIPProcessor, photo_features: torch.Tensor
) -> None:
    best = (photo_features @ label_features(model, processor, attribute).T).argmax(1)
    found = [attribute.labels[number].name for number in best.tolist()]
    true = [labels[attribute.name] for labels in truth().values()]
    right = sum(map(str.__eq__, found, true))
    assert right / len(true) >= LOWEST_ACCURACY


def test_every_photo_has_truth_and_every_truth_label_is_in_the_taxonomy() -> None:
    assert {path.name for path in PHOTOS_DIR.iterdir()} == set(truth())
    names = {attribute.name: {label.name for label in attribute.labels} for attribute in TAXONOMY.attributes}
    for labels in truth().values():
        assert labels.keys() == names.keys()
        assert all(label in names[attribute] for attribute, label in labels.items())


def test_the_truth_agrees_with_the_parents_of_the_taxonomy() -> None:
    articles = {attribute.name: attribute for attribute in TAXONOMY.attributes}["articleType"]
    parents = {label.name: label.parents for label in articles.labels}
    assert all(labels["category"] in parents[labels["articleType"]] for labels in truth().values())


def test_there_are_thirty_photos_of_each_class() -> None:
    found = [labels["articleType"] for labels in truth().values()]
    assert {label: found.count(label) for label in set(found)} == dict.fromkeys(set(found), 30)
    assert len(found) == 300


def test_the_model_folder_is_small_and_holds_no_pickle() -> None:
    files = [path for path in MODEL_DIR.iterdir() if path.is_file()]  # not what is made of it, beside it
    assert sum(path.stat().st_size for path in files) <= 8_000_000
    assert {path.suffix for path in files} == {".json", ".md", ".safetensors"}


def test_the_weights_load_as_float32(model: CLIPModel) -> None:
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_padding_does_not_move_the_end_of_a_text(model: CLIPModel, processor: CLIPProcessor) -> None:
    config = json.loads((MODEL_DIR / "config.json").read_text(encoding="utf-8"))["text_config"]
    assert config["eos_token_id"] == processor.tokenizer.eos_token_id != 2
    alone = text_features(model, processor, ["a photo of a bag"])
    padded = text_features(model, processor, ["a photo of a bag"], padding="max_length", max_length=77)
    torch.testing.assert_close(alone, padded, rtol=0, atol=1e-5)


def test_any_text_becomes_known_tokens(processor: CLIPProcessor) -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    text = "Größe 42 Straßenschuhe, 100% Wolle \N{SNOWMAN}"
    ids = tokenizer(text)["input_ids"]
    assert ids == processor.tokenizer(text)["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert tokenizer.unk_token_id not in ids[1:-1]  # unk and eos are one entry, as in CLIP


def test_the_folder_has_the_classic_preprocessor_file() -> None:
    assert (MODEL_DIR / "preprocessor_config.json").is_file()

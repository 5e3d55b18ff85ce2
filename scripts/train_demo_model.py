"""Train the embedded demo model from scratch: a small CLIP on captioned Fashion-MNIST pictures.

    python scripts/train_demo_model.py FASHION_MNIST_DIR [--epochs N] [--work DIR] [--output DIR]

Each epoch ends in a checkpoint in the work folder; the same command after a kill goes on from there. At the end
the model folder is written with its MODEL_CARD.md, whose figures this script measures. Everything that was chosen
was chosen on 5,000 training pictures held out; the test pictures are read once, for the card.
"""

import argparse
import itertools
import json
import math
import platform
import shutil
import time
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from make_demo_photos import DEMO_DIR, TAXONOMY_FILE, Bytes, read_classes, read_images
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
)

IMAGE_SIZE = 28
MEAN, STD = 0.286, 0.353  # of the training pictures, one value for all three channels
CONTEXT_LENGTH = 77
MAX_SHIFT = 2  # pixels
HELD_OUT = 5_000

# Nouns that are true of a set of Fashion-MNIST classes.
NOUNS: dict[tuple[int, ...], list[str]] = {
    (0,): ["a t-shirt", "t-shirts", "a tshirt", "tshirts", "a tee", "tees", "a t shirt", "t shirts"],
    (1,): ["trousers", "a pair of trousers", "pants", "a pair of pants", "slacks"],
    (2,): ["a pullover", "pullovers", "a sweater", "sweaters", "a jumper", "jumpers"],
    (3,): ["a dress", "dresses", "a frock", "a gown"],
    (4,): ["a coat", "coats", "a jacket", "jackets", "an overcoat"],
    (5,): ["a sandal", "sandals", "a pair of sandals", "an open shoe"],
    (6,): ["a shirt", "shirts", "a blouse", "blouses"],
    (7,): ["a sneaker", "sneakers", "a pair of sneakers", "a trainer", "trainers", "a sports shoe", "running shoes"],
    (8,): ["a bag", "bags", "a handbag", "handbags", "a purse"],
    (9,): ["an ankle boot", "ankle boots", "a pair of ankle boots", "a boot", "boots", "a pair of boots"],
}
GROUPS: dict[tuple[int, ...], list[str]] = {
    (0, 1, 2, 3, 4, 6): ["clothing", "clothes", "a garment", "a piece of clothing", "apparel"],
    (0, 2, 6): ["a top", "tops", "topwear"],
    (1,): ["bottoms", "bottomwear"],
    (4,): ["outerwear"],
    (5, 7, 9): ["footwear", "a shoe", "shoes", "a pair of shoes"],
    (8,): ["an accessory", "accessories", "a fashion accessory"],
}
KINDS: dict[tuple[int, ...], str] = {
    (0, 1, 2, 3, 4, 6): "a piece of clothing",
    (5, 7, 9): "a kind of footwear",
    (8,): "a fashion accessory",
}
TEMPLATES = [
    "{}",
    "a photo of {}",
    "a product photo of {}",
    "a picture of {}",
    "a small picture of {}",
    "an image of {}",
    "a black and white photo of {}",
    "a catalogue photo of {}",
    "a studio photo of {}",
    "a shop photo of {}",
    "{} on a plain background",
    "{} from a fashion catalogue",
    "this is {}",
]


@dataclass(frozen=True)
class Settings:
    """What makes one training run; lengths in tokens or pixels, rates per step."""

    epochs: int
    seed: int = 7
    batch: int = 256
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warmup_share: float = 0.1
    erase_share: float = 0.25
    patch: int = 4
    width: int = 128
    image_layers: int = 6
    text_layers: int = 2
    heads: int = 2
    merges: int = 400


@dataclass(frozen=True)
class Captions:
    """All captions: token ids (n, length) with their mask, and of which classes (n, 10) each is true."""

    texts: list[str]
    ids: Tensor
    mask: Tensor
    true_of: Tensor


@dataclass(frozen=True)
class Pictures:
    """Pictures uint8 (n, 28, 28) with class numbers int64 (n,)."""

    pixels: Tensor
    classes: Tensor


def write_captions() -> list[tuple[str, tuple[int, ...]]]:
    """Every caption with the classes of which it is true."""
    nouns = [(noun, classes) for table in (NOUNS, GROUPS) for classes, words in table.items() for noun in words]
    kinds = [
        (f"{noun}, {kind}", classes)
        for classes, words in NOUNS.items()
        for noun in words
        for group, kind in KINDS.items()
        if set(classes) <= set(group)
    ]
    return [(template.format(noun), classes) for noun, classes in nouns + kinds for template in TEMPLATES]


def train_tokenizer(texts: list[str], merges: int) -> CLIPTokenizer:
    """A byte-level BPE tokenizer in CLIP's form, its merges learned from `texts`; every text can be encoded."""
    end = "</w>"
    form = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(models.BPE(end_of_word_suffix=end))
    learner.normalizer, learner.pre_tokenizer = form.normalizer, form.pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=256 + 128 + merges, end_of_word_suffix=end, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    pairs = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]][:merges]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = letters + [letter + end for letter in letters] + [left + right for left, right in pairs]
    words += ["<|startoftext|>", "<|endoftext|>"]  # last, as in CLIP: the end has the highest id
    return CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=pairs, model_max_length=CONTEXT_LENGTH
    )


def tokenize(captions: list[tuple[str, tuple[int, ...]]], tokenizer: CLIPTokenizer) -> Captions:
    texts = [text for text, _ in captions]
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    true_of = torch.zeros(len(texts), 10, dtype=torch.bool)
    for row, (_, classes) in enumerate(captions):
        true_of[row, list(classes)] = True
    return Captions(texts, tokens["input_ids"], tokens["attention_mask"], true_of)


def make_model(settings: Settings, tokenizer: CLIPTokenizer) -> CLIPModel:
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=4 * settings.width,
        projection_dim=settings.width,
        num_hidden_layers=settings.text_layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=CONTEXT_LENGTH,
        hidden_act="gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=settings.width,
        intermediate_size=4 * settings.width,
        projection_dim=settings.width,
        num_hidden_layers=settings.image_layers,
        num_attention_heads=settings.heads,
        image_size=IMAGE_SIZE,
        patch_size=settings.patch,
        hidden_act="gelu",
    )
    return CLIPModel(
        CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=settings.width)
    )


def make_image_processor() -> CLIPImageProcessorPil:
    return CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=[MEAN] * 3,
        image_std=[STD] * 3,
    )


def normalise(pixels: Tensor) -> Tensor:
    """uint8 (n, 28, 28) -> float32 (n, 3, 28, 28), as the image processor makes it."""
    return ((pixels.float() / 255 - MEAN) / STD)[:, None].expand(-1, 3, -1, -1)


def augment(pixels: Tensor, erase_share: float, generator: torch.Generator) -> Tensor:
    """Flip half of the pictures, shift each by up to MAX_SHIFT pixels, blacken a random box in some."""
    count = len(pixels)
    padded = F.pad(pixels, (MAX_SHIFT,) * 4)
    windows = padded.unfold(1, IMAGE_SIZE, 1).unfold(2, IMAGE_SIZE, 1)
    down, right = torch.randint(0, 2 * MAX_SHIFT + 1, (2, count), generator=generator)
    moved = windows[torch.arange(count), down, right]
    flip = torch.rand(count, generator=generator) < 0.5
    moved = torch.where(flip[:, None, None], moved.flip(2), moved)
    return moved.masked_fill(random_boxes(count, erase_share, generator), 0)


def random_boxes(count: int, share: float, generator: torch.Generator) -> Tensor:
    """bool (count, 28, 28): in `share` of the pictures a box of 4 to 12 pixels a side is True."""
    size = torch.randint(4, 13, (2, count, 1), generator=generator)
    start = (torch.rand(2, count, 1, generator=generator) * (IMAGE_SIZE - size)).long()
    place = torch.arange(IMAGE_SIZE)
    rows, columns = (place >= start) & (place < start + size)
    chosen = torch.rand(count, 1, 1, generator=generator) < share
    return rows[:, :, None] & columns[:, None, :] & chosen


def draw_captions(classes: Tensor, captions: Captions, generator: torch.Generator) -> Tensor:
    """For each class number one caption that is true of it: indices int64 (n,)."""
    return torch.multinomial(captions.true_of.T[classes].float(), 1, generator=generator)[:, 0]


def contrastive_loss(similarity: Tensor, true: Tensor) -> Tensor:
    """Symmetric cross entropy of similarity (pictures, captions) with all true pairs as equal targets."""
    target = true.float()
    by_picture = F.cross_entropy(similarity, target / target.sum(1, keepdim=True))
    by_caption = F.cross_entropy(similarity.T, (target / target.sum(0, keepdim=True)).T)
    return (by_picture + by_caption) / 2


def image_features(model: CLIPModel, pixels: Tensor) -> Tensor:
    features: Tensor = model.get_image_features(pixel_values=pixels).pooler_output
    return F.normalize(features.float(), dim=-1)


def text_features(model: CLIPModel, ids: Tensor, mask: Tensor) -> Tensor:
    features: Tensor = model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
    return F.normalize(features.float(), dim=-1)


def make_optimizer(model: CLIPModel, settings: Settings) -> torch.optim.AdamW:
    """AdamW; only matrices are decayed, embeddings are not."""
    decayed = {name for name, value in model.named_parameters() if value.ndim > 1 and "embedding" not in name}
    parameters = dict(model.named_parameters())
    groups = [
        {"params": [parameters[name] for name in sorted(decayed)], "weight_decay": settings.weight_decay},
        {"params": [parameters[name] for name in sorted(set(parameters) - decayed)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)


def learning_rate(step: int, steps: int, settings: Settings) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    warmup = settings.warmup_share * steps
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    return settings.learning_rate * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def train_epoch(
    model: CLIPModel,
    optimizer: torch.optim.AdamW,
    pictures: Pictures,
    captions: Captions,
    settings: Settings,
    epoch: int,
) -> float:
    """One pass over the pictures; returns the mean loss. All chance comes from (seed, epoch)."""
    generator = torch.Generator().manual_seed(1_000 * settings.seed + epoch)
    batches = torch.randperm(len(pictures.classes), generator=generator).split(settings.batch)
    losses = []
    model.train()
    for number, rows in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(epoch * len(batches) + number, settings.epochs * len(batches), settings)
        pixels = normalise(augment(pictures.pixels[rows], settings.erase_share, generator))
        chosen = draw_captions(pictures.classes[rows], captions, generator)
        with torch.autocast("cpu", torch.bfloat16):
            images = image_features(model, pixels)
            texts = text_features(model, captions.ids[chosen], captions.mask[chosen])
        true = captions.true_of[chosen][:, pictures.classes[rows]].T
        loss = contrastive_loss(model.logit_scale.exp() * images @ texts.T, true)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
        losses.append(loss.item())
    return sum(losses) / len(losses)


def save_checkpoint(file: Path, model: CLIPModel, optimizer: torch.optim.AdamW, facts: dict[str, Any]) -> None:
    """Weights, optimizer state and progress in one safetensors file, replaced at once."""
    tensors = {f"model.{name}": value.detach() for name, value in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    partial = file.with_suffix(".partial")
    save_file(tensors, partial, metadata={"facts": json.dumps(facts)})
    partial.replace(file)


def load_checkpoint(file: Path, model: CLIPModel, optimizer: torch.optim.AdamW) -> dict[str, Any]:
    """Fill model and optimizer from `file`; returns the facts saved with them."""
    weights: dict[str, Tensor] = {}
    state: dict[int, dict[str, Tensor]] = {}
    with safe_open(file, "pt") as checkpoint:
        facts: dict[str, Any] = json.loads(checkpoint.metadata()["facts"])
        for key in checkpoint.keys():
            part, name = key.split(".", 1)
            if part == "model":
                weights[name] = checkpoint.get_tensor(key)
            else:
                number, field = name.split(".")
                state.setdefault(int(number), {})[field] = checkpoint.get_tensor(key)
    model.load_state_dict(weights)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return facts


def prompt_features(model: CLIPModel, processor: CLIPProcessor, attribute: dict[str, Any]) -> Tensor:
    """One unit vector a label: its prompts' features normalised, averaged, normalised again."""
    rows = []
    for label in attribute["labels"]:
        prompts = [template.format(text=label["text"], label=label["name"]) for template in attribute["templates"]]
        tokens = processor(text=prompts, padding=True, return_tensors="pt")
        rows.append(text_features(model, tokens["input_ids"], tokens["attention_mask"]).mean(0))
    return F.normalize(torch.stack(rows), dim=-1)


@torch.inference_mode()
def prompt_predictions(model: CLIPModel, processor: CLIPProcessor, pixels: Tensor) -> dict[str, Tensor]:
    """For each attribute of the demo taxonomy the label number of every picture, by its prompts."""
    model.eval()
    encoded = []
    for batch in pixels.split(500):
        photos = [Image.fromarray(photo) for photo in batch.numpy()]
        encoded.append(image_features(model, processor(images=photos, return_tensors="pt")["pixel_values"]))
    images = torch.cat(encoded)
    attributes = tomllib.loads(TAXONOMY_FILE.read_text(encoding="utf-8"))["attributes"]
    return {
        name: (images @ prompt_features(model, processor, attribute).T).argmax(1)
        for name, attribute in attributes.items()
    }


def true_labels(classes: Tensor) -> dict[str, Tensor]:
    """The label numbers of class numbers, in the order of the demo taxonomy."""
    attributes = tomllib.loads(TAXONOMY_FILE.read_text(encoding="utf-8"))["attributes"]
    categories = [label["name"] for label in attributes["category"]["labels"]]
    category = [categories.index(label["parents"][0]) for label in attributes["articleType"]["labels"]]
    return {"articleType": classes, "category": torch.tensor(category)[classes]}


def prompt_accuracy(model: CLIPModel, processor: CLIPProcessor, pictures: Pictures) -> dict[str, float]:
    truth = true_labels(pictures.classes)
    return {
        name: (found == truth[name]).float().mean().item()
        for name, found in prompt_predictions(model, processor, pictures.pixels).items()
    }


def train(
    model: CLIPModel, processor: CLIPProcessor, training: Pictures, held_out: Pictures, settings: Settings, work: Path
) -> float:
    """Train in place, from the checkpoint in `work` where there is one; returns the seconds spent, all runs."""
    captions = tokenize(write_captions(), processor.tokenizer)
    optimizer = make_optimizer(model, settings)
    checkpoint, facts = work / "checkpoint.safetensors", {"epoch": 0, "seconds": 0.0, "settings": asdict(settings)}
    if checkpoint.exists():
        facts = load_checkpoint(checkpoint, model, optimizer)
        if facts["settings"] != asdict(settings):
            raise SystemExit(f"{checkpoint} was made with other settings: {facts['settings']}; delete it or give --work")
        print(f"going on from {checkpoint} after epoch {facts['epoch']}", flush=True)
    for epoch in range(facts["epoch"], settings.epochs):
        start = time.perf_counter()
        loss = train_epoch(model, optimizer, training, captions, settings, epoch)
        facts |= {"epoch": epoch + 1, "seconds": facts["seconds"] + time.perf_counter() - start}
        save_checkpoint(checkpoint, model, optimizer, facts)
        accuracy = prompt_accuracy(model, processor, held_out)
        figures = "  ".join(f"{name} {value:.4f}" for name, value in accuracy.items())
        print(f"epoch {epoch + 1}/{settings.epochs}  {facts['seconds']:.0f} s  loss {loss:.3f}  held out: {figures}", flush=True)
    return float(facts["seconds"])


def write_model(model: CLIPModel, processor: CLIPProcessor, folder: Path) -> None:
    """A fresh Hugging Face folder; weights lie as float16 and load as float32."""
    shutil.rmtree(folder, ignore_errors=True)
    model.half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for part in (config, config["text_config"], config["vision_config"]):
        part["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    processor.tokenizer.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)


def class_table(pictures: Pictures, found: Tensor) -> str:
    """Per class: recall, precision, and the class it is most often taken for."""
    articles = tomllib.loads(TAXONOMY_FILE.read_text(encoding="utf-8"))["attributes"]["articleType"]["labels"]
    names = [article["name"] for article in articles]
    confusion = np.zeros((10, 10), np.int64)
    np.add.at(confusion, (pictures.classes.numpy(), found.numpy()), 1)
    lines = ["| class | prompt | recall | precision | most often taken for |", "|---|---|---|---|---|"]
    for number, article in enumerate(articles):
        row = confusion[number]
        wrong = np.where(np.arange(10) == number, 0, row)
        mistaken = f"{names[wrong.argmax()]} ({wrong.max()} of {row.sum()})"
        recall, precision = row[number] / row.sum(), row[number] / confusion[:, number].sum()
        lines.append(f"| {names[number]} | {article['text']} | {recall:.3f} | {precision:.3f} | {mistaken} |")
    return "\n".join(lines)


CARD = """\
# The embedded demo model

A very small CLIP (Hugging Face `CLIPModel`) for the demo and the tests of this project: it labels Fashion-MNIST
pictures by text prompts, on any laptop, without a download. It is no model for real product photos.

| | |
|---|---|
| data | Fashion-MNIST (Zalando SE, MIT): {training} training pictures; {held_out} more held out for every choice |
| licence | MIT, as the project; see NOTICE beside this folder for Fashion-MNIST's |
| image tower | {size}x{size} pixels, patch {patch}, {image_layers} layers of width {width}, {heads} heads |
| text tower | {text_layers} layers of width {width}, context {context}, own byte-level BPE of {vocabulary} entries |
| projection | {width} |
| parameters | {parameters:,} |
| folder | {megabytes:.1f} MB, weights as float16 (they load as float32) |
| training | {epochs} epochs of {batch}, {minutes:.0f} minutes on {machine} |

Trained from scratch by `scripts/train_demo_model.py` with a contrastive loss on pictures and {captions:,} written
captions ("a shop photo of a sneaker, a kind of footwear"); a caption counts as positive for every picture of the
batch of which it is true. Pictures were flipped, shifted by up to {shift} pixels and partly blackened.

## Prompt accuracy

On the {tested:,} test pictures, read once after training, with the prompts of `fashion_clip/taxonomies/demo.toml`
through plain `CLIPModel` and `CLIPProcessor` loaded from this folder; a label's prompts are averaged, normalised
before and after. The model was trained on these classes and on such captions: this is no zero-shot figure.

| attribute | accuracy |
|---|---|
{accuracy}

{table}

## Limits

- It knows white objects on black, {size}x{size} pixels, one item a picture. A colour photo on a light background
  is read at random.
- It knows the words of its captions. Any other word gets some vector, which means nothing.
- Shirts, T-shirts, pullovers and coats are hard to tell apart in these pictures, for people too.
- Its softmax confidences are too high until they are calibrated.
"""


def write_card(folder: Path, test: Pictures, settings: Settings, training: int, seconds: float) -> None:
    """Measure the written folder on the test pictures and put the figures into its MODEL_CARD.md."""
    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    found, truth = prompt_predictions(model, processor, test.pixels), true_labels(test.classes)
    accuracy = {name: (labels == truth[name]).float().mean().item() for name, labels in found.items()}
    card = CARD.format(
        **asdict(settings),
        training=f"{training:,}",
        held_out=f"{HELD_OUT:,}",
        size=IMAGE_SIZE,
        context=CONTEXT_LENGTH,
        vocabulary=len(processor.tokenizer),
        parameters=model.num_parameters(),
        megabytes=sum(file.stat().st_size for file in folder.iterdir()) / 1e6,
        minutes=seconds / 60,
        machine=f"{torch.get_num_threads()} CPU threads",
        captions=len(write_captions()),
        shift=MAX_SHIFT,
        tested=len(test.classes),
        accuracy="\n".join(f"| {name} | {value:.4f} |" for name, value in accuracy.items()),
        table=class_table(test, found["articleType"]),
    )
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    print(card)


def read_pictures(folder: Path, part: str) -> Pictures:
    pixels: Bytes = read_images(folder, part)
    return Pictures(torch.from_numpy(pixels.copy()), torch.from_numpy(read_classes(folder, part).astype(np.int64)))


def hold_out(pictures: Pictures, seed: int) -> tuple[Pictures, Pictures]:
    """Split into training pictures and HELD_OUT others, at random."""
    order = torch.randperm(len(pictures.classes), generator=torch.Generator().manual_seed(seed))
    kept, held = order[HELD_OUT:], order[:HELD_OUT]
    return Pictures(pictures.pixels[kept], pictures.classes[kept]), Pictures(pictures.pixels[held], pictures.classes[held])


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the embedded demo model.")
    parser.add_argument("fashion_mnist", type=Path, help="folder of the four .gz files as published")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--work", type=Path, default=Path("build/demo-model"), help="folder of the checkpoint")
    parser.add_argument("--output", type=Path, default=DEMO_DIR / "model", help="the model folder; it is replaced")
    arguments = parser.parse_args()

    settings = Settings(epochs=arguments.epochs)
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    tokenizer = train_tokenizer([text for text, _ in write_captions()], settings.merges)
    processor = CLIPProcessor(make_image_processor(), tokenizer)
    model = make_model(settings, tokenizer)
    training, held_out = hold_out(read_pictures(arguments.fashion_mnist, "train"), settings.seed)
    seconds = train(model, processor, training, held_out, settings, arguments.work)
    write_model(model, processor, arguments.output)
    write_card(arguments.output, read_pictures(arguments.fashion_mnist, "t10k"), settings, len(training.classes), seconds)


if __name__ == "__main__":
    main()

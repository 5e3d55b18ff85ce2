"""Train the embedded demo model from scratch: a small CLIP on captioned Fashion-MNIST pictures.

    python -m scripts.train_demo_model FASHION_MNIST_DIR [--epochs N] [--work DIR] [--output DIR]

Each epoch ends in a checkpoint in the work folder; the same command after a kill goes on from there. At the
end the model folder is written with its MODEL_CARD.md, whose figures this script measures. Choices were made
on 5,000 training pictures held out; the test pictures serve the card alone.

On a busy machine set OMP_WAIT_POLICY=PASSIVE, so that a thread which waits for the other gives up its core:
on two cores shared with other work epochs took 96 to 203 s with it, and one took 494 s without.
"""

import argparse
import json
import math
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
)

from fashion_clip.demo import MODEL_DIR
from fashion_clip.taxonomy import Attribute, load_taxonomy
from scripts.make_demo_photos import class_truth, read_classes, read_images

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
    (7,): [
        *["a sneaker", "sneakers", "a pair of sneakers"],
        *["a trainer", "trainers", "a sports shoe", "running shoes"],
    ],
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
    captions: int = 128  # a batch; drawn for its first pictures, the text tower costs less so
    matrix_rate: float = 0.01  # Muon, for the matrices
    other_rate: float = 1.5e-3  # AdamW, for embeddings, biases, norms and the scale
    weight_decay: float = 0.05
    warmup_share: float = 0.1
    erase_share: float = 0.25
    patch: int = 7
    width: int = 128
    image_layers: int = 6
    text_layers: int = 2
    heads: int = 2
    merges: int = 400


@dataclass(frozen=True)
class Captions:
    """All captions: token ids (n, length) with their mask, and of which classes (n, 10) each is true."""

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
    own = [(noun, classes) for classes, words in NOUNS.items() for noun in words]
    shared = [(noun, classes) for classes, words in GROUPS.items() for noun in words]
    kinds = [
        (f"{noun}, {kind}", classes)
        for noun, classes in own
        for group, kind in KINDS.items()
        if set(classes) <= set(group)
    ]
    return [
        (template.format(noun), classes) for noun, classes in own + shared + kinds for template in TEMPLATES
    ]


def train_tokenizer(texts: list[str], merges: int) -> CLIPTokenizer:
    """A byte-level BPE tokenizer in CLIP's form, merges learned from `texts`; any text can be encoded."""
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
        vocab={word: number for number, word in enumerate(words)},
        merges=pairs,  # type: ignore[arg-type]  # annotated as strings, passed on to BPE, which takes pairs
        model_max_length=CONTEXT_LENGTH,
    )


def tokenize(captions: list[tuple[str, tuple[int, ...]]], tokenizer: CLIPTokenizer) -> Captions:
    texts = [text for text, _ in captions]
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    true_of = torch.zeros(len(texts), 10, dtype=torch.bool)
    for row, (_, classes) in enumerate(captions):
        true_of[row, list(classes)] = True
    return Captions(tokens["input_ids"], tokens["attention_mask"], true_of)


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
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=settings.width
    )
    model = CLIPModel(config)
    model.set_attn_implementation("eager")  # 1.7 times as many pictures a second as "sdpa" on so few tokens
    start_image_tower(model, settings)
    return model


@torch.no_grad()
def start_image_tower(model: CLIPModel, settings: Settings) -> None:
    """Give the image tower a start that suits few steps on few pictures.

    Positions begin as sines and cosines of row and column; attention begins mimetic, queries and keys nearly
    the same map, values and output nearly opposite ones (Trockman and Kolter, arXiv 2305.09828).
    """
    embeddings, width = model.vision_model.embeddings, settings.width
    torch.nn.init.normal_(embeddings.patch_embedding.weight, std=(3 * settings.patch**2) ** -0.5)
    embeddings.position_embedding.weight[0] = 0
    embeddings.position_embedding.weight[1:] = position_waves(IMAGE_SIZE // settings.patch, width)
    for layer in model.vision_model.encoder.layers:
        attention = layer.self_attn
        size = width // settings.heads
        for head in range(settings.heads):
            rows = slice(head * size, (head + 1) * size)
            left, strength, right = torch.linalg.svd(near_identity(width, 0.7, 0.7))
            attention.q_proj.weight[rows] = (left * strength.sqrt())[:, :size].T
            attention.k_proj.weight[rows] = (strength.sqrt()[:, None] * right)[:size]
        left, strength, right = torch.linalg.svd(near_identity(width, 0.4, -0.4))
        attention.out_proj.weight.copy_(left * strength.sqrt())
        attention.v_proj.weight.copy_(strength.sqrt()[:, None] * right)


def near_identity(width: int, noise: float, diagonal: float) -> Tensor:
    """A random square matrix of spectral radius about `noise`, plus `diagonal` times the identity."""
    matrix: Tensor = noise * torch.randn(width, width) / width**0.5 + diagonal * torch.eye(width)
    return matrix


def position_waves(side: int, width: int) -> Tensor:
    """float32 (side * side, width): sines and cosines of the row, then those of the column."""
    rates = 100 ** -(torch.arange(width // 4) / (width // 4))
    angles = torch.arange(side)[:, None] * rates
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=2).reshape(side * side, width)


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
    padded = functional.pad(pixels, (MAX_SHIFT,) * 4)
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
    boxes: Tensor = rows[:, :, None] & columns[:, None, :] & chosen
    return boxes


def draw_captions(classes: Tensor, captions: Captions, generator: torch.Generator) -> Tensor:
    """For each class number one caption that is true of it: indices int64 (n,)."""
    return torch.multinomial(captions.true_of.T[classes].float(), 1, generator=generator)[:, 0]


def contrastive_loss(similarity: Tensor, true: Tensor) -> Tensor:
    """Symmetric cross entropy of similarity (pictures, captions) with all true pairs as equal targets."""
    target = true.float()
    by_picture = functional.cross_entropy(similarity, target / target.sum(1, keepdim=True))
    by_caption = functional.cross_entropy(similarity.T, (target / target.sum(0, keepdim=True)).T)
    return (by_picture + by_caption) / 2


def image_features(model: CLIPModel, pixels: Tensor) -> Tensor:
    features: Tensor = model.get_image_features(pixel_values=pixels).pooler_output
    return functional.normalize(features.float(), dim=-1)


def text_features(model: CLIPModel, ids: Tensor, mask: Tensor) -> Tensor:
    features: Tensor = model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
    return functional.normalize(features.float(), dim=-1)


def make_optimizers(model: CLIPModel, settings: Settings) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the rest."""
    parameters = dict(model.named_parameters())
    matrices = [name for name, value in parameters.items() if value.ndim == 2 and "embedding" not in name]
    others = [value for name, value in parameters.items() if name not in matrices]
    return [
        torch.optim.Muon(
            [parameters[name] for name in matrices],
            lr=settings.matrix_rate,
            weight_decay=settings.weight_decay,
        ),
        torch.optim.AdamW(others, lr=settings.other_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def set_rates(optimizers: list[torch.optim.Optimizer], step: int, steps: int, settings: Settings) -> None:
    """Linear warm-up, then half a cosine down to zero."""
    warmup = settings.warmup_share * steps
    share = min((step + 1) / warmup, (1 + math.cos(math.pi * max(step - warmup, 0) / (steps - warmup))) / 2)
    for optimizer, rate in zip(optimizers, (settings.matrix_rate, settings.other_rate), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = share * rate


def train_epoch(
    model: CLIPModel,
    optimizers: list[torch.optim.Optimizer],
    pictures: Pictures,
    captions: Captions,
    settings: Settings,
    epoch: int,
) -> float:
    """One pass over the pictures; returns the mean loss. All chance comes from (seed, epoch)."""
    generator = torch.Generator().manual_seed(1_000 * settings.seed + epoch)
    batches = torch.split(torch.randperm(len(pictures.classes), generator=generator), settings.batch)
    losses = []
    model.train()
    for number, rows in enumerate(batches):
        set_rates(optimizers, epoch * len(batches) + number, settings.epochs * len(batches), settings)
        pixels = normalise(augment(pictures.pixels[rows], settings.erase_share, generator))
        chosen = draw_captions(pictures.classes[rows[: settings.captions]], captions, generator)
        with torch.autocast("cpu", torch.bfloat16):
            images = image_features(model, pixels)
            texts = text_features(model, captions.ids[chosen], captions.mask[chosen])
        true = captions.true_of[chosen][:, pictures.classes[rows]].T
        loss = contrastive_loss(model.logit_scale.exp() * images @ texts.T, true)
        model.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
        losses.append(loss.item())
    return sum(losses) / len(losses)


def save_checkpoint(
    file: Path, model: CLIPModel, optimizers: list[torch.optim.Optimizer], facts: dict[str, Any]
) -> None:
    """Weights, optimizer state and progress in one safetensors file, replaced at once."""
    tensors = {f"model.{name}": value.detach() for name, value in model.state_dict().items()}
    for which, optimizer in enumerate(optimizers):
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{which}.{number}.{name}": value for name, value in state.items()}
    partial = file.with_suffix(".partial")
    save_file(tensors, partial, metadata={"facts": json.dumps(facts)})
    partial.replace(file)


def load_checkpoint(file: Path, model: CLIPModel, optimizers: list[torch.optim.Optimizer]) -> dict[str, Any]:
    """Fill model and optimizer from `file`; returns the facts saved with them."""
    weights: dict[str, Tensor] = {}
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    with safe_open(file, "pt") as checkpoint:
        facts: dict[str, Any] = json.loads(checkpoint.metadata()["facts"])
        for key in checkpoint.keys():  # noqa: SIM118  # no mapping: it cannot be iterated
            part, name = key.split(".", 1)
            if part == "model":
                weights[name] = checkpoint.get_tensor(key)
            else:
                which, number, field = name.split(".")
                states[int(which)].setdefault(int(number), {})[field] = checkpoint.get_tensor(key)
    model.load_state_dict(weights)
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return facts


def prompt_features(model: CLIPModel, processor: CLIPProcessor, attribute: Attribute) -> Tensor:
    """One unit vector a label: its prompts' features normalised, averaged, normalised again."""
    rows = []
    for label in attribute.labels:
        tokens = processor(text=list(attribute.prompts(label)), padding=True, return_tensors="pt")
        rows.append(text_features(model, tokens["input_ids"], tokens["attention_mask"]).mean(0))
    return functional.normalize(torch.stack(rows), dim=-1)


@torch.inference_mode()
def prompt_similarity(model: CLIPModel, processor: CLIPProcessor, pixels: Tensor) -> dict[str, Tensor]:
    """For each attribute of the demo taxonomy the cosines of pictures and labels: float32 (n, labels)."""
    model.train(False)
    encoded = []
    for batch in torch.split(pixels, 500):
        photos = [Image.fromarray(photo) for photo in batch.numpy()]
        encoded.append(image_features(model, processor(images=photos, return_tensors="pt")["pixel_values"]))
    images = torch.cat(encoded)
    return {
        attribute.name: images @ prompt_features(model, processor, attribute).T
        for attribute in load_taxonomy("demo").attributes
    }


def true_labels(classes: Tensor) -> dict[str, Tensor]:
    """For each attribute of the demo taxonomy the label numbers that class numbers stand for."""
    truth = class_truth()
    labels = {
        attribute.name: [label.name for label in attribute.labels]
        for attribute in load_taxonomy("demo").attributes
    }
    return {
        name: torch.tensor([names.index(row[name]) for row in truth])[classes]
        for name, names in labels.items()
    }


def prompt_accuracy(model: CLIPModel, processor: CLIPProcessor, pictures: Pictures) -> dict[str, float]:
    """For each attribute the share of pictures whose nearest label is the true one."""
    truth = true_labels(pictures.classes)
    similarity = prompt_similarity(model, processor, pictures.pixels)
    return {
        name: (cosines.argmax(1) == truth[name]).float().mean().item() for name, cosines in similarity.items()
    }


def train(
    model: CLIPModel,
    processor: CLIPProcessor,
    training: Pictures,
    held_out: Pictures,
    settings: Settings,
    work: Path,
) -> float:
    """Train in place, from the checkpoint in `work` if there is one; returns the seconds of all runs."""
    captions = tokenize(write_captions(), processor.tokenizer)
    optimizers = make_optimizers(model, settings)
    checkpoint = work / "checkpoint.safetensors"
    facts: dict[str, Any] = {"epoch": 0, "seconds": 0.0, "settings": asdict(settings)}
    if checkpoint.exists():
        facts = load_checkpoint(checkpoint, model, optimizers)
        if facts["settings"] != asdict(settings):
            raise SystemExit(
                f"{checkpoint} has other settings: {facts['settings']}; delete it or give --work"
            )
        print(f"going on from {checkpoint} after epoch {facts['epoch']}", flush=True)
    for epoch in range(facts["epoch"], settings.epochs):
        start = time.perf_counter()
        loss = train_epoch(model, optimizers, training, captions, settings, epoch)
        facts |= {"epoch": epoch + 1, "seconds": facts["seconds"] + time.perf_counter() - start}
        save_checkpoint(checkpoint, model, optimizers, facts)
        accuracy = prompt_accuracy(model, processor, held_out)
        figures = "  ".join(f"{name} {value:.4f}" for name, value in accuracy.items())
        spent = f"epoch {epoch + 1}/{settings.epochs}  {facts['seconds']:.0f} s"
        print(f"{spent}  loss {loss:.3f}  held out: {figures}", flush=True)
    return float(facts["seconds"])


def write_model(model: CLIPModel, processor: CLIPProcessor, folder: Path) -> None:
    """A fresh Hugging Face folder; weights lie as float16 and load as float32."""
    shutil.rmtree(folder, ignore_errors=True)
    model.half().save_pretrained(folder)  # type: ignore[no-untyped-call]
    (folder / "model.safetensors").chmod(0o644)  # it is written for the owner alone
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for part in (config, config["text_config"], config["vision_config"]):
        part["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    processor.tokenizer.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)


def class_table(truth: Tensor, found: Tensor) -> str:
    """Per class: recall, precision, and the class it is most often taken for."""
    labels = {attribute.name: attribute.labels for attribute in load_taxonomy("demo").attributes}[
        "articleType"
    ]
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth.numpy(), found.numpy()), 1)
    lines = ["| class | prompt | recall | precision | most often taken for |", "|---|---|---|---|---|"]
    for number, label in enumerate(labels):
        row = confusion[number]
        wrong = np.where(np.arange(len(labels)) == number, 0, row)
        mistaken = f"{labels[wrong.argmax()].name} ({wrong.max()} of {row.sum()})"
        recall, precision = row[number] / row.sum(), row[number] / confusion[:, number].sum()
        lines.append(f"| {label.name} | {label.text} | {recall:.3f} | {precision:.3f} | {mistaken} |")
    return "\n".join(lines)


CARD = """\
# The embedded demo model

A very small CLIP (Hugging Face `CLIPModel`) for the demo and the tests of this project: it labels
Fashion-MNIST pictures by text prompts, on any laptop, without a download. It is no model for product photos.

| | |
|---|---|
| data | Fashion-MNIST (Zalando SE, MIT): {training:,} training pictures, {held_out:,} held out |
| licence | MIT, as the project; see NOTICE beside this folder for Fashion-MNIST's |
| image tower | {size}x{size} pixels, patch {patch}, {image_layers} layers of width {width}, {heads} heads |
| text tower | {text_layers} layers of width {width}, context {context}, own BPE of {vocabulary} entries |
| projection | {width} |
| parameters | {parameters:,} |
| folder | {megabytes:.1f} MB, weights as float16 (they load as float32) |
| training | {epochs} epochs, batch {batch}, seed {seed}, {minutes:.0f} minutes on {threads} CPU threads |

Trained from scratch by `scripts/train_demo_model.py` with a contrastive loss on pictures and {sentences:,}
written captions ("a shop photo of a sneaker, a kind of footwear"); a caption counts as positive for every
picture of the batch of which it is true. Pictures were flipped, shifted by up to {shift} pixels and partly
blackened.

## Prompt accuracy

On the {tested:,} test pictures, by which nothing was chosen, with the prompts of
`fashion_clip/taxonomies/demo.toml` through plain `CLIPModel` and `CLIPProcessor` loaded from this folder; a
label's prompts are averaged, normalised before and after. Confidence is the mean softmax of the label found.
The model was trained on these classes and on such captions: these are no zero-shot figures.

| attribute | labels | accuracy | confidence | accuracy on the negatives |
|---|---|---|---|---|
{accuracy}

{table}

## Limits

- It knows white objects on black, {size}x{size} pixels, one item a picture. The column of the negatives
  (black objects on white) shows what other pictures come to.
- It knows the words of its captions. Any other word gets some vector, which means nothing.
- Accuracy over all classes hides the hard ones: see the recall of the table.
"""


def accuracy_row(attribute: Attribute, truth: Tensor, scale: float, cosines: Tensor, negative: Tensor) -> str:
    right, right_negative = ((found.argmax(1) == truth).float().mean() for found in (cosines, negative))
    confidence = (scale * cosines).softmax(1).amax(1).mean()
    labels = len(attribute.labels)
    return f"| {attribute.name} | {labels} | {right:.4f} | {confidence:.4f} | {right_negative:.4f} |"


def write_card(folder: Path, test: Pictures, settings: Settings, training: int, seconds: float) -> None:
    """Measure the written folder on the test pictures and put the figures into its MODEL_CARD.md."""
    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    truth, scale = true_labels(test.classes), model.logit_scale.exp().item()
    cosines = prompt_similarity(model, processor, test.pixels)
    negative = prompt_similarity(model, processor, 255 - test.pixels)
    card = CARD.format(
        **asdict(settings),
        training=training,
        held_out=HELD_OUT,
        size=IMAGE_SIZE,
        context=CONTEXT_LENGTH,
        vocabulary=len(processor.tokenizer),
        parameters=model.num_parameters(),
        megabytes=sum(file.stat().st_size for file in folder.iterdir()) / 1e6,
        minutes=seconds / 60,
        threads=torch.get_num_threads(),
        sentences=len(write_captions()),
        shift=MAX_SHIFT,
        tested=len(test.classes),
        accuracy="\n".join(
            accuracy_row(each, truth[each.name], scale, cosines[each.name], negative[each.name])
            for each in load_taxonomy("demo").attributes
        ),
        table=class_table(truth["articleType"], cosines["articleType"].argmax(1)),
    )
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    print(card)


def read_pictures(folder: Path, part: str) -> Pictures:
    pixels, classes = read_images(folder, part), read_classes(folder, part)
    return Pictures(torch.from_numpy(pixels.copy()), torch.from_numpy(classes.astype(np.int64)))


def hold_out(pictures: Pictures, seed: int) -> tuple[Pictures, Pictures]:
    """Split into training pictures and HELD_OUT others, at random."""
    order = torch.randperm(len(pictures.classes), generator=torch.Generator().manual_seed(seed))
    training, held = (
        Pictures(pictures.pixels[rows], pictures.classes[rows])
        for rows in (order[HELD_OUT:], order[:HELD_OUT])
    )
    return training, held


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the embedded demo model.")
    parser.add_argument("fashion_mnist", type=Path, help="folder of the four .gz files as published")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--work", type=Path, default=Path("build/demo-model"), help="where checkpoints go")
    parser.add_argument("--output", type=Path, default=MODEL_DIR, help="model folder; it is replaced")
    arguments = parser.parse_args()

    settings = Settings(epochs=arguments.epochs)
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    tokenizer = train_tokenizer([text for text, _ in write_captions()], settings.merges)
    processor = CLIPProcessor(make_image_processor(), tokenizer)  # type: ignore[no-untyped-call]
    model = make_model(settings, tokenizer)
    training, held_out = hold_out(read_pictures(arguments.fashion_mnist, "train"), settings.seed)
    seconds = train(model, processor, training, held_out, settings, arguments.work)
    write_model(model, processor, arguments.output)
    test = read_pictures(arguments.fashion_mnist, "t10k")
    write_card(arguments.output, test, settings, len(training.classes), seconds)


if __name__ == "__main__":
    main()

"""A model and its optimizer on one process's device: what a step does, and what of it outlasts a kill."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator, PartialState

from fashion_clip.checkpoint import Checkpoint
from fashion_clip.errors import UsageError
from fashion_clip.finetuning.adapters import inner, merged, tunable
from fashion_clip.finetuning.batches import Batch
from fashion_clip.finetuning.loss import contrastive_loss, with_others
from fashion_clip.finetuning.settings import FineTuning
from fashion_clip.runtimes import best_precision

# Of CLIP's pretraining (Radford et al., 2021, table 18).
_BETAS, _EPSILON = (0.9, 0.98), 1e-6
_LONGEST_GRADIENT = 1.0  # a longer one, all weights together, is shortened to it


@dataclass(eq=False)
class Session:
    """accelerator: knows the device, the other processes and the precision to multiply in.

    model: as accelerate has it, to be called. bare: the same without. moving: the weights that change, by
        name. levels: Preprocessing.levels. best: the moving weights of the best epoch so far.
    """

    checkpoint: Checkpoint
    accelerator: Any
    model: Any
    bare: torch.nn.Module
    moving: dict[str, torch.nn.Parameter]
    optimizer: torch.optim.AdamW
    levels: torch.Tensor
    best: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def clip(self) -> Any:
        """The CLIPModel that is trained, additions included."""
        return inner(self.bare)

    def share(self, batch_size: int) -> slice:
        """Which photos of a batch this process shows to the towers."""
        size = batch_size // self.accelerator.num_processes
        return slice(self.accelerator.process_index * size, (self.accelerator.process_index + 1) * size)

    def keep_as_best(self) -> None:
        """Copy the weights that change."""
        self.best = {name: weight.detach().clone() for name, weight in self.moving.items()}

    def finished(self) -> Any:
        """A plain CLIPModel on the CPU with the weights of the best epoch; the session is used up."""
        with torch.no_grad():
            for name, weight in self.moving.items():
                weight.copy_(self.best[name])
        self.accelerator.unwrap_model(self.model)
        return merged(self.bare).cpu()


def open_session(checkpoint: Checkpoint, settings: FineTuning) -> Session:
    """Copy the model onto this process's device; under torchrun one of several."""
    cpu = not torch.accelerator.is_available()  # unless told so accelerate finds no other processes on CPUs
    precision = best_precision(str(PartialState(cpu=cpu).device))
    accelerator = Accelerator(cpu=cpu, mixed_precision="bf16" if precision == "bfloat16" else "no")
    bare = tunable(checkpoint, settings)
    moving = {name: weight for name, weight in bare.named_parameters() if weight.requires_grad}
    model = accelerator.prepare(bare)
    levels = torch.from_numpy(checkpoint.preprocessing.levels()).to(accelerator.device)
    return Session(checkpoint, accelerator, model, bare, moving, _optimizer(moving, settings), levels)


def learning_rate(settings: FineTuning, step: int, steps: int) -> float:
    """That of one of `steps` steps: up a line, then down a half cosine."""
    rising = round(settings.warmup * steps)
    if step < rising:
        return settings.learning_rate * (step + 1) / rising
    return settings.learning_rate * (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2


def take_step(session: Session, make: Callable[[int], Batch], accumulation: int, rate: float) -> float:
    """One step of the optimizer by the mean gradient of several batches; returns their mean loss.

    Args:
        make: the batch of a number below `accumulation`.

    Raises:
        UsageError: the loss is no number any more.
    """
    losses = []
    for number in range(accumulation):
        last = number == accumulation - 1
        # Only the last backward pass of a step waits for the other processes.
        with nullcontext() if last else session.accelerator.no_sync(session.model):
            loss = _loss(session, make(number))
            # Each process passes back its own rows' part, and accelerate takes the mean of all.
            session.accelerator.backward(loss * (session.accelerator.num_processes / accumulation))
        losses.append(loss.detach())
    mean = float(torch.stack(losses).mean())
    if not math.isfinite(mean):
        raise UsageError(f"the loss is {mean}: the weights ran away; try a lower learning_rate than now")
    session.accelerator.clip_grad_norm_(session.moving.values(), _LONGEST_GRADIENT)
    for group in session.optimizer.param_groups:
        group["lr"] = rate
    session.optimizer.step()
    session.optimizer.zero_grad()
    return mean


def state_tensors(session: Session) -> dict[str, torch.Tensor]:
    """What `restore` needs: the weights that change, the best ones, and AdamW's two means."""
    tensors = {f"best.{name}": tensor for name, tensor in session.best.items()}
    for name, weight in session.moving.items():
        tensors[f"now.{name}"] = weight
        state = session.optimizer.state.get(weight, {})
        tensors |= {f"{key}.{name}": state[key] for key in ("exp_avg", "exp_avg_sq") if key in state}
    return tensors


def restore(session: Session, tensors: dict[str, torch.Tensor], step: int) -> None:
    """Put back what `state_tensors` gave after so many steps."""
    for name, weight in session.moving.items():
        with torch.no_grad():
            weight.copy_(tensors[f"now.{name}"])
        if f"best.{name}" in tensors:
            session.best[name] = tensors[f"best.{name}"].to(weight.device)
        if f"exp_avg.{name}" in tensors:
            means = {key: tensors[f"{key}.{name}"].to(weight.device) for key in ("exp_avg", "exp_avg_sq")}
            session.optimizer.state[weight] = means | {"step": torch.tensor(float(step))}


def _optimizer(moving: dict[str, torch.nn.Parameter], settings: FineTuning) -> torch.optim.AdamW:
    # Decay would draw words that no caption has towards nothing.
    decayed = {name for name, weight in moving.items() if weight.ndim > 1 and "embedding" not in name}
    groups: list[dict[str, Any]] = [
        {"params": [moving[name] for name in moving if (name in decayed) == decay], "weight_decay": amount}
        for decay, amount in ((True, settings.weight_decay), (False, 0.0))
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=_BETAS, eps=_EPSILON)


def _loss(session: Session, batch: Batch) -> torch.Tensor:
    accelerator, match = session.accelerator, batch.match
    device = accelerator.device
    texts = list(dict.fromkeys(batch.texts))
    tokens = session.checkpoint.tokenizer(
        texts,
        padding=True,
        truncation=True,
        max_length=session.clip.config.text_config.max_position_embeddings,
        return_tensors="pt",
    ).to(device)
    output = session.model(
        input_ids=tokens["input_ids"],
        attention_mask=tokens["attention_mask"],
        pixel_values=_pixel_values(torch.from_numpy(batch.pixels).to(device), session.levels),
    )
    number = {text: place for place, text in enumerate(texts)}
    features = [output.image_embeds, output.text_embeds[[number[text] for text in batch.texts]]]
    if accelerator.num_processes > 1:
        features = [
            with_others(own, accelerator.gather(own.detach()), accelerator.process_index * len(own))
            for own in features
        ]
    positive, counted, first, kinds = (
        torch.from_numpy(part).to(device)
        for part in (match.positive, match.counted, match.first, match.kinds)
    )
    scale = session.clip.logit_scale.exp()
    return contrastive_loss(features[0], features[1][first], scale, positive, counted, kinds)


def _pixel_values(pixels: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """uint8 (m, height, width, 3) to float32 (m, 3, height, width) as Preprocessing.levels has it."""
    index = pixels.long()
    return torch.stack([levels[channel][index[..., channel]] for channel in range(3)], dim=1)

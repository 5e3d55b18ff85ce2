"""The loss is pretraining's, and captions that are true of several photos do no harm."""

import pytest
import torch
from torch.nn.functional import normalize

from fashion_clip.finetuning.loss import contrastive_loss, with_others

SCALE = torch.tensor(20.0)


def vectors(rows: int, seed: int) -> torch.Tensor:
    made = torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed))
    return normalize(made, dim=-1).requires_grad_()


def loss_of(
    images: torch.Tensor,
    texts: torch.Tensor,
    positive: torch.Tensor,
    counted: torch.Tensor | None = None,
    kinds: list[int] | None = None,
    scale: torch.Tensor = SCALE,
) -> torch.Tensor:
    """Everything counts and there is one kind, unless it is said."""
    known = torch.ones_like(positive) if counted is None else counted
    number = torch.tensor(kinds or [0] * len(texts))
    return contrastive_loss(images, texts, scale, positive, known, number)


def backward(loss: torch.Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def test_with_one_photo_a_text_it_is_transformers_own() -> None:
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss

    images, texts = vectors(6, 0), vectors(6, 1)
    ours = loss_of(images, texts, torch.eye(6).bool())
    theirs = image_text_contrastive_loss(SCALE * texts @ images.T)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)


def test_targets_are_shared_among_the_true_ones() -> None:
    """Worked by hand: photos 0 and 1 have text 0, photo 2 has both."""
    positive = torch.tensor([[1, 0], [1, 0], [1, 1]]).bool()
    images, texts = torch.eye(3)[:, :2], torch.eye(2)
    loss = loss_of(images, texts, positive, scale=torch.tensor(1.0))
    rows = torch.tensor([[1.0, 0], [0, 1], [0, 0]]).log_softmax(1)
    columns = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).log_softmax(1)
    by_photo = -(rows[0, 0] + rows[1, 0] + rows[2].mean()) / 3
    by_text = -(columns[0].mean() + columns[1, 2]) / 2
    assert loss.item() == pytest.approx(((by_photo + by_text) / 2).item())


def test_photos_that_share_their_text_are_not_driven_apart() -> None:
    """Of 60 photos of one label and one of another, all at their text: nothing is left to gain."""
    positive = torch.zeros(61, 2, dtype=torch.bool)
    positive[:60, 0] = positive[60, 1] = True
    images = torch.eye(2)[positive.int().argmax(1)].clone().requires_grad_()
    backward(loss_of(images, torch.eye(2), positive, scale=torch.tensor(100.0)))
    assert images.grad is not None
    assert images.grad.abs().max() < 1e-6


def test_texts_of_two_kinds_are_not_told_apart_for_a_photo() -> None:
    """A black t-shirt and a white dress, worked by hand: each photo asks two questions of two texts."""
    positive = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1]]).bool()
    images, texts = vectors(2, 0), vectors(4, 1)
    loss = loss_of(images, texts, positive, kinds=[0, 0, 7, 7])
    logits = SCALE * images @ texts.T
    by_photo = [logits[:, :2].log_softmax(1).diagonal(), logits[:, 2:].log_softmax(1).diagonal()]
    by_text = logits.log_softmax(0)[positive]
    assert loss.item() == pytest.approx(-(torch.cat(by_photo).mean() + by_text.mean()).item() / 2, abs=1e-6)


def test_photos_without_a_text_of_a_kind_are_not_asked() -> None:
    positive = torch.tensor([[1, 0], [1, 1]]).bool()
    images, texts = vectors(2, 0), vectors(2, 1)
    by_text = (SCALE * images @ texts.T).log_softmax(0)
    expected = -(by_text[:, 0].mean() + by_text[1, 1]) / 2 / 2  # of one text a kind a photo has no choice
    assert loss_of(images, texts, positive, kinds=[0, 1]).item() == pytest.approx(expected.item(), abs=1e-6)


def test_what_is_not_known_takes_no_part() -> None:
    """Of photo 0 and text 1 nobody knows: they neither attract nor repel."""
    images, texts = vectors(3, 0), vectors(3, 1)
    counted = torch.ones(3, 3).bool()
    counted[0, 1] = False
    loss = loss_of(images, texts, torch.eye(3).bool(), counted)
    logits = SCALE * images @ texts.T
    chances = [logits[0, [0, 2]].softmax(0)[0], logits[1].softmax(0)[1], logits[2].softmax(0)[2]]
    chances += [logits[:, 0].softmax(0)[0], logits[1:, 1].softmax(0)[0], logits[:, 2].softmax(0)[2]]
    assert loss.item() == pytest.approx(-torch.stack(chances).log().mean().item(), abs=1e-6)


def test_processes_together_pass_back_what_one_would() -> None:
    """Each has half of the photos; the sum of what both pass back is the whole gradient."""
    images, texts = vectors(6, 0), vectors(6, 1)
    positive = torch.eye(6).bool() | torch.rand(6, 6, generator=torch.Generator().manual_seed(2)).gt(0.8)
    backward(loss_of(images, texts, positive))
    parts = []
    for start in (0, 3):
        own = [whole.detach()[start : start + 3].clone().requires_grad_() for whole in (images, texts)]
        all_rows = [
            with_others(part, whole.detach(), start) for part, whole in zip(own, (images, texts), strict=True)
        ]
        backward(loss_of(all_rows[0], all_rows[1], positive))
        parts.append([part.grad for part in own])
    for number, whole in enumerate((images, texts)):
        assert whole.grad is not None
        joined = torch.cat([part[number] for part in parts if part[number] is not None])  # type: ignore[misc]
        torch.testing.assert_close(joined, whole.grad)

"""The loss of CLIP's pretraining, for captions that may be true of several photos of a batch."""

import torch

# So much less than any logit that its exponential is 0; infinity times a target of 0 would be no number.
_UNCOUNTED = -1e4


def contrastive_loss(
    images: torch.Tensor,
    texts: torch.Tensor,
    scale: torch.Tensor,
    positive: torch.Tensor,
    counted: torch.Tensor,
    kinds: torch.Tensor,
) -> torch.Tensor:
    """The mean of both directions' cross entropies, as in UniCL (Yang et al., CVPR 2022).

    The target of a text is shared out evenly among the photos of which it is true. That of a photo is shared
    out among the texts of a kind that are true of it, for each kind that has any: "black" need not win
    against "a t-shirt". Where every text is true of one photo, and there is one kind, this is the loss of
    Radford et al., 2021 (CLIP), figure 3.

    Args:
        images: (b, dimension), unit rows. texts: (u, dimension), unit rows.
        scale: what cosines are multiplied by.
        positive: bool (b, u), at least one in every row and every column.
        counted: bool (b, u); the others take no part.
        kinds: int64 (u,), as in Match.
    """
    logits = scale.float() * images.float() @ texts.float().T
    logits = logits.masked_fill(~counted, _UNCOUNTED)
    by_photo = [
        _cross_entropies(logits[:, columns], positive[:, columns])
        for columns in (kinds == kind for kind in sorted(set(kinds.tolist())))
    ]
    by_text = _cross_entropies(logits.T, positive.T)
    return (torch.cat(by_photo).mean() + by_text.mean()) / 2


def with_others(own: torch.Tensor, gathered: torch.Tensor, start: int) -> torch.Tensor:
    """The rows of all processes, of which only the own ones, from row `start` on, pass gradients back.

    Args:
        own: (m, dimension). gathered: (b, dimension), the own rows among them.
    """
    return torch.cat([gathered[:start], own, gathered[start + len(own) :]])


def _cross_entropies(logits: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    """Of the rows that have a target."""
    rows = positive.any(dim=1)
    targets = positive[rows] / positive[rows].sum(dim=1, keepdim=True)
    return -(targets * logits[rows].log_softmax(dim=1)).sum(dim=1)

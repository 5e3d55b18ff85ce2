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
) -> torch.Tensor:
    """The mean of both directions' cross entropies, as in UniCL (Yang et al., CVPR 2022).

    The target of a photo is shared out evenly among the texts that are true of it, that of a text among its
    photos. Where every text is true of one photo this is the loss of Radford et al., 2021 (CLIP), figure 3.

    Args:
        images: (b, dimension), unit rows. texts: (u, dimension), unit rows.
        scale: what cosines are multiplied by.
        positive: bool (b, u), at least one in every row and every column.
        counted: bool (b, u); the others take no part.
    """
    logits = scale.float() * images.float() @ texts.float().T
    logits = logits.masked_fill(~counted, _UNCOUNTED)
    return (_cross_entropy(logits, positive) + _cross_entropy(logits.T, positive.T)) / 2


def with_others(own: torch.Tensor, gathered: torch.Tensor, start: int) -> torch.Tensor:
    """The rows of all processes, of which only the own ones, from row `start` on, pass gradients back.

    Args:
        own: (m, dimension). gathered: (b, dimension), the own rows among them.
    """
    return torch.cat([gathered[:start], own, gathered[start + len(own) :]])


def _cross_entropy(logits: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    targets = positive / positive.sum(dim=1, keepdim=True)
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()

"""Read beside the phrase what the knowledge file says of it: the attribute bank."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import MedGLIPConfig

__all__ = ["AttributeBank"]


class AttributeBank(nn.Module):
    """Let a phrase look at the words of its own description.

    The description has a text branch of its own: strung together with the phrase it
    would blur what is asked for. The gate starts at zero, so a network with a fresh
    bank answers as one without.

    References
    ----------
    StructuralGLIP, arXiv 2502.16223. K2Sight, arXiv 2508.04572.
    """

    def __init__(self, config: MedGLIPConfig) -> None:
        super().__init__()
        dim = config.phrase_dim
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(config.text_hidden, dim)
        self.value = nn.Linear(config.text_hidden, dim)
        self.gate = nn.Parameter(torch.zeros(dim))

    def forward(self, vectors: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Return the phrase vectors with what was learned from their attributes.

        Parameters
        ----------
        vectors
            (phrases, phrase_dim) of unit length.
        states, mask
            (phrases, attribute tokens, text_hidden) and (phrases, attribute tokens);
            a phrase without a single True keeps its vector.
        """
        scores = torch.einsum("pd,pad->pa", self.query(vectors), self.key(states))
        scores = scores / vectors.shape[-1] ** 0.5
        share = scores.masked_fill(~mask, -1e4).softmax(dim=-1) * mask
        said = torch.einsum("pa,pad->pd", share, self.value(states))
        return functional.normalize(vectors + self.gate * said, dim=-1)

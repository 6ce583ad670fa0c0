"""The read-out: pool the tokens of a stream and classify them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Readout"]


class Readout(nn.Module):
    """Attention pooling by one learned query per head, then LayerNorm, dropout, linear layer.

    Attention pooling follows Set Transformer (Lee et al. 2019, pooling by multihead attention;
    timm/layers/attention_pool.py). The query is folded into the key projection and the values are
    projected after pooling. That is the same function, because both are linear in the tokens, at
    1/100 of the multiply-adds.
    """

    def __init__(self, width: int, heads: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, heads, bias=False)
        nn.init.normal_(self.query.weight, std=width**-0.5)
        self.value = nn.Parameter(torch.empty(heads, width, width // heads))
        nn.init.normal_(self.value, std=width**-0.5)

        # A small classifier starts near uniform probabilities.
        self.pooled_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, classes)
        nn.init.normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pool and classify the tokens of one stream.

        Args:
            x: `(B, T, P, D)`.

        Returns:
            Logits `(B, classes)`, and the pooling weights `(B, heads, T * P)`, which sum to 1 over
            the last axis.
        """
        h = self.norm(x).flatten(1, 2)  # (B, N, D), N = T P
        scores = self.query(h).transpose(1, 2)  # (B, heads, N)
        weights = scores.softmax(-1, dtype=torch.float32).to(h.dtype)

        pooled = (weights @ h)[:, :, None] @ self.value  # (B, heads, 1, D / heads)
        pooled = self.pooled_norm(pooled.flatten(1))  # (B, D)
        return self.classifier(self.dropout(pooled)), weights

"""Ground phrases with SAM 3: text in, masks out, one phrase at a time.

References
----------
N. Carion et al., SAM 3: Segment anything with concepts, 2025.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from model.engines.checkpoint import tokenize_whole
from model.engines.planes import Finding
from model.engines.slices import SliceEngine

__all__ = ["Sam3Engine"]

_TEXT_TOKENS = 32
"""Length of a prompt in SAM 3's own processor."""


class Sam3Engine(SliceEngine):
    """Masks for phrases; a picture is encoded once and compared with every phrase."""

    presence_threshold = 0.5
    pictures_at_once = 1
    architectures = frozenset({"Sam3Model"})

    def _prepare(self) -> None:
        self._tokenizer = self.checkpoint.tokenizer()
        text = self.network.config.text_config
        self._tokens = min(_TEXT_TOKENS, int(text.max_position_embeddings))

    def see(
        self, pictures: NDArray[np.uint8], phrases: Sequence[str]
    ) -> list[list[Finding]]:
        """Return masks of every phrase on every picture."""
        pixels = self.pictures.prepare(pictures).to(self.device)
        vision = self.network.get_vision_features(pixel_values=pixels)
        read = tokenize_whole(self._tokenizer, phrases, length=self._tokens)
        read = read.to(self.device)
        answers: list[list[Finding]] = [[] for _ in pictures]
        for row in range(len(phrases)):
            found = self.network(
                vision_embeds=vision,
                input_ids=read["input_ids"][row].expand(len(pictures), -1),
                attention_mask=read["attention_mask"][row].expand(len(pictures), -1),
            )
            # Is the concept there at all, and is this query one of it.
            there = found.presence_logits.sigmoid()  # (pictures, 1)
            scores = found.pred_logits.sigmoid() * there  # (pictures, queries)
            for picture, answer in enumerate(answers):
                best = torch.argsort(scores[picture], descending=True, stable=True)[:50]
                some = best[scores[picture][best] >= self.presence_threshold]
                answer.append(
                    Finding(
                        np.zeros((len(some), 4)),
                        scores[picture][some].float().cpu().numpy().astype(np.float64),
                        (found.pred_masks[picture][some] > 0).cpu().numpy(),
                        score=float(scores[picture].max()),
                    )
                )
        return answers

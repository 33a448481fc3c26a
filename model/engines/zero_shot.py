"""Ground phrases with any zero-shot detection model of transformers.

Grounding DINO, MM-Grounding-DINO, OWL-ViT, OWLv2 and OmDet-Turbo answer in boxes;
a box stands for the region. Scores belong to phrases by their place in the prompt,
never by decoded text, which may not be what was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.engines.checkpoint import EngineError
from model.engines.planes import Finding
from model.engines.slices import SliceEngine

__all__ = ["ZeroShotEngine", "caption_groups"]

_CAPTION_TOKENS = 256
"""What Grounding DINO's text side was trained with."""

_NMS_IOU = 0.5


class ZeroShotEngine(SliceEngine):
    """Boxes for phrases from a zero-shot detector."""

    def _prepare(self) -> None:
        self._tokenizer = self.checkpoint.tokenizer()
        readers = {
            "GroundingDinoForObjectDetection": self._caption,
            "MMGroundingDinoForObjectDetection": self._caption,
            "OwlViTForObjectDetection": self._queries,
            "Owlv2ForObjectDetection": self._queries,
            "OmDetTurboForObjectDetection": self._classes,
        }
        if self.checkpoint.architecture not in readers:
            known = ", ".join(sorted(readers))
            raise EngineError(f"{self.checkpoint.architecture} is none of: {known}")
        self._read = readers[self.checkpoint.architecture]

    def see(
        self, pictures: NDArray[np.uint8], phrases: Sequence[str]
    ) -> list[list[Finding]]:
        """Return boxes of every phrase on every picture."""
        prepared = self.pictures.prepare(pictures).to(self.device)
        words = [_plain(phrase) for phrase in phrases]
        boxes, scores = self._read(prepared, words)
        corners = _corners(boxes).cpu().numpy().astype(np.float64)
        shares = scores.float().cpu().numpy().astype(np.float64)
        return [
            [_suppress(corners[i][:, p], shares[i][:, p]) for p in range(len(phrases))]
            for i in range(len(pictures))
        ]

    def _caption(self, pixels: Tensor, phrases: list[str]) -> tuple[Tensor, Tensor]:
        """Ask all phrases in captions "one. two."; a phrase's score is its words' mean.

        Returns
        -------
        (pictures, queries, phrases, 4) centre-size and (pictures, queries, phrases)
        """
        boxes, scores = [], []
        for group in caption_groups(phrases, self._tokenizer):
            caption = ". ".join(phrases[i] for i in group) + "."
            read = self._tokenizer(caption, return_tensors="pt").to(self.device)
            answer = self.network(
                pixel_values=pixels,
                **{
                    key: value.expand(len(pixels), -1)
                    for key, value in read.items()
                    if key in ("input_ids", "attention_mask", "token_type_ids")
                },
            )
            owner = _owners(read["input_ids"][0], self._tokenizer)
            words = answer.logits.sigmoid()  # (pictures, queries, tokens)
            for place in range(len(group)):
                mine = torch.nonzero(owner == place).flatten()
                # A phrase without a token (control characters) is nowhere.
                none = torch.zeros_like(words[..., 0])
                scores.append(words[..., mine].mean(-1) if len(mine) else none)
                boxes.append(answer.pred_boxes)
        return torch.stack(boxes, dim=2), torch.stack(scores, dim=2)

    def _queries(self, pixels: Tensor, phrases: list[str]) -> tuple[Tensor, Tensor]:
        """Ask each phrase as one query of its own (OWL-ViT, OWLv2)."""
        # Padding with id 0: OWL takes a row that begins with it for no query at all.
        read = self._tokenizer(
            phrases,
            padding="max_length",
            truncation=True,
            max_length=self.network.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self.device)
        count = len(pixels)
        answer = self.network(
            pixel_values=pixels,
            input_ids=read["input_ids"].repeat(count, 1),
            attention_mask=read["attention_mask"].repeat(count, 1),
        )
        scores = answer.logits.sigmoid()  # (pictures, patches, phrases)
        boxes = answer.pred_boxes[:, :, None].expand(*scores.shape, 4)
        return boxes, scores

    def _classes(self, pixels: Tensor, phrases: list[str]) -> tuple[Tensor, Tensor]:
        """Ask phrases as classes of one task (OmDet-Turbo)."""
        limit = self.network.config.text_config.max_position_embeddings
        common: dict[str, Any] = {
            "padding": "max_length",
            "truncation": True,
            "max_length": min(77, limit),
            "return_tensors": "pt",
        }
        classes = self._tokenizer(phrases, **common).to(self.device)
        task = "Detect {}.".format(", ".join(phrases))
        tasks = self._tokenizer([task] * len(pixels), **common).to(self.device)
        count = len(pixels)
        answer = self.network(
            pixel_values=pixels,
            classes_input_ids=classes["input_ids"].repeat(count, 1),
            classes_attention_mask=classes["attention_mask"].repeat(count, 1),
            classes_structure=torch.full((count,), len(phrases), device=self.device),
            tasks_input_ids=tasks["input_ids"],
            tasks_attention_mask=tasks["attention_mask"],
        )
        scores = answer.decoder_class_logits.sigmoid()[..., : len(phrases)]
        boxes = answer.decoder_coord_logits[:, :, None].expand(*scores.shape, 4)
        return boxes, scores


def caption_groups(phrases: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """Pack phrases into captions that the text encoder can read whole.

    Raises
    ------
    EngineError
        One phrase alone is too long.
    """
    groups: list[list[int]] = [[]]
    room = _CAPTION_TOKENS - 2
    for i, phrase in enumerate(phrases):
        length = len(tokenizer(phrase, add_special_tokens=False)["input_ids"]) + 1
        if length > _CAPTION_TOKENS - 2:
            raise EngineError(f"a phrase of {length} tokens; {_CAPTION_TOKENS - 2} fit")
        if length > room:
            groups.append([])
            room = _CAPTION_TOKENS - 2
        groups[-1].append(i)
        room -= length
    return [group for group in groups if group]


def _owners(input_ids: Tensor, tokenizer: Any) -> Tensor:
    """Return for each token the number of its phrase, -1 for delimiters.

    An unknown word is a word of its phrase.
    """
    stop = tokenizer.convert_tokens_to_ids(".")
    special = {
        tokenizer.cls_token_id,
        tokenizer.sep_token_id,
        tokenizer.pad_token_id,
    }
    owner, phrase = [], 0
    for token in input_ids.tolist():
        if token == stop:
            phrase += 1
        owner.append(-1 if token == stop or token in special else phrase)
    return torch.tensor(owner)


def _plain(phrase: str) -> str:
    """Lower-case, without the marks that would end a phrase in a caption."""
    words = phrase.lower().replace(".", " ").replace("?", " ").split()
    return " ".join(words) or "finding"


def _corners(boxes: Tensor) -> Tensor:
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat((centre - size / 2, centre + size / 2), dim=-1)


def _suppress(boxes: NDArray[np.float64], scores: NDArray[np.float64]) -> Finding:
    """Keep the best of boxes that lie on one another.

    Only the fifty best are compared: more places than that no phrase has.
    """
    order = np.argsort(-scores, kind="stable")[:50]
    kept: list[int] = []
    for i in order:
        if all(_iou(boxes[i], boxes[j]) < _NMS_IOU for j in kept):
            kept.append(int(i))
    return Finding(boxes[kept].reshape(-1, 4), scores[kept])


def _iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    low = np.maximum(first[:2], second[:2])
    high = np.minimum(first[2:], second[2:])
    overlap = float(np.prod((high - low).clip(0)))
    areas = float(np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]))
    return overlap / max(areas - overlap, 1e-12)

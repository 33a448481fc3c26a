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

from model.engines.checkpoint import EngineError, tokenize_whole
from model.engines.planes import Finding
from model.engines.slices import SliceEngine

__all__ = ["ZeroShotEngine", "caption_groups", "task_groups"]

_CAPTION_TOKENS = 256
"""What Grounding DINO's text side was trained with."""

_TASK_TOKENS = 77
"""Length of a task and of a class in OmDet-Turbo's own processor."""

_NMS_IOU = 0.5


_READERS = {
    "GroundingDinoForObjectDetection": "_caption",
    "MMGroundingDinoForObjectDetection": "_caption",
    "OwlViTForObjectDetection": "_queries",
    "Owlv2ForObjectDetection": "_queries",
    "OmDetTurboForObjectDetection": "_classes",
}
"""How each architecture is asked."""


class ZeroShotEngine(SliceEngine):
    """Boxes for phrases from a zero-shot detector."""

    architectures = _READERS.keys()

    def _prepare(self) -> None:
        self._tokenizer = self.checkpoint.tokenizer()
        self._read = getattr(self, _READERS[self.checkpoint.architecture])

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
        limit = self.network.config.text_config.max_position_embeddings
        read = tokenize_whole(self._tokenizer, phrases, length=limit).to(self.device)
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
        """Ask phrases as classes of tasks "Detect one, two." (OmDet-Turbo)."""
        limit = self.network.config.text_config.max_position_embeddings
        length = min(_TASK_TOKENS, limit)
        count = len(pixels)
        boxes, scores = [], []
        for group in task_groups(phrases, self._tokenizer, length=length):
            asked = [phrases[i] for i in group]
            classes = tokenize_whole(self._tokenizer, asked, length=length)
            task = tokenize_whole(self._tokenizer, [_task(asked)], length=length)
            answer = self.network(
                pixel_values=pixels,
                classes_input_ids=self._rows(classes["input_ids"], count),
                classes_attention_mask=self._rows(classes["attention_mask"], count),
                classes_structure=torch.full((count,), len(asked), device=self.device),
                tasks_input_ids=self._rows(task["input_ids"], count),
                tasks_attention_mask=self._rows(task["attention_mask"], count),
            )
            own = answer.decoder_class_logits.sigmoid()[..., : len(asked)]
            scores.append(own)
            boxes.append(answer.decoder_coord_logits[:, :, None].expand(*own.shape, 4))
        return torch.cat(boxes, dim=2), torch.cat(scores, dim=2)

    def _rows(self, tokens: Tensor, pictures: int) -> Tensor:
        return tokens.to(self.device).repeat(pictures, 1)


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


def task_groups(
    phrases: Sequence[str], tokenizer: Any, *, length: int
) -> list[list[int]]:
    """Pack phrases, in order, into tasks of at most `length` tokens.

    Raises
    ------
    EngineError
        The task of one phrase alone is too long.
    """
    groups: list[list[int]] = []
    for i, phrase in enumerate(phrases):
        joined = [phrases[j] for j in groups[-1]] if groups else []
        if joined and _task_tokens([*joined, phrase], tokenizer) <= length:
            groups[-1].append(i)
            continue
        if (alone := _task_tokens([phrase], tokenizer)) > length:
            raise EngineError(f"a phrase's task of {alone} tokens; {length} fit")
        groups.append([i])
    return groups


def _task_tokens(phrases: Sequence[str], tokenizer: Any) -> int:
    return len(tokenizer(_task(phrases))["input_ids"])


def _task(phrases: Sequence[str]) -> str:
    return "Detect {}.".format(", ".join(phrases))


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

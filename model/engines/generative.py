"""Ground phrases with models that write boxes as text: Florence-2, MAIRA-2's dialect.

The published abnormality-grounding models are Florence-2; MAIRA-2 is a LLaVA that
writes ``<obj>phrase<box><x1><y1><x2><y2></box></obj>``. A box is as sure as the
geometric mean of its four coordinate tokens' probabilities.

References
----------
B. Xiao et al., Florence-2, CVPR 2024. S. Bannur et al., MAIRA-2: grounded radiology
report generation, 2024.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.engines.checkpoint import EngineError
from model.engines.planes import Finding
from model.engines.slices import SliceEngine

__all__ = ["GenerativeEngine", "parse_boxes"]


@dataclass(frozen=True)
class _Dialect:
    """How one family is asked and how it writes a box."""

    prompt: str
    token: str
    """Pattern of one coordinate token; group 1 is the bin"""
    bins: int


_DIALECTS = {
    "Florence2ForConditionalGeneration": _Dialect(
        "{image}<s>Locate the phrases in the caption: {phrase}</s>",
        r"<loc_(\d{1,3})>",
        1000,
    ),
    "LlavaForConditionalGeneration": _Dialect(
        "USER: {image} Repeat the following finding as a grounded phrase with bounding "
        "boxes indicating all locations where it can be seen in the given chest X-ray "
        "image. Finding: {phrase} ASSISTANT:",
        r"<[xy](\d{1,2})>",
        100,
    ),
}

_NEW_TOKENS = 64
"""Room for a phrase and a dozen boxes."""


class GenerativeEngine(SliceEngine):
    """Boxes for phrases from a model that writes them."""

    presence_threshold = 0.25
    """A written box is an answer; below this its digits were guessed."""

    architectures = _DIALECTS.keys()

    def _prepare(self) -> None:
        self._dialect = _DIALECTS[self.checkpoint.architecture]
        self._tokenizer = self.checkpoint.tokenizer()
        pattern = re.compile(self._dialect.token)
        self._bins = {
            number: int(match[1])
            for text, number in self._tokenizer.get_vocab().items()
            if (match := pattern.fullmatch(text))
        }
        if not self._bins:
            raise EngineError(f"the vocabulary has no token {self._dialect.token}")
        config = self.network.config
        image = getattr(config, "image_token_id", None)
        self._image = image if image is not None else config.image_token_index

    def see(
        self, pictures: NDArray[np.uint8], phrases: Sequence[str]
    ) -> list[list[Finding]]:
        """Return the boxes that the model writes for every phrase and picture."""
        pixels = self.pictures.prepare(pictures).to(self.device)
        places = self._image_tokens(pixels)
        answers: list[list[Finding]] = [[] for _ in pictures]
        for phrase in phrases:
            ids = self._ask(phrase, places).expand(len(pictures), -1)
            wrote = self.network.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                pixel_values=pixels,
                do_sample=False,
                num_beams=1,
                max_new_tokens=_NEW_TOKENS,
                output_scores=True,
                return_dict_in_generate=True,
            )
            steps = len(wrote.scores)
            tokens = wrote.sequences[:, -steps:]  # (pictures, steps)
            sure = torch.stack(wrote.scores, dim=1).softmax(-1)  # (pictures, steps, V)
            shares = sure.gather(2, tokens[..., None])[..., 0]
            for picture, answer in enumerate(answers):
                boxes, scores = parse_boxes(
                    tokens[picture].tolist(),
                    shares[picture].float().cpu().tolist(),
                    self._bins,
                    bins=self._dialect.bins,
                )
                answer.append(Finding(boxes, scores))
        return answers

    def _image_tokens(self, pixels: torch.Tensor) -> int:
        """Return how many tokens stand for one picture."""
        features = self.network.get_image_features(pixel_values=pixels[:1])
        states = getattr(features, "pooler_output", features)
        return int(states[0].shape[-2])

    def _ask(self, phrase: str, places: int) -> torch.Tensor:
        """Return the prompt's ids with the picture's places in it, (1, tokens)."""
        before, after = self._dialect.prompt.split("{image}")
        ids: list[int] = []
        if before:
            ids += self._tokenizer(before, add_special_tokens=False)["input_ids"]
        ids += [self._image] * places
        words = after.format(phrase=" ".join(phrase.split()))
        ids += self._tokenizer(words, add_special_tokens=False)["input_ids"]
        return torch.tensor([ids], device=self.device)


def parse_boxes(
    tokens: Sequence[int],
    shares: Sequence[float],
    coordinates: dict[int, int],
    *,
    bins: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read boxes out of generated tokens: four coordinates in a row, left top first.

    Parameters
    ----------
    tokens, shares
        Generated tokens and the probability of each.
    coordinates
        Token to bin.
    bins
        Bins along a side; a bin stands for its centre.

    Returns
    -------
    (n, 4) corner boxes as shares of the picture, and (n,) scores. Boxes whose second
    corner does not lie right of and below the first are no boxes.
    """
    boxes: list[list[float]] = []
    scores: list[float] = []
    run: list[tuple[float, float]] = []
    for token, share in zip(tokens, shares, strict=True):
        if token not in coordinates:
            run = []
            continue
        run.append(((coordinates[token] + 0.5) / bins, share))
        if len(run) == 4:
            corners = [place for place, _ in run]
            if corners[2] > corners[0] and corners[3] > corners[1]:
                boxes.append(corners)
                scores.append(float(np.prod([share for _, share in run]) ** 0.25))
            run = []
    return np.array(boxes, dtype=np.float64).reshape(-1, 4), np.array(scores)

"""Prepare words: the one road from phrases to what the network reads.

Training and serving share it. Pictures have the same kind of road in
``model.processing`` (units, windows) and ``model.features`` (grid, neighbours).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from model.config import MedGLIPConfig
from model.knowledge import load_knowledge
from model.modality import modality_words
from model.text import TextBatch, TextEncoder, load_tokenizer, normal_text
from model.words import FULL_STOP

__all__ = ["Knowledge", "Processor", "prefix_text"]

_REMEMBERED = 8192
"""Texts whose states are kept: more than a training lexicon holds, and a bound on the
memory of a node that runs for months (about 30 kB each)."""


class Knowledge(Protocol):
    """What is asked of the knowledge file."""

    def describe(self, phrase: str, modality: str | None = None) -> str:
        """Return shape, intensity, texture, margin and place; "" if unknown."""

    def parents(self, phrases: Sequence[str]) -> list[int]:
        """Return the row of the phrase that contains each phrase, -1 = none."""


class Processor:
    """Turn phrases, modality and body part into a ``TextBatch``.

    Parameters
    ----------
    config
        Of the network that will read; its switches decide what is prepared.
    knowledge
        None: the knowledge file that ships with the project.
    """

    def __init__(
        self, config: MedGLIPConfig, *, knowledge: Knowledge | None = None
    ) -> None:
        self.config = config
        self.knowledge: Knowledge = knowledge or load_knowledge()
        self._encoder: TextEncoder | None = None
        if config.text_encoder == "minilm":
            self._encoder = TextEncoder(config)
        else:
            self._tokenizer = load_tokenizer(config)
        self._states: OrderedDict[tuple[int, ...], Tensor] = OrderedDict()

    def read(
        self,
        phrases: Sequence[str],
        *,
        modality: Sequence[str] = (),
        body_part: Sequence[str | None] = (),
        attributes: Sequence[str] | None = None,
        parent: Tensor | None = None,
    ) -> TextBatch:
        """Prepare phrases for the network.

        Parameters
        ----------
        modality
            DICOM Modality of each picture of the batch; empty: no prefix.
        body_part
            Body Part Examined of each picture, None = unknown; empty: all unknown.
        attributes
            What is known of each phrase, "" = nothing; None: looked up.
        parent
            (phrases,) row of the containing phrase, -1 = none; None: looked up.

        Raises
        ------
        ValueError
            Lists that belong together differ in length.
        """
        if body_part and len(body_part) != len(modality):
            raise ValueError(
                f"{len(body_part)} body parts for {len(modality)} modalities"
            )
        if attributes is not None and len(attributes) != len(phrases):
            raise ValueError(f"{len(attributes)} attributes, {len(phrases)} phrases")
        if parent is not None and len(parent) != len(phrases):
            raise ValueError(f"{len(parent)} parents for {len(phrases)} phrases")
        longest = self.config.max_phrase_tokens
        ids, mask, hidden = self._prepare(phrases, longest=longest, as_phrases=True)
        batch = TextBatch(input_ids=ids, mask=mask, hidden=hidden)
        if self.config.hierarchy:
            batch.parent = self._parents(phrases) if parent is None else parent
        if self.config.attribute_bank:
            if attributes is None:
                attributes = self.describe(phrases, modality=modality)
            batch.attribute_ids, batch.attribute_mask, batch.attributes = self._prepare(
                attributes, longest=self.config.max_attribute_tokens
            )
        if self.config.text_prefix and modality:
            parts = body_part or [None] * len(modality)
            prefixes = [
                prefix_text(code, part)
                for code, part in zip(modality, parts, strict=True)
            ]
            batch.prefix_ids, batch.prefix_mask, batch.prefix = self._prepare(
                prefixes, longest=longest
            )
        return batch

    def describe(
        self, phrases: Sequence[str], *, modality: Sequence[str] = ()
    ) -> list[str]:
        """Return what the knowledge file says of each phrase, "" where it is silent."""
        codes = sorted(set(modality))
        texts = []
        for phrase in phrases:
            # Brightness is told only where it is the same on every picture.
            said = {self.knowledge.describe(phrase, code) for code in codes}
            only = said.pop() if len(said) == 1 else None
            texts.append(self.knowledge.describe(phrase) if only is None else only)
        return texts

    def parents(self, phrases: Sequence[str]) -> list[int]:
        """Return the row of the phrase that contains each phrase, -1 = none."""
        if not self.config.hierarchy:
            return [-1] * len(phrases)
        return list(self.knowledge.parents(phrases))

    def _parents(self, phrases: Sequence[str]) -> Tensor:
        return torch.tensor(self.parents(phrases), dtype=torch.long)

    def _prepare(
        self, texts: Sequence[str], *, longest: int, as_phrases: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return ids, mask and (for a frozen encoder) states.

        An empty text is a row of False; an empty phrase keeps its delimiters, since
        every phrase needs a vector.
        """
        tokens = self._encoder.tokens if self._encoder else self._sub_sentence
        rows = [
            tokens(text, longest=longest) if text or as_phrases else []
            for text in texts
        ]
        ids = _pad([torch.tensor(row, dtype=torch.long) for row in rows])
        mask = _pad([torch.ones(len(row), dtype=torch.bool) for row in rows])
        if self._encoder is None:
            return ids, mask, None
        nothing = torch.zeros(0, self.config.text_hidden)
        states = self._remember([tuple(row) for row in rows if row])
        known = [states[tuple(row)] if row else nothing for row in rows]
        if not known:
            return ids, mask, torch.zeros(0, 1, self.config.text_hidden)
        hidden = _pad(known)
        return ids, mask, hidden  # (texts, tokens), the same, (texts, tokens, hidden)

    def _remember(self, rows: list[tuple[int, ...]]) -> dict[tuple[int, ...], Tensor]:
        """Return the frozen states of rows of ids, each encoded once."""
        encoder = self._encoder
        if encoder is None:
            raise ValueError("this network encodes its text itself")
        found = {row: self._states[row] for row in rows if row in self._states}
        new = sorted(set(rows) - set(found))
        found.update(zip(new, encoder.states(new), strict=True))
        for row, states in found.items():
            self._states[row] = states
            self._states.move_to_end(row)
        while len(self._states) > _REMEMBERED:
            self._states.popitem(last=False)
        return found

    def _sub_sentence(self, text: str, *, longest: int) -> list[int]:
        """Return ids of one sub-sentence: words, then a full stop, and no other."""
        clean = normal_text(text).replace(".", " ").replace("?", " ")
        ids: list[int] = self._tokenizer.encode(clean, add_special_tokens=False).ids
        return [*ids[: longest - 1], FULL_STOP]


def prefix_text(modality: str, body_part: str | None) -> str:
    """Return the words that say what kind of picture it is: "ct abdomen".

    Parameters
    ----------
    modality
        DICOM Modality (0008,0060).
    body_part
        Body Part Examined (0018,0015), or None.
    """
    part = (body_part or "").replace("_", " ").lower()
    return " ".join([modality_words(modality), *part.split()])


def _pad(rows: list[Tensor]) -> Tensor:
    """Stack rows of unlike length, zeros behind them; never narrower than one."""
    if not rows:
        return torch.zeros(0, 1, dtype=torch.long)
    padded = pad_sequence(rows, batch_first=True)
    if padded.shape[1] == 0:
        padded = padded.new_zeros(len(rows), 1, *padded.shape[2:])
    return padded

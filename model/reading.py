"""Read each phrase once: what the network makes of words is kept."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.nn.utils.rnn import pad_sequence

from model.medglip import MedGLIP
from model.processor import Processor
from model.words import Reading

__all__ = ["PhraseReader"]

_REMEMBERED = 4096
"""Readings that are kept: some hundred megabytes at the very most, usually ten."""


class PhraseReader:
    """Read phrases with the network's text side, each of them once.

    Every phrase is read alone: in company the last bits of its vector would depend on
    the others, and a study's answers on what was asked before it. Readings are known by
    a hash of what was read; the words themselves are not kept.
    """

    def __init__(self, network: MedGLIP, processor: Processor) -> None:
        self._network = network
        self._processor = processor
        self._readings: OrderedDict[bytes, Reading] = OrderedDict()

    def forget(self) -> None:
        """Forget every reading: the network has changed, or moved."""
        self._readings.clear()

    @torch.inference_mode()
    def read(
        self,
        phrases: Sequence[str],
        *,
        modality: str,
        body_part: str | None,
        device: str,
    ) -> Reading:
        """Return phrases as the prompt of one kind of picture says them.

        Parameters
        ----------
        phrases
            At least one.
        modality, body_part
            As in ``ImageStack``.
        device
            Where the network is.
        """
        found = []
        for phrase in phrases:
            key = _key(phrase, modality, body_part)
            reading = self._readings.pop(key, None)
            if reading is None:
                text = self._processor.read(
                    [phrase], modality=(modality,), body_part=(body_part,)
                )
                reading = self._network.read(text.to(device))
            self._readings[key] = reading  # behind all others: used last
            found.append(reading)
        while len(self._readings) > _REMEMBERED:
            self._readings.popitem(last=False)
        return replace(  # delimiters and prefix are the same for all
            found[0],
            vectors=torch.cat([one.vectors for one in found]),
            states=pad_sequence([one.states[0] for one in found], batch_first=True),
            tokens=pad_sequence([one.tokens[0] for one in found], batch_first=True),
            words=pad_sequence([one.words[0] for one in found], batch_first=True),
        )


def _key(phrase: str, modality: str, body_part: str | None) -> bytes:
    said = "\0".join((modality, repr(body_part), phrase))
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).digest()

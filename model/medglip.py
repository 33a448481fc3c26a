"""The network: see the picture, read the phrases, align, decide, detect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.attributes import AttributeBank
from model.config import MedGLIPConfig
from model.core import DenoisingQueries, Detections, GroundingCore
from model.heads import DenseHead, PresenceHead
from model.hierarchy import raise_parents
from model.stock import read_stock, stock_config, stock_state
from model.swin import SwinTrunk
from model.text import PhraseAdapter, TextBatch
from model.trunk import ImageTrunk
from model.words import Reading, WordReader

__all__ = ["WEIGHTS_FILE", "MedGLIP", "MedGLIPOutput", "init_from", "read_metadata"]

WEIGHTS_FILE = "model.safetensors"
"""Name of the weights inside a checkpoint folder."""

Pyramid = tuple[Tensor, ...]
"""Five feature maps of each picture, finest first."""


@dataclass
class MedGLIPOutput:
    """What one pass says about every (picture, phrase) pair."""

    mask_logits: Tensor
    """(batch, phrases, rows, columns) dense branch, mean of the hypotheses"""
    mask_hypotheses: Tensor | None
    """(hypotheses, batch, phrases, rows, columns); None with one hypothesis"""
    presence_logits: Tensor
    """(batch, phrases) evidence that the phrase is on this slice"""
    detections: Detections | None
    """Detection core on the phrases of `asked`; None when not asked for"""
    phrase_vectors: Tensor
    """(phrases, phrase_dim) of unit length"""


class MedGLIP(nn.Module):
    """Ground report phrases in a medical picture.

    A picture is seen once; any number of phrases is then compared with it.

    References
    ----------
    Z. Deng et al., Med-GLIP, arXiv 2508.10528, 2025. L. H. Li et al., GLIP, CVPR 2022.
    """

    def __init__(self, config: MedGLIPConfig) -> None:
        super().__init__()
        self.config = config
        swin = config.image_encoder == "swin"
        self.trunk = SwinTrunk(config) if swin else ImageTrunk(config)
        self.reader = WordReader(config)
        self.phrase_adapter = PhraseAdapter(config)
        if config.attribute_bank:
            self.attribute_bank = AttributeBank(config)
        self.dense = DenseHead(config)
        self.presence = PresenceHead(config)
        if config.core:
            self.core = GroundingCore(config)

    def forward(
        self,
        pixels: Tensor,
        modality: Tensor,
        text: TextBatch,
        *,
        asked: Tensor | None = None,
        denoising: DenoisingQueries | None = None,
    ) -> MedGLIPOutput:
        """Align pictures with phrases.

        Parameters
        ----------
        pixels
            (batch, input_channels, rows, columns); see ``model.processing``.
        modality
            (batch,) rows of ``MODALITIES``.
        text
            The phrases, shared by the batch; see ``model.processor``.
        asked
            (pictures, n) rows of the phrases that the detection core looks for,
            -1 = padding; None skips the core. It may cover only the first pictures.
        denoising
            Queries that the core shall repair, for training.

        Raises
        ------
        ValueError
            The core is asked, but the model has none.
        """
        pyramid = self.see(pixels, modality)
        reading = self.read(text)
        mask_logits, hypotheses = self.align(pyramid, reading.vectors)
        presence = self.presence(mask_logits, pyramid[-1], reading.vectors)
        # Training sees the bare logits: a lifted parent would not learn.
        if self.config.hierarchy and not self.training and text.parent is not None:
            presence = raise_parents(presence, text.parent)
        detections = None
        if asked is not None:
            detections = self.detect(
                pyramid, modality, reading, asked=asked, denoising=denoising
            )
        return MedGLIPOutput(
            mask_logits, hypotheses, presence, detections, reading.vectors
        )

    def see(self, pixels: Tensor, modality: Tensor) -> Pyramid:
        """Return the feature pyramid of each picture, finest map first."""
        pyramid: Pyramid = self.trunk(pixels, modality)
        return pyramid

    def read(self, text: TextBatch) -> Reading:
        """Return the phrases as vectors and as words."""
        reading: Reading = self.reader(text)
        reading.vectors = self.phrase_adapter(reading.states, text.mask)
        if self.config.attribute_bank:
            states = self.reader.attributes(text)
            if states is not None and text.attribute_mask is not None:
                reading.vectors = self.attribute_bank(
                    reading.vectors, states, text.attribute_mask
                )
        return reading

    def align(self, pyramid: Pyramid, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compare every pixel with every phrase: mean logits, and the hypotheses."""
        if self.config.hypotheses == 1:
            return self.dense(pyramid[0], vectors), None
        hypotheses = self.dense.hypothesise(pyramid[0], vectors)
        return hypotheses.mean(0), hypotheses

    def detect(
        self,
        pyramid: Pyramid,
        modality: Tensor,
        reading: Reading,
        *,
        asked: Tensor,
        denoising: DenoisingQueries | None = None,
    ) -> Detections:
        """Let the core look for the asked phrases in the first pictures."""
        if not self.config.core:
            raise ValueError("this model has no detection core")
        some = len(asked)
        detections: Detections = self.core(
            tuple(level[:some] for level in pyramid),
            modality[:some],
            reading,
            asked=asked,
            denoising=denoising,
        )
        return detections

    def save_pretrained(
        self, folder: str | Path, *, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write ``config.json`` and ``model.safetensors`` into `folder`.

        Parameters
        ----------
        metadata
            Texts for the head of the weights file: licence, names of the training
            data. See :func:`read_metadata`.
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.config.save(path)
        state = {key: value.contiguous() for key, value in self.state_dict().items()}
        save_file(
            state, path / WEIGHTS_FILE, metadata={**(metadata or {}), "format": "pt"}
        )
        _order_head(path / WEIGHTS_FILE)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> MedGLIP:
        """Read a checkpoint folder; every weight must be there and fit."""
        path = Path(folder)
        model = cls(MedGLIPConfig.load(path))
        model.load_own_state(load_file(path / WEIGHTS_FILE))
        return model.eval()

    @classmethod
    def from_stock(
        cls, source: str | Path, *, local_files_only: bool = True, **changes: Any
    ) -> MedGLIP:
        """Start from a released Grounding DINO or MM-Grounding-DINO.

        Its detections come out as they were; what it lacks is fresh.

        Parameters
        ----------
        source
            Folder, or the name of a hub repository.
        local_files_only
            True: never the network.
        changes
            Fields of the configuration that shall differ from the released model's.

        Raises
        ------
        ValueError
            The released model is built in a way that ours is not.
        OSError
            There is no such model.
        """
        released, weights = read_stock(source, local_files_only=local_files_only)
        config = stock_config(released, **changes)
        model = cls(config)
        own, state = model.state_dict(), stock_state(weights, config)
        odd = sorted(
            key
            for key, value in state.items()
            if key not in own or own[key].shape != value.shape
        )
        if odd:
            raise ValueError(f"released weights do not fit: {', '.join(odd[:5])}")
        model.load_state_dict(state, strict=False)
        return model.eval()

    def load_own_state(self, state: dict[str, Tensor]) -> None:
        """Load what :meth:`save_pretrained` wrote, strictly.

        Raises
        ------
        ValueError
            A weight is missing, too many or of another shape; some are named.
        """
        own = self.state_dict()
        odd = sorted(set(own) ^ set(state)) or sorted(
            key for key in own if own[key].shape != state[key].shape
        )
        if odd:
            raise ValueError(f"checkpoint and model differ in {', '.join(odd[:5])}")
        self.load_state_dict(state)


def init_from(model: MedGLIP, folder: str | Path) -> list[str]:
    """Load every weight of another checkpoint that fits by name and shape.

    Returns
    -------
    The names of the weights that stayed as they were.

    Raises
    ------
    ValueError
        Not a single weight fits.
    """
    own = model.state_dict()
    state = load_file(Path(folder) / WEIGHTS_FILE)
    fits = {
        key: value
        for key, value in state.items()
        if key in own and own[key].shape == value.shape
    }
    if not fits:
        raise ValueError("no weight of that checkpoint fits this model")
    model.load_state_dict(fits, strict=False)
    return sorted(set(own) - set(fits))


def _order_head(path: Path) -> None:
    """Sort the texts in the head of a weights file, in place.

    safetensors writes them in an order of chance; a network is known by the hash of
    its files, so that the same network has to make the same file.
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        head = json.loads(file.read(size))
        head["__metadata__"] = dict(sorted(head["__metadata__"].items()))
        text = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) > size:
            raise ValueError("the texts of a weights file do not fit its head")
        file.seek(8)
        file.write(text.ljust(size))


def read_metadata(folder: str | Path) -> dict[str, str]:
    """Return the texts in the head of a checkpoint's weights file."""
    with safe_open(Path(folder) / WEIGHTS_FILE, framework="pt") as file:
        found: dict[str, str] | None = file.metadata()
    return found or {}

"""See, read and align: tensors only, no DICOM, no sockets, no tables.

``GroundingModel`` is the serving door; ``MedGLIP`` is the network; ``Processor`` makes
what it reads, for training and serving alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.config import MedGLIPConfig
from model.records import Box, ImageStack, PhraseGrounding

if TYPE_CHECKING:
    from model.inference import GroundingModel
    from model.medglip import MedGLIP
    from model.processor import Processor

__all__ = [
    "Box",
    "GroundingModel",
    "ImageStack",
    "MedGLIP",
    "MedGLIPConfig",
    "PhraseGrounding",
    "Processor",
    "bundled_checkpoint",
]


def bundled_checkpoint() -> Path:
    """Return the folder of the checkpoint that ships with the project."""
    return Path(__file__).parent / "checkpoints" / "medglip-tiny"


def __getattr__(name: str) -> Any:
    """Import the classes that need torch only when somebody asks for them."""
    if name == "GroundingModel":
        from model.inference import GroundingModel

        return GroundingModel
    if name == "MedGLIP":
        from model.medglip import MedGLIP

        return MedGLIP
    if name == "Processor":
        from model.processor import Processor

        return Processor
    raise AttributeError(name)

"""Run the image trunk in another arithmetic: bfloat16, compiled, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from model.features import See
from model.medglip import MedGLIP

__all__ = ["PLAIN", "Arithmetic", "Precision", "make_seer"]

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How the trunk computes; everything behind it stays float32, as it was trained."""

    precision: Precision = "float32"
    is_compiled: bool = False

    def __str__(self) -> str:
        """Name it as results do: ``bfloat16, compiled``."""
        return self.precision + (", compiled" if self.is_compiled else "")


PLAIN = Arithmetic()
"""What a checkpoint was calibrated with."""


def make_seer(network: MedGLIP, arithmetic: Arithmetic) -> See:
    """Return what sees pictures in another arithmetic, and answers in float32.

    Nothing is compiled before the first picture; a machine without a compiler fails
    there.
    """
    trunk: Any = network.trunk
    if arithmetic.is_compiled:
        # Windows differ from study to study: one graph must do for all of them.
        trunk = torch.compile(network.trunk, dynamic=True)
    is_half = arithmetic.precision == "bfloat16"

    def see(pixels: Tensor, modality: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=is_half):
            pyramid = trunk(pixels, modality)
        return tuple(level.float() for level in pyramid)

    return see

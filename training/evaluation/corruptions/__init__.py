"""Spoil pictures as scanners, detectors and exports do, without moving anything.

Every corruption keeps the geometry, so that the true regions stay where they are. The
idea of a registry per modality with five severities is that of MedMNIST-C; the
operations here are written anew on intensities relative to the visible range.

References
----------
F. Di Salvo et al., MedMNIST-C, arXiv 2406.17536.
D. Hendrycks, T. Dietterich, Benchmarking neural network robustness to common
corruptions and perturbations, ICLR 2019.
"""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from model.records import ImageStack
from training.evaluation.corruptions.artefacts import ARTEFACTS
from training.evaluation.corruptions.general import GENERAL
from training.evaluation.corruptions.kind import Corruption

__all__ = ["CORRUPTIONS", "SEVERITIES", "corrupt", "corruptions_for"]

SEVERITIES = (1, 2, 3, 4, 5)
"""From hardly visible to hardly readable."""

CORRUPTIONS: dict[str, Corruption] = {**GENERAL, **ARTEFACTS}
"""Every corruption by name."""

_EVERYWHERE = (
    "gaussian noise",
    "gaussian blur",
    "motion blur",
    "low resolution",
    "jpeg",
    "brightness",
    "contrast",
    "gamma",
)

_RADIOGRAPH = (*_EVERYWHERE, "quantum noise", "dead lines", "burned-in marks")
_PHOTOGRAPH = (*_EVERYWHERE, "impulse noise", "vignette", "highlights", "colour cast")

_REGISTRY: dict[str, tuple[str, ...]] = {
    "CT": (*_EVERYWHERE, "quantum noise", "rings", "streaks"),
    "MR": (*_EVERYWHERE, "rician noise", "bias field", "ghosting", "spike"),
    "US": (*_EVERYWHERE, "speckle", "bias field", "burned-in marks"),
    **dict.fromkeys(("OPT", "OCT"), (*_EVERYWHERE, "speckle", "dead lines")),
    "PT": (*_EVERYWHERE, "quantum noise"),
    "NM": (*_EVERYWHERE, "quantum noise"),
    **dict.fromkeys(("CR", "DX", "MG", "XA", "RF", "RG"), _RADIOGRAPH),
    **dict.fromkeys(("ES", "OP", "GM", "SM"), _PHOTOGRAPH),
    **dict.fromkeys(("DM", "XC"), (*_PHOTOGRAPH, "hair")),
}

_CT_RANGE = (-160.0, 240.0)
"""The visible range of a CT is that of the soft tissue window, in HU."""


def corruptions_for(modality: str, *, is_colour: bool = False) -> tuple[str, ...]:
    """Return the corruptions that happen to pictures of a DICOM modality."""
    names = _REGISTRY.get(modality, _EVERYWHERE)
    return tuple(name for name in names if is_colour or name != "colour cast")


def corrupt(
    stack: ImageStack, name: str, *, severity: int, seed: int = 0
) -> ImageStack:
    """Return a spoiled copy of a stack on the same grid.

    Parameters
    ----------
    severity
        1 to 5.
    seed
        The same seed, name, severity and shape spoil alike.

    Raises
    ------
    ValueError
        There is no such corruption or severity.
    """
    if name not in CORRUPTIONS or severity not in SEVERITIES:
        raise ValueError(f"no corruption {name!r} of severity {severity}")
    kind = CORRUPTIONS[name]
    rng = np.random.default_rng((seed, zlib.crc32(name.encode()), severity))
    pixels = stack.pixels
    low, span = _visible_range(stack)
    values = (pixels.astype(np.float32) - low) / span
    spoiled = kind.apply(values, kind.strengths[severity - 1], rng) * span + low
    if pixels.dtype.kind in "ui":
        bounds = np.iinfo(pixels.dtype)
        spoiled = np.rint(spoiled).clip(bounds.min, bounds.max)
    return replace(stack, pixels=spoiled.astype(pixels.dtype))


def _visible_range(stack: ImageStack) -> tuple[float, float]:
    """Return the low end and the width of what a reader would look at."""
    if stack.pixels.ndim == 4:
        return 0.0, 255.0
    if stack.modality == "CT":
        return _CT_RANGE[0], _CT_RANGE[1] - _CT_RANGE[0]
    low, high = np.percentile(stack.pixels, (1, 99))
    return float(low), max(float(high - low), 1e-6)

"""Map DICOM Modality (0008,0060) to the few kinds of picture the network knows."""

from __future__ import annotations

__all__ = ["MODALITIES", "modality_index", "modality_words"]

MODALITIES = ("CT", "MR", "PT", "CR", "DX", "MG", "US", "XA", "ES", "OP", "XC", "OT")
"""Modality tokens in the order of their learned embedding rows."""

_ALIASES = {
    "DM": "XC",  # dermoscopy is a photograph taken through a lens on the skin
    "GM": "XC",
    "RF": "XA",
    "RG": "DX",
    "IVUS": "US",
    "NM": "PT",
    "OPT": "OP",
    "OCT": "OP",
}


def modality_index(modality: str) -> int:
    """Return the embedding row of a DICOM modality; unknown ones share ``OT``."""
    code = modality.strip().upper()
    code = _ALIASES.get(code, code)
    return MODALITIES.index(code if code in MODALITIES else "OT")


_WORDS = {
    "CT": "ct",
    "MR": "mr",
    "PT": "pet",
    "CR": "radiograph",
    "DX": "radiograph",
    "MG": "mammogram",
    "US": "ultrasound",
    "XA": "angiogram",
    "ES": "endoscopy",
    "OP": "fundus",
    "XC": "photograph",
    "OT": "image",
}


def modality_words(modality: str) -> str:
    """Return the everyday name of a DICOM modality; unknown ones are an "image"."""
    return _WORDS[MODALITIES[modality_index(modality)]]

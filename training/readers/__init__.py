"""Read public datasets as they lie on disk; one reader per layout."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from training.errors import ConfigError
from training.readers.source import Picture, Reader, SourceImage, SourceRegion

__all__ = [
    "READERS",
    "Picture",
    "Reader",
    "SourceImage",
    "SourceRegion",
    "find_reader",
]

READERS: dict[str, str] = {
    "biomedparse": "training.readers.biomedparse:read_biomedparse",
    "chestxray": "training.readers.chestxray:read_chestxray",
    "coco": "training.readers.coco:read_coco",
    "folder-masks": "training.readers.folder_masks:read_folder_masks",
    "imed361m": "training.readers.imed361m:read_imed361m",
    "mdetr": "training.readers.mdetr:read_mdetr",
    "mscxr": "training.readers.mscxr:read_mscxr",
    "odvg": "training.readers.odvg:read_odvg",
    "padchest-gr": "training.readers.padchest_gr:read_padchest_gr",
    "refcoco": "training.readers.coco:read_refcoco",
    "rsna": "training.readers.rsna:read_rsna",
    "sa-med2d": "training.readers.sa_med2d:read_sa_med2d",
    "siim": "training.readers.siim:read_siim",
    "vindr": "training.readers.vindr:read_vindr",
}
"""Layout to ``module:function``; a module is imported when its layout is asked for,
so that nobody needs the packages of the others."""


def find_reader(name: str) -> Reader:
    """Return the reader of a layout.

    Raises
    ------
    ConfigError
        There is no such layout; the message names those there are.
    """
    if name not in READERS:
        known = ", ".join(sorted(READERS))
        raise ConfigError(f"there is no reader {name!r}; there are: {known}")
    module, function = READERS[name].split(":")
    return cast(Reader, getattr(import_module(module), function))

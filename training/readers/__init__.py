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
    "brats": "training.readers.brats:read_brats",
    "camus": "training.readers.camus:read_camus",
    "chestxray": "training.readers.chestxray:read_chestxray",
    "coco": "training.readers.coco:read_coco",
    "deeplesion": "training.readers.deeplesion:read_deeplesion",
    "dicom": "training.readers.dicom:read_dicom",
    "folder-masks": "training.readers.folder_masks:read_folder_masks",
    "imed361m": "training.readers.imed361m:read_imed361m",
    "lidc": "training.readers.lidc:read_lidc",
    "m3d-refseg": "training.readers.m3d_refseg:read_m3d_refseg",
    "mdetr": "training.readers.mdetr:read_mdetr",
    "mscxr": "training.readers.mscxr:read_mscxr",
    "nnunet": "training.readers.nnunet:read_nnunet",
    "node-corrections": "training.readers.node_corrections:read_node_corrections",
    "odvg": "training.readers.odvg:read_odvg",
    "padchest-gr": "training.readers.padchest_gr:read_padchest_gr",
    "paired-volumes": "training.readers.paired_volumes:read_paired_volumes",
    "refcoco": "training.readers.coco:read_refcoco",
    "rexgroundingct": "training.readers.rexgroundingct:read_rexgroundingct",
    "rsna": "training.readers.rsna:read_rsna",
    "sa-med2d": "training.readers.sa_med2d:read_sa_med2d",
    "siim": "training.readers.siim:read_siim",
    "totalsegmentator": "training.readers.totalsegmentator:read_totalsegmentator",
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

"""Objects of profile ``pacs`` made from results, and outlines read back from them."""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Sequence
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pypdf import PdfReader

from dicom_node.config import LimitSettings
from dicom_node.imaging import PixelReader
from dicom_node.objects import make_objects
from dicom_node.records import ResultObject, StudyResult

__all__ = ["drawn_masks", "fill", "make_archive", "of_kind", "text_of_pdf"]


def make_archive(result: StudyResult, folder: Path) -> tuple[ResultObject, ...]:
    """Make the objects of profile ``pacs`` with the node's own pixel reader."""
    folder.mkdir(parents=True, exist_ok=True)
    return make_objects(result, profile="pacs", out_dir=folder, reader=_reader())


@cache
def _reader() -> PixelReader:
    """Start one reader for all tests: its process takes most of the time."""
    reader = PixelReader(LimitSettings(), processes=1)
    atexit.register(reader.close)
    return reader


def of_kind(objects: Sequence[ResultObject], kind: str) -> list[Dataset]:
    """Read the objects whose files begin with ``pr``, ``sc``, ``ko`` or ``pdf``."""
    return [dcmread(one.path) for one in objects if one.path.name.startswith(kind)]


def fill(
    polygons: Iterable[npt.NDArray[np.generic]], shape: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Fill polygons along the edges of pixels by the even-odd rule.

    A pixel is inside where an odd number of vertical edges lies to its left.
    """
    inside = np.zeros(shape, bool)
    for polygon in polygons:
        points = np.asarray(polygon).astype(int)
        for (x0, y0), (x1, y1) in pairwise(points):
            if x0 == x1:
                inside[min(y0, y1) : max(y0, y1), x0:] ^= True
    return inside


def drawn_masks(
    presentations: Sequence[Dataset], shape: tuple[int, int]
) -> dict[tuple[str, str, int], npt.NDArray[np.bool_]]:
    """Return what is drawn, by tracking UID, SOP Instance UID and frame number."""
    found = {}
    for ds in presentations:
        for item in ds.GraphicAnnotationSequence:
            (image,) = item.ReferencedImageSequence
            number = int(image.get("ReferencedFrameNumber") or 1)
            uid = item.GraphicObjectSequence[0].TrackingUID
            found[uid, str(image.ReferencedSOPInstanceUID), number] = fill(
                (
                    np.reshape(one.GraphicData, (-1, 2))
                    for one in item.GraphicObjectSequence
                ),
                shape,
            )
    return found


def text_of_pdf(ds: Dataset) -> str:
    """Read the text of an encapsulated PDF, its lines joined by blanks."""
    data = ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength]
    pages = PdfReader(BytesIO(data)).pages
    return " ".join(" ".join(page.extract_text() for page in pages).split())

"""Compare words for places with the geometry of a picture, and find the side."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training.laterality import Side, side_of
from training.records import XYXY

__all__ = ["contradiction", "is_oriented", "side_of_boxes"]

_MIDDLE = 0.05
"""Half width of the strip in the middle, as a share of the picture, in which a body
may be off centre: what lies in it has no side."""
_FAR = 0.6
"""Beyond this share of the height nothing is "upper" any more, and so on."""

_UPPER = re.compile(r"\b(upper|apex|apices|apical|superior|suprahilar)\b", re.I)
_LOWER = re.compile(r"\b(lower|base|bases|basal|basilar|bibasilar|inferior)\b", re.I)
_FRONTAL = frozenset({"AP", "PA", "FRONTAL", "ANTERO-POSTERIOR", "POSTERO-ANTERIOR"})
_RADIOGRAPHS = frozenset({"CR", "DX"})


def is_oriented(*, modality: str, view: str | None, is_volume: bool) -> bool:
    """Whether columns are known to grow from the patient's right to the left.

    True of canonical volumes and of frontal radiographs as they are displayed.
    """
    frontal = (view or "").strip().upper() in _FRONTAL
    return is_volume or (modality in _RADIOGRAPHS and frontal)


def side_of_boxes(boxes: Sequence[XYXY], *, width: int) -> Side | None:
    """Return the patient's side on which all boxes of an oriented picture lie."""
    if not boxes:
        return None
    if all(box[2] <= width * (0.5 - _MIDDLE) for box in boxes):
        return "R"
    if all(box[0] >= width * (0.5 + _MIDDLE) for box in boxes):
        return "L"
    return None


def contradiction(
    phrase: str,
    boxes: Sequence[XYXY],
    *,
    size: tuple[int, int],
    laterality: str | None,
    is_radiograph: bool,
) -> str | None:
    """Return which word the places of an oriented picture contradict, or None.

    Parameters
    ----------
    size
        (rows, columns) of the picture.
    laterality
        What the dataset says of the side; it goes before the words of the phrase.
    is_radiograph
        Whether rows grow towards the feet, so that upper and lower can be seen.
    """
    said = laterality or side_of(phrase)
    seen = side_of_boxes(boxes, width=size[1])
    if said in ("L", "R") and seen is not None and said != seen:
        return "laterality contradicts the geometry"
    if not is_radiograph or not boxes:
        return None
    upper, lower = _UPPER.search(phrase), _LOWER.search(phrase)
    if upper and not lower and all(box[1] > _FAR * size[0] for box in boxes):
        return "position contradicts the geometry"
    if lower and not upper and all(box[3] < (1 - _FAR) * size[0] for box in boxes):
        return "position contradicts the geometry"
    return None

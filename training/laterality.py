"""Mirror a picture and its words together: left is right only when both change.

A mirrored picture shows a body with its sides exchanged. That is true of paired things
only: a liver on the left is another anatomy, and a middle lobe has no mirror image.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dicom_node.records import Laterality
from dicom_node.reports import phrase_from_text
from training.records import ImageRecord, PhraseRegion, Rle
from training.rle import decode_rle, encode_rle

__all__ = ["Side", "is_mirrorable", "mirror", "side_of", "swap_laterality"]

Side = Literal["L", "R", "B"]

_PAIRS = (
    ("left", "right"),
    ("lefts", "rights"),
    ("leftward", "rightward"),
    ("leftwards", "rightwards"),
    ("leftsided", "rightsided"),
    ("leftmost", "rightmost"),
    ("lt", "rt"),
    ("lul", "rul"),
    ("lll", "rll"),
    ("lca", "rca"),
    ("os", "od"),
)
"""Words that name a side, and what they become."""

_SWAP = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])}
_WORD = re.compile(
    r"(?<![^\W_])(" + "|".join(sorted(_SWAP, key=len, reverse=True)) + r")(?![^\W_])",
    re.IGNORECASE,
)
_ONE_SIDED_WORDS = (
    # Lungs: what only one of them has
    r"middle lobe|rml|lingula\w*|(minor|horizontal) fissure\w*",
    # Liver, bile, spleen, pancreas
    r"liver|hepat\w*|\w+hepatic|(caudate|quadrate) lobe\w*|couinaud|falciform",
    r"gall ?bladder\w*|gall ?stones?|chol(e|ang)\w*|biliary|bile|pneumobilia|biloma\w*",
    r"c[bh]d|(cystic|common) ducts?|vater|oddi",
    r"\w*spleen\w*|\w*splen[ieou]\w*|\w*pancrea\w*",
    # Stomach and bowel
    r"stomach\w*|\w*gastr\w*|pylor\w*|hiat\w+ hernia\w*|duoden\w*|gullet",
    r"[o]?esophag\w*|(ng|og|enteric|feeding) tubes?|intestin\w*|bowels?|jejun\w*",
    r"ile(um|al|itis|us)|ileo\w+|ileost\w+|append\w*|\w*c[ae]{1,2}c(um|al)|\w*colon\w*",
    r"\w*col(ic|itis|ectomy|ostomy)|flexures?|ascending|descending|\w*sigmoid\w*",
    # Heart and great vessels
    r"heart|\w*cardi\w*|\w*atri(um|a|al)|\w*(?<!lateral )ventric\w*|[lr][va]",
    r"[lr]vot|mitral|tricuspid|coronary|coronaries|lad|lcx|lm?ca|rca|circumflex",
    r"aort\w*|vena cava|caval|ivc|svc|portal|porto\w*|porta|azygos|hemiazygos",
    r"pulmonary (trunk|arter\w+)|brachiocephalic|innominate (artery|vein|trunk)",
    r"mesenteric|sm[av]|c(o)?eliac|thoracic duct",
    # Windpipe, and words that mean a side or a turn without naming it
    r"trachea\w*|windpipe|situs|dextro\w*|levo\w*|(counter|anti)?-?clockwise",
)
_ONE_SIDED = re.compile(
    r"(?<![^\W_])(" + "|".join(_ONE_SIDED_WORDS) + r")(?![^\W_])", re.IGNORECASE
)
"""Things that the body has once, and not in its middle."""
_SIDES: dict[Laterality, Side] = {
    Laterality.LEFT: "L",
    Laterality.RIGHT: "R",
    Laterality.BILATERAL: "B",
}
_MIRRORED = {"L": "R", "R": "L"}


def swap_laterality(text: str) -> str:
    """Exchange the words for left and right; doing it twice changes nothing.

    Upper and lower case, hyphens and all other words stay: "Left-sided" becomes
    "Right-sided", "bright" stays.
    """
    return _WORD.sub(lambda match: _like(match[0], _SWAP[match[0].lower()]), text)


def _like(word: str, other: str) -> str:
    """Write `other` in the case of `word`; mixed case falls to the nearest of three."""
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other


def is_mirrorable(text: str) -> bool:
    """Whether the words still describe a normal body when the sides are exchanged."""
    return _ONE_SIDED.search(text) is None


@cache
def side_of(text: str) -> Side | None:
    """Return which side of the body a phrase names, as our report reader has it.

    "Left" in a name of what the body has once ("left atrium") is no side.
    """
    side = phrase_from_text(text).laterality if text.strip() else None
    return None if side is None else _SIDES[side]


def mirror(
    pixels: NDArray[Any], record: ImageRecord
) -> tuple[NDArray[Any], ImageRecord] | None:
    """Exchange left and right of a picture and of every word about it.

    Parameters
    ----------
    pixels
        (..., rows, columns) of one channel, or (rows, columns, 3).
    record
        Of the same picture.

    Returns
    -------
    The mirrored picture and record; None when something in it has no mirror image.
    """
    texts = [record.caption, *(record.label_space or ())]
    texts += [region.label or "" for region in record.regions]
    if not all(is_mirrorable(text) for text in texts):
        return None
    axis = 1 if pixels.shape == (record.height, record.width, 3) else -1
    caption = swap_laterality(record.caption)
    space = record.label_space
    return np.flip(pixels, axis=axis), replace(
        record,
        caption=caption,
        label_space=None if space is None else tuple(map(swap_laterality, space)),
        report=None,
        regions=tuple(
            _mirror_region(region, record, caption) for region in record.regions
        ),
    )


def _mirror_region(
    region: PhraseRegion, record: ImageRecord, caption: str
) -> PhraseRegion:
    return replace(
        region,
        phrase=swap_laterality(region.phrase),
        label=None if region.label is None else swap_laterality(region.label),
        label_path=tuple(map(swap_laterality, region.label_path)),
        tokens_positive=tuple(
            _moved(span, record.caption) for span in region.tokens_positive
        ),
        laterality=_MIRRORED.get(region.laterality or "", region.laterality),
        bbox=tuple(
            (record.width - right, top, record.width - left, bottom)
            for left, top, right, bottom in region.bbox
        ),
        mask=None if region.mask is None else tuple(map(_mirror_mask, region.mask)),
    )


def _moved(span: tuple[int, int], caption: str) -> tuple[int, int]:
    """Return where a span lies once the words before it have changed their length."""
    start, end = span
    before = swap_laterality(caption[:start])
    return len(before), len(before) + len(swap_laterality(caption[start:end]))


def _mirror_mask(mask: Rle) -> Rle:
    return encode_rle(np.ascontiguousarray(decode_rle(mask)[:, ::-1]))

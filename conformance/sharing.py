"""Decodes what many items of a data set have in common only once."""

from __future__ import annotations

from typing import TypeAlias

from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement

__all__ = ["share_sequences"]

_Key: TypeAlias = tuple[int, str, bytes]


def share_sequences(ds: Dataset) -> None:
    """Let sequences that have the same bytes be one object, at any depth.

    The frames of a SEG say the same of their source for each segment, and the items
    of a report repeat their codes. Decoding them one by one takes longer than all the
    rest of reading such an object. What the data set holds stays the same, as long as
    nobody changes it: an element that is shared changes wherever it is.

    Parameters
    ----------
    ds : pydicom.Dataset
        As it was read, its elements not yet decoded. Implicit VR is left alone, since
        there the meaning of bytes depends on what is around them.

    """
    _share(ds, {})


def _share(ds: Dataset, known: dict[_Key, DataElement]) -> None:
    for tag in list(ds.keys()):
        element = ds.get_item(tag)
        if element.VR != "SQ":
            continue
        if isinstance(element, RawDataElement):
            if element.value is None:  # empty, or left in the file
                continue
            # An item may have a character set of its own (PS3.3 C.12.1.1.2).
            key = (tag, str(ds.original_character_set), element.value)
            if (same := known.get(key)) is not None:
                ds[tag] = same
                continue
            element = known[key] = ds[tag]
        for item in element.value or ():
            _share(item, known)

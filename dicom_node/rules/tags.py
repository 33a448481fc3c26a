"""The elements of a DICOM file that rules can speak of, by keyword."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pydicom
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue

from dicom_node.errors import CannotUnderstandError
from dicom_node.quiet import quiet
from dicom_node.records import StoredInstance

__all__ = ["Tags", "kind_of", "read_tags", "study_tags"]

Tags: TypeAlias = Mapping[str, Any]
"""DICOM keyword to text, number, or tuple of these where the element may hold many."""

_NUMBERS = frozenset(
    {"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"}
)
_TEXTS = frozenset(
    {
        *("AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM"),
        *("UC", "UI", "UR", "UT"),
    }
)
_MAX_VALUES = 64
"""Of an element with many values, the rest is left out."""

_MAX_CHARACTERS = 1024

_UNREADABLE = (
    InvalidDicomError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


def study_tags(instances: Iterable[StoredInstance]) -> tuple[Tags, ...]:
    """Read the elements of the first instance of each series that can be read."""
    found: dict[str, Tags] = {}
    for one in instances:
        if one.series_instance_uid in found:
            continue
        try:
            found[one.series_instance_uid] = read_tags(one.path)
        except CannotUnderstandError:
            continue
    return tuple(found.values())


def read_tags(path: Path) -> Tags:
    """Read the elements of a DICOM file that rules can speak of.

    Sequences, private elements and pixels are left out.

    Raises
    ------
    CannotUnderstandError
        It is no DICOM file, or its header cannot be read.

    """
    try:
        with quiet():
            ds = pydicom.dcmread(path, stop_before_pixels=True, defer_size=4096)
            return _tags(ds)
    except _UNREADABLE as error:
        raise CannotUnderstandError("it is not a DICOM file") from error


@cache
def kind_of(keyword: str) -> tuple[bool, bool] | None:
    """Return (is it a number, may it hold many values); None: rules cannot use it."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        return None
    vr = dictionary_VR(tag)
    if vr not in _NUMBERS and vr not in _TEXTS:
        return None
    return vr in _NUMBERS, dictionary_VM(tag) != "1"


def _tags(ds: Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tag in ds.keys():  # noqa: SIM118 - iterating decodes every element
        keyword = pydicom.datadict.keyword_for_tag(tag)
        kind = kind_of(keyword) if keyword else None
        if kind is None:
            continue
        try:
            value = ds[tag].value
        except _UNREADABLE:
            continue
        many = value if isinstance(value, MultiValue | list | tuple) else [value]
        plain = [
            one
            for one in (_plain(item, kind[0]) for item in list(many)[:_MAX_VALUES])
            if one is not None
        ]
        if kind[1]:
            found[keyword] = tuple(plain)
        elif plain:
            found[keyword] = plain[0]
    return found


def _plain(value: Any, is_number: bool) -> str | float | None:
    if value is None or value == "":
        return None
    if not is_number:
        return str(value)[:_MAX_CHARACTERS]
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    # NaN and infinity are no DS, but are found in headers; nothing compares with them.
    return number if math.isfinite(number) else None

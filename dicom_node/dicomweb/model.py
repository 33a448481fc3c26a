"""The DICOM JSON Model (PS3.18 F): data sets and search results as JSON.

It works on encoded values, not on pydicom's converted ones: a value that breaks a
rule of its VR is passed on as the text that it is and never stops the others.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from pydicom import Dataset
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement

from dicom_node.charsets import decode_text
from dicom_node.dicomweb.query import Value
from dicom_node.quiet import quiet

__all__ = ["BULK_VRS", "BulkUri", "Json", "attribute", "dataset_to_json", "describe"]

Json: TypeAlias = dict[str, Any]

BulkUri: TypeAlias = Callable[[str], str]
"""Returns where a value can be fetched, from the path of tags and item numbers."""

BULK_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_LONG_TEXTS = frozenset({"LT", "ST", "UT"})
_SINGLE_TEXTS = _LONG_TEXTS | {"UR"}
_ENCODED_TEXTS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_NUMBERS = {
    "US": "H",
    "SS": "h",
    "UL": "I",
    "SL": "i",
    "UV": "Q",
    "SV": "q",
    "FL": "f",
    "FD": "d",
}
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_MOST_INLINE_BYTES = 512
"""Binary values up to this size come with the rest, longer ones by reference."""

_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_NAME_DELIMITERS = {ord(one) for one in "\\^="}
_TEXT_DELIMITERS = {ord(one) for one in "\\\r\n\t\f"}
_CHARACTER_SET = 0x00080005


def attribute(keyword: str, value: Value) -> tuple[str, Json]:
    """Return an attribute's name and JSON, from text or a number."""
    vr = dictionary_VR(keyword)
    values = value if isinstance(value, tuple) else (value,)
    if vr not in _SINGLE_TEXTS and not isinstance(value, tuple | int | None):
        values = tuple(str(value).split("\\"))
    return f"{tag_for_keyword(keyword):08X}", _element(
        vr, [_of_text(vr, one) if isinstance(one, str) else one for one in values]
    )


def describe(attributes: Mapping[str, Value]) -> Json:
    """Return attributes, by keyword, in the order of their tags."""
    return dict(sorted(attribute(*one) for one in attributes.items()))


def dataset_to_json(
    ds: Dataset,
    *,
    bulk_uri: BulkUri,
    encodings: Sequence[str] = ("iso8859",),
    path: str = "",
) -> Json:
    """Return a data set that was read and not converted yet.

    Parameters
    ----------
    ds : pydicom.Dataset
        Its large values may be deferred.
    bulk_uri : callable
        Where large binary values can be fetched.
    encodings : sequence of str
        Python's names of the character sets of what holds this data set.
    path : str
        Where it is within the instance, as `bulk_uri` takes it.

    """
    encodings = _encodings(ds, encodings)
    found: Json = {}
    for tag in sorted(ds.keys()):
        if tag.element == 0 or tag.group == 0xFFFE:
            continue
        name = f"{tag.group:04X}{tag.element:04X}"
        raw = ds.get_item(tag, keep_deferred=True)
        vr = _vr(raw, ds)
        place = f"{path}{name}"
        if vr == "SQ":
            items = [
                dataset_to_json(
                    item,
                    bulk_uri=bulk_uri,
                    encodings=encodings,
                    path=f"{place}/{number}/",
                )
                for number, item in enumerate(ds[tag].value or ())
            ]
            found[name] = {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
        elif tag == _CHARACTER_SET:
            # What is written here is UTF-8, whatever it was (PS3.18 F.2).
            found[name] = {"vr": "CS", "Value": ["ISO_IR 192"]}
        elif isinstance(raw, RawDataElement):
            found[name] = _raw_to_json(raw, vr, encodings, uri=bulk_uri(place))
        else:
            found[name] = ds[tag].to_json_dict(None, _MOST_INLINE_BYTES)
    return found


def _raw_to_json(
    raw: RawDataElement, vr: str, encodings: Sequence[str], *, uri: str
) -> Json:
    value = raw.value
    is_bulk = vr in BULK_VRS
    if value is None and raw.length:  # deferred: it was too long to be read
        return {"vr": vr, "BulkDataURI": uri}
    if not value:
        return {"vr": vr}
    if is_bulk and len(value) > _MOST_INLINE_BYTES:
        return {"vr": vr, "BulkDataURI": uri}
    if is_bulk:
        return {"vr": vr, "InlineBinary": base64.b64encode(value).decode("ascii")}
    if vr == "AT":
        return _element(vr, _tags(value, is_little=raw.is_little_endian))
    if vr in _NUMBERS:
        return _element(vr, _numbers(vr, value, is_little=raw.is_little_endian))
    text = _decode(value, vr, encodings)
    parts = [text] if vr in _SINGLE_TEXTS else text.split("\\")
    return _element(vr, [_of_text(vr, one) for one in parts])


def _element(vr: str, values: Iterable[Any]) -> Json:
    """Return the JSON of an attribute; an empty value among others is null."""
    given = [None if one in ("", {}) else one for one in values]
    if all(one is None for one in given):
        return {"vr": vr}
    return {"vr": vr, "Value": given}


def _of_text(vr: str, text: str) -> Any:
    if vr in _LONG_TEXTS:
        return text.rstrip(" \0")
    text = text.strip(" \0")
    if vr == "PN":
        groups = zip(_GROUPS, text.split("="), strict=False)
        return {name: group for name, group in groups if group}
    if vr == "IS" and _INTEGER.fullmatch(text):
        return int(text)
    if vr == "DS":
        return _decimal(text)
    return text


def _decimal(text: str) -> float | int | str:
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _numbers(vr: str, value: bytes, *, is_little: bool) -> list[Any]:
    code = _NUMBERS[vr]
    size = struct.calcsize(f"={code}")
    count = len(value) // size
    order = "<" if is_little else ">"
    found = struct.unpack(f"{order}{count}{code}", value[: count * size])
    if vr in {"FL", "FD"}:
        # JSON has no number for these (PS3.18 F.2.3).
        return [one if math.isfinite(one) else _not_finite(one) for one in found]
    return list(found)


def _not_finite(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    return "inf" if number > 0 else "-inf"


def _tags(value: bytes, *, is_little: bool) -> list[str]:
    words = struct.unpack(
        f"{'<' if is_little else '>'}{len(value) // 4 * 2}H",
        value[: len(value) // 4 * 4],
    )
    pairs = zip(words[::2], words[1::2], strict=True)
    return [f"{group:04X}{element:04X}" for group, element in pairs]


def _decode(value: bytes, vr: str, encodings: Sequence[str]) -> str:
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    if vr not in _ENCODED_TEXTS:
        return value.decode("latin-1")
    delimiters = _NAME_DELIMITERS if vr == "PN" else _TEXT_DELIMITERS
    try:
        with quiet():
            return decode_text(value, encodings, delimiters)
    except (LookupError, UnicodeError, ValueError):
        return value.decode("latin-1")


def _encodings(ds: Dataset, outer: Sequence[str]) -> Sequence[str]:
    if _CHARACTER_SET not in ds:
        return outer
    said = ds.get_item(_CHARACTER_SET).value
    if isinstance(said, bytes):
        said = said.decode("ascii", "replace").split("\\")
    names = [said] if isinstance(said, str) else list(said or [""])
    try:
        with quiet():
            return list(convert_encodings([str(one).strip(" \0") for one in names]))
    except (LookupError, ValueError):
        return outer


def _vr(raw: Any, ds: Dataset) -> str:
    tag = raw.tag
    vr = str(raw.VR) if raw.VR else ""
    if vr in {"", "UN"}:
        # PS3.5 6.2.2: an element that is known has its own VR.
        known = dictionary_has_tag(tag) and not tag.is_private
        if vr == "UN" and known and raw.value is None:
            return "UN"
        if not known:
            return "LO" if _is_creator(tag) else "UN"
        vr = dictionary_VR(tag)
    if " or " not in vr:
        return vr
    if vr == "OB or OW":
        return "OW"
    if vr.endswith("OW"):
        return "US" if len(raw.value or b"") == 2 else "OW"
    value = ds.get_item(0x00280103).value if 0x00280103 in ds else None
    is_signed = value not in (None, b"", b"\0\0", 0)
    return "SS" if is_signed else "US"


def _is_creator(tag: Any) -> bool:
    return bool(tag.group % 2 == 1 and 0x10 <= tag.element <= 0xFF)

"""The answer to STOW-RS: which instances are stored, which failed and why.

It is a data set (PS3.18 Table 10.5.3-2) in JSON, or in XML from servers that answer so
whatever they are asked for. Nothing in it is believed but UIDs and numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from dicom_node.errors import DeliveryError

__all__ = ["StowAnswer", "read_stow_answer"]

_REFERENCED_SOP_SEQUENCE = "00081199"
_FAILED_SOP_SEQUENCE = "00081198"
_REFERENCED_SOP_INSTANCE_UID = "00081155"
_FAILURE_REASON = "00081197"
_WARNING_REASON = "00081196"
_UNKNOWN_REASON = 0


@dataclass(frozen=True, slots=True)
class StowAnswer:
    """What a store request came to, by SOP Instance UID."""

    stored: Mapping[str, int | None] = field(default_factory=dict)
    """Warning Reason, None without one."""
    failed: Mapping[str, int] = field(default_factory=dict)
    """Failure Reason; 0: it gave none."""


def read_stow_answer(body: bytes, *, content_type: str) -> StowAnswer:
    """Read the answer of a STOW-RS server.

    Parameters
    ----------
    body : bytes
        The answer.
    content_type : str
        Its media type; XML where that says so or the body begins with ``<``.

    Raises
    ------
    DeliveryError
        It is neither the JSON nor the XML of a data set.

    """
    try:
        if "xml" in content_type or body.lstrip()[:1] == b"<":
            values = _from_xml(fromstring(body, forbid_dtd=True))
        else:
            document = json.loads(body)
            # Some servers wrap the data set in a list.
            values = document[0] if isinstance(document, list) else document
        stored = {
            uid: _reason(one, _WARNING_REASON)
            for one in _items(values, _REFERENCED_SOP_SEQUENCE)
            if (uid := _text(one, _REFERENCED_SOP_INSTANCE_UID))
        }
        failed = {
            uid: _reason(one, _FAILURE_REASON) or _UNKNOWN_REASON
            for one in _items(values, _FAILED_SOP_SEQUENCE)
            if (uid := _text(one, _REFERENCED_SOP_INSTANCE_UID))
        }
    except (
        AttributeError,
        DefusedXmlException,
        IndexError,
        KeyError,
        ParseError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise DeliveryError("its answer cannot be read") from error
    return StowAnswer(stored, failed)


def _items(values: Any, tag: str) -> Iterator[Mapping[str, Any]]:
    for one in values.get(tag, {}).get("Value") or ():
        if isinstance(one, dict):
            yield one


def _text(item: Mapping[str, Any], tag: str) -> str:
    found = item.get(tag, {}).get("Value") or [""]
    return found[0].strip(" \0") if isinstance(found[0], str) else ""


def _reason(item: Mapping[str, Any], tag: str) -> int | None:
    found = item.get(tag, {}).get("Value") or [None]
    value = None if found[0] is None else int(found[0])
    return value if value is None or 0 <= value <= 0xFFFF else _UNKNOWN_REASON


def _from_xml(root: Element) -> dict[str, Any]:
    """Return the native DICOM model (PS3.19 A.1) as the JSON model."""
    values: dict[str, Any] = {}
    for attribute in root:
        found: list[Any] = [
            _from_xml(one) for one in attribute if one.tag.rpartition("}")[2] == "Item"
        ]
        found += [
            one.text or "" for one in attribute if one.tag.rpartition("}")[2] == "Value"
        ]
        values[attribute.get("tag", "").upper()] = {"Value": found}
    return values

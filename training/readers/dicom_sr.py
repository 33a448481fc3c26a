"""Read measurement reports as labels: TID 1500 groups with coordinates or segments.

A group says what was found (121071, DCM), where (363698007, SCT), in which words
(121106, DCM), and either names a segment, whose mask is read from the SEG, or draws
on an image. What is drawn on an image becomes a region of that one frame: it says
nothing of its neighbours.

References
----------
PS3.16 TID 1500, 1410, 1411 and 1501; PS3.3 C.18.6 and C.18.9.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset

from dicom_node.imaging.dataset import quiet_reading
from training.errors import DatasetError
from training.readers.dicom_codes import (
    Code,
    SegmentWords,
    code_of,
    first_item,
    plain_label,
    side_of_codes,
)
from training.readers.dicom_folder import read_headers
from training.readers.source import Laterality
from training.records import Status
from training.registry.spec import Tier

__all__ = ["Drawing", "Group", "MeasurementReport", "read_measurement_report"]

_GROUP = ("DCM", "125007")
_FINDING = {("DCM", "121071")}
_SITE = {("SCT", "363698007"), ("SRT", "G-C0E3")}
_SIDE = {("SCT", "272741003"), ("SRT", "G-C171")}
_COMMENT = {("DCM", "121106")}
_TRACKING_UID = {("DCM", "112040")}
_ALGORITHM = {("DCM", "111001")}

_STATUS: dict[tuple[str, str], Status] = {
    ("SCT", "52101004"): "present",
    ("SCT", "272519000"): "absent",
    ("SCT", "64957009"): "uncertain",
    ("SRT", "G-A203"): "present",
    ("SRT", "R-4089B"): "absent",
}
"""What a qualitative evaluation says of a finding (CID 240 and its qualifiers)."""

_MAX_ITEMS = 200_000
"""Content items that are read of one document."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """Coordinates of a group."""

    graphic: str
    """Graphic Type (0070,0023)"""
    values: tuple[float, ...]
    """Of an image: column and row by turns, (0, 0) is the corner of the first pixel;
    in the patient: x, y and z in mm"""
    image: tuple[str, int] | None
    """SOP Instance UID and Frame Number; None: in the patient"""
    frame_of_reference_uid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One finding with its places; several groups of one tracking UID are joined."""

    label: str
    phrase: str | None
    laterality: Laterality | None
    codes: dict[str, Code]
    tier: Tier | None
    drawings: tuple[Drawing, ...]
    segments: tuple[tuple[str, int], ...]
    """SOP Instance UID of the SEG, Segment Number"""
    tracking_uid: str | None


@dataclass(frozen=True, slots=True)
class MeasurementReport:
    """What a document says."""

    groups: tuple[Group, ...]
    evaluations: tuple[tuple[Status, SegmentWords], ...] = ()
    """Findings that are only said to be there, or not to be"""
    images: frozenset[str] = field(default_factory=frozenset)
    """SOP Instance UIDs of the images that it names"""

    def status_of(self, group: Group) -> Status:
        """Return what the evaluations say of a group's phrase."""
        for status, words in self.evaluations:
            if (words.phrase or words.label) == (group.phrase or group.label):
                return status
        return "present"


def read_measurement_report(path: Path) -> MeasurementReport:
    """Read the groups and evaluations of a document; a narrative report has none.

    Raises
    ------
    DatasetError
        The document cannot be read.
    """
    ds = read_headers(path)
    try:
        with quiet_reading():
            items = list(_walk(ds))
            found = [_group(item) for item in items if _name(item) == _GROUP]
            evaluations = [one for item in items if (one := _evaluation(item))]
            return MeasurementReport(
                _joined(found), tuple(evaluations), frozenset(_images(ds, items))
            )
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{path.name}: is no structured report that can be read "
            f"({type(error).__name__})"
        ) from error


def _walk(root: Dataset) -> Iterator[Dataset]:
    """Yield every content item below one, in document order."""
    stack = list(reversed(root.get("ContentSequence") or ()))
    for _ in range(_MAX_ITEMS):
        if not stack:
            return
        item = stack.pop()
        yield item
        stack.extend(reversed(item.get("ContentSequence") or ()))
    raise ValueError("too many content items")


def _group(container: Dataset) -> Group:
    children = list(container.get("ContentSequence") or ())
    finding = _code_named(children, _FINDING)
    sites = [one for one in children if _name(one) in _SITE]
    site = code_of(first_item(sites[0], "ConceptCodeSequence")) if sites else None
    comments = [
        str(one.TextValue).strip()
        for one in children
        if _name(one) in _COMMENT and one.get("TextValue")
    ]
    tracking = [str(one.UID) for one in children if _name(one) in _TRACKING_UID]
    below = list(_walk(container))
    side = _side([*children, *sites])
    codes = {name: code for name, code in (("type", finding), ("site", site)) if code}
    label = (
        plain_label(finding[2], side if finding == site else None) if finding else ""
    )
    return Group(
        label=label or (comments[0] if comments else "finding"),
        phrase=comments[0] if comments else None,
        laterality=side,
        codes=codes,
        tier="pseudo" if any(_name(one) in _ALGORITHM for one in below) else None,
        drawings=tuple(dict.fromkeys(_drawings(below))),
        segments=tuple(dict.fromkeys(_segments(below))),
        tracking_uid=tracking[0] if tracking else None,
    )


def _drawings(items: list[Dataset]) -> Iterator[Drawing]:
    for item in items:
        kind = str(item.get("ValueType") or "")
        if kind not in {"SCOORD", "SCOORD3D"}:
            continue
        graphic = str(item.GraphicType)
        values = tuple(float(value) for value in item.GraphicData)
        if kind == "SCOORD3D":
            frame = str(item.get("ReferencedFrameOfReferenceUID") or "")
            yield Drawing(graphic, values, None, frame)
            continue
        for child in item.get("ContentSequence") or ():
            for reference in child.get("ReferencedSOPSequence") or ():
                number = _first_number(reference.get("ReferencedFrameNumber"))
                uid = str(reference.ReferencedSOPInstanceUID)
                yield Drawing(graphic, values, (uid, number))


def _segments(items: list[Dataset]) -> Iterator[tuple[str, int]]:
    for item in items:
        for reference in item.get("ReferencedSOPSequence") or ():
            if reference.get("ReferencedSegmentNumber"):
                number = _first_number(reference.ReferencedSegmentNumber)
                yield str(reference.ReferencedSOPInstanceUID), number


def _evaluation(item: Dataset) -> tuple[Status, SegmentWords] | None:
    """Return what a CODE item says of the finding that is its concept name."""
    if item.get("ValueType") != "CODE":
        return None
    value = code_of(first_item(item, "ConceptCodeSequence"))
    status = None if value is None else _STATUS.get((value[1], value[0]))
    concept = code_of(first_item(item, "ConceptNameCodeSequence"))
    if status is None or concept is None:
        return None
    children = list(item.get("ContentSequence") or ())
    comments = [
        str(one.TextValue).strip() for one in children if _name(one) in _COMMENT
    ]
    site = _code_named(children, _SITE)
    codes = {name: code for name, code in (("type", concept), ("site", site)) if code}
    side = _side(children)
    return status, SegmentWords(
        label=plain_label(concept[2], side if concept == site else None),
        phrase=comments[0] if comments else None,
        status=status,
        laterality=side,
        codes=codes,
    )


def _joined(groups: list[Group]) -> tuple[Group, ...]:
    """Join groups of one tracking UID: one says the outline, another the segment."""
    by_tracking: dict[str, Group] = {}
    for number, group in enumerate(groups):
        key = group.tracking_uid or f"group {number}"
        first = by_tracking.get(key)
        by_tracking[key] = group if first is None else _union(first, group)
    return tuple(by_tracking.values())


def _union(first: Group, second: Group) -> Group:
    return Group(
        label=first.label,
        phrase=first.phrase or second.phrase,
        laterality=first.laterality or second.laterality,
        codes={**second.codes, **first.codes},
        tier=first.tier or second.tier,
        drawings=tuple(dict.fromkeys((*first.drawings, *second.drawings))),
        segments=tuple(dict.fromkeys((*first.segments, *second.segments))),
        tracking_uid=first.tracking_uid,
    )


def _images(ds: Dataset, items: list[Dataset]) -> Iterator[str]:
    for keyword in (
        "CurrentRequestedProcedureEvidenceSequence",
        "PertinentOtherEvidenceSequence",
    ):
        for study in ds.get(keyword) or ():
            for series in study.get("ReferencedSeriesSequence") or ():
                for one in series.get("ReferencedSOPSequence") or ():
                    yield str(one.get("ReferencedSOPInstanceUID") or "")
    for item in items:
        for reference in item.get("ReferencedSOPSequence") or ():
            yield str(reference.get("ReferencedSOPInstanceUID") or "")


def _side(items: list[Dataset]) -> Laterality | None:
    """Return the side that a Laterality item says, among items or right below them."""
    for item in items:
        for one in (item, *(item.get("ContentSequence") or ())):
            if _name(one) in _SIDE:
                return side_of_codes(one.get("ConceptCodeSequence") or ())
    return None


def _code_named(items: list[Dataset], names: set[tuple[str, str]]) -> Code | None:
    for item in items:
        if _name(item) in names and item.get("ConceptCodeSequence"):
            return code_of(item.ConceptCodeSequence[0])
    return None


def _name(item: Dataset) -> tuple[str, str]:
    code = code_of(first_item(item, "ConceptNameCodeSequence"))
    return ("", "") if code is None else (code[1], code[0])


def _first_number(value: object) -> int:
    """Return the first of one or several numbers; 1 where there is none."""
    if value in (None, ""):
        return 1
    if isinstance(value, int | str):
        return int(value)
    return int(next(iter(value)))  # type: ignore[call-overload]

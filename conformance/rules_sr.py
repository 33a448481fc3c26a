"""Rules of reports: Comprehensive 3D SR (PS3.3 A.35.13), TID 1500 (PS3.16)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydicom import Dataset

from conformance.rules_common import Violation, items_of, missing

__all__ = [
    "COMPREHENSIVE_3D_SR",
    "NO_SEGMENTATION",
    "ImageReference",
    "RegionLink",
    "check_report",
    "image_references",
    "region_links",
]

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"

_TYPE_1 = (
    "CompletionFlag",
    "VerificationFlag",
    "ValueType",
    "ContinuityOfContent",
    "ConceptNameCodeSequence",
    "ContentTemplateSequence",
    "ContentSequence",
)
_TYPE_2 = ("ReferencedPerformedProcedureStepSequence", "PerformedProcedureCodeSequence")

_VALUE_ELEMENTS: Mapping[str, tuple[str, ...]] = {
    "CONTAINER": ("ContinuityOfContent",),
    "TEXT": ("TextValue",),
    "CODE": ("ConceptCodeSequence",),
    "NUM": (),
    "UIDREF": ("UID",),
    "PNAME": ("PersonName",),
    "DATE": ("Date",),
    "TIME": ("Time",),
    "DATETIME": ("DateTime",),
    "IMAGE": ("ReferencedSOPSequence",),
    "COMPOSITE": ("ReferencedSOPSequence",),
    "WAVEFORM": ("ReferencedSOPSequence",),
    "SCOORD": ("GraphicType", "GraphicData"),
    "SCOORD3D": ("GraphicType", "GraphicData", "ReferencedFrameOfReferenceUID"),
    "TCOORD": ("TemporalRangeType",),
}
"""Value types of Comprehensive 3D SR and what each must hold (PS3.3 C.17.3.2.1)."""

_ANY_VALUE = frozenset(_VALUE_ELEMENTS) - {"CONTAINER"}
_PROPERTIES = frozenset(_VALUE_ELEMENTS)
_CONTEXT = frozenset(
    {"TEXT", "CODE", "NUM", "DATETIME", "DATE", "TIME", "UIDREF", "PNAME", "COMPOSITE"}
)
_EVERY = frozenset(_VALUE_ELEMENTS)

_RELATIONSHIPS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "CONTAINS": (frozenset({"CONTAINER"}), _ANY_VALUE | {"CONTAINER"}),
    "HAS OBS CONTEXT": (frozenset({"CONTAINER", "TEXT", "CODE", "NUM"}), _CONTEXT),
    "HAS ACQ CONTEXT": (
        frozenset({"CONTAINER", "IMAGE", "WAVEFORM", "COMPOSITE", "NUM"}),
        _CONTEXT | {"CONTAINER"},
    ),
    "HAS CONCEPT MOD": (_EVERY, frozenset({"TEXT", "CODE"})),
    "HAS PROPERTIES": (frozenset({"TEXT", "CODE", "NUM"}), _PROPERTIES),
    "INFERRED FROM": (frozenset({"TEXT", "CODE", "NUM"}), _PROPERTIES),
    "SELECTED FROM": (
        frozenset({"SCOORD", "TCOORD"}),
        frozenset({"IMAGE", "WAVEFORM", "SCOORD"}),
    ),
}
"""Relationship to its sources and targets by value (PS3.3 Table A.35.13-2)."""

_REPORT = "126000"
_GROUP = "125007"
_TRACKING_ID = "112039"
_TRACKING_UID = "112040"
_SEGMENT = "121191"
_COMMENT = "121106"
_DEVICE_UID = "121012"
_PERSON_NAME = "121008"
_NOT_PROCESSED = "not-processed"

NO_SEGMENTATION = "no segmentation:"
"""What the reason begins with where a region has no segment."""


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An IMAGE item: what it refers to and the points drawn on it."""

    where: str
    sop_class_uid: str
    sop_instance_uid: str
    frame_numbers: tuple[int, ...]
    points: tuple[tuple[float, float], ...]
    """(column, row) of the SCOORD that selects from it; none otherwise."""


@dataclass(frozen=True, slots=True)
class RegionLink:
    """A measurement group: what it tracks and what it refers to."""

    where: str
    tracking_id: str | None
    tracking_uid: str | None
    segment: tuple[str, int] | None
    """SOP Instance UID and segment number; None: not by a segment."""
    has_coordinates: bool
    has_comment: bool


def check_report(ds: Dataset, *, own: bool) -> Iterator[Violation]:
    """Yield the rules of a report that a data set breaks; with `own`, our promises."""
    absent = list(missing(ds, _TYPE_1, "data set"))
    yield from absent
    for keyword in _TYPE_2:
        if keyword not in ds:
            yield Violation("type-2", "data set", f"{keyword} is absent")
    if ds.get("Modality") != "SR":
        yield Violation("modality", "Modality", "not SR")
    if absent:
        return
    yield from _check_root(ds)
    yield from _check_verification(ds)
    yield from _check_tree(ds, "1")
    yield from _check_evidence(ds)
    links = list(region_links(ds))
    for link in links:
        if not link.tracking_id or not link.tracking_uid:
            yield Violation("tracking", link.where, "no tracking identifier or UID")
    if own:
        yield from _check_promises(ds, links)


def region_links(ds: Dataset) -> Iterator[RegionLink]:
    """Yield the measurement groups (125007, DCM) of a report."""
    for where, item, _ in _walk(ds, "1", ()):
        if item.get("ValueType") != "CONTAINER" or _concept(item) != _GROUP:
            continue
        children = items_of(item, "ContentSequence")
        by_name = {_concept(child): child for child in children}
        segment = None
        if (reference := by_name.get(_SEGMENT)) is not None:
            for sop in items_of(reference, "ReferencedSOPSequence"):
                number = sop.get("ReferencedSegmentNumber", -1)
                first = number if isinstance(number, int) else number[0]
                segment = (str(sop.get("ReferencedSOPInstanceUID")), int(first))
        yield RegionLink(
            where=where,
            tracking_id=by_name.get(_TRACKING_ID, Dataset()).get("TextValue"),
            tracking_uid=by_name.get(_TRACKING_UID, Dataset()).get("UID"),
            segment=segment,
            has_coordinates=any(
                one.get("ValueType") == "SCOORD" for _, one, _ in _walk(item, where, ())
            ),
            has_comment=_COMMENT in by_name,
        )


def image_references(ds: Dataset) -> Iterator[ImageReference]:
    """Yield every IMAGE item of a report."""
    for where, item, parents in _walk(ds, "1", ()):
        if item.get("ValueType") != "IMAGE":
            continue
        points: tuple[tuple[float, float], ...] = ()
        if parents and parents[-1].get("ValueType") == "SCOORD":
            data = [float(value) for value in parents[-1].get("GraphicData") or ()]
            points = tuple(zip(data[::2], data[1::2], strict=False))
        for sop in items_of(item, "ReferencedSOPSequence"):
            numbers = sop.get("ReferencedFrameNumber") or ()
            if isinstance(numbers, int | str):
                numbers = (numbers,)
            yield ImageReference(
                where=where,
                sop_class_uid=str(sop.get("ReferencedSOPClassUID")),
                sop_instance_uid=str(sop.get("ReferencedSOPInstanceUID")),
                frame_numbers=tuple(int(number) for number in numbers),
                points=points,
            )


def _check_root(ds: Dataset) -> Iterator[Violation]:
    if ds.ValueType != "CONTAINER" or _concept(ds) != _REPORT:
        yield Violation("root", "1", "not an Imaging Measurement Report container")
    template = ds.ContentTemplateSequence[0]
    if (template.get("MappingResource"), template.get("TemplateIdentifier")) != (
        "DCMR",
        "1500",
    ):
        yield Violation("template", "1", "not TID 1500")


def _check_tree(item: Dataset, where: str) -> Iterator[Violation]:
    """Yield what is wrong with the items below one (PS3.3 C.17.3, A.35.13.3.1)."""
    source = str(item.get("ValueType"))
    for number, child in enumerate(items_of(item, "ContentSequence"), start=1):
        place = f"{where}.{number}"
        relationship = str(child.get("RelationshipType"))
        target = str(child.get("ValueType"))
        if target not in _VALUE_ELEMENTS:
            yield Violation("value-type", place, "not one of Comprehensive 3D SR")
            continue
        sources, targets = _RELATIONSHIPS.get(relationship, (frozenset(), frozenset()))
        if source not in sources or target not in targets:
            text = f"{source} {relationship} {target} is not allowed"
            yield Violation("relationship", place, text)
        yield from _check_item(child, target, place)
        yield from _check_tree(child, place)


def _check_item(item: Dataset, value_type: str, place: str) -> Iterator[Violation]:
    yield from missing(item, _VALUE_ELEMENTS[value_type], place)
    named = {"TEXT", "CODE", "NUM", "UIDREF", "PNAME", "DATE", "TIME", "DATETIME"}
    if value_type in named and _concept(item) is None:
        yield Violation("concept-name", place, "has none")
    if value_type == "NUM":
        values = items_of(item, "MeasuredValueSequence")
        for value in values:
            keywords = ("NumericValue", "MeasurementUnitsCodeSequence")
            yield from missing(value, keywords, place)
        if "MeasuredValueSequence" not in item:
            yield Violation("type-2", place, "MeasuredValueSequence is absent")
    if value_type == "SCOORD":
        yield from _check_coordinates(item, place)


def _check_coordinates(item: Dataset, place: str) -> Iterator[Violation]:
    data = list(item.get("GraphicData") or ())
    if len(data) % 2:
        yield Violation("coordinates", place, "an odd number of values")
    if item.get("GraphicType") == "POLYLINE" and len(data) >= 2 and len(data) < 6:
        yield Violation("coordinates", place, "a polyline of fewer than three points")
    children = items_of(item, "ContentSequence")
    if not any(
        child.get("RelationshipType") == "SELECTED FROM"
        and child.get("ValueType") == "IMAGE"
        for child in children
    ):
        yield Violation("coordinates", place, "selected from no image")


def _check_evidence(ds: Dataset) -> Iterator[Violation]:
    """Yield references that no evidence sequence names (PS3.3 C.17.2.3)."""
    named = {
        sop.get("ReferencedSOPInstanceUID")
        for keyword in (
            "CurrentRequestedProcedureEvidenceSequence",
            "PertinentOtherEvidenceSequence",
        )
        for study in items_of(ds, keyword)
        for series in items_of(study, "ReferencedSeriesSequence")
        for sop in items_of(series, "ReferencedSOPSequence")
    }
    for where, item, _ in _walk(ds, "1", ()):
        for sop in items_of(item, "ReferencedSOPSequence"):
            if sop.get("ReferencedSOPInstanceUID") not in named:
                yield Violation("evidence", where, "refers to what is no evidence")


def _check_promises(ds: Dataset, found: Iterable[RegionLink]) -> Iterator[Violation]:
    """Yield what a report of this node promises and does not keep."""
    yield from _check_status(ds)
    if not any(
        _concept(item) == _DEVICE_UID for item in items_of(ds, "ContentSequence")
    ):
        yield Violation("observer", "1", "no device observer")
    links: dict[str | None, list[RegionLink]] = {}
    for link in found:
        links.setdefault(link.tracking_uid, []).append(link)
        if not link.has_comment:
            yield Violation("comment", link.where, "does not hold the phrase")
    by_coordinates = {
        uid: any(link.has_coordinates for link in group) for uid, group in links.items()
    }
    may_lack_segment = _says_why_no_segment(ds)
    for uid, group in links.items():
        where = group[0].where
        has_segment = any(link.segment for link in group)
        if not has_segment and not (may_lack_segment and by_coordinates[uid]):
            yield Violation("both-links", where, "no group refers to a segment")
        # A report for readers of segments has coordinates nowhere.
        if not by_coordinates[uid] and any(by_coordinates.values()):
            yield Violation("both-links", where, "no group has coordinates")


def _says_why_no_segment(ds: Dataset) -> bool:
    """Whether the report tells that a segmentation could not be made."""
    return any(
        _concept(item) == _NOT_PROCESSED
        and str(item.get("TextValue")).startswith(NO_SEGMENTATION)
        for _, item, _ in _walk(ds, "1", ())
    )


def _check_status(ds: Dataset) -> Iterator[Violation]:
    """Yield flags that do not fit: what nobody verified is preliminary."""
    is_verified = ds.VerificationFlag == "VERIFIED"
    for keyword, value in (
        ("CompletionFlag", "COMPLETE"),
        ("VerificationFlag", "VERIFIED" if is_verified else "UNVERIFIED"),
        ("PreliminaryFlag", "FINAL" if is_verified else "PRELIMINARY"),
    ):
        if ds.get(keyword) != value:
            yield Violation("status", keyword, f"not {value}")
    people = {
        str(item.get("PersonName"))
        for item in items_of(ds, "ContentSequence")
        if _concept(item) == _PERSON_NAME
    }
    for item in items_of(ds, "VerifyingObserverSequence"):
        if str(item.get("VerifyingObserverName")) not in people:
            yield Violation("verifier", "data set", "is no observer of the report")


def _check_verification(ds: Dataset) -> Iterator[Violation]:
    """Yield what is wrong with who verified (PS3.3 C.17.2)."""
    verifiers = items_of(ds, "VerifyingObserverSequence")
    if (ds.VerificationFlag == "VERIFIED") != bool(verifiers):
        yield Violation("verifier", "data set", "a verifier exactly where verified")
    for item in verifiers:
        keywords = (
            "VerifyingObserverName",
            "VerifyingOrganization",
            "VerificationDateTime",
        )
        yield from missing(item, keywords, "VerifyingObserverSequence")


def _walk(
    item: Dataset, where: str, parents: tuple[Dataset, ...]
) -> Iterator[tuple[str, Dataset, tuple[Dataset, ...]]]:
    """Yield every item below one: its place, itself, its parents (nearest last)."""
    for number, child in enumerate(items_of(item, "ContentSequence"), start=1):
        place = f"{where}.{number}"
        yield place, child, (*parents, item)
        yield from _walk(child, place, (*parents, item))


def _concept(item: Dataset) -> str | None:
    for name in items_of(item, "ConceptNameCodeSequence"):
        return str(name.get("CodeValue") or name.get("LongCodeValue") or "") or None
    return None

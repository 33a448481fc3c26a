"""Rules that every result keeps, of whatever kind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom import Dataset, config
from pydicom.dataelem import DataElement
from pydicom.valuerep import validate_value

from conformance.profile import IMPLEMENTATION_CLASS_UID

__all__ = [
    "PUBLIC_SCHEMES",
    "Violation",
    "check_code",
    "check_common",
    "is_own_result",
    "items_of",
    "missing",
]

_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")

PUBLIC_SCHEMES = frozenset({"DCM", "SCT", "SRT", "LN", "UCUM", "UMLS", "RFC5646"})
"""Coding schemes that need no identification in the object (PS3.16 8)."""

_TYPE_1 = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "InstanceNumber",
)
"""Present with a value: PS3.3 C.12.1, C.7.2.1, C.7.3.1."""

_ENHANCED = (
    "SeriesNumber",
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
)
"""So too in SEG and SR (PS3.3 C.8.20.1, C.17.1, C.7.5.2), and in all that is ours."""

_CONTENT = ("ContentDate", "ContentTime")
"""So too; but presentation states say when they were made in Presentation Creation
Date and Time (PS3.3 C.11.10)."""

_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
"""Present, perhaps empty: PS3.3 C.7.1.1, C.7.2.1."""

PATIENT_AND_STUDY = frozenset(
    {
        *_TYPE_2,
        "StudyInstanceUID",
        "StudyDescription",
        "IssuerOfPatientID",
        "IssuerOfPatientIDQualifiersSequence",
        "OtherPatientIDsSequence",
        "PatientBirthTime",
        "EthnicGroup",
        "PatientComments",
        "PatientIdentityRemoved",
        "DeidentificationMethod",
        "DeidentificationMethodCodeSequence",
        "ClinicalTrialSponsorName",
        "ClinicalTrialProtocolID",
        "ClinicalTrialProtocolName",
        "ClinicalTrialSiteID",
        "ClinicalTrialSiteName",
        "ClinicalTrialSubjectID",
        "ClinicalTrialSubjectReadingID",
        "IssuerOfAccessionNumberSequence",
        "PhysiciansOfRecord",
        "NameOfPhysiciansReadingStudy",
        "ProcedureCodeSequence",
        "PatientAge",
        "PatientSize",
        "PatientWeight",
        "TimezoneOffsetFromUTC",
    }
)
"""The source's own attributes, copied as they are: the only place for a patient."""

_EQUIPMENT = (
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "DeviceUID",
)

_REFERENCE = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")
"""SOP Instance Reference Macro, PS3.3 10.8."""

_TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_PATIENT_GROUP = 0x0010


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule: its name, where, and what is wrong."""

    rule: str
    where: str
    message: str

    def __str__(self) -> str:
        """Return all three in one line."""
        return f"{self.rule}: {self.where}: {self.message}"


def is_own_result(ds: Dataset) -> bool:
    """Whether this node wrote the object: then its promises hold too."""
    meta = getattr(ds, "file_meta", Dataset())
    return bool(meta.get("ImplementationClassUID") == IMPLEMENTATION_CLASS_UID)


def items_of(ds: Dataset, keyword: str) -> Sequence[Dataset]:
    """Return the items of a sequence; none when absent or not a sequence."""
    if keyword not in ds or ds[keyword].VR != "SQ":
        return ()
    items: Sequence[Dataset] = ds[keyword].value
    return items


def missing(ds: Dataset, keywords: Sequence[str], where: str) -> Iterator[Violation]:
    """Yield a violation for each type 1 element that is absent or empty."""
    for keyword in keywords:
        if keyword not in ds or ds[keyword].is_empty:
            yield Violation("type-1", where, f"{keyword} is absent or empty")


def check_code(item: Dataset, where: str) -> Iterator[Violation]:
    """Yield what is wrong with a coded entry (PS3.3 8.8)."""
    values = [
        keyword
        for keyword in ("CodeValue", "LongCodeValue", "URNCodeValue")
        if item.get(keyword)
    ]
    if len(values) != 1:
        yield Violation("code", where, f"{len(values)} code values")
    if len(str(item.get("CodeValue") or "")) > 16:
        yield Violation("code", where, "Code Value is longer than 16 characters")
    meaning = str(item.get("CodeMeaning") or "")
    if not 0 < len(meaning) <= 64:
        yield Violation("code", where, "Code Meaning needs 1 to 64 characters")
    if not item.get("CodingSchemeDesignator") and "URNCodeValue" not in item:
        yield Violation("code", where, "no Coding Scheme Designator")


def check_common(ds: Dataset, *, own: bool) -> Iterator[Violation]:
    """Yield the rules that any result breaks; with `own`, our promises too."""
    yield from missing(ds, _TYPE_1, "data set")
    modality = ds.get("Modality")
    if own or modality in {"SEG", "SR"}:
        yield from missing(ds, _ENHANCED, "data set")
        if modality != "PR":
            yield from missing(ds, _CONTENT, "data set")
    for keyword in _TYPE_2:
        if keyword not in ds:
            yield Violation("type-2", "data set", f"{keyword} is absent")
    methods = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
    if ds.get("PatientIdentityRemoved") == "YES" and not any(map(ds.get, methods)):
        yield Violation("type-1c", "PatientIdentityRemoved", "YES, but no method")
    yield from _check_meta(ds)
    yield from _check_all(ds)
    yield from _check_schemes(ds)
    if own:
        yield from _check_promises(ds)


_PERSON_OBSERVER = "121008"
"""(121008, DCM, "Person Observer Name"): PS3.16 TID 1003."""


def _check_meta(ds: Dataset) -> Iterator[Violation]:
    meta = getattr(ds, "file_meta", Dataset())
    for ours, theirs in (
        ("MediaStorageSOPClassUID", "SOPClassUID"),
        ("MediaStorageSOPInstanceUID", "SOPInstanceUID"),
    ):
        if meta.get(ours) != ds.get(theirs):
            yield Violation("file-meta", ours, f"differs from {theirs}")


def _is_observer(ds: Dataset, keyword: str) -> bool:
    """Return whether a name is of who looked, and so not of the patient."""
    if keyword == "PersonName":
        names = items_of(ds, "ConceptNameCodeSequence")
        return any(one.get("CodeValue") == _PERSON_OBSERVER for one in names)
    if keyword == "ContentCreatorName":  # where a person drew some of it
        segments = items_of(ds, "SegmentSequence")
        kinds = {one.get("SegmentAlgorithmType") for one in segments}
        return bool(kinds & {"MANUAL", "SEMIAUTOMATIC"})
    return keyword == "VerifyingObserverName"


def _check_all(ds: Dataset) -> Iterator[Violation]:
    """Walk every element: VR, patient data, private attributes, codes."""
    # Sequences that several items share, `share_sequences`, are walked once.
    known: dict[int, tuple[Violation, ...]] = {}
    has_character_set = bool(ds.get("SpecificCharacterSet"))

    def walk(one: Dataset, where: str) -> Iterator[Violation]:
        for element in one:
            name = element.keyword or str(element.tag)
            place = f"{where} {name}".lstrip()
            if element.tag.is_private:
                yield Violation("no-private", place, "a private attribute")
                continue
            if not where and element.keyword in PATIENT_AND_STUDY:
                continue
            if element.VR == "SQ":
                if element.tag.group == _PATIENT_GROUP:
                    yield _out_of_place(place)
                if id(element) not in known:
                    known[id(element)] = tuple(walk_items(element))
                for item in known[id(element)]:
                    yield Violation(item.rule, place + item.where, item.message)
            else:
                yield from _check_element(one, element, place)
                if not has_character_set and not _is_ascii(element):
                    text = "needs one, none is declared"
                    yield Violation("character-set", place, text)

    def walk_items(element: DataElement) -> Iterator[Violation]:
        for number, item in enumerate(element.value, start=1):
            inner = f"[{number}]"
            if "ReferencedSOPInstanceUID" in item:
                yield from missing(item, _REFERENCE, inner)
            if "CodeMeaning" in item:
                yield from check_code(item, inner)
            yield from walk(item, inner)

    yield from walk(ds, "")


def _check_element(
    ds: Dataset, element: DataElement, place: str
) -> Iterator[Violation]:
    is_name = element.VR == "PN" and not element.is_empty
    if is_name and not _is_observer(ds, element.keyword):
        yield Violation("no-phi", place, "a person's name outside the study module")
    if element.tag.group == _PATIENT_GROUP:
        yield _out_of_place(place)
    yield from _check_value(element, place)


def _out_of_place(place: str) -> Violation:
    return Violation("no-phi", place, "a patient attribute out of its place")


def _check_value(element: DataElement, place: str) -> Iterator[Violation]:
    if element.is_empty or element.VR in {"OB", "OW", "UN", "AT", "OB or OW"}:
        return
    values = element.value if element.VM > 1 else [element.value]
    for value in values:
        text = getattr(value, "original_string", None) or value
        if element.VR == "UI":
            if not _UID.fullmatch(str(text)) or len(str(text)) > 64:
                yield Violation("uid", place, "not a UID")
            continue
        try:
            if element.VR in {"FL", "FD", "US", "UL", "SS", "SL"}:
                validate_value(element.VR, value, config.RAISE)
            else:
                validate_value(element.VR, str(text), config.RAISE)
        except ValueError:
            yield Violation("vr", place, f"not a valid {element.VR}")


def _is_ascii(element: DataElement) -> bool:
    return element.VR not in _TEXT_VRS or str(element.value).isascii()


def _check_schemes(ds: Dataset) -> Iterator[Violation]:
    identified = {
        item.get("CodingSchemeDesignator")
        for item in items_of(ds, "CodingSchemeIdentificationSequence")
    }
    for scheme in sorted(_schemes(ds, {}) - PUBLIC_SCHEMES - identified):
        yield Violation("coding-scheme", "data set", f"{scheme} is not identified")


def _schemes(ds: Dataset, known: dict[int, frozenset[str]]) -> frozenset[str]:
    """Return the coding schemes below a data set; shared sequences are walked once."""
    found: set[str] = set()
    for element in ds:
        if element.VR != "SQ":
            continue
        if id(element) not in known:
            of: set[str] = set()
            for item in element.value:
                if "CodeMeaning" in item and "CodingSchemeDesignator" in item:
                    of.add(str(item.CodingSchemeDesignator))
                of |= _schemes(item, known)
            known[id(element)] = frozenset(of)
        found |= known[id(element)]
    return frozenset(found)


def _check_promises(ds: Dataset) -> Iterator[Violation]:
    """Yield what a result of this node promises and does not keep."""
    if not str(ds.get("SeriesDescription") or "").startswith("AI - not for diagnostic"):
        yield Violation("warning", "SeriesDescription", "does not warn")
    if int(ds.get("SeriesNumber") or 0) < 9000:
        yield Violation("series-number", "SeriesNumber", "below 9000")
    equipment = [
        item
        for item in items_of(ds, "ContributingEquipmentSequence")
        for purpose in items_of(item, "PurposeOfReferenceCodeSequence")
        if purpose.get("CodeValue") == "109102"
    ]
    if not equipment:
        yield Violation("equipment", "data set", "no Processing Equipment")
    for item in equipment:
        yield from missing(item, _EQUIPMENT, "ContributingEquipmentSequence")

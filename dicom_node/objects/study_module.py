"""The patient and study of the source, copied into results as they are.

A result must land beside its images in the PACS, so patient and study attributes are
the source's own, with its character set. What the source spells wrongly is blanked,
so that a weird source still gives a valid result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydicom import Dataset, config
from pydicom.charset import (
    STAND_ALONE_ENCODINGS,
    convert_encodings,
    decode_bytes,
    encode_string,
    python_encoding,
)
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.tag import Tag
from pydicom.valuerep import DA, TM, validate_value

from dicom_node.charsets import has_controls, without_escapes
from dicom_node.objects.sources import UNREADABLE
from dicom_node.quiet import quiet

__all__ = ["copy_study_modules", "plain_sequence"]

_IDENTIFYING = ("PatientName", "PatientID")
"""Copied even when a value breaks its VR: another value would be another patient."""

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
"""Present in every result, empty where unknown (PS3.3 C.7.1.1, C.7.2.1)."""

_MULTI_BYTE = frozenset(f"ISO 2022 IR {number}" for number in (87, 159, 149, 58))
"""Never the first value (PS3.3 C.12.1.1.2): pydicom would switch by escapes to sets
that are not declared."""

_OPTIONAL = (
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
    "StudyDescription",
    "IssuerOfAccessionNumberSequence",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "ProcedureCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "TimezoneOffsetFromUTC",
)
"""Copied where the source has them: Patient, Clinical Trial Subject, General Study,
Patient Study modules (PS3.3 C.7.1.1, C.7.1.3, C.7.2.1, C.7.2.2) and the time zone,
in which our own times are given too."""


_METHODS = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
_METHOD_NOT_STATED = "Not stated by the source"


def copy_study_modules(source: Dataset, target: Dataset, texts: Iterable[str]) -> None:
    """Copy patient and study attributes and choose the character set.

    The character set is the source's own where it can hold everything, that is
    `texts` too; UTF-8 (ISO_IR 192) otherwise. Values that break their VR are
    blanked (type 2) or left out, except the ones that identify the patient.

    Parameters
    ----------
    source : Dataset
        Header of a source instance.
    target : Dataset
        The result; attributes of the same keyword are replaced.
    texts : iterable of str
        What else the result holds as text.

    """
    copied: list[str] = []
    with quiet():
        for keyword in (*_TYPE_2, *_OPTIONAL):
            value = _clean_value(source, keyword)
            if keyword in target:
                del target[keyword]
            if value is None and keyword in _TYPE_2:
                value = ""
            if value is not None:
                _set_quietly(target, keyword, value)
                copied.extend(_strings(target[keyword].value))
    _complete_deidentification(target)
    declared = _declared_character_set(source)
    every_text = [*copied, *texts]
    if "SpecificCharacterSet" in target:
        del target.SpecificCharacterSet
    if all(text.isascii() for text in every_text) and declared is None:
        return
    if declared is not None and _can_hold(declared, every_text):
        target.SpecificCharacterSet = declared
    else:
        target.SpecificCharacterSet = "ISO_IR 192"


def _complete_deidentification(target: Dataset) -> None:
    """Name a method where the identity was removed (type 1C, PS3.3 C.7.1.1).

    Many sources say that it was and not how; without the statement a receiver would
    take the name in the result for a patient's.
    """
    for keyword in _METHODS:
        if keyword in target and not target[keyword].value:
            del target[keyword]
    removed = target.get("PatientIdentityRemoved")
    if removed == "YES" and not any(keyword in target for keyword in _METHODS):
        target.DeidentificationMethod = _METHOD_NOT_STATED
    elif removed not in {"YES", "NO", None}:
        del target.PatientIdentityRemoved


def plain_sequence(source: Dataset, keyword: str) -> list[Dataset]:
    """Copy a sequence of the source; empty when absent or not valid throughout."""
    with quiet():
        return _clean_value(source, keyword) or []


def _clean_value(source: Dataset, keyword: str) -> Any | None:
    """Return a value that is valid for the keyword, or None."""
    vr = dictionary_VR(keyword)
    try:
        if keyword not in source:
            return None
        element = source[keyword]
        value = element.value
        if vr == "SQ":
            return _clean_sequence(value) if element.VR == "SQ" else None
        if value is None or element.VR == "SQ":
            return None
        if keyword in _IDENTIFYING:
            return without_escapes(str(value))
        if element.VR in {"UN", "OB"}:
            value = bytes(value).decode("ascii").strip(" \0")
        valid = _valid(vr, value)
        if vr == "PN" and valid is not None:
            valid = str(valid)
        return without_escapes(valid) if isinstance(valid, str) else valid
    except UNREADABLE:
        return None


def _valid(vr: str, value: Any) -> Any | None:
    values = [value] if isinstance(value, str) or not _is_list(value) else list(value)
    for one in values:
        text = str(getattr(one, "original_string", None) or one)
        if has_controls(text):
            return None
        if vr == "PN":
            groups = text.split("=")
            if len(groups) > 3 or any(len(group) > 64 for group in groups):
                return None
        else:
            validate_value(vr, text, config.RAISE)
        if vr == "DA" and text:
            DA(text)  # rejects days that no calendar has
        if vr == "TM" and text:
            TM(text)
    return value


def _clean_sequence(items: Sequence[Dataset]) -> list[Dataset] | None:
    """Copy sequence items with all their elements valid, or None."""
    copies = []
    for item in items:
        copy = Dataset()
        for element in item:
            if element.tag.is_private or element.keyword == "SpecificCharacterSet":
                continue
            if element.VR == "SQ":
                value: Any = _clean_sequence(element.value)
            else:
                value = element.value
                if value is not None and element.VR not in {"OB", "OW", "UN"}:
                    value = _valid(element.VR, value)
            if value is None and element.value not in (None, ""):
                return None
            setattr(copy, element.keyword, value)
        copies.append(copy)
    return copies


def _set_quietly(target: Dataset, keyword: str, value: Any) -> None:
    """Set a value that may break its VR: it is the source's own."""
    target.add(
        DataElement(
            Tag(keyword), dictionary_VR(keyword), value, validation_mode=config.IGNORE
        )
    )


def _declared_character_set(source: Dataset) -> str | list[str] | None:
    value = source.get("SpecificCharacterSet")
    if not value:
        return None
    names = [value] if isinstance(value, str) else [str(name) for name in value]
    # What pydicom would mend is not to be copied: another name, or one too many.
    is_alone = len(names) == 1
    if names[0] in _MULTI_BYTE:
        return None
    if not all(
        name in python_encoding and (is_alone or name not in STAND_ALONE_ENCODINGS)
        for name in names
    ):
        return None
    return names[0] if len(names) == 1 else names


def _can_hold(declared: str | list[str], texts: Iterable[str]) -> bool:
    encodings = convert_encodings(declared)
    return all(text.isascii() or _survives(text, encodings) for text in texts)


def _survives(text: str, encodings: list[str]) -> bool:
    """Whether a text is the same after encoding and decoding."""
    try:
        with quiet():  # what does not fit is replaced, and differs
            return (
                decode_bytes(encode_string(text, encodings), encodings, set()) == text
            )
    except UNREADABLE:
        return False


def _strings(value: Any) -> Iterator[str]:
    """Yield every text in a value, those of nested items too."""
    if isinstance(value, Dataset):
        for element in value:
            yield from _strings(element.value)
    elif _is_list(value):
        for one in value:
            yield from _strings(one)
    elif value is not None:
        yield str(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)

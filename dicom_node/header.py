"""What an instance is, read from its bytes without decoding them.

The reader walks the data set element by element, skips the values, never recurses
and never needs the pixels. What it accepts, pydicom can read without exhausting the
stack; what it refuses is answered with 0xC000.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from pydicom.charset import convert_encodings

from dicom_node.charsets import decode_text
from dicom_node.data_set import BeyondHeadError, DataSetScan, Tag, scan_data_set
from dicom_node.errors import CannotUnderstandError
from dicom_node.identity import (
    MODEL_NAME,
    derive_series_uid,
    derive_study_uid,
)
from dicom_node.quiet import quiet

__all__ = [
    "Envelope",
    "InstanceHeader",
    "is_uid",
    "read_data_set_header",
    "read_header",
]

_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_DELIMITERS = {ord(one) for one in "\\^="}
"""After these, the first character set holds again (PS3.5 6.1.2.5.3)."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_PREFIX_BYTES = 132
_PROCESSING_EQUIPMENT = (b"109102", b"DCM")
_DEFLATED = re.compile(r"1\.2\.840\.10008\.1\.2\.(1\.99|8\.1|4\.95|4\.205)")
"""Syntaxes whose data set is compressed as a whole, or in part, by deflate."""

_META_GROUP_LENGTH = bytes((2, 0, 0, 0))
"""Tag of the first element of file meta information."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is known of a data set before it is read.

    UIDs of class and instance may be empty.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_offset: int
    """Where the data set begins in its file, in bytes."""


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """What identifies an instance.

    SOP Class and SOP Instance UID are those of the data set or, where it has none,
    of its envelope: the command that brought it, or the file meta information.
    Study and Series Instance UID are never empty: where the data set has none, they
    are derived from what the instances of one study or series share (`identity`), so
    that such instances still come together.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str
    is_own_result: bool
    """True: Contributing Equipment names this node as Processing Equipment."""
    data_set_offset: int
    """Where the data set begins in the file, in bytes."""
    study: Mapping[str, str] = field(default_factory=dict)
    """What is said of patient and study, by keyword; empty values are left out."""
    series: Mapping[str, str] = field(default_factory=dict)
    """What is said of the series, by keyword."""
    image: Mapping[str, int] = field(default_factory=dict)
    """Instance Number, rows, columns and frames, by keyword."""


_STUDY = {
    "StudyDate": Tag.STUDY_DATE,
    "StudyTime": Tag.STUDY_TIME,
    "AccessionNumber": Tag.ACCESSION_NUMBER,
    "InstitutionName": Tag.INSTITUTION_NAME,
    "ReferringPhysicianName": Tag.REFERRING_PHYSICIAN_NAME,
    "StudyDescription": Tag.STUDY_DESCRIPTION,
    "PatientName": Tag.PATIENT_NAME,
    "PatientID": Tag.PATIENT_ID,
    "IssuerOfPatientID": Tag.ISSUER_OF_PATIENT_ID,
    "PatientBirthDate": Tag.PATIENT_BIRTH_DATE,
    "PatientSex": Tag.PATIENT_SEX,
    "StudyID": Tag.STUDY_ID,
}
"""What QIDO-RS, rules and the page know of a study without opening its files."""

_SERIES = {
    "Modality": Tag.MODALITY,
    "SeriesDate": Tag.SERIES_DATE,
    "SeriesTime": Tag.SERIES_TIME,
    "SeriesDescription": Tag.SERIES_DESCRIPTION,
    "SeriesNumber": Tag.SERIES_NUMBER,
    "BodyPartExamined": Tag.BODY_PART_EXAMINED,
    "ProtocolName": Tag.PROTOCOL_NAME,
    "Manufacturer": Tag.MANUFACTURER,
    "StationName": Tag.STATION_NAME,
}
"""The same of a series."""


def is_uid(text: str) -> bool:
    """Return whether text is 1 to 64 characters of a UID, PS3.5 9.1.

    Leading zeros of a component are let pass: they are common and harmless.
    """
    return len(text) <= 64 and _is_uid(text)


@functools.lru_cache(maxsize=1024)  # a sender repeats most of its UIDs
def _is_uid(text: str) -> bool:
    return _UID.fullmatch(text) is not None


def read_header(source: Path | bytes) -> InstanceHeader:
    """Read what identifies the instance in a DICOM file.

    Parameters
    ----------
    source : pathlib.Path or bytes
        A DICOM file (PS3.10 7), or what is in it; the preamble may be missing, and
        all that comes before the data set too.

    Raises
    ------
    CannotUnderstandError
        It is not a DICOM file, cannot be parsed, nests sequences more than 64 deep,
        is deflated, lacks SOP Class UID or SOP Instance UID, or holds a UID that is
        none. The message is free of patient data.

    """
    if isinstance(source, bytes):
        return _read(source)
    try:
        with source.open("rb") as file, _map(file) as data:
            return _read(data)
    except (OSError, ValueError) as error:
        raise CannotUnderstandError("the file is empty or cannot be read") from error


def read_data_set_header(
    path: Path, *, envelope: Envelope, head: bytes = b"", size_bytes: int = 0
) -> InstanceHeader:
    """Read what identifies the instance in a file that holds an enveloped data set.

    Parameters
    ----------
    path : pathlib.Path
        The file; it is not opened where ``head`` tells all.
    envelope : Envelope
        What is known of the data set.
    head : bytes
        How the data set begins.
    size_bytes : int
        How long the data set is of which that is the beginning.

    Raises
    ------
    CannotUnderstandError
        As `read_header`.
    OSError
        The disk does not give the file: that is not the data set's fault.

    """
    if head:
        with contextlib.suppress(BeyondHeadError):
            scan = _scan(head, envelope, start=0, size=size_bytes)
            return _understand(scan, envelope)
    try:
        with path.open("rb") as file, _map(file) as data:
            return _read_data_set(data, envelope)
    except ValueError as error:
        raise CannotUnderstandError("the data set cannot be read") from error


def _map(file: BinaryIO) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _read(data: bytes | mmap.mmap) -> InstanceHeader:
    start = _PREFIX_BYTES
    if data[128:_PREFIX_BYTES] != b"DICM":
        if syntax := _bare_syntax(data[:8]):
            return _read_data_set(data, Envelope("", "", syntax, data_set_offset=0))
        if data[:4] != _META_GROUP_LENGTH:
            raise CannotUnderstandError("it is not a DICOM file")
        start = 0
    meta = scan_data_set(
        data, start=start, is_implicit=False, is_little=True, group=0x0002
    )
    return _read_data_set(
        data,
        Envelope(
            sop_class_uid=_uid(meta.values, Tag.MEDIA_STORAGE_SOP_CLASS_UID),
            sop_instance_uid=_uid(meta.values, Tag.MEDIA_STORAGE_SOP_INSTANCE_UID),
            transfer_syntax_uid=_uid(meta.values, Tag.TRANSFER_SYNTAX_UID),
            data_set_offset=meta.end,
        ),
    )


def _bare_syntax(head: bytes) -> str:
    """Return the transfer syntax of a data set that begins a file; empty: none does.

    Old archives write data sets without preamble and meta information; they begin
    with group 0008, and an explicit VR is two capital letters.
    """
    if len(head) < 8:
        return ""
    is_explicit = head[4:6].isalpha() and head[4:6].isupper()
    if head[:2] == b"\0\x08" and is_explicit:
        return "1.2.840.10008.1.2.2"
    if head[:2] == b"\x08\0" and head[3] == 0:
        return "1.2.840.10008.1.2.1" if is_explicit else "1.2.840.10008.1.2"
    return ""


def _read_data_set(data: bytes | mmap.mmap, envelope: Envelope) -> InstanceHeader:
    scan = _scan(data, envelope, start=envelope.data_set_offset, size=len(data))
    return _understand(scan, envelope)


def _scan(
    data: bytes | mmap.mmap, envelope: Envelope, *, start: int, size: int
) -> DataSetScan:
    syntax = envelope.transfer_syntax_uid
    if not is_uid(syntax):
        raise CannotUnderstandError("the file does not name its transfer syntax")
    if _DEFLATED.fullmatch(syntax):
        raise CannotUnderstandError("deflated data sets are not accepted")
    return scan_data_set(
        data,
        start=start,
        is_implicit=syntax == "1.2.840.10008.1.2",
        is_little=syntax != "1.2.840.10008.1.2.2",
        size=size,
    )


def _understand(scan: DataSetScan, envelope: Envelope) -> InstanceHeader:
    if not scan.values:
        raise CannotUnderstandError("the data set holds nothing that identifies it")
    found = {
        tag: _uid(scan.values, tag)
        for tag in (
            Tag.SOP_CLASS_UID,
            Tag.SOP_INSTANCE_UID,
            Tag.STUDY_INSTANCE_UID,
            Tag.SERIES_INSTANCE_UID,
        )
    }
    sop_class_uid = found[Tag.SOP_CLASS_UID] or envelope.sop_class_uid
    sop_instance_uid = found[Tag.SOP_INSTANCE_UID] or envelope.sop_instance_uid
    if not (sop_class_uid and sop_instance_uid):
        raise CannotUnderstandError("SOP Class UID or SOP Instance UID is missing")
    study_uid = found[Tag.STUDY_INSTANCE_UID] or derive_study_uid(
        patient_id=_text(scan.values, Tag.PATIENT_ID),
        study_date=_text(scan.values, Tag.STUDY_DATE),
        study_time=_text(scan.values, Tag.STUDY_TIME),
        study_id=_text(scan.values, Tag.STUDY_ID),
        accession_number=_text(scan.values, Tag.ACCESSION_NUMBER),
        frame_of_reference_uid=_text(scan.values, Tag.FRAME_OF_REFERENCE_UID),
    )
    return InstanceHeader(
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=envelope.transfer_syntax_uid,
        study_instance_uid=study_uid,
        series_instance_uid=found[Tag.SERIES_INSTANCE_UID]
        or derive_series_uid(
            study_instance_uid=study_uid,
            modality=_text(scan.values, Tag.MODALITY),
            series_number=_text(scan.values, Tag.SERIES_NUMBER),
            series_description=_text(scan.values, Tag.SERIES_DESCRIPTION),
            frame_of_reference_uid=_text(scan.values, Tag.FRAME_OF_REFERENCE_UID),
        ),
        is_own_result=_is_own_result(scan),
        data_set_offset=envelope.data_set_offset,
        study=_texts(scan, _STUDY),
        series=_texts(scan, _SERIES),
        image=_numbers(scan),
    )


def _texts(scan: DataSetScan, tags: Mapping[str, Tag]) -> dict[str, str]:
    find = scan.values.get
    values = tuple([find(tag, b"") for tag in tags.values()])
    texts = _decoded(values, find(Tag.SPECIFIC_CHARACTER_SET, b""))
    return {keyword: text for keyword, text in zip(tags, texts, strict=True) if text}


@functools.lru_cache(maxsize=64)  # the instances of a series say the same
def _decoded(values: tuple[bytes, ...], character_sets: bytes) -> tuple[str, ...]:
    # A database keeps no NUL, and nothing that is no text.
    return tuple(
        _UNPRINTABLE.sub("", _decode(value, character_sets)).strip() for value in values
    )


def _numbers(scan: DataSetScan) -> dict[str, int]:
    found = {}
    for keyword, tag in (
        ("InstanceNumber", Tag.INSTANCE_NUMBER),
        ("NumberOfFrames", Tag.NUMBER_OF_FRAMES),
    ):
        text = _text(scan.values, tag)
        if _INTEGER.fullmatch(text):
            found[keyword] = int(text)
    order: Literal["little", "big"] = "little" if scan.is_little else "big"
    for keyword, tag in (("Rows", Tag.ROWS), ("Columns", Tag.COLUMNS)):
        value = scan.values.get(tag, b"")
        if len(value) == 2:
            found[keyword] = int.from_bytes(value, order)
    return found


def _uid(values: Mapping[int, bytes], tag: Tag) -> str:
    text = values.get(tag, b"").strip(b"\0 ").decode("ascii", "replace")
    if text and not is_uid(text):
        words = (
            word if word in {"SOP", "UID"} else word.title()
            for word in tag.name.split("_")
        )
        raise CannotUnderstandError(f"{' '.join(words)} is not a UID")
    return text


def _is_own_result(scan: DataSetScan) -> bool:
    return any(
        equipment.get(Tag.MANUFACTURER_MODEL_NAME, b"").strip(b" \0")
        == MODEL_NAME.encode()
        and (
            equipment.get(Tag.CODE_VALUE, b"").strip(b" \0"),
            equipment.get(Tag.CODING_SCHEME_DESIGNATOR, b"").strip(b" \0"),
        )
        == _PROCESSING_EQUIPMENT
        for equipment in scan.contributing_equipment
    )


def _text(values: Mapping[int, bytes], tag: Tag) -> str:
    return _decode(values.get(tag, b""), values.get(Tag.SPECIFIC_CHARACTER_SET, b""))


def _decode(value: bytes, character_sets: bytes) -> str:
    """Decode a value by the character sets that the data set names (PS3.5 6.1)."""
    value = value.strip(b" \0")
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    names = character_sets.decode("ascii", "replace")
    try:
        with quiet():
            encodings = convert_encodings(
                [one.strip(" \0") for one in names.split("\\")]
            )
            return decode_text(value, encodings, _DELIMITERS)
    except (LookupError, UnicodeError, ValueError):
        return value.decode("latin-1")

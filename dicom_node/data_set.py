"""A walk over an encoded data set: where its elements are, never what they mean.

The walk is a loop over an explicit stack (PS3.5 7), so that neither depth nor length
of what a caller sends can exhaust the interpreter.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

from pydicom._dicom_dict import DicomDictionary

from conformance.profile import ASSOCIATION_LIMITS
from dicom_node.errors import CannotUnderstandError

__all__ = ["BeyondHeadError", "DataSetScan", "Tag", "scan_data_set"]

Buffer: TypeAlias = bytes | mmap.mmap


class Tag(IntEnum):
    """The elements that the node reads of every instance."""

    MEDIA_STORAGE_SOP_CLASS_UID = 0x00020002
    MEDIA_STORAGE_SOP_INSTANCE_UID = 0x00020003
    TRANSFER_SYNTAX_UID = 0x00020010
    SPECIFIC_CHARACTER_SET = 0x00080005
    SOP_CLASS_UID = 0x00080016
    SOP_INSTANCE_UID = 0x00080018
    STUDY_DATE = 0x00080020
    SERIES_DATE = 0x00080021
    STUDY_TIME = 0x00080030
    SERIES_TIME = 0x00080031
    ACCESSION_NUMBER = 0x00080050
    MODALITY = 0x00080060
    MANUFACTURER = 0x00080070
    INSTITUTION_NAME = 0x00080080
    REFERRING_PHYSICIAN_NAME = 0x00080090
    CODE_VALUE = 0x00080100
    CODING_SCHEME_DESIGNATOR = 0x00080102
    STATION_NAME = 0x00081010
    STUDY_DESCRIPTION = 0x00081030
    SERIES_DESCRIPTION = 0x0008103E
    MANUFACTURER_MODEL_NAME = 0x00081090
    PATIENT_NAME = 0x00100010
    PATIENT_ID = 0x00100020
    ISSUER_OF_PATIENT_ID = 0x00100021
    PATIENT_BIRTH_DATE = 0x00100030
    PATIENT_SEX = 0x00100040
    BODY_PART_EXAMINED = 0x00180015
    PROTOCOL_NAME = 0x00181030
    CONTRIBUTING_EQUIPMENT_SEQUENCE = 0x0018A001
    STUDY_INSTANCE_UID = 0x0020000D
    SERIES_INSTANCE_UID = 0x0020000E
    STUDY_ID = 0x00200010
    SERIES_NUMBER = 0x00200011
    INSTANCE_NUMBER = 0x00200013
    FRAME_OF_REFERENCE_UID = 0x00200052
    NUMBER_OF_FRAMES = 0x00280008
    ROWS = 0x00280010
    COLUMNS = 0x00280011
    PURPOSE_OF_REFERENCE_CODE_SEQUENCE = 0x0040A170
    PIXEL_DATA = 0x7FE00010


_ITEM = 0xFFFEE000
_ITEM_DELIMITATION = 0xFFFEE00D
_SEQUENCE_DELIMITATION = 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_NO_END = -1

_LONG_VRS = frozenset(
    {
        b"OB",
        b"OD",
        b"OF",
        b"OL",
        b"OV",
        b"OW",
        b"SQ",
        b"SV",
        b"UC",
        b"UN",
        b"UR",
        b"UT",
        b"UV",
    }
)
"""VRs with a 32-bit length, PS3.5 7.1.2."""

_VRS = _LONG_VRS | frozenset(
    entry[0].encode() for entry in DicomDictionary.values() if len(entry[0]) == 2
)
"""Every VR, PS3.5 6.2."""

_PLAIN_VRS = _VRS - {b"SQ", b"UN"}
_PLAIN = struct.Struct("<HH2sH")
_LENGTH = struct.Struct("<L")

_SEQUENCES = frozenset(
    tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ"
)
"""Elements that are sequences where the encoding does not say so."""

_MAX_ELEMENTS = 10_000_000
"""A whole-slide image with every frame described has about a million."""

_MAX_VALUE_BYTES = 1024
"""No value that is read is longer; what is longer is cut."""

_TOP = frozenset(
    set(Tag)
    - {Tag.CODE_VALUE, Tag.CODING_SCHEME_DESIGNATOR, Tag.MANUFACTURER_MODEL_NAME}
    - {Tag.PIXEL_DATA}
)
_EQUIPMENT = frozenset({Tag.MANUFACTURER_MODEL_NAME})
_PURPOSE = frozenset({Tag.CODE_VALUE, Tag.CODING_SCHEME_DESIGNATOR})
_NOTHING: frozenset[int] = frozenset()


class BeyondHeadError(Exception):
    """The walk needs more than the beginning of the data set that it was given."""


@dataclass(slots=True)
class DataSetScan:
    """What a walk found. Values are raw bytes, at most 1,024 of each."""

    values: dict[int, bytes] = field(default_factory=dict)
    contributing_equipment: list[dict[int, bytes]] = field(default_factory=list)
    """Of each item: model name, and code and scheme of its purpose."""
    end: int = 0
    """Where the walk ended."""
    is_little: bool = True
    """How the numbers among the values are encoded."""


@dataclass(slots=True)
class _Level:
    """A data set (the whole, or an item) or a sequence that is being walked."""

    is_sequence: bool
    end: int
    """Where it ends; -1: at its delimitation item."""
    limit: int
    """Nothing in it reaches further."""
    is_implicit: bool
    is_little: bool
    wanted: frozenset[int] = _NOTHING
    found: dict[int, bytes] | None = None
    """Where wanted values go, of this level and of the items of a sequence."""


def scan_data_set(
    data: Buffer,
    *,
    start: int,
    is_implicit: bool,
    is_little: bool,
    group: int | None = None,
    size: int | None = None,
) -> DataSetScan:
    """Walk over a data set.

    Parameters
    ----------
    data : bytes or mmap.mmap
        What holds it, to its end, or a beginning of that.
    start : int
        Where it begins, in bytes.
    is_implicit, is_little : bool
        How it is encoded.
    group : int, optional
        Walk over this group alone and stop at the next one (file meta information).
    size : int, optional
        How long the whole is of which ``data`` is the beginning, in bytes.

    Raises
    ------
    CannotUnderstandError
        Lengths do not fit, sequences nest too deep, or there are too many elements.
    BeyondHeadError
        What is in ``data`` does not suffice to tell.

    """
    end = len(data) if size is None else size
    return _Walk(data, start, end, is_implicit, is_little, group).run()


class _Walk:
    def __init__(
        self,
        data: Buffer,
        start: int,
        end: int,
        is_implicit: bool,
        is_little: bool,
        group: int | None,
    ) -> None:
        self._data = data
        self._readable = len(data)
        self._position = start
        self._group = group
        self._scan = DataSetScan(is_little=is_little)
        self._elements = 0
        self._depth = 0
        # Like pydicom, believe the first element more than the transfer syntax.
        if is_implicit and self._bytes(start + 4, min(start + 6, end)) in _VRS:
            is_implicit = False
        self._stack = [
            _Level(
                is_sequence=False,
                end=end,
                limit=end,
                is_implicit=is_implicit,
                is_little=is_little,
                wanted=_TOP,
                found=self._scan.values,
            )
        ]

    def run(self) -> DataSetScan:
        while self._stack:
            level = self._stack[-1]
            if len(self._stack) == 1 and self._group is None:
                self._step_over_plain(level)
            if level.end != _NO_END and self._position >= level.end:
                self._pop()
            elif self._is_padding(level):
                break
            elif level.is_sequence:
                self._step_sequence(level)
            elif not self._step_data_set(level):
                break
            self._count()
        self._scan.end = self._position
        return self._scan

    def _step_over_plain(self, level: _Level) -> None:
        """Step over the plain elements that come next, which nearly all are.

        An element is plain that has an explicit VR, a defined length and no items;
        whatever is not, or does not fit, is left to the steps that know what it is.
        """
        if level.is_implicit or not level.is_little or level.is_sequence:
            return
        data, end, wanted, found = self._data, level.end, level.wanted, level.found
        position, readable = self._position, min(end, self._readable)
        count = 0
        while position + 12 <= readable:
            group, element, vr, length = _PLAIN.unpack_from(data, position)
            if group < 0x0008 or group >= 0xFFFE or vr not in _PLAIN_VRS:
                break
            value = position + 8
            if vr in _LONG_VRS:
                (length,) = _LENGTH.unpack_from(data, value)
                value += 4
            if value + length > end or length == _UNDEFINED:
                break
            position = value + length
            count += 1
            tag = group << 16 | element
            if tag in wanted and found is not None:
                found[tag] = self._bytes(value, min(position, value + _MAX_VALUE_BYTES))
        self._position = position
        self._count(count)

    def _bytes(self, start: int, stop: int) -> bytes:
        if stop > self._readable:
            raise BeyondHeadError
        return bytes(self._data[start:stop])

    def _count(self, elements: int = 1) -> None:
        self._elements += elements
        if self._elements > _MAX_ELEMENTS:
            raise CannotUnderstandError("the data set has too many elements")

    def _is_padding(self, level: _Level) -> bool:
        # Fewer bytes than an element needs, at the very end: some writers pad.
        return len(self._stack) == 1 and level.end - self._position < 8

    def _pop(self) -> None:
        self._depth -= self._stack.pop().is_sequence

    def _head(self, level: _Level) -> tuple[int, bytes]:
        if self._position + 8 > level.limit:
            raise CannotUnderstandError("the data set is cut short")
        head = self._bytes(self._position, self._position + 8)
        group, element = struct.unpack_from("<HH" if level.is_little else ">HH", head)
        return group << 16 | element, head

    def _step_sequence(self, level: _Level) -> None:
        tag, head = self._head(level)
        length = _length32(head, level.is_little)
        self._position += 8
        if tag == _SEQUENCE_DELIMITATION and level.end == _NO_END:
            self._pop()
        elif tag == _ITEM:
            self._push(level, length, is_sequence=False, is_implicit=level.is_implicit)
        else:
            raise CannotUnderstandError("a sequence holds something but items")

    def _step_data_set(self, level: _Level) -> bool:
        """Step over one element; False: the group that was asked for has ended."""
        tag, head = self._head(level)
        if len(self._stack) == 1:
            if self._group is not None and tag >> 16 != self._group:
                return False
            if self._group is None and tag >> 16 in (0x0000, 0x0002):
                # Readers would take these for the file's own meta information.
                raise CannotUnderstandError("a data set holds no group 0000 or 0002")
        self._position += 8
        if tag >> 16 == 0xFFFE:
            if tag != _ITEM_DELIMITATION or level.end != _NO_END:
                raise CannotUnderstandError("an item delimiter out of place")
            self._pop()
            return True
        vr, length = self._vr_and_length(level, tag, head)
        is_sequence = vr == b"SQ" or (vr in (b"", b"UN") and tag in _SEQUENCES)
        if length == _UNDEFINED and (
            tag == Tag.PIXEL_DATA or vr in (b"OB", b"OW", b"OF", b"OD")
        ):
            self._skip_fragments(level)
        elif is_sequence or length == _UNDEFINED:
            self._open_sequence(level, tag, vr, length)
        else:
            self._step_over(level, tag, length)
        return True

    def _vr_and_length(self, level: _Level, tag: int, head: bytes) -> tuple[bytes, int]:
        vr = head[4:6]
        # Like pydicom, take an element without a VR for an implicit one.
        if level.is_implicit or not (vr.isalpha() and vr.isupper()):
            return b"", _length32(head, level.is_little)
        if vr not in _LONG_VRS:
            return vr, int.from_bytes(head[6:8], "little" if level.is_little else "big")
        if self._position + 4 > level.limit:
            raise CannotUnderstandError("the data set is cut short")
        length = self._bytes(self._position, self._position + 4)
        self._position += 4
        return vr, int.from_bytes(length, "little" if level.is_little else "big")

    def _step_over(self, level: _Level, tag: int, length: int) -> None:
        end = self._position + length
        if end > level.limit:
            raise CannotUnderstandError("a value is longer than what holds it")
        if tag in level.wanted and level.found is not None:
            cut = min(end, self._position + _MAX_VALUE_BYTES)
            level.found[tag] = self._bytes(self._position, cut)
        self._position = end

    def _open_sequence(self, level: _Level, tag: int, vr: bytes, length: int) -> None:
        self._depth += 1
        if self._depth > ASSOCIATION_LIMITS.nesting:
            raise CannotUnderstandError("sequences nest too deep")
        # PS3.5 6.2.2: the value of UN is Implicit VR Little Endian.
        is_unknown = vr == b"UN"
        self._push(
            level,
            length,
            is_sequence=True,
            is_implicit=is_unknown or level.is_implicit,
            is_little=is_unknown or level.is_little,
        )
        opened = self._stack[-1]
        if len(self._stack) == 2 and tag == Tag.CONTRIBUTING_EQUIPMENT_SEQUENCE:
            opened.wanted = _EQUIPMENT
        elif (
            level.wanted is _EQUIPMENT and tag == Tag.PURPOSE_OF_REFERENCE_CODE_SEQUENCE
        ):
            opened.wanted, opened.found = _PURPOSE, level.found

    def _push(
        self,
        level: _Level,
        length: int,
        *,
        is_sequence: bool,
        is_implicit: bool,
        is_little: bool | None = None,
    ) -> None:
        end = _NO_END if length == _UNDEFINED else self._position + length
        if end > level.limit:
            raise CannotUnderstandError("a sequence or item is longer than its holder")
        pushed = _Level(
            is_sequence=is_sequence,
            end=end,
            limit=level.limit if end == _NO_END else end,
            is_implicit=is_implicit,
            is_little=level.is_little if is_little is None else is_little,
        )
        if not is_sequence and level.wanted:
            pushed.wanted, pushed.found = level.wanted, level.found
            if level.wanted is _EQUIPMENT:
                pushed.found = {}
                self._scan.contributing_equipment.append(pushed.found)
        self._stack.append(pushed)

    def _skip_fragments(self, level: _Level) -> None:
        # PS3.5 A.4: items of defined length, then the sequence delimitation item.
        while True:
            tag, head = self._head(level)
            length = _length32(head, level.is_little)
            self._position += 8
            if tag == _SEQUENCE_DELIMITATION:
                return
            if tag != _ITEM or self._position + length > level.limit:
                raise CannotUnderstandError("the fragments of the pixels do not fit")
            self._position += length
            self._count()


def _length32(head: bytes, is_little: bool) -> int:
    return int.from_bytes(head[4:8], "little" if is_little else "big")

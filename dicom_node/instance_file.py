"""How an instance lies in its file: the meta information before it, and its hash."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from conformance.profile import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.header import InstanceHeader

__all__ = ["file_meta", "instance_hash", "instance_sha256"]

_BLOCK_BYTES = 1 << 20
_META_ELEMENT = struct.Struct("<HH2sH")


def instance_hash(
    *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
) -> hashlib._Hash:
    """Begin the hash that names an instance's content; feed it the data set.

    It covers the UIDs of class, instance and transfer syntax and the bytes of the
    data set, and leaves out the rest of the file meta information, which whoever
    wrote the file chose: the same instance has the same hash whether it came over
    the network or lies in a file.
    """
    uids = f"{sop_class_uid}\n{sop_instance_uid}\n{transfer_syntax_uid}\n"
    return hashlib.sha256(uids.encode("ascii", "replace"))


def instance_sha256(path: Path, header: InstanceHeader) -> str:
    """Return the hash of an instance in a file, as `instance_hash` defines it.

    Raises
    ------
    OSError
        The file cannot be read.

    """
    digest = instance_hash(
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
    )
    with path.open("rb") as file:
        file.seek(header.data_set_offset)
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def file_meta(
    *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
) -> bytes:
    """Encode preamble, prefix and file meta information, PS3.10 7.1.

    The preamble is zero, so that the file is nothing else as well (CVE-2019-11687).
    """
    elements = b"".join(
        (
            _META_ELEMENT.pack(2, 0x0001, b"OB", 0) + struct.pack("<L", 2) + b"\0\1",
            _meta_text(0x0002, b"UI", sop_class_uid),
            _meta_text(0x0003, b"UI", sop_instance_uid),
            _meta_text(0x0010, b"UI", transfer_syntax_uid),
            _meta_text(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _meta_text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
        )
    )
    length = _META_ELEMENT.pack(2, 0, b"UL", 4) + struct.pack("<L", len(elements))
    return bytes(128) + b"DICM" + length + elements


def _meta_text(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return _META_ELEMENT.pack(2, element, vr, len(value)) + value

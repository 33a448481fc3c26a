"""Stores and what goes into them, for tests."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dicom_node.records import ObjectReference, ReceivedInstance, ResultObject

__all__ = ["NOON", "received", "result_object"]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""When the first instance comes."""


def received(
    number: int = 1, *, after_s: float = 0.0, **changes: Any
) -> ReceivedInstance:
    """Build an instance of study 1.2.3; ``changes`` replace its fields."""
    uid = changes.get("sop_instance_uid", f"1.2.3.4.{number}")
    sha256 = hashlib.sha256(f"{uid} as first sent".encode()).hexdigest()
    values: dict[str, Any] = {
        "sop_instance_uid": uid,
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "study_instance_uid": "1.2.3",
        "series_instance_uid": "1.2.3.4",
        "path": Path(f"spool/{sha256}.dcm"),
        "sha256": sha256,
        "size_bytes": 1000,
        "calling_ae_title": "PACS",
        "peer_address": "127.0.0.1",
        "received_at": NOON + timedelta(seconds=after_s),
        "is_own_result": False,
    }
    return ReceivedInstance(**(values | changes))


def result_object(
    folder: Path,
    number: int = 1,
    *,
    content: bytes = b"result",
    profile: str = "default",
) -> ResultObject:
    """Write a file that stands for a result object."""
    path = folder / f"{number}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return ResultObject(
        path=path,
        reference=ObjectReference(
            sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
            sop_instance_uid=f"2.25.{number}",
            series_instance_uid="2.25.99",
            study_instance_uid="1.2.3",
        ),
        sha256=hashlib.sha256(content).hexdigest(),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        profile=profile,
    )

"""FHIR resources for tests, as reporting systems send them."""

from __future__ import annotations

import base64
import json
from typing import Any

__all__ = ["STUDY_UID", "attachment", "body", "make_report"]

STUDY_UID = "1.2.840.99.7"


def make_report(*, release: str = "R5", **changes: Any) -> dict[str, Any]:
    """Build a DiagnosticReport that names its study and patient."""
    study = "study" if release == "R5" else "imagingStudy"
    values: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "code": {"text": "CT chest"},
        "identifier": [{"system": "urn:ris", "value": "R-77"}],
        "subject": {"identifier": {"value": "4711"}},
        study: [{"identifier": _uid(STUDY_UID)}],
        "conclusion": "Left pleural effusion.",
    }
    return {
        name: value for name, value in (values | changes).items() if value is not None
    }


def attachment(text: str | bytes, kind: str = "text/plain") -> dict[str, Any]:
    """Build an Attachment with its data inside."""
    data = text.encode() if isinstance(text, str) else text
    return {"contentType": kind, "data": base64.b64encode(data).decode()}


def body(resource: object) -> bytes:
    """Write a resource."""
    return json.dumps(resource).encode()


def _uid(uid: str) -> dict[str, str]:
    return {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}

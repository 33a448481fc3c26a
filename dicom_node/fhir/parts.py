"""Small pieces of FHIR R5: codes, identifiers, references, and ids from names."""

from __future__ import annotations

import uuid
from typing import Any

from dicom_node.identity import derive_uid
from dicom_node.records import Code, StudyResult

__all__ = ["Ids", "concept", "oid", "reference", "sop_class", "uid_identifier"]

_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "FMA": "http://purl.org/sig/ont/fma",
    "RADLEX": "http://radlex.org",
    "UCUM": "http://unitsofmeasure.org",
}
"""PS3.16 8: coding scheme designators and their FHIR systems."""


class Ids:
    """Derives ids: the same result, the same ids (UUID version 5)."""

    def __init__(self, result: StudyResult) -> None:
        self._names = (
            result.study_instance_uid,
            result.content_version,
            result.model_sha256,
            result.configuration_sha256,
        )

    def of_result(self, *parts: str) -> str:
        """Return the id of something that this version of the result says."""
        return self.lasting(*self._names, *parts)

    def lasting(self, *parts: str) -> str:
        """Return the id of something that outlives a version: a patient, a study."""
        number = int(derive_uid("fhir", *parts).removeprefix("2.25."))
        return str(uuid.UUID(int=number))


def concept(code: Code, *, text: str = "") -> dict[str, Any]:
    """Return a CodeableConcept."""
    system = _SYSTEMS.get(code.scheme, f"urn:dicom:coding-scheme:{code.scheme}")
    coding = {"system": system, "code": code.value, "display": code.meaning}
    return {"coding": [coding], "text": text or code.meaning}


def oid(uid: str) -> str:
    """Return a UID as a URI (RFC 3061)."""
    return f"urn:oid:{uid}"


def uid_identifier(uid: str) -> dict[str, Any]:
    """Return a UID as an Identifier (FHIR R5, ImagingStudy 8.22.5)."""
    return {"system": "urn:dicom:uid", "value": oid(uid)}


def sop_class(uid: str) -> dict[str, Any]:
    """Return a SOP class as a Coding."""
    return {"system": "urn:ietf:rfc:3986", "code": oid(uid)}


def reference(resource: dict[str, Any]) -> dict[str, str]:
    """Return a Reference to another resource of the same bundle."""
    return {
        "reference": f"urn:uuid:{resource['id']}",
        "type": resource["resourceType"],
    }

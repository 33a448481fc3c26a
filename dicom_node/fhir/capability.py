"""What the node's FHIR interface can do: its CapabilityStatement."""

from __future__ import annotations

from typing import Any

from dicom_node import __version__
from dicom_node.identity import MANUFACTURER, MODEL_NAME

__all__ = ["capability_statement"]

_VERSIONS = {"R4": "4.0.1", "R5": "5.0.0"}

_CHANGED = "2026-11-22"
"""When the interface last changed."""

_CREATE = (
    "Hands in a report, in R4 or R5, as a DiagnosticReport or a Bundle that holds some "
    "with what they refer to; all of them are kept or none. It must name its study "
    "(identifier urn:dicom:uid) or an accession number (ACSN). 201: it is kept and "
    "joins its study whichever comes first; 200: it was known. Location is the first "
    "report. A report with an identifier replaces the one before of the same sender; "
    "one that corrects or withdraws must have it. Role sender."
)

_READ = (
    "A report that was handed in by any channel, as its sender said it: status, text "
    "(presentedForm), identifiers and study. Role viewer."
)


def capability_statement(release: str = "R5") -> dict[str, Any]:
    """Return the CapabilityStatement for a release, R4 or R5."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": _CHANGED,
        "publisher": MANUFACTURER,
        "kind": "instance",
        "software": {"name": MODEL_NAME, "version": __version__},
        "implementation": {
            "description": "Report phrases as regions in images. AI - not for "
            "diagnostic use."
        },
        "fhirVersion": _VERSIONS[release],
        "format": ["application/fhir+json"],
        "rest": [
            {
                "mode": "server",
                "documentation": "Reports come in as DiagnosticReport. Results are a "
                "transaction Bundle in R5 at /studies/{uid}/fhir.json.",
                "security": {"description": "HTTP Basic."},
                "resource": [
                    {
                        "type": "DiagnosticReport",
                        "interaction": [
                            {"code": "create", "documentation": _CREATE},
                            {"code": "read", "documentation": _READ},
                        ],
                        "versioning": "no-version",
                    }
                ],
            }
        ],
    }

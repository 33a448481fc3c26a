"""Reports, as they come in and as they are read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

__all__ = ["IncomingReport", "Report", "ReportChannel", "ReportStatus"]


class ReportStatus(StrEnum):
    """How far a report is: HL7 table 0123 and FHIR DiagnosticReport.status."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    CORRECTED = "corrected"
    """It replaces what was sent before."""
    CANCELLED = "cancelled"
    """It is withdrawn: nothing of it counts."""


class ReportChannel(StrEnum):
    """The door that a report came in by."""

    HL7 = "hl7"
    FHIR = "fhir"
    REST = "rest"


@dataclass(frozen=True, slots=True)
class IncomingReport:
    """A report as a sender hands it over, before a study is found for it.

    At least one of ``study_instance_uid`` and ``accession_number`` is set.
    """

    text: str
    channel: ReportChannel
    status: ReportStatus
    identifier: str
    """What its sender calls it: filler order number, resource id; another text with
    the same sender and identifier replaces it. Empty: it replaces nothing."""
    sender: str
    """Sending application, or the person who wrote it here."""
    received_at: datetime
    study_instance_uid: str | None = None
    accession_number: str | None = None
    patient_id: str | None = None
    """Where both the report and the study have one, the study's must be this or one
    of ``other_patient_ids``."""
    other_patient_ids: tuple[str, ...] = ()
    """Of the same patient, as other issuers number them."""

    @property
    def patient_ids(self) -> frozenset[str]:
        """All identifiers of the patient; none: the report does not say whose it is."""
        return frozenset(filter(None, (self.patient_id, *self.other_patient_ids)))


@dataclass(frozen=True, slots=True)
class Report:
    """Report text and where it came from.

    ``source`` is ``sr:<SOP Instance UID>``, ``pdf:<SOP Instance UID>``,
    ``cda:<SOP Instance UID>``, ``hl7:<number>``, ``fhir:<number>``,
    ``rest:<number>`` (the number is the node's own), ``tag:<keyword>``,
    ``prior:<source>``, ``file`` or ``argument``. ``sop_class_uid`` is set for
    documents, so that results can refer to them.
    """

    text: str
    source: str
    sop_instance_uid: str | None = None
    sop_class_uid: str | None = None
    series_instance_uid: str | None = None
    status: ReportStatus | None = None
    """None: its source does not say."""
    lasting_name: str | None = None
    """The same for every version of a report, unlike ``source``; None: its sender gave
    it no identifier. It may hold what names the patient: only hashes of it go out."""

    @property
    def is_document(self) -> bool:
        """Whether results can refer to it: it is an object of the study."""
        return bool(
            self.sop_instance_uid and self.sop_class_uid and self.series_instance_uid
        )

    @property
    def is_weak(self) -> bool:
        """Whether it asks rather than states: the reason for the study."""
        return self.source.startswith("tag:")

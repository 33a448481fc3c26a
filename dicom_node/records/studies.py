"""Instances and the studies that they make, as they come and as they are ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from dicom_node.records.phrases import Phrase
from dicom_node.records.reports import Report

__all__ = [
    "NotProcessed",
    "PriorStudy",
    "ReceivedInstance",
    "StoredInstance",
    "StudyReady",
]


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """An instance that lies durably in the spool and not yet in the database.

    ``path`` is relative to the data folder. UIDs are as received: they may be
    empty, and a study or series without one is named by ``assembly``.
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str
    path: Path
    sha256: str
    size_bytes: int
    calling_ae_title: str
    peer_address: str
    received_at: datetime
    is_own_result: bool = False
    """True: this node made it; it is kept and never processed."""
    study: Mapping[str, str] = field(default_factory=dict)
    """What it says of patient and study, by keyword (`header.InstanceHeader`)."""
    series: Mapping[str, str] = field(default_factory=dict)
    """What it says of its series."""
    image: Mapping[str, int] = field(default_factory=dict)
    """Instance Number, rows, columns and frames."""


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """An instance of a study as the workflow sees it: ``path`` is absolute."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    series_instance_uid: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class NotProcessed:
    """A series, or an instance of it, that was left out, and why.

    The UID is empty where it is not about a series: a report, a file without one.
    """

    series_instance_uid: str
    reason: str


@dataclass(frozen=True, slots=True)
class PriorStudy:
    """An earlier study of the same patient: shown as such, never drawn on this one."""

    study_instance_uid: str
    study_date: str
    """DA as in the study, YYYYMMDD; empty where it has none."""
    reports: tuple[Report, ...]
    instances: tuple[StoredInstance, ...] = ()
    """Its instances that are here: report documents are read from them."""
    phrases: tuple[Phrase, ...] = ()
    """What its reports say, once they are read."""
    not_processed: tuple[NotProcessed, ...] = ()
    """Its documents that could not be read."""


@dataclass(frozen=True, slots=True)
class StudyReady:
    """A study whose images have stopped arriving.

    ``content_version`` is the SHA-256 over the sorted hashes of its instances and of
    the reports that were sent; with the study UID it names the workflow.
    ``predecessor_version`` is the content version whose results this one supersedes.
    """

    study_instance_uid: str
    content_version: str
    instances: tuple[StoredInstance, ...]
    predecessor_version: str | None = None
    reports: tuple[Report, ...] = ()
    """Reports that came by another way than as documents of the study."""
    priors: tuple[PriorStudy, ...] = ()
    """Earlier studies of the patient that are here, newest first."""

"""The node's memory: tables, migrations and queries on SQLite or PostgreSQL."""

from dicom_node.store.decisions import RecordedDecision
from dicom_node.store.instances import InstanceOutcome, RecordedFile
from dicom_node.store.outbox import AttemptOutcome, OutboxItem, Parcel
from dicom_node.store.requeue import RequeueOutcome
from dicom_node.store.schema import DeliveryState, StudyState, VersionState
from dicom_node.store.snapshot import (
    DeliveryStatus,
    DestinationStatus,
    RecentError,
    StatusSnapshot,
    StoreCounts,
    StudyStatus,
)
from dicom_node.store.store import Store
from dicom_node.store.versions import CollectingStudy, VersionKey, Work

__all__ = [
    "AttemptOutcome",
    "CollectingStudy",
    "DeliveryState",
    "DeliveryStatus",
    "DestinationStatus",
    "InstanceOutcome",
    "OutboxItem",
    "Parcel",
    "RecentError",
    "RecordedDecision",
    "RecordedFile",
    "RequeueOutcome",
    "StatusSnapshot",
    "Store",
    "StoreCounts",
    "StudyState",
    "StudyStatus",
    "VersionKey",
    "VersionState",
    "Work",
]

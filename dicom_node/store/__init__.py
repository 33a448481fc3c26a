"""The node's memory: tables, migrations and queries on SQLite or PostgreSQL."""

from dicom_node.store.catalogue import (
    CatalogueInstance,
    CatalogueSeries,
    CatalogueStore,
    CatalogueStudy,
    StudyFilter,
)
from dicom_node.store.commitment_requests import (
    CommitmentRequestStore,
    CommitmentTask,
    KeptInstance,
)
from dicom_node.store.commitments import CommitmentStore, ReportTaken
from dicom_node.store.decisions import RecordedDecision
from dicom_node.store.instances import InstanceOutcome, RecordedFile
from dicom_node.store.outbox import AttemptOutcome, OutboxItem, Parcel
from dicom_node.store.reports import (
    ReportOutcome,
    ReportReceipt,
    ReportStore,
    StoredReport,
)
from dicom_node.store.requeue import RequeueOutcome
from dicom_node.store.retrievals import KnownSeries, KnownStudy, Retrieval
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
from dicom_node.store.versions import CollectingStudy, VersionKey
from dicom_node.store.work import Work
from dicom_node.store.workitems import StudyOutput, Workitem, WorkitemState

__all__ = [
    "AttemptOutcome",
    "CatalogueInstance",
    "CatalogueSeries",
    "CatalogueStore",
    "CatalogueStudy",
    "CollectingStudy",
    "CommitmentRequestStore",
    "CommitmentStore",
    "CommitmentTask",
    "DeliveryState",
    "DeliveryStatus",
    "DestinationStatus",
    "InstanceOutcome",
    "KeptInstance",
    "KnownSeries",
    "KnownStudy",
    "OutboxItem",
    "Parcel",
    "RecentError",
    "RecordedDecision",
    "RecordedFile",
    "ReportOutcome",
    "ReportReceipt",
    "ReportStore",
    "ReportTaken",
    "RequeueOutcome",
    "Retrieval",
    "StatusSnapshot",
    "Store",
    "StoreCounts",
    "StoredReport",
    "StudyFilter",
    "StudyOutput",
    "StudyState",
    "StudyStatus",
    "VersionKey",
    "VersionState",
    "Work",
    "Workitem",
    "WorkitemState",
]

"""The tables: one schema on SQLite and PostgreSQL."""

from dicom_node.store.schema.columns import UtcDateTime, metadata
from dicom_node.store.schema.kept import (
    corrections,
    cursors,
    events,
    owner,
    switches,
    users,
)
from dicom_node.store.schema.made import (
    commitments,
    deliveries,
    remote_answers,
    remote_studies,
    results,
    versions,
)
from dicom_node.store.schema.received import (
    instances,
    reports,
    retrievals,
    series,
    studies,
    workitems,
)
from dicom_node.store.schema.states import DeliveryState, StudyState, VersionState

__all__ = [
    "DeliveryState",
    "StudyState",
    "UtcDateTime",
    "VersionState",
    "commitments",
    "corrections",
    "cursors",
    "deliveries",
    "events",
    "instances",
    "metadata",
    "owner",
    "remote_answers",
    "remote_studies",
    "reports",
    "results",
    "retrievals",
    "series",
    "studies",
    "switches",
    "users",
    "versions",
    "workitems",
]

"""The tables: one schema on SQLite and PostgreSQL."""

from dicom_node.store.schema.columns import UtcDateTime, metadata
from dicom_node.store.schema.kept import (
    corrections,
    cursors,
    events,
    owner,
    switches,
    tallies,
    users,
)
from dicom_node.store.schema.made import (
    commitments,
    deliveries,
    jobs,
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
from dicom_node.store.schema.states import (
    DeliveryState,
    JobState,
    StudyState,
    VersionState,
)

__all__ = [
    "DeliveryState",
    "JobState",
    "StudyState",
    "UtcDateTime",
    "VersionState",
    "commitments",
    "corrections",
    "cursors",
    "deliveries",
    "events",
    "instances",
    "jobs",
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
    "tallies",
    "users",
    "versions",
    "workitems",
]

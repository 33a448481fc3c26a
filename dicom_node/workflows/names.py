"""Names of work: derived from what is worked on, so that it is never queued twice."""

from __future__ import annotations

import hashlib

from dicom_node.store import Parcel, VersionKey

__all__ = ["commitment_name", "folder_name", "parcel_name", "work_name"]


def work_name(key: VersionKey) -> str:
    """Name one run of one version of a study."""
    return _name("process", key.study_instance_uid, key.content_version, str(key.run))


def folder_name(key: VersionKey) -> str:
    """Name the folder of the results of a run."""
    return work_name(key)[:32]


def parcel_name(parcel: Parcel) -> str:
    """Name the next try at a parcel."""
    return _name(
        "deliver",
        str(parcel.version_id),
        parcel.destination,
        str(parcel.last_delivery_id),
        str(parcel.attempts),
    )


def commitment_name(parcel: Parcel) -> str:
    """Name the next request for commitment to what a destination has stored."""
    return _name(
        "commit",
        str(parcel.version_id),
        parcel.destination,
        str(parcel.last_delivery_id),
        str(parcel.attempts),
    )


def _name(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()

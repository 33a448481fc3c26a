"""Who we are and how UIDs are derived: the same input gives the same UIDs."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable

__all__ = [
    "MANUFACTURER",
    "MODEL_NAME",
    "content_version",
    "derive_series_uid",
    "derive_study_uid",
    "derive_uid",
]

MANUFACTURER = "DICOM Grounding Node project"
"""Manufacturer (0008,0070) of every result."""

MODEL_NAME = "dicom-grounding-node"
"""Manufacturer's Model Name (0008,1090) of every result. Together with the
purpose (109102, DCM, "Processing Equipment") in Contributing Equipment Sequence
it is how the node recognises its own results when they come back."""

_NAMESPACE = uuid.UUID("6f1b6f0e-5f4e-5d0c-9f0a-0d1c0b0a0908")


def derive_uid(*parts: str) -> str:
    """Derive a UID from names, by UUID version 5.

    Parameters
    ----------
    *parts : str
        What the object is made of; order matters, and no choice of parts gives
        the same UID as another split of the same characters.

    Returns
    -------
    str
        A UID below 2.25 (PS3.5 B.2), at most 44 characters.

    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return f"2.25.{uuid.uuid5(_NAMESPACE, digest.hexdigest()).int}"


def derive_study_uid(
    *,
    patient_id: str,
    study_date: str,
    study_time: str,
    study_id: str,
    accession_number: str,
    frame_of_reference_uid: str,
) -> str:
    """Return a Study Instance UID for what has none.

    Instances that agree in the given attributes (values of the data elements of
    the same name, empty where absent) get the same UID.
    """
    return derive_uid(
        "study",
        patient_id,
        study_date,
        study_time,
        study_id,
        accession_number,
        frame_of_reference_uid,
    )


def derive_series_uid(
    *,
    study_instance_uid: str,
    modality: str,
    series_number: str,
    series_description: str,
    frame_of_reference_uid: str,
) -> str:
    """Return a Series Instance UID for what has none, as `derive_study_uid` does."""
    return derive_uid(
        "series",
        study_instance_uid,
        modality,
        series_number,
        series_description,
        frame_of_reference_uid,
    )


def content_version(hashes: Iterable[str]) -> str:
    """Return the SHA-256 over the sorted hashes of a study's instances."""
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()

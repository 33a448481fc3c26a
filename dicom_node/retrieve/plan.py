"""What is worth fetching: pure decisions about what an archive says it has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from pydicom import uid

from conformance.sop_classes import RETIRED_STORAGE_CLASSES, STORAGE_CLASSES
from dicom_node.retrieve.archive import FoundInstance, FoundSeries, FoundStudy
from dicom_node.store import KnownStudy

__all__ = [
    "DOCUMENT_MODALITIES",
    "earlier_studies",
    "has_same_patient",
    "is_comparable",
    "is_wanted_class",
    "may_hold_images",
    "may_hold_reports",
]

DOCUMENT_MODALITIES: Final = frozenset({"SR", "DOC"})
"""Series of reports; encapsulated documents may also say OT (PS3.3 C.7.3.1.1.1)."""

_NO_IMAGES: Final = DOCUMENT_MODALITIES | {
    "ASMT",
    "AU",
    "ECG",
    "EPS",
    "FID",
    "HD",
    "KO",
    "PLAN",
    "PR",
    "REG",
    "RESP",
    "RTDOSE",
    "RTPLAN",
    "RTRECORD",
    "RTSTRUCT",
    "SEG",
    "SMR",
    "STAIN",
    "TEXTUREMAP",
}
"""Series that are about images and are none."""

_REPORT_CLASSES: Final = frozenset(
    {
        uid.BasicTextSRStorage,
        uid.EnhancedSRStorage,
        uid.ComprehensiveSRStorage,
        uid.Comprehensive3DSRStorage,
        uid.EncapsulatedPDFStorage,
        uid.EncapsulatedCDAStorage,
    }
)
"""Documents that phrases are read from; not dose reports, logs and the like."""

_MOST_CANDIDATES = 10


def may_hold_images(modality: str) -> bool:
    """Return whether a series with this Modality may hold images."""
    return modality not in _NO_IMAGES


def may_hold_reports(modality: str) -> bool:
    """Return whether a series with this Modality may hold report documents."""
    return modality in DOCUMENT_MODALITIES or modality in {"OT", ""}


def is_wanted_class(instance: FoundInstance, *, modality: str, images: bool) -> bool:
    """Return whether an instance is of the kind that is fetched.

    Parameters
    ----------
    instance : FoundInstance
        As the archive announces it.
    modality : str
        Of its series.
    images : bool
        True: images are fetched; False: report documents.

    """
    sop_class = instance.sop_class_uid
    if not sop_class:
        # The archive does not say: its series must tell.
        return images != (modality in DOCUMENT_MODALITIES)
    if images:
        is_known = sop_class in STORAGE_CLASSES or sop_class in RETIRED_STORAGE_CLASSES
        return is_known and sop_class not in _REPORT_CLASSES
    return sop_class in _REPORT_CLASSES


def has_same_patient(found: FoundStudy, known: KnownStudy) -> bool:
    """Return whether an archive's study may be of the patient of the one here.

    Patient IDs must be equal where both sides have one, and so must their issuers.
    """
    return _agree(found.patient_id, known.patient_id) and _agree(
        found.issuer_of_patient_id, known.issuer_of_patient_id
    )


def earlier_studies(
    found: Iterable[FoundStudy], *, known: KnownStudy
) -> tuple[FoundStudy, ...]:
    """Return the same patient's earlier studies, newest first.

    An archive may match a Patient ID loosely (case, wildcards): only the very same
    one counts. A study without a date cannot be said to be earlier.
    """
    modalities = _image_modalities(known)
    fitting = [
        one
        for one in found
        if one.study_instance_uid
        and one.study_instance_uid != known.study_instance_uid
        and one.patient_id == known.patient_id
        and has_same_patient(one, known)
        and one.study_date
        and one.study_date < known.study_date
        and (not one.modalities or modalities & set(one.modalities))
    ]
    fitting.sort(
        key=lambda one: (one.study_date, one.study_time, one.study_instance_uid),
        reverse=True,
    )
    return tuple(fitting[:_MOST_CANDIDATES])


def is_comparable(series: Sequence[FoundSeries], *, known: KnownStudy) -> bool:
    """Return whether a study has a series like one of the study here.

    Like: the same modality, and the same body part where both say one.
    """
    return any(
        one.modality == other.modality
        and _agree(one.body_part.upper(), other.body_part.upper())
        for one in series
        for other in known.series
        if may_hold_images(other.modality)
    )


def _image_modalities(known: KnownStudy) -> set[str]:
    return {one.modality for one in known.series if may_hold_images(one.modality)}


def _agree(one: str, other: str) -> bool:
    return not one or not other or one == other

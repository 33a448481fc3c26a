"""What to fetch of an archive: it is asked for what it has, and that is compared."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from dicom_node.retrieve.archive import Archive, FoundStudy, Order
from dicom_node.retrieve.plan import (
    earlier_studies,
    is_comparable,
    is_wanted_class,
    may_hold_images,
    may_hold_reports,
)
from dicom_node.store import KnownStudy

__all__ = ["choose_prior", "make_orders"]


def choose_prior(archive: Archive, known: KnownStudy) -> FoundStudy | None:
    """Return the newest earlier study that the one here can be compared with."""
    if not known.patient_id or not known.study_date:
        return None
    found = archive.studies_before(known.study_date, patient_id=known.patient_id)
    for one in earlier_studies(found, known=known):
        if is_comparable(archive.series(one.study_instance_uid), known=known):
            return one
    return None


def make_orders(
    archive: Archive,
    study_instance_uid: str,
    *,
    here: Collection[str],
    skipped: Collection[str],
    images: bool,
    reports: bool,
) -> Iterator[Order]:
    """Yield what is to be fetched of a study, series by series.

    Parameters
    ----------
    archive : Archive
        Asked for its series and instances.
    study_instance_uid : str
        The study.
    here, skipped : collection of str
        SOP Instance UIDs that are not asked for: what is here, and what the archive
        announced before and did not deliver.
    images, reports : bool
        What is fetched.

    Raises
    ------
    RetrieveError
        The archive cannot be asked.

    """
    for series in archive.series(study_instance_uid):
        looks = (images and may_hold_images(series.modality)) or (
            reports and may_hold_reports(series.modality)
        )
        if not looks:
            continue
        instances = archive.instances(study_instance_uid, series.series_instance_uid)
        wanted = tuple(
            one
            for one in instances
            if one.sop_instance_uid not in here
            and one.sop_instance_uid not in skipped
            and (
                (images and is_wanted_class(one, modality=series.modality, images=True))
                or (
                    reports
                    and is_wanted_class(one, modality=series.modality, images=False)
                )
            )
        )
        if wanted:
            yield Order(
                study_instance_uid,
                series.series_instance_uid,
                wanted,
                is_whole=len(wanted) == len(instances),
            )

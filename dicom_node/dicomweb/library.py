"""What DICOMweb shows: instances by their UIDs, with what their files say of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dicom_node.errors import CannotUnderstandError, DicomwebError
from dicom_node.header import InstanceHeader, is_uid, read_header
from dicom_node.store import (
    CatalogueInstance,
    CatalogueSeries,
    CatalogueStore,
    CatalogueStudy,
    StudyFilter,
)

__all__ = ["Library", "Place", "classes_of_others"]

_MODALITY_OF_CLASS = {
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "SEG",
    "1.2.840.10008.5.1.4.1.1.88.34": "SR",
    "1.2.840.10008.5.1.4.1.1.88.33": "SR",
    "1.2.840.10008.5.1.4.1.1.11.1": "PR",
    "1.2.840.10008.5.1.4.1.1.88.59": "KO",
}
"""The modality of results whose SOP class fixes it."""


def classes_of_others(modalities: tuple[str, ...]) -> tuple[str, ...]:
    """Return the SOP classes of results that are of none of these modalities."""
    return tuple(
        uid for uid, name in _MODALITY_OF_CLASS.items() if name not in modalities
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Which part of the library an address names; None: all."""

    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    sop_instance_uid: str | None = None

    def __post_init__(self) -> None:
        for uid in (
            self.study_instance_uid,
            self.series_instance_uid,
            self.sop_instance_uid,
        ):
            if uid is not None and not is_uid(uid):
                raise DicomwebError("the address holds something but a UID", status=400)

    @property
    def path(self) -> str:
        """Its address below the service's root."""
        return "".join(
            f"/{name}/{uid}"
            for name, uid in (
                ("studies", self.study_instance_uid),
                ("series", self.series_instance_uid),
                ("instances", self.sop_instance_uid),
            )
            if uid is not None
        )


class Library:
    """The node's instances and, of its results, those of one profile.

    Parameters
    ----------
    catalogue : CatalogueStore
        What there is.
    data_dir : pathlib.Path
        The data folder.
    profile : str
        Whose results are shown.

    """

    def __init__(
        self, catalogue: CatalogueStore, data_dir: Path, *, profile: str
    ) -> None:
        self.catalogue = catalogue
        self.data_dir = data_dir
        self.profile = profile
        self._header = lru_cache(maxsize=4096)(self._read_header)

    def study(self, study_instance_uid: str) -> CatalogueStudy:
        """Return a study.

        Raises
        ------
        DicomwebError
            There is none.

        """
        found = self.catalogue.studies(
            StudyFilter(study_instance_uids=(study_instance_uid,)), limit=1
        )
        if not found:
            raise DicomwebError("there is no such study", status=404)
        return found[0]

    def instances(self, place: Place) -> tuple[CatalogueInstance, ...]:
        """Return the instances of a study, a series, or one.

        Raises
        ------
        DicomwebError
            There are none.

        """
        study = self.study(place.study_instance_uid or "")
        found = self.catalogue.instances(
            study.study_id,
            profile=self.profile,
            series_instance_uid=place.series_instance_uid,
            sop_instance_uid=place.sop_instance_uid,
        )
        if not found:
            what = "instance" if place.sop_instance_uid else "series"
            raise DicomwebError(f"there is no such {what}", status=404)
        return found

    def instance(self, place: Place) -> CatalogueInstance:
        """Return one instance.

        Raises
        ------
        DicomwebError
            There is none.

        """
        return self.instances(place)[0]

    def path(self, instance: CatalogueInstance) -> Path:
        """Return where an instance's file is."""
        return self.data_dir / instance.path

    def modality(self, series: CatalogueSeries) -> str:
        """Return a series' modality; empty: nobody said it."""
        if series.result is None:
            return series.attributes.get("Modality", "")
        known = _MODALITY_OF_CLASS.get(series.result.sop_class_uid)
        return known or self.series_attributes(series).get("Modality", "")

    def series_attributes(self, series: CatalogueSeries) -> Mapping[str, str]:
        """Return what is said of a series, by keyword."""
        if series.result is None:
            return series.attributes
        header = self._header(series.result.path, series.result.sha256)
        return header.series if header else {}

    def image_attributes(self, instance: CatalogueInstance) -> Mapping[str, int]:
        """Return an instance's number, rows, columns and frames, by keyword."""
        if not instance.is_result:
            return instance.attributes
        header = self._header(instance.path, instance.sha256)
        return header.image if header else {}

    def _read_header(self, path: Path, _sha256: str) -> InstanceHeader | None:
        try:
            return read_header(self.data_dir / path)
        except (CannotUnderstandError, OSError):
            return None

"""QIDO-RS: studies, series and instances by their attributes (PS3.18 10.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import structlog
from pydicom.datadict import tag_for_keyword

from dicom_node.dicomweb.library import Library, Place, classes_of_others
from dicom_node.dicomweb.metadata import MetadataCache
from dicom_node.dicomweb.model import Json, describe
from dicom_node.dicomweb.query import Query, Value
from dicom_node.errors import DicomwebError
from dicom_node.store import (
    CatalogueInstance,
    CatalogueSeries,
    CatalogueStudy,
    StudyFilter,
)

__all__ = ["KNOWN", "Found", "Searcher"]

log = structlog.get_logger(__name__)

_STUDY = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "StudyDescription",
    "InstitutionName",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "ModalitiesInStudy",
)
_SERIES = (
    "SeriesInstanceUID",
    "Modality",
    "SeriesDate",
    "SeriesTime",
    "SeriesDescription",
    "SeriesNumber",
    "BodyPartExamined",
    "ProtocolName",
    "Manufacturer",
    "StationName",
)
_INSTANCE = (
    "SOPInstanceUID",
    "SOPClassUID",
    "InstanceNumber",
    "Rows",
    "Columns",
    "NumberOfFrames",
)

KNOWN = {
    "studies": _STUDY,
    "series": (*_STUDY, *_SERIES),
    "instances": (*_STUDY, *_SERIES, *_INSTANCE),
}
"""What can be matched at each level. Every study level attribute narrows a search
for series and instances as well (PS3.18 10.6.1.2)."""

_ALWAYS = {
    "studies": (
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ReferringPhysicianName",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyID",
    ),
    "series": ("SeriesDescription", "SeriesNumber"),
    "instances": ("InstanceNumber",),
}
"""Given even when empty (PS3.18 Tables 10.6.3-3 to -5)."""

_BATCH = 200
_MORE = "there are more results; ask with offset for them"


@dataclass(frozen=True, slots=True)
class Found:
    """The results, and what was not done as asked."""

    results: tuple[Json, ...]
    warnings: tuple[str, ...]


class Searcher:
    """Answers searches.

    Parameters
    ----------
    library : Library
        What is searched.
    metadata : MetadataCache
        Where attributes of instances are read that the catalogue does not keep.

    """

    def __init__(self, library: Library, metadata: MetadataCache) -> None:
        self._library = library
        self._metadata = metadata

    def studies(self, query: Query, *, root: str) -> Found:
        """Search for studies, the newest first; ``root`` is the service's address."""
        if query.condition("ModalitiesInStudy") is None:
            found = self._studies(query, Place(), skip=query.offset)
        else:
            found = islice(self._studies(query, Place()), query.offset, None)
        return _page((self._study_json(*one, root) for one in found), query)

    def series(self, query: Query, place: Place, *, root: str) -> Found:
        """Search for series, of one study or all."""

        def found() -> Iterator[Json]:
            left = query.offset
            for study, series in self._studies(query, place):
                for one in series:
                    if not query.holds(self._series_values(one), known=_SERIES):
                        continue
                    if left:
                        left -= 1
                        continue
                    of_study = self._study_values(study, series)
                    yield self._series_json(one, study, of_study, place, root)

        return _page(found(), query)

    def instances(self, query: Query, place: Place, *, root: str) -> Found:
        """Search for instances, of one series, one study or all."""
        narrow = {*_SERIES, *_INSTANCE}
        is_whole = place.series_instance_uid is None and not any(
            one.keyword in narrow and not one.is_universal for one in query.conditions
        )

        def found() -> Iterator[Json]:
            left = query.offset
            for study, series in self._studies(query, place):
                count = sum(one.instance_count for one in series)
                if is_whole and left >= count:
                    left -= count  # the page begins further on
                    continue
                by_uid = {one.series_instance_uid: one for one in series}
                of_study = self._study_values(study, series)
                for one in self._instances(query, study, place):
                    of_it = by_uid.get(one.series_instance_uid)
                    if of_it is None or not self._is_wanted(query, of_it, one):
                        continue
                    if left:
                        left -= 1
                        continue
                    yield self._instance_json(one, of_it, of_study, place, root, query)

        return _page(found(), query)

    def _is_wanted(
        self, query: Query, series: CatalogueSeries, instance: CatalogueInstance
    ) -> bool:
        return query.holds(self._series_values(series), known=_SERIES) and query.holds(
            self._instance_values(instance), known=_INSTANCE
        )

    def _studies(
        self, query: Query, place: Place, *, skip: int = 0
    ) -> Iterator[tuple[CatalogueStudy, tuple[CatalogueSeries, ...]]]:
        where = _filter(query, place)
        before_id = None
        # A page is often filled by the first few; more are read as they are needed.
        limit = min(_BATCH, query.limit + query.offset + 1)
        while True:
            batch = self._library.catalogue.studies(
                where, before_id=before_id, limit=limit
            )
            of_study = [name for name in _STUDY if name != "ModalitiesInStudy"]
            wanted = [
                one for one in batch if query.holds(_own_values(one), known=of_study)
            ]
            # What is before the page is not counted series by series.
            skipped = min(skip, len(wanted))
            wanted, skip = wanted[skipped:], skip - skipped
            series = self._library.catalogue.series(
                [one.study_id for one in wanted], profile=self._library.profile
            )
            for one in wanted:
                shown = series.get(one.study_id, ())
                values = self._study_values(one, shown)
                if shown and query.holds(values, known=["ModalitiesInStudy"]):
                    yield one, shown
            if len(batch) < limit:
                return
            before_id = batch[-1].study_id
            limit = _BATCH

    def _instances(
        self, query: Query, study: CatalogueStudy, place: Place
    ) -> tuple[CatalogueInstance, ...]:
        series = query.condition("SeriesInstanceUID")
        instance = query.condition("SOPInstanceUID")
        series_uid, instance_uid = place.series_instance_uid, place.sop_instance_uid
        if series_uid is None and series is not None and len(series.exact) == 1:
            series_uid = series.exact[0]
        if instance is not None and len(instance.exact) == 1:
            instance_uid = instance.exact[0]
        return self._library.catalogue.instances(
            study.study_id,
            profile=self._library.profile,
            series_instance_uid=series_uid,
            sop_instance_uid=instance_uid,
        )

    def _study_values(
        self, study: CatalogueStudy, series: tuple[CatalogueSeries, ...]
    ) -> dict[str, Value]:
        modalities = {name for one in series if (name := self._library.modality(one))}
        return {**_own_values(study), "ModalitiesInStudy": tuple(sorted(modalities))}

    def _series_values(self, series: CatalogueSeries) -> dict[str, Value]:
        return {
            **self._library.series_attributes(series),
            "Modality": self._library.modality(series),
            "SeriesInstanceUID": series.series_instance_uid,
        }

    def _instance_values(self, instance: CatalogueInstance) -> dict[str, Value]:
        return {
            **self._library.image_attributes(instance),
            "SOPInstanceUID": instance.sop_instance_uid,
            "SOPClassUID": instance.sop_class_uid,
        }

    def _study_json(
        self, study: CatalogueStudy, series: tuple[CatalogueSeries, ...], root: str
    ) -> Json:
        counts: dict[str, Value] = {
            "NumberOfStudyRelatedSeries": len(series),
            "NumberOfStudyRelatedInstances": sum(one.instance_count for one in series),
            "InstanceAvailability": "ONLINE",
            "RetrieveURL": root + Place(study.study_instance_uid).path,
        }
        values = {**self._study_values(study, series), **counts}
        return describe(_with_empty(values, "studies"))

    def _series_json(
        self,
        series: CatalogueSeries,
        study: CatalogueStudy,
        of_study: dict[str, Value],
        place: Place,
        root: str,
    ) -> Json:
        own: dict[str, Value] = {
            "NumberOfSeriesRelatedInstances": series.instance_count,
            "StudyInstanceUID": study.study_instance_uid,
            "RetrieveURL": root
            + Place(study.study_instance_uid, series.series_instance_uid).path,
        }
        values = {**self._series_values(series), **own}
        if place.study_instance_uid is None:
            values = {**_with_empty(of_study, "studies"), **values}
        return describe(_with_empty(values, "series"))

    def _instance_json(
        self,
        instance: CatalogueInstance,
        series: CatalogueSeries,
        of_study: dict[str, Value],
        place: Place,
        root: str,
        query: Query,
    ) -> Json:
        here = Place(
            instance.study_instance_uid,
            instance.series_instance_uid,
            instance.sop_instance_uid,
        )
        own: dict[str, Value] = {
            "StudyInstanceUID": instance.study_instance_uid,
            "SeriesInstanceUID": instance.series_instance_uid,
            "InstanceAvailability": "ONLINE",
            "AvailableTransferSyntaxUID": instance.transfer_syntax_uid,
            "RetrieveURL": root + here.path,
        }
        values = {**self._instance_values(instance), **own}
        if place.series_instance_uid is None:
            values = {**self._series_values(series), **values}
        if place.study_instance_uid is None:
            values = {**_with_empty(of_study, "studies"), **values}
        found = describe(_with_empty(values, "instances"))
        return {**self._included(instance, root + here.path, query), **found}

    def _included(self, instance: CatalogueInstance, url: str, query: Query) -> Json:
        """Return what is asked for beyond what the catalogue keeps."""
        if not (query.include or query.includes_all):
            return {}
        try:
            every = self._metadata.read_json(instance, url=url)
        except DicomwebError as error:
            # The catalogue still knows it, and the other results are not lost.
            uid = instance.sop_instance_uid
            log.warning("metadata_left_out", sop_instance_uid=uid, status=error.status)
            return {}
        if query.includes_all:
            return {
                name: one for name, one in every.items() if "BulkDataURI" not in one
            }
        names = {_tag_name(one) for one in query.include}
        return {name: one for name, one in every.items() if name in names}


def _page(results: Iterator[Json], query: Query) -> Found:
    page = list(islice(results, query.limit + 1))
    warnings = query.warnings
    if len(page) > query.limit:
        warnings = (*warnings, _MORE)
    return Found(tuple(page[: query.limit]), warnings)


def _own_values(study: CatalogueStudy) -> dict[str, Value]:
    return {**study.attributes, "StudyInstanceUID": study.study_instance_uid}


def _with_empty(values: dict[str, Value], level: str) -> dict[str, Value]:
    return {**dict.fromkeys(_ALWAYS[level]), **values}


def _filter(query: Query, place: Place) -> StudyFilter:
    def exact(keyword: str) -> tuple[str, ...]:
        condition = query.condition(keyword)
        return () if condition is None else condition.exact

    def one(keyword: str) -> str:
        values = exact(keyword)
        # The column keeps no more of it.
        return values[0] if len(values) == 1 and len(values[0]) <= 64 else ""

    dates = query.condition("StudyDate")
    first, last = ("", "") if dates is None else dates.bounds
    studies, series, instances = (
        (uid,) if uid is not None else exact(keyword)
        for uid, keyword in (
            (place.study_instance_uid, "StudyInstanceUID"),
            (place.series_instance_uid, "SeriesInstanceUID"),
            (place.sop_instance_uid, "SOPInstanceUID"),
        )
    )
    modalities = exact("ModalitiesInStudy") or exact("Modality")
    return StudyFilter(
        study_instance_uids=studies,
        series_instance_uids=series,
        sop_instance_uids=instances,
        accession_number=one("AccessionNumber"),
        patient_id=one("PatientID"),
        study_date_from=first,
        study_date_to=last,
        modalities=modalities,
        other_classes=classes_of_others(modalities),
    )


def _tag_name(keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    return keyword if tag is None else f"{tag:08X}"

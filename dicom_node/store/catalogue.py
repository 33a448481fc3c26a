"""What the node holds, study by study: searched, counted and found.

A study shows its instances and, of the node's own results, those of one profile from
the newest version that has results. What is hidden: copies with the UID of another
instance and other bytes, results of other profiles and older versions, and results
that came back from an archive, which are here already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    func,
    not_,
    or_,
    select,
    union,
)

from dicom_node.store.database import Database
from dicom_node.store.lookups import has_some
from dicom_node.store.modalities import has_modality
from dicom_node.store.schema import instances, results, series, studies, versions

__all__ = [
    "CatalogueInstance",
    "CatalogueSeries",
    "CatalogueStore",
    "CatalogueStudy",
    "StudyFilter",
]


@dataclass(frozen=True, slots=True)
class StudyFilter:
    """What narrows a search down in the database; an empty field narrows nothing.

    It may let more pass than is asked for, never less.
    """

    study_instance_uids: tuple[str, ...] = ()
    series_instance_uids: tuple[str, ...] = ()
    sop_instance_uids: tuple[str, ...] = ()
    accession_number: str = ""
    patient_id: str = ""
    study_date_from: str = ""
    """YYYYMMDD."""
    study_date_to: str = ""
    modalities: tuple[str, ...] = ()
    other_classes: tuple[str, ...] = ()
    """SOP classes of results that are of none of these modalities."""


@dataclass(frozen=True, slots=True)
class CatalogueStudy:
    """A study; ``attributes`` by keyword, as `header.InstanceHeader.study`."""

    study_id: int
    study_instance_uid: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CatalogueInstance:
    """An instance of a study, or one of the results about it."""

    study_id: int
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: Path
    """Relative to the data folder."""
    sha256: str
    is_result: bool
    attributes: Mapping[str, int] = field(default_factory=dict)
    """As `header.InstanceHeader.image`; empty for a result: its file says it."""


@dataclass(frozen=True, slots=True)
class CatalogueSeries:
    """A series; ``attributes`` by keyword, as `header.InstanceHeader.series`."""

    study_id: int
    series_instance_uid: str
    attributes: Mapping[str, str]
    instance_count: int
    result: CatalogueInstance | None = None
    """One of its instances when it is a series of results: its file describes it."""


class CatalogueStore:
    """Finds studies, series, instances and their files.

    With a million instances every query but the one for studies by name or
    description goes through an index, and that one stops when its page is full:
    ``study_instance_uid``, ``accession_number``, ``patient_id`` and ``study_date``
    have an index each; studies of a modality come as `modalities` says; series and
    counts by ``(study_id, id)`` of instances and ``(study_id, series_instance_uid)``
    of the series; an instance by ``(sop_instance_uid, sha256)``; results by
    ``(study_id, content_version)`` of the versions and ``version_id``. Pages of
    studies follow the primary key.

    Parameters
    ----------
    database : Database
        Where the tables are.

    Raises
    ------
    StoreError
        From every method, when the database cannot answer.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def studies(
        self, where: StudyFilter, *, before_id: int | None = None, limit: int = 500
    ) -> tuple[CatalogueStudy, ...]:
        """Return the newest studies that pass a filter and show anything.

        Parameters
        ----------
        where : StudyFilter
            What they have to pass.
        before_id : int, optional
            Only studies older than this one: where the last page ended.
        limit : int
            How many at most.

        """
        query = (
            select(studies.c.id, studies.c.study_instance_uid, studies.c.attributes)
            .where(*_conditions(where))
            .order_by(studies.c.id.desc())
            .limit(limit)
        )
        if before_id is not None:
            query = query.where(studies.c.id < before_id)
        with self._database.read() as connection:
            if where.modalities:
                classes = where.other_classes
                claim = has_modality(
                    connection, where.modalities, other_classes=classes
                )
                query = query.where(claim)
            return tuple(
                CatalogueStudy(row.id, row.study_instance_uid, row.attributes or {})
                for row in connection.execute(query)
            )

    def series(
        self, study_ids: Iterable[int], *, profile: str
    ) -> Mapping[int, tuple[CatalogueSeries, ...]]:
        """Return the series of studies with their number of instances.

        Parameters
        ----------
        study_ids : iterable of int
            At most some hundreds.
        profile : str
            Whose results are shown.

        Returns
        -------
        mapping of int to tuple of CatalogueSeries
            By study, the received ones first; a study that shows nothing is left
            out.

        """
        wanted = list(study_ids)
        counted = (
            select(
                instances.c.study_id,
                instances.c.series_instance_uid,
                func.count().label("instance_count"),
                func.min(instances.c.id).label("first_id"),
            )
            .where(instances.c.study_id.in_(wanted), _is_shown())
            .group_by(instances.c.study_id, instances.c.series_instance_uid)
            .subquery()
        )
        query = (
            select(counted, series.c.attributes)
            .outerjoin(
                series,
                and_(
                    series.c.study_id == counted.c.study_id,
                    series.c.series_instance_uid == counted.c.series_instance_uid,
                ),
            )
            .order_by(counted.c.first_id)
        )
        found: dict[int, dict[str, CatalogueSeries]] = {}
        with self._database.read() as connection:
            for row in connection.execute(query):
                found.setdefault(row.study_id, {})[row.series_instance_uid] = (
                    CatalogueSeries(
                        row.study_id,
                        row.series_instance_uid,
                        row.attributes or {},
                        row.instance_count,
                    )
                )
            for one in _results(connection, wanted, profile=profile):
                of_study = found.setdefault(one.study_id, {})
                known = of_study.get(one.series_instance_uid)
                of_study[one.series_instance_uid] = CatalogueSeries(
                    one.study_id,
                    one.series_instance_uid,
                    known.attributes if known else {},
                    known.instance_count + 1 if known else 1,
                    known.result if known and known.result else one,
                )
        return {study: tuple(of_it.values()) for study, of_it in found.items()}

    def instances(
        self,
        study_id: int,
        *,
        profile: str,
        series_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
    ) -> tuple[CatalogueInstance, ...]:
        """Return the instances of a study, of one series, or one alone.

        Received ones come first, in the order in which they came.
        """
        query = (
            select(instances, studies.c.study_instance_uid)
            .join(studies, studies.c.id == instances.c.study_id)
            .where(instances.c.study_id == study_id, _is_shown())
            .order_by(instances.c.id)
        )
        if series_instance_uid is not None:
            query = query.where(instances.c.series_instance_uid == series_instance_uid)
        if sop_instance_uid is not None:
            query = query.where(instances.c.sop_instance_uid == sop_instance_uid)
        with self._database.read() as connection:
            received = tuple(
                CatalogueInstance(
                    row.study_id,
                    row.study_instance_uid,
                    row.series_instance_uid,
                    row.sop_instance_uid,
                    row.sop_class_uid,
                    row.transfer_syntax_uid,
                    Path(row.path),
                    row.sha256,
                    is_result=False,
                    attributes=row.attributes or {},
                )
                for row in connection.execute(query)
            )
            made = tuple(
                one
                for one in _results(connection, [study_id], profile=profile)
                if series_instance_uid in {None, one.series_instance_uid}
                and sop_instance_uid in {None, one.sop_instance_uid}
            )
        return received + made


def _conditions(where: StudyFilter) -> Iterator[ColumnElement[bool]]:
    yield (
        select(instances.c.id)
        .where(instances.c.study_id == studies.c.id, _is_shown())
        .exists()
    )
    if where.study_instance_uids:
        yield studies.c.study_instance_uid.in_(where.study_instance_uids)
    if where.accession_number:
        yield studies.c.accession_number == where.accession_number
    if where.patient_id:
        yield studies.c.patient_id == where.patient_id
    if where.study_date_from:
        yield studies.c.study_date >= where.study_date_from
    if where.study_date_to:
        yield studies.c.study_date <= where.study_date_to
    if where.series_instance_uids:
        wanted = where.series_instance_uids
        yield _holds(
            select(series.c.study_id).where(series.c.series_instance_uid.in_(wanted)),
            results.c.series_instance_uid.in_(wanted),
        )
    if where.sop_instance_uids:
        wanted = where.sop_instance_uids
        yield _holds(
            select(instances.c.study_id).where(
                instances.c.sop_instance_uid.in_(wanted),
                instances.c.removed_at.is_(None),
            ),
            results.c.sop_instance_uid.in_(wanted),
        )


def _holds(
    received: Select[tuple[int]], is_result: ColumnElement[bool]
) -> ColumnElement[bool]:
    made = (
        select(versions.c.study_id)
        .join(results, results.c.version_id == versions.c.id)
        .where(is_result, results.c.removed_at.is_(None))
    )
    return studies.c.id.in_(union(received, made))


def _is_shown() -> ColumnElement[bool]:
    is_ours = has_some(
        select(results.c.id).where(
            results.c.sop_instance_uid == instances.c.sop_instance_uid
        )
    )
    # A result of another node is a document of the study like any other.
    return and_(
        instances.c.is_conflict.is_(False),
        instances.c.removed_at.is_(None),
        or_(instances.c.is_own_result.is_(False), not_(is_ours)),
    )


def _results(
    connection: Connection, study_ids: list[int], *, profile: str
) -> Iterator[CatalogueInstance]:
    newest = (
        select(versions.c.study_id, func.max(versions.c.id).label("version_id"))
        .where(versions.c.study_id.in_(study_ids), versions.c.result_dir.is_not(None))
        .group_by(versions.c.study_id)
        .subquery()
    )
    # A result that a later version made again keeps the row of the first: where its
    # file lies tells whose it is now.
    shown, maker = versions.alias("shown"), versions.alias("maker")
    folder = shown.c.result_dir + "/"
    query = (
        select(maker.c.study_id, results)
        .select_from(newest)
        .join(shown, shown.c.id == newest.c.version_id)
        .join(maker, maker.c.study_id == newest.c.study_id)
        .join(results, results.c.version_id == maker.c.id)
        .where(
            results.c.profile == profile,
            results.c.removed_at.is_(None),
            func.substr(results.c.path, 1, func.length(folder)) == folder,
        )
        .order_by(results.c.id)
    )
    for row in connection.execute(query):
        yield CatalogueInstance(
            row.study_id,
            row.study_instance_uid,
            row.series_instance_uid,
            row.sop_instance_uid,
            row.sop_class_uid,
            row.transfer_syntax_uid,
            Path(row.path),
            row.sha256,
            is_result=True,
        )

"""What a node asks its database, each with what it is for."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dicom_node.dicomweb.library import Library
from dicom_node.dicomweb.metadata import MetadataCache
from dicom_node.dicomweb.query import parse_query
from dicom_node.dicomweb.search import KNOWN, Searcher
from dicom_node.identity import content_version
from dicom_node.records import ReceivedInstance
from dicom_node.scp import ServerStatistics
from dicom_node.store import Store
from dicom_node.store.removable import StudyPart
from dicom_node.store.retention import RemovalRule
from dicom_node.web.metrics import NodeCollector
from tests.bench.growth_rows import (
    INSTANCES_OF_A_STUDY,
    NOW,
    instance_of,
    patient_id,
    study_date,
    study_uid,
)

__all__ = ["QUERIES", "Filled", "Query", "opened"]

_LIMIT = 10
"""Studies in each answer, so that the smallest database fills it too."""

_ROOT = "http://node/dicom-web"
_BOTH = frozenset(StudyPart)


@dataclass(frozen=True)
class Filled:
    """A database that `growth_rows.fill` made, opened."""

    store: Store
    studies: int
    searcher: Searcher
    collector: NodeCollector
    numbers: Iterator[int]
    """Of instances that come now."""

    @property
    def middle(self) -> int:
        """The row of a study that is neither new nor old."""
        return self.studies // 2 + 1

    def next_instance(self) -> ReceivedInstance:
        """Make an instance of the middle study that was not there before."""
        return instance_of(next(self.numbers), study=self.middle, count=self.studies)


@dataclass(frozen=True)
class Query:
    """A question, or a change, that is timed.

    Attributes
    ----------
    name : str
        What it is, in a table.
    is_hot : bool
        Whether it comes with each image or study, or with what a person opens: then
        it must not grow with what is kept.
    ask : callable
        Does it.
    prepare : callable, optional
        Done before, outside the clock; what it returns is given to ``ask``.

    """

    name: str
    is_hot: bool
    ask: Callable[[Filled], object]
    prepare: Callable[[Filled], object] | None = None

    def timed(self, filled: Filled) -> float:
        """Do it once and return the seconds."""
        if self.prepare is not None:
            self.prepare(filled)
        began = time.perf_counter()
        self.ask(filled)
        return time.perf_counter() - began


@contextmanager
def opened(url: str, *, instance_count: int, folder: Path) -> Iterator[Filled]:
    """Open a database that `growth_rows.fill` made of so many instances."""
    with Store(url) as store:
        store.data_dir = folder
        library = Library(store.catalogue, folder, profile="default")
        studies = instance_count // INSTANCES_OF_A_STUDY
        there = len(store.details.paths(studies // 2 + 1))
        yield Filled(
            store,
            studies,
            Searcher(library, MetadataCache(folder)),
            NodeCollector(
                store,
                data_dir=folder,
                statistics=lambda: ServerStatistics(0, 0, 0, 0, {}, {}, {}, 0),
                is_model_loaded=lambda: True,
            ),
            itertools.count(there + 1),
        )


def _list(**options: str) -> Callable[[Filled], object]:
    return lambda one: one.store.pages.list_studies(limit=_LIMIT, **options)


def _search(one: Filled, conditions: Mapping[str, str]) -> object:
    query = parse_query(
        [*conditions.items(), ("limit", str(_LIMIT))], known=KNOWN["studies"]
    )
    return one.searcher.studies(query, root=_ROOT)


def _middle_date(one: Filled) -> str:
    return study_date(one.middle, one.studies)


def _collect(one: Filled) -> object:
    return one.store.record_instance(one.next_instance())


def _open_version(one: Filled) -> object:
    made = one.store.open_version(
        one.middle, now=NOW + timedelta(hours=1), version_of=content_version
    )
    assert made is not None
    return made


def _detail(one: Filled) -> object:
    uid, details = study_uid(one.middle), one.store.details
    shown = details.shown_version(uid)
    assert shown is not None
    return (
        one.store.pages.study(uid),
        details.versions(one.middle),
        details.results(shown.id),
        details.deliveries(one.middle),
        details.events(one.middle),
        one.store.reports.of_study(uid),
    )


def _operations(one: Filled) -> object:
    details, store = one.store.details, one.store
    return (
        details.version_counts(),
        details.destinations(),
        details.failing_destinations(before=NOW),
        store.snapshot(limit=1),
    )


def _waiting(one: Filled) -> object:
    reports = one.store.reports
    waiting = reports.waiting(_LIMIT)
    assert len(waiting) == _LIMIT
    return reports.count_waiting(), waiting


def _resume(one: Filled) -> object:
    store = one.store
    return (
        store.collecting_studies(),
        store.work.unfinished_versions(),
        store.outbox.pending_parcels(),
    )


def _candidates(days: int) -> Callable[[Filled], object]:
    rule = RemovalRule("age", _BOTH, NOW - timedelta(days=days))
    return lambda one: one.store.retention.candidates(rule, limit=_LIMIT)


def _remove_events(one: Filled) -> object:
    before = NOW - timedelta(days=10_000)
    return one.store.retention.remove_events(before=before, limit=1000)


def _reconcile_page(one: Filled) -> object:
    files = one.store.recorded_files(
        after_id=one.middle * INSTANCES_OF_A_STUDY - 500, limit=500
    )
    return one.store.known_paths(file.path.as_posix() for file in files)


QUERIES = (
    Query("an instance is recorded", True, _collect),
    Query("a version is opened", True, _open_version, _collect),
    Query("studies that collect, wait or are undelivered", True, _resume),
    Query(
        "parcels that wait for one destination",
        True,
        lambda one: one.store.outbox.pending_parcels(destination="pacs"),
    ),
    Query("page: newest studies", True, _list()),
    Query("page: studies in one state", True, _list(state="failed")),
    Query(
        "page: an accession number is looked for",
        True,
        lambda one: _list(search=f"A{one.middle:09d}")(one),
    ),
    Query("page: a study", True, _detail),
    Query("page: operations", True, _operations),
    Query(
        "page: reports that wait for their study",
        True,
        _waiting,
    ),
    Query(
        "page: what has happened since",
        True,
        lambda one: one.store.details.events_after(
            one.store.details.last_event_id() - 50, limit=50
        ),
    ),
    Query("metrics", True, lambda one: list(one.collector.collect())),
    Query("QIDO-RS: newest studies", True, lambda one: _search(one, {})),
    Query(
        "QIDO-RS: StudyInstanceUID",
        True,
        lambda one: _search(one, {"StudyInstanceUID": study_uid(one.middle)}),
    ),
    Query(
        "QIDO-RS: PatientID",
        True,
        lambda one: _search(one, {"PatientID": patient_id(one.middle)}),
    ),
    Query(
        "QIDO-RS: StudyDate, one day of the past",
        True,
        lambda one: _search(one, {"StudyDate": _middle_date(one)}),
    ),
    Query(
        "QIDO-RS: StudyDate, since a day of the past",
        True,
        lambda one: _search(one, {"StudyDate": f"{_middle_date(one)}-"}),
    ),
    Query(
        "QIDO-RS: ModalitiesInStudy, a common one",
        True,
        lambda one: _search(one, {"ModalitiesInStudy": "CT"}),
    ),
    Query(
        "QIDO-RS: ModalitiesInStudy, one that no study has",
        True,
        lambda one: _search(one, {"ModalitiesInStudy": "XA"}),
    ),
    Query("retention: nothing is old enough", True, _candidates(10_000)),
    Query("retention: the oldest studies", True, _candidates(0)),
    Query(
        "retention: bytes that are kept",
        True,
        lambda one: one.store.retention.kept_bytes(),
    ),
    Query("retention: no event is old enough", True, _remove_events),
    Query("start: 500 files and rows are compared", True, _reconcile_page),
)
"""Everything that is asked again and again; a start reads each row once besides."""

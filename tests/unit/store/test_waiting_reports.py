"""A report is flagged as waiting exactly while it is current and no image met it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dicom_node.errors import PatientMismatchError
from dicom_node.records import ReportStatus
from dicom_node.store import Store
from dicom_node.store.database import Database
from dicom_node.store.removal import mark_images
from dicom_node.store.schema import instances, reports, studies
from tests.builders.reports import incoming
from tests.builders.stores import NOON, received
from tests.unit.store.test_migrations import upgrade

LATER = NOON + timedelta(days=1)
EXAMPLES = itertools.count(1)

STUDIES, IMAGES = st.sampled_from("112"), st.integers(1, 2)
INSTANCE = st.tuples(
    st.just("instance"),
    STUDIES,
    IMAGES,
    st.sampled_from(["image", "result", "conflict"]),
    st.booleans(),
)
REPORT = st.tuples(
    st.just("report"),
    st.sampled_from(["uid 1", "uid 2", "order"]),
    st.sampled_from([None, None, None, "P", "Q"]),
    st.sampled_from(["x", "y"]),
    st.sampled_from([ReportStatus.FINAL, ReportStatus.FINAL, ReportStatus.CANCELLED]),
)
CHANGE = st.tuples(
    st.just("change"),
    st.sampled_from(
        [
            *("is_conflict", "is_own_result", "study_id", "removed_at"),
            *("deleted", "report removed"),
        ]
    ),
    STUDIES,
)
REMOVE = st.tuples(st.just("remove"), STUDIES)
REST = st.sampled_from([("forget",), ("clean",)])
STEPS = st.sampled_from([INSTANCE, REPORT, CHANGE] * 3 + [REMOVE, REST]).flatmap(
    lambda one: one
)

EVERY_WAY = [
    # A result and a repeated UID are no images; then the result turns out to be one.
    ("instance", "1", 1, "result", False),
    ("report", "uid 1", None, "x", ReportStatus.FINAL),
    ("instance", "1", 1, "conflict", False),
    ("change", "is_own_result", "1"),
    ("change", "is_conflict", "1"),
    ("change", "is_conflict", "1"),
    # The images go to another study, and then for good.
    ("instance", "2", 1, "result", False),
    ("report", "uid 2", None, "x", ReportStatus.FINAL),
    ("change", "study_id", "1"),
    ("change", "deleted", "2"),
    ("change", "report removed", "2"),
    # An image comes, is removed, comes again, and is removed as retention does it.
    ("instance", "1", 2, "image", False),
    ("change", "removed_at", "1"),
    ("instance", "1", 2, "image", False),
    ("remove", "1"),
    # A report that names no study that is here is forgotten, and one is withdrawn.
    ("report", "order", "Q", "x", ReportStatus.FINAL),
    ("forget",),
    ("report", "order", "Q", "y", ReportStatus.FINAL),
    ("report", "order", "Q", "y", ReportStatus.CANCELLED),
    ("clean",),
]


class Site:
    """A node's store in which each example has two studies of one order."""

    def __init__(self, url: str, folder: Path) -> None:
        self.store = Store(url)
        self.store.migrate()
        self.store.data_dir = folder
        (folder / "spool").mkdir(parents=True)
        self.folder = folder
        self.begin()

    def begin(self) -> None:
        self.example = f"1.2.{next(EXAMPLES)}"

    def uid(self, study: str) -> str:
        return f"{self.example}.{study}"

    def study_id(self, study: str) -> sa.ScalarSelect[Any]:
        """Look up a study's row; there may be none."""
        return (
            sa.select(studies.c.id)
            .where(studies.c.study_instance_uid == self.uid(study))
            .scalar_subquery()
        )

    def write(self, statement: Any) -> None:
        with self.store._database.write() as connection:
            connection.execute(statement)

    def instance(self, study: str, number: int, kind: str, is_told: bool) -> None:
        one = received(
            sop_instance_uid=f"{self.uid(study)}.9.{number}",
            study_instance_uid=self.uid(study),
            series_instance_uid=f"{self.uid(study)}.9",
            is_own_result=kind == "result",
            study={
                "AccessionNumber": self.example,
                **({"PatientID": "PQ"[int(study) - 1]} if is_told else {}),
            },
        )
        if kind == "conflict":
            sha256 = one.sha256[::-1]
            one = replace(one, sha256=sha256, path=Path(f"spool/{sha256}.dcm"))
        # What retention removed is kept again where its file is there.
        (self.folder / one.path).touch()
        self.store.record_instance(one)

    def report(
        self, name: str, patient: str | None, text: str, status: ReportStatus
    ) -> None:
        named: dict[str, Any] = (
            {"accession_number": self.example}
            if name == "order"
            else {"study_instance_uid": self.uid(name[-1])}
        )
        try:
            self.store.reports.record(
                incoming(text, status, patient_id=patient, **named)
            )
        except PatientMismatchError:
            assert name != "order"

    def forget(self) -> None:
        for one in self.store.reports.waiting(1):
            self.store.reports.forget_waiting(one.report_id, by="ann", now=LATER)

    def clean(self) -> None:
        self.store.retention.remove_waiting_reports(before=LATER, now=LATER)

    def remove(self, study: str) -> None:
        with self.store._database.write() as connection:
            study_id = connection.scalar(sa.select(self.study_id(study)))
            if study_id is not None:
                mark_images(connection, study_id, now=LATER)

    def change(self, what: str, study: str) -> None:
        """Change all rows of a study as no code does."""
        key, other = self.study_id(study), self.study_id("2" if study == "1" else "1")
        is_it = instances.c.study_id == key
        moved = sa.func.coalesce(other, instances.c.study_id)
        statements: dict[str, Any] = {
            "deleted": instances.delete().where(is_it),
            "report removed": reports.update()
            .where(reports.c.study_id == key)
            .values(removed_at=LATER),
        }
        for column, value in (
            ("is_conflict", sa.not_(instances.c.is_conflict)),
            ("is_own_result", sa.not_(instances.c.is_own_result)),
            ("study_id", moved),
            ("removed_at", LATER),
        ):
            change = instances.update().where(is_it).values({column: value})
            statements[column] = change
        self.write(statements[what])

    def flags(self) -> tuple[dict[int, bool], dict[int, bool]]:
        """Return which reports are flagged, and which a look at every row says."""
        images = (
            sa.select(sa.func.count())
            .select_from(instances)
            .where(
                instances.c.study_id == reports.c.study_id,
                instances.c.is_own_result.is_(False),
                instances.c.is_conflict.is_(False),
                instances.c.removed_at.is_(None),
            )
            .scalar_subquery()
        )
        waits = sa.and_(
            reports.c.is_current, reports.c.removed_at.is_(None), images == 0
        )
        with self.store._database.read() as connection:
            rows = connection.execute(
                sa.select(reports.c.id, reports.c.waits, waits.label("expected"))
            ).all()
        return (
            {row.id: row.waits for row in rows},
            {row.id: bool(row.expected) for row in rows},
        )


@pytest.fixture
def site(url: str, tmp_path: Path) -> Iterator[Site]:
    made = Site(url, tmp_path / "data")
    yield made
    made.store.close()


@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(steps=EVERY_WAY)
@given(steps=st.lists(STEPS, min_size=20, max_size=20))
def test_the_flag_is_what_a_look_at_every_report_says(
    site: Site, steps: list[tuple[Any, ...]]
) -> None:
    site.begin()
    for name, *arguments in steps:
        getattr(site, name)(*arguments)

        flagged, expected = site.flags()
        assert flagged == expected

    waiting = site.store.reports.waiting(10_000)
    assert [one.report_id for one in waiting] == sorted(
        (key for key, waits in flagged.items() if waits), reverse=True
    )
    assert site.store.reports.count_waiting() == len(waiting)


def test_a_migration_flags_the_reports_that_wait(url: str, tmp_path: Path) -> None:
    """Rows of before the flag: two studies, one of them without an image."""
    database = Database(url)
    with database.write() as connection:
        upgrade(connection, "0008")
        old = sa.MetaData()
        old.reflect(connection)
        for key in (1, 2):
            connection.execute(
                old.tables["studies"]
                .insert()
                .values(
                    id=key,
                    study_instance_uid=f"1.{key}",
                    state="idle",
                    is_forced=False,
                    first_received_at=NOON,
                    last_received_at=NOON,
                )
            )
            connection.execute(
                old.tables["instances"]
                .insert()
                .values(
                    study_id=key,
                    is_own_result=key == 2,
                    is_conflict=False,
                    size_bytes=1,
                    received_at=NOON,
                    **dict.fromkeys(
                        (
                            *("series_instance_uid", "sop_instance_uid"),
                            *("sop_class_uid", "transfer_syntax_uid", "path"),
                            *("sha256", "calling_ae_title", "peer_address"),
                        ),
                        f"1.{key}",
                    ),
                )
            )
        for study_id, is_current, removed_at in (
            *((1, True, None), (2, True, None), (None, True, None)),
            *((2, False, None), (None, True, NOON)),
        ):
            connection.execute(
                old.tables["reports"]
                .insert()
                .values(
                    study_id=study_id,
                    is_current=is_current,
                    removed_at=removed_at,
                    received_at=NOON,
                    channel="hl7",
                    **dict.fromkeys(
                        ("sender", "identifier", "status", "text", "sha256"), "x"
                    ),
                )
            )
    database.close()

    site = Site(url, tmp_path / "data")

    flagged, expected = site.flags()
    assert flagged == expected == {1: False, 2: True, 3: True, 4: False, 5: False}
    site.store.close()

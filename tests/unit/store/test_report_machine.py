"""Reports and images in any order, against a model that knows no database."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dicom_node.errors import PatientMismatchError
from dicom_node.identity import content_version
from dicom_node.records import IncomingReport, ReportStatus
from dicom_node.store import ReportOutcome, Store, StudyState, VersionKey
from tests.builders.reports import incoming
from tests.builders.stores import NOON, received, result_object

STUDIES = {
    "1.2.1": ("A1", "P"),
    "1.2.2": ("A2", "Q"),
    "1.2.3": ("A1", "P"),
    "1.2.4": ("A1", "Q"),
}
"""Accession number and patient of each study; two belong to one order, and another
issuer gave its number to another patient's study."""


class ReportMachine(RuleBasedStateMachine):
    """Images and reports arrive, are corrected and withdrawn, through restarts."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="reports-"))
        shutil.copy(self.template, self.folder / "node.sqlite")
        self.open()
        self.said: list[IncomingReport] = []
        self.tells: set[str] = set()
        self.images: dict[str, int] = dict.fromkeys(STUDIES, 0)
        self.opened: dict[str, list[VersionKey]] = {uid: [] for uid in STUDIES}
        self.counted: dict[int, list[str]] = {}
        self.last: IncomingReport | None = None
        self.results = 0

    def open(self) -> None:
        self.store = Store(f"sqlite:///{self.folder / 'node.sqlite'}")

    def studies_of(self, report: IncomingReport) -> set[str]:
        """Say which studies with images a report is of, whatever came first."""
        here = {uid for uid, images in self.images.items() if images}
        ids = report.patient_ids
        if report.study_instance_uid is not None:
            named = here & {report.study_instance_uid}
        else:
            named = {uid for uid in here if STUDIES[uid][0] == report.accession_number}
        of_patient = {
            uid: STUDIES[uid][1] if uid in self.tells else None for uid in named
        }
        known = {one for one in of_patient.values() if one}
        if ids and known:
            return {uid for uid, one in of_patient.items() if one in ids}
        is_one_patient = len(known) == 1 and None not in of_patient.values()
        return named if len(named) == 1 or is_one_patient else set()

    def expected(self, study: str) -> list[str]:
        """Say what counts in a study: by identifier, the last that is not late."""
        current: dict[str, IncomingReport] = {}
        for report in self.said:
            if study not in self.studies_of(report):
                continue
            key = report.identifier or f"{report.status} {report.text}"
            before = current.get(key)
            if (
                before is None
                or report.status is not ReportStatus.PRELIMINARY
                or before.status is ReportStatus.PRELIMINARY
            ):
                current[key] = report
        return sorted(
            one.text
            for one in current.values()
            if one.status is not ReportStatus.CANCELLED
        )

    def send(self, report: IncomingReport) -> ReportOutcome | None:
        before = {uid: self.expected(uid) for uid in STUDIES}
        try:
            receipt = self.store.reports.record(report)
        except PatientMismatchError:
            assert report.study_instance_uid in self.tells
            assert STUDIES[report.study_instance_uid][1] not in report.patient_ids
            return None
        # What was known must change nothing now or later: the model forgets nothing.
        self.said.append(report)
        if receipt.outcome is ReportOutcome.DUPLICATE:
            assert {uid: self.expected(uid) for uid in STUDIES} == before
        return receipt.outcome

    @rule(study=st.sampled_from(sorted(STUDIES)), tells=st.booleans())
    def an_image_comes(self, study: str, *, tells: bool) -> None:
        order, patient = STUDIES[study]
        if tells:
            self.tells.add(study)
        self.images[study] += 1
        self.store.record_instance(
            received(
                sop_instance_uid=f"{study}.{self.images[study]}",
                study_instance_uid=study,
                study={
                    "AccessionNumber": order,
                    **({"PatientID": patient} if tells else {}),
                },
            )
        )

    @rule(
        name=st.sampled_from([*STUDIES, "A1", "A2"]),
        patient=st.sampled_from([None, None, "P", "Q", "insurance"]),
        text=st.sampled_from(["x", "y"]),
        status=st.sampled_from(ReportStatus),
        identifier=st.sampled_from(["filler", ""]),
    )
    def a_report_comes(
        self,
        name: str,
        patient: str | None,
        text: str,
        status: ReportStatus,
        identifier: str,
    ) -> None:
        is_uid = name in STUDIES
        self.last = incoming(
            text,
            status,
            patient_id=patient,
            other_patient_ids=("P",) if patient == "insurance" else (),
            identifier=identifier,
            study_instance_uid=name if is_uid else None,
            accession_number=None if is_uid else name,
        )
        self.send(self.last)

    @precondition(lambda self: self.last is not None)
    @rule()
    def the_last_report_comes_again(self) -> None:
        assert self.last is not None
        first = self.send(self.last)
        if first is not None:
            assert self.send(self.last) is ReportOutcome.DUPLICATE

    @rule()
    def versions_are_opened(self) -> None:
        for study in self.store.collecting_studies():
            uid = study.study_instance_uid
            assert self.images[uid]
            key = self.store.open_version(
                study.study_id, now=NOON, version_of=content_version
            )
            if key is None:
                latest = self.opened[uid][-1]
                assert self.counted[latest.version_id] == self.expected(uid)
                continue
            assert key.content_version not in [
                one.content_version for one in self.opened[uid]
            ]
            self.opened[uid].append(key)
            self.counted[key.version_id] = self.expected(uid)

    @rule(finishes=st.booleans())
    def the_oldest_work_is_done(self, *, finishes: bool) -> None:
        for key in self.store.work.unfinished_versions()[:1]:
            work = self.store.work.start_version(
                key.version_id,
                run=key.run,
                fingerprint="model-1",
                data_dir=self.folder,
                now=NOON,
            )
            assert work is not None
            assert (
                sorted(one.text for one in work.ready.reports)
                == self.counted[key.version_id]
            )
            if not finishes:
                continue
            self.results += 1
            folder = self.folder / f"run-{self.results}"
            self.store.work.finish_version(
                key.version_id,
                run=key.run,
                fingerprint="model-1",
                objects=[result_object(folder, self.results)],
                result_dir=folder,
                data_dir=self.folder,
                destinations={},
                now=NOON + timedelta(seconds=self.results),
            )

    @rule()
    def the_node_restarts(self) -> None:
        self.store.close()
        self.open()

    @invariant()
    def every_study_has_the_reports_that_are_its_own(self) -> None:
        for uid, images in self.images.items():
            found = [one for one in self.store.reports.of_study(uid) if one.is_current]
            counted = sorted(
                one.text for one in found if one.status is not ReportStatus.CANCELLED
            )
            assert counted == (self.expected(uid) if images else [])

    @invariant()
    def nothing_that_counts_is_forgotten(self) -> None:
        for study in self.store.snapshot().studies:
            uid = study.study_instance_uid
            if study.state != StudyState.COLLECTING:
                latest = self.opened[uid][-1]
                assert self.counted[latest.version_id] == self.expected(uid)

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


def test_reports_and_images_meet_in_any_order(tmp_path: Path) -> None:
    ReportMachine.template = tmp_path / "template.sqlite"
    with Store(f"sqlite:///{ReportMachine.template}") as store:
        store.migrate()

    case = ReportMachine.TestCase
    case.settings = settings(
        max_examples=20,
        stateful_step_count=20,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    case().runTest()

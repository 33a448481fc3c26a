"""A study is sent to a remote once, and whatever the remote does, its wait ends."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import UID

from dicom_node.config import CallerSettings, NodeSettings, RemoteSettings
from dicom_node.deliver.records import Sendable, SendOutcome
from dicom_node.errors import GroundingError, RemoteWaitsError
from dicom_node.header import read_header
from dicom_node.imaging import find_series
from dicom_node.instance_file import instance_sha256
from dicom_node.records import Phrase, Report, StudyReady
from dicom_node.remote import RemoteAnswers, RemoteGateway, gateway
from dicom_node.reports import collect_phrases
from dicom_node.store import InstanceOutcome, Store, VersionKey
from tests.builders.dicom_series import SyntheticSeries, make_ct_series
from tests.builders.stores import NOON, received

REMOTE = RemoteSettings(
    name="far", ae_title="FAR", host="127.0.0.1", port=1, timeout_s=600, quiet_s=5
)


class Far:
    """Stands where the remote is called: it takes files, or does not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sent: list[dict[str, bytes]] = []
        self.status: tuple[bool, bool, str] = (True, False, "")
        """Delivered, refused, reason."""

    def __call__(
        self, files: Sequence[Path | Sendable], *_args: object, **_more: object
    ) -> tuple[SendOutcome, ...]:
        paths = [one for one in files if isinstance(one, Path)]
        self.sent.append({one.name: one.read_bytes() for one in paths})
        for one in paths:
            shutil.copy(one, self.folder / one.name)
        is_delivered, is_refused, reason = self.status
        return tuple(
            SendOutcome(one, "", is_delivered, 0, reason, is_refused=is_refused)
            for one in paths
        )


class Site:
    """A node's gateway with one study to interpret."""

    def __init__(self, folder: Path) -> None:
        self.now = NOON
        self.data_dir = folder / "data"
        self.data_dir.mkdir(mode=0o700)
        self.settings = NodeSettings(
            remotes=(REMOTE,),
            callers=(CallerSettings(ae_title="FAR", address="127.0.0.1"),),
        ).model_copy(
            update={
                "node": NodeSettings().node.model_copy(
                    update={"data_dir": self.data_dir}
                )
            }
        )
        self.ct: SyntheticSeries = make_ct_series(folder / "ct", slices=3)
        self.series, _ = find_series(self.ct.instances)
        report = Report(text="Findings: right pleural effusion.", source="file")
        self.phrases: tuple[Phrase, ...] = collect_phrases([report], (), self.series)
        self.store = Store(f"sqlite:///{folder / 'node.sqlite'}")
        self.store.migrate()
        for one in self.ct.instances:
            self.store.record_instance(
                received(
                    sop_instance_uid=one.sop_instance_uid,
                    study_instance_uid=self.ct.study_instance_uid,
                    path=one.path,
                )
            )
        (study,) = self.store.collecting_studies()
        key = self.store.open_version(
            study.study_id, now=NOON, version_of=lambda _hashes: "v1"
        )
        assert key is not None
        self.ready = StudyReady(self.ct.study_instance_uid, "v1", self.ct.instances)
        self.due: list[VersionKey] = []
        self.restart()

    def restart(self) -> None:
        self.gateway = RemoteGateway(
            self.settings,
            self.store,
            clock=self.clock,
            on_due=self.due.append,
        )

    def clock(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def ask(self) -> RemoteAnswers:
        return self.gateway.ask(
            self.ready, "far", series=self.series, phrases=self.phrases
        )

    def study_uid(self) -> str:
        (one,) = self.store.remotes.open_studies()
        return one.pseudonymous_study_uid

    def give_back(self, path: Path, *, ae_title: str = "FAR") -> InstanceOutcome:
        """Store a file as it comes by C-STORE."""
        header = read_header(path)
        sha256 = instance_sha256(path, header)
        target = self.data_dir / f"{sha256}.dcm"
        shutil.copy(path, target)
        return self.store.record_instance(
            replace(
                received(
                    sop_instance_uid=header.sop_instance_uid,
                    sop_class_uid=header.sop_class_uid,
                    study_instance_uid=header.study_instance_uid,
                    path=Path(target.name),
                    sha256=sha256,
                    calling_ae_title=ae_title,
                ),
                received_at=self.now,
            )
        )

    def reason(self, answer: RemoteAnswers) -> str:
        (series,) = self.series
        with pytest.raises(GroundingError) as caught:
            answer.ground(series, np.zeros(0, np.float32), ["x"])
        return str(caught.value)


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Far:
    folder = tmp_path / "far"
    folder.mkdir()
    stand_in = Far(folder)
    monkeypatch.setattr(gateway, "send_objects", stand_in)
    return stand_in


@pytest.fixture
def site(tmp_path: Path, far: Far) -> Iterator[Site]:
    one = Site(tmp_path)
    yield one
    one.store.close()


def answer_file(far: Far) -> Path:
    """Return the list of phrases: any report of the study may stand for an answer."""
    return far.folder / "questions.dcm"


def test_a_restart_sends_the_same_study_again_and_no_second_one(
    site: Site, far: Far
) -> None:
    far.status = (False, False, "it cannot be reached")
    with pytest.raises(RemoteWaitsError):
        site.ask()
    far.status = (True, False, "")
    site.restart()
    with pytest.raises(RemoteWaitsError):
        site.ask()
    with pytest.raises(RemoteWaitsError):
        site.ask()

    assert len(far.sent) == 2
    assert far.sent[0] == far.sent[1]
    assert not (site.data_dir / "remote").exists() or not list(
        (site.data_dir / "remote").iterdir()
    )


def test_an_answer_counts_when_no_more_of_it_comes(site: Site, far: Far) -> None:
    with pytest.raises(RemoteWaitsError):
        site.ask()
    assert site.give_back(answer_file(far)) is InstanceOutcome.NEW
    with pytest.raises(RemoteWaitsError):
        site.ask()

    site.wait(REMOTE.quiet_s)

    first, second = site.ask(), site.ask()
    assert first.identity == second.identity
    assert first.refused == {}


def test_results_that_come_twice_or_late_change_nothing(site: Site, far: Far) -> None:
    with pytest.raises(RemoteWaitsError):
        site.ask()
    assert site.give_back(answer_file(far)) is InstanceOutcome.NEW
    assert site.give_back(answer_file(far)) is InstanceOutcome.DUPLICATE
    site.wait(REMOTE.quiet_s)
    before = site.ask()

    late = dcmread(answer_file(far))
    late.SOPInstanceUID = late.file_meta.MediaStorageSOPInstanceUID = UID("2.25.7")
    late.save_as(far.folder / "late.dcm")
    assert site.give_back(far.folder / "late.dcm") is InstanceOutcome.NEW

    assert site.ask().identity == before.identity
    assert site.store.pages.study(late.StudyInstanceUID) is None


def test_a_remote_that_says_nothing_is_not_waited_for_for_ever(site: Site) -> None:
    with pytest.raises(RemoteWaitsError):
        site.ask()

    site.wait(REMOTE.timeout_s)

    assert site.reason(site.ask()) == "the remote model did not answer within 600 s"


def test_a_remote_that_is_away_is_tried_until_its_time_is_over(
    site: Site, far: Far
) -> None:
    far.status = (False, False, "it cannot be reached")
    with pytest.raises(RemoteWaitsError):
        site.ask()

    site.wait(REMOTE.timeout_s)

    assert "was not reached within 600 s" in site.reason(site.ask())


def test_a_remote_that_refuses_ends_the_wait_at_once(site: Site, far: Far) -> None:
    far.status = (False, True, "it does not accept that")

    assert "does not take" in site.reason(site.ask())


def test_what_another_sends_under_the_pseudonym_does_not_count(
    site: Site, far: Far
) -> None:
    with pytest.raises(RemoteWaitsError):
        site.ask()
    site.give_back(answer_file(far), ae_title="ELSE")
    site.wait(REMOTE.quiet_s)

    with pytest.raises(RemoteWaitsError):
        site.ask()


def test_what_a_remote_sends_unasked_becomes_no_study(site: Site, far: Far) -> None:
    ct = make_ct_series(far.folder, slices=1, study_uid="2.25.4711")

    assert site.give_back(ct.paths[0]) is InstanceOutcome.NEW

    assert not [
        one
        for one in site.store.collecting_studies()
        if one.study_instance_uid == "2.25.4711"
    ]
    assert site.store.known_paths(
        [path.name for path in site.data_dir.glob("*.dcm")]
    ) == {path.name for path in site.data_dir.glob("*.dcm")}


def test_the_version_is_told_to_go_on_once_for_each_answer(
    site: Site, far: Far
) -> None:
    with pytest.raises(RemoteWaitsError):
        site.ask()
    told: dict[int, int] = {}
    site.gateway._look(told)
    assert site.due == []
    site.give_back(answer_file(far))
    site.wait(REMOTE.quiet_s)

    for _ in range(3):
        site.gateway._look(told)

    assert len(site.due) == 1


def test_a_study_that_cannot_be_looked_at_does_not_hold_the_others(
    site: Site, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RemoteWaitsError):
        site.ask()
    site.give_back(answer_file(far))
    site.wait(REMOTE.quiet_s)
    (one,) = site.store.remotes.open_studies()
    broken = replace(one, id=one.id + 1, detail={})  # it never began
    monkeypatch.setattr(
        type(site.store.remotes), "open_studies", lambda _self: (broken, one)
    )

    site.gateway._look({})

    assert site.due == [one.key]


def test_a_late_study_ends_whatever_its_answer_is(
    site: Site, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> frozenset[str]:
        raise TypeError

    with pytest.raises(RemoteWaitsError):
        site.ask()
    site.give_back(answer_file(far))
    monkeypatch.setattr(gateway, "missing_objects", fail)

    site.wait(REMOTE.timeout_s)

    (told,) = (one for one in site.ask().told if "complete" in one.reason)
    assert told.reason == "the answer of the remote model is not complete"

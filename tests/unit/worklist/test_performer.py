from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_node.config import NodeSettings
from dicom_node.errors import WorklistError
from dicom_node.http_peer import http_client
from dicom_node.identity import content_version
from dicom_node.records import ResultObject
from dicom_node.store import AttemptOutcome, Store, WorkitemState
from dicom_node.worklist import WorklistClient, WorklistPerformer
from tests.builders.stores import NOON, received, result_object
from tests.builders.ups_server import UpsServer, workitem

PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as opened:
        opened.migrate()
        yield opened


_MADE: list[WorklistPerformer] = []


@pytest.fixture(autouse=True)
def end_of_performers() -> Iterator[None]:
    yield
    while _MADE:
        _MADE.pop().stop(0.0)


class Bringer:
    """Puts a study into the store when it is asked for it."""

    def __init__(self, store: Store, *numbers: int) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self._store = store
        self._numbers = numbers

    def bring(self, study_instance_uid: str, archives: Collection[str]) -> str:
        self.asked.append((study_instance_uid, tuple(archives)))
        for number in self._numbers:
            put(self._store, number)
        return "" if self._numbers else "it does not have the study"


def put(store: Store, number: int = 1) -> None:
    store.record_instance(received(number, study={"PatientID": "ZZCANARY-ID"}))


def performer(
    server: UpsServer,
    store: Store,
    *,
    bringer: Bringer | None = None,
    output_url: str | None = None,
    procedure: str | None = None,
    **settings: Any,
) -> WorklistPerformer:
    numbers = iter(range(1, 100))
    made = WorklistPerformer(
        NodeSettings.model_validate(
            {
                "ups": {
                    "url": server.url,
                    "output_url": output_url,
                    "procedure": procedure,
                },
                **settings,
            }
        ),
        store,
        client=WorklistClient(http_client(server.url, timeout_s=5.0)),
        bringer=bringer,
        clock=lambda: NOON,
        new_uid=lambda: f"2.25.{next(numbers)}",
    )
    _MADE.append(made)
    return made


def process(
    store: Store, folder: Path, *, destinations: dict[str, str] | None = None
) -> ResultObject:
    """Do what assembler and worker do with a study that was asked for."""
    (study,) = store.collecting_studies()
    assert study.is_forced
    key = store.open_version(study.study_id, now=NOON, version_of=content_version)
    assert key is not None
    work = store.work.start_version(
        key.version_id, run=1, fingerprint="f", data_dir=folder, now=NOON
    )
    assert work is not None
    made = result_object(folder / "results" / "a", profile="default")
    store.work.finish_version(
        key.version_id,
        run=1,
        fingerprint="f",
        objects=[made],
        result_dir=folder / "results" / "a",
        data_dir=folder,
        destinations=destinations or {},
        now=NOON,
    )
    return made


def state_of(store: Store, uid: str = "1.7.1") -> WorkitemState:
    found = store.workitems.find(uid)
    assert found is not None
    return found.state


def test_work_is_claimed_done_and_completed_with_its_output(
    store: Store, tmp_path: Path
) -> None:
    put(store)
    url = "https://node.example/dicom-web"
    with UpsServer(workitem(instances=("1.2.3.4.1",))) as server:
        worker = performer(server, store, output_url=url, web={"profile": "default"})
        worker.look()
        assert (server.state(), state_of(store)) == ("IN PROGRESS", "processing")
        made = process(store, tmp_path)
        worker.look()

        assert (server.state(), state_of(store)) == ("COMPLETED", "completed")
        item = server.items["1.7.1"]
        (done,) = item.UnifiedProcedureStepPerformedProcedureSequence
        (output,) = done.OutputInformationSequence
        (reference,) = output.ReferencedSOPSequence
        assert reference.ReferencedSOPInstanceUID == made.reference.sop_instance_uid
        assert output.WADORSRetrievalSequence[0].RetrieveURL == (
            f"{url}/studies/1.2.3/series/2.25.99"
        )
        assert done.PerformedWorkitemCodeSequence[0].CodeValue == "ground"
        assert server.steps == ["10", "100"]
        assert server.locks == {"1.7.1": "2.25.1"}
        # What has ended is not claimed again.
        before = len(server.requests)
        worker.look()
        assert len(server.requests) == before + 1


def test_work_is_complete_when_the_destination_has_the_results(
    store: Store, tmp_path: Path
) -> None:
    put(store)
    with UpsServer(workitem()) as server:
        worker = performer(server, store, destinations=[PACS])
        worker.look()
        process(store, tmp_path, destinations={"pacs": "default"})
        worker.look()
        assert server.state() == "IN PROGRESS"

        (parcel,) = store.outbox.pending_parcels()
        items = store.outbox.pending_items(parcel.version_id, "pacs", data_dir=tmp_path)
        deliver(store, parcel, items)
        worker.look()

        assert server.state() == "COMPLETED"
        (done,) = server.items["1.7.1"].UnifiedProcedureStepPerformedProcedureSequence
        (output,) = done.OutputInformationSequence
        assert output.DICOMRetrievalSequence[0].RetrieveAETitle == "PACS"


def deliver(store: Store, parcel: Any, items: Any) -> None:
    store.outbox.record_attempt(
        parcel,
        [AttemptOutcome(one.delivery_id, True, 0, "") for one in items],
        now=NOON,
        next_attempt_at=NOON,
    )


def test_input_that_is_not_here_is_fetched_from_a_configured_archive(
    store: Store,
) -> None:
    bringer = Bringer(store, 1, 2)
    archives = [
        {**PACS, "name": "named", "ae_title": "NAMED"},
        {**PACS, "name": "other", "ae_title": "OTHER"},
        {"name": "web", "kind": "dicomweb", "url": "http://pacs.example/dicom-web"},
    ]
    item = workitem(
        instances=("1.2.3.4.2",),
        retrieve_ae_title="NAMED",
        retrieve_url="http://pacs.example/dicom-web/studies/1.2.3",
    )
    with UpsServer(item) as server:
        performer(server, store, bringer=bringer, archives=archives).look()

        assert bringer.asked == [("1.2.3", ("named", "web"))]
        assert server.state() == "IN PROGRESS"
    (study,) = store.collecting_studies()
    assert study.is_forced


@pytest.mark.parametrize(
    ("item", "numbers", "reason"),
    [
        (workitem(instances=("1.2.3.4.9",)), (1,), "the input is not here"),
        (workitem(study="1.2.4"), (), "the input is not here"),
        (workitem(study=None), (1,), "the input is not one study"),
        (workitem(PatientID="OTHER"), (1,), "another Patient ID"),
    ],
)
def test_work_that_cannot_be_done_is_canceled_with_its_reason(
    store: Store, item: Any, numbers: tuple[int, ...], reason: str
) -> None:
    for number in numbers:
        put(store, number)
    with UpsServer(item) as server:
        performer(server, store, bringer=Bringer(store)).look()

        assert (server.state(), state_of(store)) == ("CANCELED", "canceled")
        (told,) = server.items["1.7.1"].ProcedureStepProgressInformationSequence
        assert reason in told.ReasonForCancellation
        assert "OTHER" not in told.ReasonForCancellation


def test_a_study_that_fails_cancels_its_work(store: Store, tmp_path: Path) -> None:
    put(store)
    with UpsServer(workitem()) as server:
        worker = performer(server, store)
        worker.look()
        (study,) = store.collecting_studies()
        key = store.open_version(study.study_id, now=NOON, version_of=content_version)
        assert key is not None
        store.work.fail_version(
            key.version_id, run=1, reason="no series fits", now=NOON
        )
        worker.look()

        assert server.state() == "CANCELED"
        (told,) = server.items["1.7.1"].ProcedureStepProgressInformationSequence
        assert told.ReasonForCancellation == "processing failed: no series fits"


def test_work_that_somebody_else_claims_first_is_left_alone(store: Store) -> None:
    put(store)
    with UpsServer(workitem()) as server:

        def race(method: str, path: str) -> None:
            if path.endswith("/state") and not server.locks:
                server.items["1.7.1"].ProcedureStepState = "IN PROGRESS"
                server.locks["1.7.1"] = "9.9.9"

        server.before = race
        performer(server, store).look()

        assert server.state() == "IN PROGRESS"
        assert server.locks == {"1.7.1": "9.9.9"}
    assert state_of(store) is WorkitemState.LOST
    (study,) = store.collecting_studies()
    assert not study.is_forced


@pytest.mark.parametrize("moment", ["claim", "output", "complete"])
def test_a_restart_goes_on_with_the_same_transaction(
    store: Store, tmp_path: Path, moment: str
) -> None:
    put(store)
    with UpsServer(workitem()) as server:
        fails = {
            "claim": lambda method, path: method == "PUT",
            "output": lambda method, path: method == "POST" and "100" in server.steps,
            "complete": lambda method, path: (
                server.items["1.7.1"].ProcedureStepState == "COMPLETED"
            ),
        }[moment]
        first = performer(server, store, web={"profile": "default"})
        if moment != "claim":
            first.look()
            process(store, tmp_path)
        # It was done, and the answer never came.
        server.after = lambda method, path: 500 if fails(method, path) else None
        first.look()
        assert store.workitems.open()
        server.after = lambda _method, _path: None

        second = performer(server, store, web={"profile": "default"})
        second.look()
        if moment == "claim":
            process(store, tmp_path)
            second.look()

        assert server.state() == "COMPLETED"
        assert server.locks == {"1.7.1": "2.25.1"}
        assert state_of(store) is WorkitemState.COMPLETED


def test_only_work_for_this_station_or_procedure_is_claimed(store: Store) -> None:
    put(store)
    other = workitem("1.7.2", station="OTHER", procedure="other")
    unready = workitem("1.7.3", InputReadinessState="INCOMPLETE")
    with UpsServer(other, unready) as server:
        performer(server, store).look()
        performer(server, store, procedure="ground").look()

        assert server.state("1.7.2") == server.state("1.7.3") == "SCHEDULED"
        performer(server, store, procedure="other").look()
        assert server.state("1.7.2") == "IN PROGRESS"


def test_work_that_is_deleted_is_forgotten(store: Store) -> None:
    put(store)
    with UpsServer(workitem()) as server:
        server.after = lambda method, _path: server.deleted.add("1.7.1")
        performer(server, store).look()

    assert state_of(store) is WorkitemState.LOST


def test_a_manager_that_is_away_is_trouble_and_nothing_is_lost(store: Store) -> None:
    with UpsServer() as server:
        worker = performer(server, store)
    with pytest.raises(WorklistError, match="it cannot be reached"):
        worker.look()
    assert store.workitems.open() == ()


@pytest.mark.parametrize(("method", "status"), [("GET", 500), ("PUT", 403)])
def test_a_workitem_that_is_not_served_holds_no_other_and_is_given_up(
    store: Store, method: str, status: int
) -> None:
    put(store)
    bad, good = workitem(uid="1.7.1"), workitem(uid="1.7.2")
    with UpsServer(bad, good) as server:
        server.before = lambda asked, path: (
            status if asked == method and "1.7.1" in path else None
        )
        worker = performer(server, store)
        worker.look()
        other = state_of(store, "1.7.2")
        for _ in range(60):
            worker.look()

        assert other == WorkitemState.PROCESSING
        assert state_of(store) in {WorkitemState.CANCELED, WorkitemState.LOST}


def test_work_whose_results_were_given_up_is_canceled_with_that_reason(
    store: Store, tmp_path: Path
) -> None:
    put(store)
    with UpsServer(workitem()) as server:
        worker = performer(server, store, destinations=[PACS])
        worker.look()
        process(store, tmp_path, destinations={"pacs": "default"})
        (parcel,) = store.outbox.pending_parcels()
        store.outbox.abandon_parcel(parcel, comment="gone", now=NOON)
        worker.look()

        assert (server.state(), state_of(store)) == ("CANCELED", "canceled")

"""What a remote sends back is in the trail with its study, sender and class."""

from __future__ import annotations

from pathlib import Path

from dicom_node.audit import EventKind
from dicom_node.store import Store
from tests.builders.stores import NOON, received


def test_an_answer_is_told_with_study_sender_and_class(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as store:
        store.migrate()
        store.record_instance(received())
        (study,) = store.collecting_studies()
        key = store.open_version(study.study_id, now=NOON, version_of=lambda _: "v1")
        assert key is not None
        store.remotes.begin(
            key, remote="far", pseudonymous_study_uid="2.25.1", now=NOON
        )

        store.record_instance(
            received(
                study_instance_uid="2.25.1",
                sop_instance_uid="2.25.2",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
                calling_ae_title="FAR",
                peer_address="10.0.0.9",
            )
        )

        told = store.trail.read(0, limit=100)[-1]
        assert told.kind == EventKind.REMOTE_RESULT_RECEIVED
        assert told.study_id == study.study_id
        assert told.detail["peer_address"] == "10.0.0.9"
        assert store.trail.sop_classes(["2.25.2"]) == {
            "2.25.2": "1.2.840.10008.5.1.4.1.1.66.4"
        }

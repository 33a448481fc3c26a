"""What a job asks for and what comes of it survive the way through the database."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.errors import FileAreaError, JobError
from dicom_node.jobs.request import JobRequest, file_keys, make_job, read_request
from dicom_node.jobs.result import make_result, read_files, read_objects
from dicom_node.records import (
    ObjectReference,
    PriorStudy,
    Report,
    ReportStatus,
    StoredInstance,
    StudyReady,
)
from tests.builders.stores import result_object

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
UIDS = st.from_regex(r"1\.[1-9][0-9]{0,20}", fullmatch=True)
HASHES = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
CLASSES = st.sampled_from(
    ["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11"]
)
INSTANCES = st.builds(
    StoredInstance,
    sop_instance_uid=UIDS,
    sop_class_uid=CLASSES,
    transfer_syntax_uid=UIDS,
    series_instance_uid=UIDS,
    path=st.just(Path("/data/x.dcm")),
    sha256=HASHES,
)
REPORTS = st.builds(
    Report,
    text=TEXT,
    source=TEXT,
    sop_instance_uid=st.none() | UIDS,
    status=st.none() | st.sampled_from(ReportStatus),
    lasting_name=st.none() | TEXT,
)
PRIORS = st.builds(
    PriorStudy,
    study_instance_uid=UIDS,
    study_date=TEXT,
    reports=st.lists(REPORTS, max_size=2).map(tuple),
    instances=st.lists(INSTANCES, max_size=2).map(tuple),
)
REQUESTS = st.builds(
    JobRequest,
    ready=st.builds(
        StudyReady,
        study_instance_uid=UIDS,
        content_version=HASHES,
        instances=st.lists(INSTANCES, max_size=3).map(tuple),
        predecessor_version=st.none() | HASHES,
        reports=st.lists(REPORTS, max_size=2).map(tuple),
        priors=st.lists(PRIORS, max_size=2).map(tuple),
    ),
    predecessors=st.lists(
        st.builds(ObjectReference, UIDS, UIDS, UIDS, UIDS), max_size=2
    ).map(tuple),
    model=st.none() | TEXT,
    profiles=st.lists(TEXT, max_size=2).map(tuple),
    may_retry=st.booleans(),
)


def key_of(instance: StoredInstance) -> str:
    return f"images/{instance.sha256}"


def at_work(asked: JobRequest) -> JobRequest:
    """Give all instances the paths that a worker has for them."""

    def moved(
        instances: tuple[StoredInstance, ...], *, is_prior: bool
    ) -> tuple[StoredInstance, ...]:
        return tuple(
            replace(
                one,
                path=Path("not-brought", one.sha256)
                if is_prior and one.sop_class_uid.endswith(".1.2")
                else Path("/work", one.sha256),
            )
            for one in instances
        )

    ready = asked.ready
    return replace(
        asked,
        ready=replace(
            ready,
            instances=moved(ready.instances, is_prior=False),
            priors=tuple(
                replace(one, instances=moved(one.instances, is_prior=True))
                for one in ready.priors
            ),
        ),
    )


@settings(max_examples=25)
@given(REQUESTS)
def test_a_worker_reads_what_the_node_wrote(asked: JobRequest) -> None:
    job = make_job(asked, fingerprint="f", key_of=key_of)
    sent = json.loads(json.dumps(job.request))
    keys = file_keys(sent)

    read = read_request(sent, {key: Path("/work", sha) for key, sha in keys.items()})

    assert read == at_work(asked)
    assert all(key == f"images/{sha256}" for key, sha256 in keys.items())


@settings(max_examples=25)
@given(REQUESTS, REQUESTS)
def test_the_same_request_is_the_same_job_and_another_is_another(
    first: JobRequest, second: JobRequest
) -> None:
    def id_of(asked: JobRequest, fingerprint: str = "f") -> str:
        return make_job(asked, fingerprint=fingerprint, key_of=key_of).job_id

    assert id_of(first) == id_of(replace(first))
    assert id_of(first) != id_of(first, "g")
    assert (id_of(first) == id_of(second)) == (first == second)


def test_what_another_version_wrote_is_refused() -> None:
    with pytest.raises(JobError, match="not written as this version"):
        read_request({"study_instance_uid": "1.2"}, {})


def test_results_come_back_in_another_folder(tmp_path: Path) -> None:
    made = result_object(tmp_path / "made" / "ohif", 7, profile="ohif")
    (tmp_path / "made" / "result.json").write_text("{}")
    left = {}

    def leave(path: Path, sha256: str) -> str:
        left[sha256] = path.name
        return f"results/{sha256}"

    result = make_result(tmp_path / "made", [made], leave=leave, seconds={"x": 1.0})
    sent = json.loads(json.dumps(result))

    (back,) = read_objects(sent, tmp_path / "there")
    assert back == replace(made, path=tmp_path / "there" / "ohif" / "7.dcm")
    assert {str(one.path) for one in read_files(sent)} == {"ohif/7.dcm", "result.json"}
    assert all(one.key == f"results/{one.sha256}" for one in read_files(sent))
    assert sorted(left.values()) == ["7.dcm", "result.json"]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", ""])
def test_a_result_outside_its_folder_is_refused(name: str) -> None:
    with pytest.raises(FileAreaError, match="outside"):
        read_files({"files": [[name, "0" * 64, "key"]]})


def test_an_object_that_was_not_left_is_refused(tmp_path: Path) -> None:
    made = result_object(tmp_path, 1)
    result = make_result(tmp_path, [made], leave=lambda *_: "key", seconds={})
    result["objects"][0]["sha256"] = "0" * 64

    with pytest.raises(FileAreaError, match="did not leave"):
        read_objects(result, tmp_path)

"""Every way by which a patient's data enter, leave or fail in a node."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from hl7.client import MLLPClient

from tests.builders.documents import make_pdf
from tests.builders.fhir_resources import attachment, make_report
from tests.builders.process import wait_until
from tests.builders.raw_peer import RawPeer, encode_data_set, make_instance
from tests.torture.canary import ACCENTED, PATIENT, SECRET, processes_of
from tests.torture.canary_node import PASSWORD, CanaryNode
from tests.torture.canary_patient import (
    ACCESSION,
    REPORT,
    CanaryStudy,
    make_message,
    make_study,
)

__all__ = ["drive_paths", "look_back"]

_ASKED = {"X-Requested-With": "dicom-node"}
_DICOM_NODE = Path(sys.executable).with_name("dicom-node")


def drive_paths(node: CanaryNode) -> int:
    """Send the patient by every path, let each fail; return how many there were."""
    study = make_study(node.folder / "study", 1)
    assert all(node.send(*study.files)), "the study was refused"
    commands = list(_start_commands(node))
    steps = [_stow, _hl7, _fhir, _rest, _sign_in, _invalid, _database, _dicomweb]
    for step in steps:
        step(node)
    node.wait_for(study.uid, "done")
    _correct(node, study)
    _wait_for_attempts(node)
    _model_raises(node)
    _crash_child(node)
    node.program.process.send_signal(signal.SIGUSR1)
    for name, command in commands:
        out, err = command.communicate(timeout=60)
        node.said[name] = out + err
    return len(steps) + len(commands) + 5


def look_back(node: CanaryNode) -> None:
    """Keep what the node says of itself, and what it says to strangers."""
    with node.client("ada") as admin:
        for path in ("/metrics", "/health", "/operations.json", "/openapi.json"):
            node.said[path] = admin.get(path).content
        paths = admin.get("/openapi.json").json()["paths"]
        study = admin.get("/studies").json()["studies"][0]["study_instance_uid"]
    with node.client() as stranger:
        for path, methods in paths.items():
            asked = path.replace("{uid}", study)
            for method in methods:
                answer = stranger.request(
                    method, asked, content=REPORT.encode() if method != "get" else None
                )
                node.said[f"{method} {path} of a stranger"] = (
                    repr(dict(answer.headers)).encode() + answer.content
                )


def _start_commands(node: CanaryNode) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    config = node.folder / "node.toml"
    away = node.folder / "away.toml"
    address = f"postgresql+psycopg://node:{SECRET}@127.0.0.1:1/node"
    away.write_text(
        f"[node]\ndata_dir = {json.dumps(str(node.folder / 'none'))}\n"
        f"database_url = {json.dumps(address)}\n"
    )
    for name, arguments in {
        "status": ["status", "--config", config],
        "doctor": ["doctor", "--config", config],
        "status without database": ["status", "--config", away],
    }.items():
        yield (
            name,
            subprocess.Popen(
                [_DICOM_NODE, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=node.folder / "cwd",
            ),
        )


def _stow(node: CanaryNode) -> None:
    study = make_study(node.folder / "stow", 2, texts={"PatientName": PATIENT})
    with node.client("sid") as client:
        answer = _post_dicom(client, [path.read_bytes() for path in study.files])
        assert answer.status_code == 200, answer.text
        # Neither DICOM nor complete.
        cut = study.files[0].read_bytes()
        for body in (PATIENT.encode() * 20, cut[: len(cut) // 2]):
            answer = _post_dicom(client, [body])
            assert answer.status_code in {400, 409}, answer.status_code
            node.said[f"STOW of {len(body)} bytes"] = answer.content


def _post_dicom(client: httpx.Client, parts: list[bytes]) -> httpx.Response:
    boundary = f"{PATIENT}-boundary"
    body = b"".join(
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        + one
        + b"\r\n"
        for one in parts
    )
    return client.post(
        "/dicom-web/studies",
        content=body + f"--{boundary}--\r\n".encode(),
        headers={
            "Content-Type": 'multipart/related; type="application/dicom"; '
            f"boundary={boundary}",
            "Accept": "application/dicom+json",
        },
    )


def _hl7(node: CanaryNode) -> None:
    messages = [
        make_message(),
        make_message(accession=f"{PATIENT}-NOBODY"),
        make_message().replace("ORU^R01", f"{PATIENT}^R01"),
        make_message().replace("|F\r", f"|{PATIENT}\r"),
        f"MSH|^~\\&|{PATIENT}\rPID|{PATIENT}\r",
        f"{PATIENT} is no message\r",
    ]
    with MLLPClient("127.0.0.1", node.hl7_port) as client:
        for message in messages:
            client.send_message(message.encode())
    assert _waiting(node) >= 1


def _waiting(node: CanaryNode) -> int:
    with node.client("ada") as client:
        return int(client.get("/operations.json").json()["waiting_reports"])


def _fhir(node: CanaryNode) -> None:
    subject = {"identifier": {"value": f"{PATIENT}-ID"}, "display": PATIENT}
    pdf = attachment(make_pdf([f"The liver of {PATIENT} is large."]), "application/pdf")
    resources: list[object] = [
        make_report(subject=subject, conclusion=REPORT),
        make_report(subject=subject, conclusion=None, presentedForm=[pdf]),
        make_report(subject=subject, status=PATIENT),
        make_report(**{PATIENT: PATIENT}),
        {"resourceType": PATIENT, "text": {"div": REPORT}},
        [PATIENT],
    ]
    with node.client("sid") as client:
        for number, resource in enumerate(resources):
            answer = client.post(
                "/fhir/DiagnosticReport",
                content=json.dumps(resource, ensure_ascii=bool(number % 2)).encode(),
                headers={"Content-Type": "application/fhir+json"},
            )
            assert answer.status_code < 500, answer.text
            if answer.status_code >= 400:
                node.said[f"FHIR {number}"] = answer.content


def _rest(node: CanaryNode) -> None:
    with node.client("sid") as client:
        for body, kind in (
            (REPORT.encode(), "text/plain"),
            (json.dumps({"text": PATIENT, PATIENT: ACCENTED}), "application/json"),
            (b"\xff" + PATIENT.encode(), "text/plain"),
            (PATIENT.encode(), f"text/{PATIENT}"),
        ):
            answer = client.post(
                "/studies/2.25.11919/report",
                content=body,
                headers={"Content-Type": kind},
            )
            if answer.status_code >= 400:
                node.said[f"REST {kind}"] = answer.content


def _sign_in(node: CanaryNode) -> None:
    with node.client() as client:
        for name, password in ((PATIENT, SECRET), (PASSWORD, "x"), ("ada", SECRET)):
            answer = client.post(
                "/sign-in",
                json={"name": name, "password": password},
                headers={"Sec-Fetch-Site": "same-origin", **_ASKED},
            )
            assert answer.status_code in {401, 422, 429}, answer.status_code
            node.said[f"sign-in {len(node.said)}"] = answer.content


def _invalid(node: CanaryNode) -> None:
    canary = make_instance("1.2.19.1", PatientComments=f"{PATIENT} cut")
    data = encode_data_set(canary)
    with RawPeer(node.dicom_port) as peer:
        peer.associate()
        peer.request(data[:-7], sop_instance="1.2.19.1")
        assert peer.response().status != 0
        peer.request(data, sop_instance=f"1.2.{PATIENT}")
        assert peer.response().status != 0


def _database(node: CanaryNode) -> None:
    study = make_study(node.folder / "refused", 3, texts={"PatientName": PATIENT})
    with node.broken_database():
        assert not any(node.send(study.files[0]))
        with node.client("sid") as client:
            answer = client.post(
                "/fhir/DiagnosticReport",
                content=json.dumps(make_report(conclusion=REPORT)).encode(),
                headers={"Content-Type": "application/fhir+json"},
            )
            assert answer.status_code == 503, answer.text
            node.said["FHIR without database"] = answer.content
            answer = client.post("/studies/2.25.1/report", content=REPORT)
            node.said["REST without database"] = answer.content
        with MLLPClient("127.0.0.1", node.hl7_port) as mllp:
            mllp.send_message(make_message(accession=f"{PATIENT}-DB").encode())


def _model_raises(node: CanaryNode) -> None:
    study = make_study(node.folder / "raises", 4, texts={"PatientName": PATIENT})
    with _file(node.folder / "model-raises"):
        assert all(node.send(*study.files))
        node.wait_for(study.uid, "failed", "done")


@contextmanager
def _file(path: Path) -> Iterator[None]:
    path.touch()
    yield
    path.unlink()


def _dicomweb(node: CanaryNode) -> None:
    asked = [
        f"/dicom-web/studies?PatientName={PATIENT}*",
        f"/dicom-web/studies?{PATIENT}={ACCENTED}",
        f"/dicom-web/studies?limit={PATIENT}",
        f"/dicom-web/studies/{PATIENT}/metadata",
        f"/studies?search={PATIENT}&state={PATIENT}",
        f"/studies/{PATIENT}",
        f"/static/{PATIENT}",
        f"/{PATIENT}",
    ]
    with node.client("vic") as client:
        for path in asked:
            answer = client.get(path, headers={"Accept": "application/dicom+json"})
            assert answer.status_code < 500, (path, answer.text)
            if answer.status_code >= 400:
                node.said[path.replace(PATIENT, "…")] = answer.content


def _correct(node: CanaryNode, study: CanaryStudy) -> None:
    with node.client("eve") as client:
        detail = client.get(f"/studies/{study.uid}").json()
        regions = [one for phrase in detail["phrases"] for one in phrase["regions"]]
        assert ACCESSION in json.dumps(detail)
        path = f"/studies/{study.uid}/regions"
        uid = regions[0]["tracking_uid"] if regions else "1.2"
        for said in (
            {"action": "accept", "comment": f"{PATIENT} {ACCENTED}"},
            {"action": PATIENT, "comment": REPORT},
        ):
            answer = client.post(f"{path}/{uid}/corrections", json=said)
            if answer.status_code >= 400:
                node.said[f"correction {said['action'][:3]}"] = answer.content


def _wait_for_attempts(node: CanaryNode) -> None:
    """Wait until every destination has been tried."""

    def are_tried() -> bool:
        with node.client("ada") as client:
            detail = client.get("/studies/2.25.11919").json()
        tried = {
            one["destination"] for one in detail["deliveries"] if one["last_comment"]
        }
        return tried >= {"quoting", "leading", "refusing"}

    wait_until(are_tried, timeout_s=60, what="the destinations")


def _crash_child(node: CanaryNode) -> None:
    main = node.program.process.pid
    for pid in set(processes_of(main)) - {main}:
        try:
            os.kill(pid, signal.SIGABRT)
        except ProcessLookupError:
            continue
    time.sleep(0.1)

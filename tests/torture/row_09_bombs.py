"""Bombs in every codec, document and HTTP body, against the node with its model."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pydicom

from dicom_node.config import DicomPeer
from dicom_node.deliver import send_objects
from tests.builders.dicom_series import make_dx_image
from tests.builders.network import loopback_network
from tests.builders.node import RunningNode, run_node
from tests.builders.process import wait_until
from tests.torture.anchors import OrthancAnchor, StoreScpAnchor
from tests.torture.bombs import (
    GIBIBYTE,
    deflated,
    file_bytes,
    pixel_bombs,
    report_bombs,
    zeros,
)
from tests.torture.bystander import Bystander, echo
from tests.torture.outcome import Figure, Outcome, Scale, Tell, at_least, at_most, seen
from tests.torture.resources import sample, sample_children
from tests.torture.settling import MEBIBYTE

__all__ = ["run"]

_PATIENCE_S = 60.0
_JOB_S = 10.0
_SLACK = {Scale.SHORT: 10.0, Scale.FULL: 1.0, Scale.SOAK: 1.0}
"""What limits of time are multiplied by: the short form shares its machine."""

_EACH = {Scale.SHORT: 4, Scale.FULL: 1, Scale.SOAK: 1}
"""One of so many bombs is sent."""

_INFLATED = {Scale.SHORT: GIBIBYTE // 8, Scale.FULL: GIBIBYTE, Scale.SOAK: GIBIBYTE}


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Send them one after the other, and a good study among them."""
    slack, size = _SLACK[scale], _INFLATED[scale]
    bombs = [*pixel_bombs(), *report_bombs(size)][:: _EACH[scale]]
    with run_node(work / "node", quiet_time_s=0.2) as node:
        # The first study loads the model and what makes the results.
        _store_good(node, work, number=0)
        pid, echoes = node.program.process.pid, list[float]()
        with (
            Bystander(lambda: _echo(node.dicom_port, echoes), pause_s=0.1) as bystander,
            _peak(lambda: sample(pid).rss_bytes) as grown,
        ):
            times, silent = {}, []
            for name, ds in bombs:
                tell(name)
                path = work / "bomb.dcm"
                path.write_bytes(file_bytes(ds))
                times[name] = _explode(node, path, str(ds.StudyInstanceUID), silent)
            tell("rendering")
            served = _render(node, [ds for _, ds in bombs if "PixelData" in ds])
            tell("HTTP bodies")
            refused = _post(node, size)
            tell("a good study")
            good_s = _store_good(node, work, number=1)
        slowest = max(times, key=lambda name: times[name])
        figures = (
            at_least("bombs", len(times), len(bombs)),
            at_most("RSS of the node, grown by", round(grown[0], 1), 64, "MiB"),
            at_most(
                f"slowest bomb ({slowest})",
                round(times[slowest], 1),
                _JOB_S * slack,
                "s",
            ),
            at_most("bombs without a reason", len(silent), 0),
            at_most("bombs that were rendered, or a failure of the node", served, 0),
            at_most("packed bodies that were unpacked", refused, 0),
            at_least("good studies processed beside them", 1 if good_s else 0, 1),
            at_least("C-ECHO: answered", bystander.answered, 1),
            at_most("C-ECHO: not answered", len(bystander.failures), 0),
            at_most("C-ECHO: p99", round(_p99(echoes), 3), slack, "s"),
            seen("C-ECHO: slowest", round(bystander.slowest_s, 3), "s"),
        )
    anchors = {} if scale is Scale.SHORT else _anchors(work, size, tell)
    return Outcome(
        figures,
        anchors,
        (
            "the deflated data set is refused by STOW-RS, and its transfer syntax is "
            "not offered over DICOM",
            *(f"without a reason: {name}" for name in silent),
        ),
    )


def _echo(port: int, seconds: list[float]) -> None:
    began = time.monotonic()
    echo(port)
    seconds.append(time.monotonic() - began)


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[-1]


def _explode(node: RunningNode, path: Path, study: str, silent: list[str]) -> float:
    began = time.monotonic()
    _send(path, _peer(node))
    reasons: list[str] = []

    def is_over() -> bool:
        node.program.check_alive()
        for one in node.results():
            if one["study_instance_uid"] == study:
                reasons.extend(left["reason"] for left in one["not_processed"])
                return True
        return False

    with suppress(AssertionError):
        wait_until(is_over, timeout_s=_PATIENCE_S, what="the bomb's result")
    if not reasons:
        silent.append(study)
    return time.monotonic() - began


def _store_good(node: RunningNode, work: Path, *, number: int) -> float:
    began = time.monotonic()
    folder = work / f"good-{number}"
    made = make_dx_image(folder, study_uid=f"1.2.826.0.1.{number + 7}", name="good")
    _send(made.instances[0].path, _peer(node))

    def is_done() -> bool:
        return any(
            one["study_instance_uid"] == made.study_instance_uid and one["objects"]
            for one in node.results()
        )

    wait_until(is_done, timeout_s=120.0, what="the good study")
    return time.monotonic() - began


def _render(node: RunningNode, bombs: list[pydicom.Dataset]) -> int:
    """Ask for pictures of each; return how many answers were none of a refusal."""
    wrong = 0
    with httpx.Client(timeout=_PATIENCE_S) as client:
        for ds in bombs:
            path = (
                f"studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
                f"/instances/{ds.SOPInstanceUID}"
            )
            for what in ("rendered", "frames/1/rendered", "thumbnail"):
                url = f"http://127.0.0.1:{node.web_port}/dicomweb/{path}/{what}"
                status = client.get(url).status_code
                wrong += status < 400 or status == 500
    return wrong


def _post(node: RunningNode, size: int) -> int:
    """Send packed bodies; return how many were taken."""
    base = f"http://127.0.0.1:{node.web_port}"
    related = 'multipart/related; type="application/dicom"; boundary=b'
    part = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    bomb = part + deflated(size) + b"\r\n--b--\r\n"
    packed = zeros(size, wbits=31)
    taken = 0
    with httpx.Client(timeout=_PATIENCE_S) as client:
        answers = [
            client.post(
                f"{base}/dicomweb/studies",
                content=bomb,
                headers={"Content-Type": related},
            ),
            client.post(
                f"{base}/dicomweb/studies",
                content=packed,
                headers={"Content-Type": related, "Content-Encoding": "gzip"},
            ),
            client.post(
                f"{base}/fhir/DiagnosticReport",
                content=packed,
                headers={
                    "Content-Type": "application/fhir+json",
                    "Content-Encoding": "gzip",
                },
            ),
        ]
    for answer in answers:
        taken += answer.status_code < 400 or answer.status_code >= 500
    return taken


def _anchors(work: Path, size: int, tell: Tell) -> dict[str, tuple[Figure, ...]]:
    bomb = work / "deflated.dcm"
    bomb.write_bytes(deflated(size))
    tell("storescp")
    storescp = StoreScpAnchor(work / "storescp", storage=work / "storescp" / "storage")
    found = {storescp.name: _measure_anchor(storescp, bomb)}
    tell("Orthanc")
    with loopback_network():
        orthanc = OrthancAnchor(work / "orthanc", storage=work / "orthanc" / "storage")
        found[orthanc.name] = _measure_anchor(orthanc, bomb)
    return found


def _measure_anchor(
    anchor: StoreScpAnchor | OrthancAnchor, bomb: Path
) -> tuple[Figure, ...]:
    anchor.start()
    try:
        pid = anchor.pid

        def rss() -> int:
            return (sample(pid) + sample_children(pid)).rss_bytes

        with _peak(rss) as grown:
            status = _send(bomb, anchor.peer)
    finally:
        anchor.kill()
    return (
        seen("deflated data set: answer", status),
        seen("RSS, grown by", round(grown[0]), "MiB"),
    )


def _peer(node: RunningNode) -> DicomPeer:
    return DicomPeer(
        name="node",
        ae_title=node.ae_title,
        host="127.0.0.1",
        port=node.dicom_port,
    )


def _send(path: Path, peer: DicomPeer) -> str:
    """Send a file; return how it went."""
    told: list[str] = []
    send_objects(
        [path],
        peer,
        ae_title="PACS",
        on_outcome=lambda one: told.append("taken" if one.is_delivered else one.reason),
    )
    return "; ".join(told) or "no answer"


@contextmanager
def _peak(rss_bytes: Callable[[], int]) -> Iterator[list[float]]:
    """Yield a list whose only number is by how many MiB it has grown at most."""
    grown, is_over = [0.0], threading.Event()
    base = rss_bytes()

    def watch() -> None:
        while not is_over.wait(0.02):
            with suppress(ProcessLookupError):
                grown[0] = max(grown[0], (rss_bytes() - base) / MEBIBYTE)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield grown
    finally:
        is_over.set()
        thread.join()

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

from dicom_node.config import DicomPeer, load_settings
from dicom_node.deliver import send_objects
from dicom_node.store import Store
from dicom_node.web.dicomweb_routes import DICOMWEB_PATH
from dicom_node.web.passwords import hash_password
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

_EACH = {Scale.SHORT: 5, Scale.FULL: 1, Scale.SOAK: 1}
"""One of so many bombs is sent."""

_BOMBS = {Scale.SHORT: 5, Scale.FULL: 22, Scale.SOAK: 22}
"""Sixteen images and six documents; the short form sends one of five."""

_PASSWORD = "a long enough password"
_PICTURES = ("rendered", "frames/1/rendered", "thumbnail")
_STOW, _FHIR = f"{DICOMWEB_PATH}/studies", "/fhir/DiagnosticReport"
_RELATED = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
_REFUSALS = (409, 400, 400)
"""PS3.18 10.5.3: no instance was stored; nothing that is packed is unpacked."""

_LARGE_BODIES, _LARGE_BYTES = 3, 64 << 20
"""Of more than the node reads on after a refusal (`dicom_node.web.lingering`)."""

_JSON = {"Content-Type": "application/fhir+json"}

_INFLATED = {Scale.SHORT: GIBIBYTE // 8, Scale.FULL: GIBIBYTE, Scale.SOAK: GIBIBYTE}


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Send them one after the other, and a good study among them."""
    slack, size = _SLACK[scale], _INFLATED[scale]
    bombs = [*pixel_bombs(), *report_bombs(size)][:: _EACH[scale]]
    with (
        run_node(work / "node", quiet_time_s=0.2) as node,
        _editor(node) as client,
    ):
        # The first study loads the model and what makes the results.
        image = _store_good(node, work, number=0)
        # So do the first pictures: nothing is loaded while memory is watched, and
        # the routes are shown to answer this person.
        shown = _shown(client, pydicom.dcmread(image))
        stored = _post_good(client, image)
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
            pictures = [ds for _, ds in bombs if "PixelData" in ds]
            refused = sum(_refused(client, ds) for ds in pictures)
            tell("HTTP bodies")
            answers = _post(client, size)
            large = [_post_large(client) for _ in range(_LARGE_BODIES)]
            tell("a good study")
            _store_good(node, work, number=1)
        slowest = max(times, key=lambda name: times[name])
        figures = (
            at_least(
                "bombs that ended with a reason",
                len(times) - len(silent),
                _BOMBS[scale],
            ),
            at_most("RSS of the node, grown by", round(grown[0], 1), 64, "MiB"),
            at_most(
                f"slowest bomb ({slowest})",
                round(times[slowest], 1),
                _JOB_S * slack,
                "s",
            ),
            at_most("bombs without a reason", len(silent), 0),
            at_least("pictures of a good image, by the same routes", shown, 3),
            at_least("bombs asked for as pictures", len(pictures), 1),
            at_most(
                "of these pictures, not refused as what cannot be shown",
                len(pictures) * len(_PICTURES) - refused,
                0,
            ),
            at_least("good files stored by STOW-RS", stored, 1),
            at_most(
                "packed bodies answered otherwise than 409, 400, 400",
                sum(a != b for a, b in zip(answers, _REFUSALS, strict=True)),
                0,
            ),
            at_most(
                f"bodies of {_LARGE_BYTES >> 20} MiB neither refused nor cut",
                sum(
                    one not in (httpx.codes.REQUEST_ENTITY_TOO_LARGE, None)
                    for one in large
                ),
                0,
            ),
            seen("of these cut before the answer was read", large.count(None)),
            # It is waited for: without its objects the run ends here.
            seen("good studies processed beside them", 1),
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


def _store_good(node: RunningNode, work: Path, *, number: int) -> Path:
    """Send a good image and wait for its objects; return its file."""
    folder = work / f"good-{number}"
    made = make_dx_image(folder, study_uid=f"1.2.826.0.1.{number + 7}", name="good")
    _send(made.instances[0].path, _peer(node))

    def is_done() -> bool:
        return any(
            one["study_instance_uid"] == made.study_instance_uid and one["objects"]
            for one in node.results()
        )

    wait_until(is_done, timeout_s=120.0, what="the good study")
    return made.instances[0].path


def _pictures(client: httpx.Client, ds: pydicom.Dataset) -> list[httpx.Response]:
    path = (
        f"{DICOMWEB_PATH}/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}"
    )
    return [client.get(f"{path}/{what}") for what in _PICTURES]


def _shown(client: httpx.Client, ds: pydicom.Dataset) -> int:
    """Return how many pictures of an image there are."""
    return sum(
        one.status_code == httpx.codes.OK
        and one.headers["content-type"].startswith("image/")
        for one in _pictures(client, ds)
    )


def _refused(client: httpx.Client, ds: pydicom.Dataset) -> int:
    """Return how many pictures are refused because the pixels cannot be shown."""
    # A 404 of something that is not there says something else.
    return sum(
        one.status_code == httpx.codes.NOT_FOUND
        and one.json()["detail"].startswith("the instance cannot be shown")
        for one in _pictures(client, ds)
    )


def _post_good(client: httpx.Client, image: Path) -> int:
    """Store a good image by the same door; return how many were taken."""
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + image.read_bytes()
    answer = client.post(_STOW, content=body + b"\r\n--b--\r\n", headers=_RELATED)
    return int(answer.status_code == httpx.codes.OK)


def _post(client: httpx.Client, size: int) -> list[int]:
    """Send packed bodies; return the statuses."""
    part = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    bomb = part + deflated(size) + b"\r\n--b--\r\n"
    packed = {"Content-Encoding": "gzip"}
    return [
        client.post(path, content=content, headers=headers).status_code
        for path, content, headers in (
            (_STOW, bomb, _RELATED),
            (_STOW, zeros(size, wbits=31), _RELATED | packed),
            (_FHIR, zeros(size, wbits=31), _JSON | packed),
        )
    ]


def _post_large(client: httpx.Client) -> int | None:
    """Send a body that is refused at its head; return the status, None for a cut."""
    block = bytes(1 << 20)
    blocks = (block for _ in range(_LARGE_BYTES // len(block)))
    head = {"Content-Encoding": "gzip", "Content-Length": str(_LARGE_BYTES)}
    try:
        return client.post(_FHIR, content=blocks, headers=_JSON | head).status_code
    except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
        return None


@contextmanager
def _editor(node: RunningNode) -> Iterator[httpx.Client]:
    """Yield a client that may see and store: no refusal is for want of a sign-in."""
    settings = load_settings(node.config, {})
    with Store(settings.database_url) as store:
        store.users.add("editor", password_hash=hash_password(_PASSWORD), role="editor")
    with httpx.Client(
        base_url=f"http://127.0.0.1:{node.web_port}",
        auth=("editor", _PASSWORD),
        timeout=_PATIENCE_S,
    ) as client:
        yield client


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

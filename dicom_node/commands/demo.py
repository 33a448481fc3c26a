"""`dicom-node demo`: a PACS sends a real CT with its report; the results come back.

The demo plays the PACS: it names the study (the public files have empty UIDs), sends
images and report by C-STORE to a node that it started as a process of its own, and
receives SEG and SR as a destination would.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import CTImageStorage
from rich.console import Console

from dicom_node.commands.overlay import write_overlays
from dicom_node.commands.pacs import ReceivingPacs
from dicom_node.commands.result_table import result_table
from dicom_node.commands.study_files import gather_studies
from dicom_node.config import DicomPeer, LimitSettings
from dicom_node.deliver import echo, send_objects
from dicom_node.errors import DeliveryError, NodeError, SettingsError
from dicom_node.identity import derive_uid
from dicom_node.imaging import PixelReader, find_series
from dicom_node.opendata import fetch_totalsegmentator
from dicom_node.reports.document import make_report_document
from dicom_node.result import RESULT_JSON

__all__ = ["DEMO_REPORT", "prepare_study", "run_demo"]

DEMO_REPORT: tuple[tuple[str, str], ...] = (
    (
        "Findings",
        "The liver is enlarged and homogeneous. The spleen is unremarkable. "
        "The stomach is distended. The abdominal aorta is of normal calibre. "
        "The inferior vena cava is patent. No pleural effusion. No pneumothorax. "
        "No ascites. The vertebrae are intact.",
    ),
    ("Impression", "No free fluid in the upper abdomen."),
)
"""Sections of the report that goes with the demo's CT. It is written for the demo
and describes which organs are to be seen; it is nobody's medical record."""

_MARKER = ".dicom-node-demo"
_WAIT_S = 600.0
"""The first run compiles and warms everything on a slow machine."""


def run_demo(out_dir: Path, *, console: Console, stay: bool = False) -> int:
    """Run the node on a real CT study and show what comes back.

    Parameters
    ----------
    out_dir : pathlib.Path
        Filled anew: ``study/`` (what is sent), ``node/`` (the node's data
        folder and log), ``received/`` (what the PACS got back), ``result.json`` and
        ``overlay.png``.
    console : rich.console.Console
        Where progress and the table go.
    stay : bool
        Keep the node running, open its page on the study in the desktop's browser
        if there is a display, and end at Ctrl-C.

    Returns
    -------
    int
        Exit code: 0 when SEG and SR came back.

    Raises
    ------
    SettingsError
        The folder holds files that no demo left there.
    NodeError
        The node did not start, or did not answer in time.

    """
    # Whoever ends the demo ends its node, too: every way out goes through the blocks.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _make_room(out_dir)
    with console.status("fetching the open CT (38 MB, once)"):
        reference = fetch_totalsegmentator()
    study = prepare_study(reference, out_dir / "study")
    console.print(f"study: {len(study)} objects, a real CT and its report")
    with ReceivingPacs("DEMOPACS", out_dir / "received") as pacs:
        with console.status("starting the node"):
            node = _start_node(out_dir / "node", pacs.port)
        with node as (address, page):
            started = time.monotonic()
            with console.status("sending the study by C-STORE"):
                outcomes = send_objects(study, address, ae_title="DEMOPACS")
            refused = [one for one in outcomes if not one.is_delivered]
            if refused:
                msg = f"the node refused {len(refused)} of {len(outcomes)} objects"
                raise NodeError(msg)
            console.print(f"sent: {len(outcomes)} objects, all acknowledged")
            document = _wait_for_results(out_dir / "node", pacs, console)
            seconds = time.monotonic() - started
            console.print(f"results came back by C-STORE after {seconds:.1f} s")
            (out_dir / RESULT_JSON).write_text(json.dumps(document, indent=2) + "\n")
            pictures = _paint(study, pacs.paths, out_dir)
            console.print(result_table(document))
            for path in (*pacs.paths, *pictures, out_dir / RESULT_JSON):
                console.print(f"  {path}", soft_wrap=True, highlight=False)
            if stay:
                _show_page(f"{page}/view/{document['study_instance_uid']}", console)
    return 0


def _show_page(url: str, console: Console) -> None:
    console.print(f"the page: {url}", soft_wrap=True)
    console.print("hover a phrase to see its region; Ctrl-C ends the demo")
    if os.environ.get("DISPLAY") or sys.platform != "linux":
        webbrowser.open(url)
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        console.print("the demo ends; its files stay")


def _make_room(out_dir: Path) -> None:
    """Empty the folder of an earlier demo; any other folder with files is refused."""
    marker = out_dir / _MARKER
    if out_dir.exists():
        if any(out_dir.iterdir()) and not marker.exists():
            msg = f"{out_dir} holds files that are not of a demo: choose another folder"
            raise SettingsError(msg)
        shutil.rmtree(out_dir)
    out_dir.mkdir(parents=True)
    marker.touch()


def prepare_study(reference: Path, folder: Path) -> tuple[Path, ...]:
    """Name the public CT as a PACS would, write its report, and return the files.

    The pixel data stay the JPEG 2000 of the original; the report is a Basic Text SR.
    """
    folder.mkdir(parents=True)
    study_uid = derive_uid("demo", "study")
    series_uid = derive_uid("demo", "series")
    paths: list[Path] = []
    image: pydicom.Dataset | None = None
    for number, source in enumerate(sorted((reference / "example_ct_dicom").iterdir())):
        image = pydicom.dcmread(source)
        # Emptied in the public files; the file meta still has them.
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID
        image.StudyInstanceUID = study_uid
        image.SeriesInstanceUID = series_uid
        image.PatientID = "DEMO"
        image.PatientName = "Demo^Open CT"
        path = folder / f"ct-{number:03}.dcm"
        image.save_as(path, enforce_file_format=True)
        paths.append(path)
    if image is None:
        msg = "the open data hold no CT"
        raise NodeError(msg)
    report = folder / "report.dcm"
    make_report_document(DEMO_REPORT, template=image).save_as(
        report, enforce_file_format=True
    )
    return (*paths, report)


@contextmanager
def _start_node(data_dir: Path, pacs_port: int) -> Iterator[tuple[DicomPeer, str]]:
    """Run ``dicom-node serve`` as an operator would; yield it and where its page is."""
    data_dir.mkdir()
    dicom_port, web_port = _free_ports(2)
    config = data_dir / "node.toml"
    config.write_text(
        "[node]\n"
        f"port = {dicom_port}\n"
        f"data_dir = {json.dumps(str(data_dir.resolve()))}\n"
        "quiet_time_s = 2\n\n"
        "[web]\n"
        f"port = {web_port}\n\n"
        "[[destinations]]\n"
        'name = "demo-pacs"\n'
        'ae_title = "DEMOPACS"\n'
        'host = "127.0.0.1"\n'
        f"port = {pacs_port}\n"
    )
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("DICOM_NODE_") or key == "DICOM_NODE_CACHE"
    }
    with (data_dir / "node.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dicom_node", "serve", "--config", str(config)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            # Ctrl-C is for the demo: it then ends the node as an operator would.
            start_new_session=True,
        )
        try:
            address = DicomPeer(
                name="node", ae_title="GROUNDING", host="127.0.0.1", port=dicom_port
            )
            _wait_for_echo(process, address, data_dir / "node.log")
            yield address, f"http://127.0.0.1:{web_port}"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _wait_for_echo(
    process: subprocess.Popen[bytes], address: DicomPeer, log: Path
) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            msg = f"the node ended at once; see {log}"
            raise NodeError(msg)
        try:
            echo(address, ae_title="DEMOPACS")
        except DeliveryError:
            time.sleep(0.1)
        else:
            return
    msg = f"the node did not start; see {log}"
    raise NodeError(msg)


def _wait_for_results(
    data_dir: Path, pacs: ReceivingPacs, console: Console
) -> dict[str, Any]:
    """Wait until every object that ``result.json`` names has come back."""
    deadline = time.monotonic() + _WAIT_S
    with console.status("waiting for the quiet time") as status:
        while time.monotonic() < deadline:
            found = sorted(data_dir.glob(f"results/*/{RESULT_JSON}"))
            if found:
                document: dict[str, Any] = json.loads(found[0].read_text())
                expected = {one["sop_instance_uid"] for one in document["objects"]}
                if expected <= pacs.sop_instance_uids:
                    return document
                status.update("sending the results back")
            elif pacs.sop_instance_uids or _is_grounding(data_dir):
                status.update("grounding the report's phrases")
            time.sleep(0.2)
    msg = f"no result after {_WAIT_S:.0f} s; see {data_dir / 'node.log'}"
    raise NodeError(msg)


def _is_grounding(data_dir: Path) -> bool:
    log = data_dir / "node.log"
    return log.exists() and b"study_ready" in log.read_bytes()


def _paint(
    study: tuple[Path, ...], received: tuple[Path, ...], out_dir: Path
) -> tuple[Path, ...]:
    ready = gather_studies(study).studies[0]
    series, _ = find_series(
        [one for one in ready.instances if one.sop_class_uid == CTImageStorage]
    )
    segmentations = [
        path
        for path in received
        if pydicom.dcmread(path, specific_tags=["Modality"]).Modality == "SEG"
    ]
    with PixelReader(LimitSettings(), scratch_dir=out_dir) as reader:
        return write_overlays(segmentations, series, reader, out_dir)

"""A real PACS: Debian's Orthanc with its DICOMweb plug-in.

Orthanc 1.10.1 listens on every interface whatever its settings say: run it inside
:func:`tests.builders.network.loopback_network`.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.builders.process import Program

__all__ = ["Orthanc", "run_orthanc"]

ORTHANC = Path("/usr/sbin/Orthanc")
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class Orthanc:
    """A running Orthanc.

    Parameters
    ----------
    dicom_port, http_port : int
        Loopback ports.
    ae_title : str
        What it is called.

    """

    def __init__(self, *, dicom_port: int, http_port: int, ae_title: str) -> None:
        self.dicom_port = dicom_port
        self.http_port = http_port
        self.ae_title = ae_title

    def get(self, path: str) -> Any:
        """Return the JSON answer of the REST interface."""
        with urllib.request.urlopen(self._url(path), timeout=30) as answer:
            return json.load(answer)

    def find(self, level: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Find resources by their main DICOM tags.

        Parameters
        ----------
        level : str
            ``Study``, ``Series`` or ``Instance``.
        query : mapping
            Keyword to value; an empty one finds everything.

        """
        body = json.dumps({"Level": level, "Query": dict(query), "Expand": True})
        request = urllib.request.Request(
            self._url("/tools/find"), data=body.encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def file(self, identifier: str) -> bytes:
        """Return the DICOM file that Orthanc keeps for one of its instances."""
        url = self._url(f"/instances/{identifier}/file")
        with urllib.request.urlopen(url, timeout=30) as answer:
            data: bytes = answer.read()
        return data

    def store(self, path: Path) -> None:
        """Put a file in, over HTTP."""
        request = urllib.request.Request(
            self._url("/instances"), data=path.read_bytes(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()

    def send_study(self, study_instance_uid: str, *, modality: str) -> None:
        """Send a study by C-STORE to one of those that it knows."""
        (found,) = self.find("Study", {"StudyInstanceUID": study_instance_uid})
        self.post(
            f"/modalities/{modality}/store",
            {"Resources": [found["ID"]], "Synchronous": True},
        )

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send JSON to the REST interface; return its JSON answer."""
        request = urllib.request.Request(
            self._url(path), json.dumps(body).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def stored_count(self) -> int:
        """Return how many store operations have changed its content."""
        changes = self.get("/changes?limit=10000")["Changes"]
        return sum(change["ChangeType"] == "NewInstance" for change in changes)

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http_port}{path}"


@contextmanager
def run_orthanc(
    folder: Path,
    *,
    ae_title: str = "ORTHANC",
    dicom_port: int = 4242,
    http_port: int = 8052,
    modalities: Mapping[str, tuple[str, str, int]] | None = None,
) -> Iterator[Orthanc]:
    """Run an empty Orthanc while the block lasts.

    ``modalities`` are the AE title, host and port of those that it knows: it sends to
    no other by C-MOVE.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "Name": "TESTPACS",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(DICOMWEB_PLUGIN)],
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": ae_title,
        "DicomPort": dicom_port,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomModalities": {
            name: list(one) for name, one in (modalities or {}).items()
        },
        "UnknownSopClassAccepted": True,
        "StrictAetComparison": True,
        # A second delivery must not hide behind "already stored".
        "OverwriteInstances": True,
        "StableAge": 1,
        "DicomWeb": {
            "Enable": True,
            "Root": "/dicom-web/",
            "EnableWado": False,
            "Ssl": False,
            "StudiesMetadata": "Full",
            "SeriesMetadata": "Full",
        },
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    command = [ORTHANC, path]
    with Program(command, log_path=folder / "orthanc.log", cwd=folder) as program:
        program.wait_for_port(http_port)
        program.wait_for_port(dicom_port)
        yield Orthanc(dicom_port=dicom_port, http_port=http_port, ae_title=ae_title)

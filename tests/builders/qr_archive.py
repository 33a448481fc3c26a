"""A Query/Retrieve SCP in this process, which can behave badly when told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from dicom_node.config import ArchiveSettings
from tests.builders.process import free_port

__all__ = ["QrArchive", "instance"]

_KEYS = {
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}


def instance(
    study: str = "1.2.3",
    number: int = 1,
    *,
    series: int = 1,
    sop_class: str = CTImageStorage,
    **attributes: Any,
) -> Dataset:
    """Build an instance that an archive can keep; ``attributes`` replace its own."""
    ds = Dataset()
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = f"{study}.{series}.{number}"
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = f"{study}.{series}"
    ds.StudyDate = "20260101"
    ds.StudyTime = "120000"
    ds.Modality = "CT"
    ds.PatientName = "ZZCANARY^PATIENT"
    ds.PatientID = "ZZCANARY-ID"
    ds.InstanceNumber = number
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


class QrArchive:
    """An archive on loopback.

    Parameters
    ----------
    instances : sequence of Dataset
        What it says that it has.
    **settings
        Of `ArchiveSettings`, such as ``kind`` and ``fetch``.

    """

    def __init__(self, instances: Sequence[Dataset] = (), **settings: Any) -> None:
        self.settings = ArchiveSettings(
            **{
                "name": "archive",
                "ae_title": "QRSCP",
                "host": "127.0.0.1",
                "port": free_port(),
                **settings,
            }
        )
        self.instances = list(instances)
        self.withheld: set[str] = set()
        """SOP Instance UIDs that it announces and does not send."""
        self.extra: list[Dataset] = []
        """Sent with every retrieval though nobody asked."""
        self.find_status = 0x0000
        self.hidden_keys: tuple[str, ...] = ()
        """Keywords that it does not return."""
        self.is_silent = threading.Event()
        """Set: it takes requests and never answers."""
        self.move_to: tuple[str, int] | None = None
        self.found: list[tuple[str, Dataset]] = []
        self.retrieved: list[Dataset] = []
        self.store_statuses: list[int] = []
        self._ae = AE("QRSCP")
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(
                context.abstract_syntax or "", scu_role=True, scp_role=True
            )
        for model in (
            StudyRootQueryRetrieveInformationModelFind,
            StudyRootQueryRetrieveInformationModelGet,
            StudyRootQueryRetrieveInformationModelMove,
            Verification,
        ):
            self._ae.add_supported_context(model)
        self._server: Any = None

    def __enter__(self) -> QrArchive:
        self._server = self._ae.start_server(
            ("127.0.0.1", self.settings.port or 0),
            block=False,
            evt_handlers=[
                (evt.EVT_C_FIND, self._find),
                (evt.EVT_C_GET, self._get),
                (evt.EVT_C_MOVE, self._move),
                (evt.EVT_DIMSE_RECV, self._note_answer),
            ],
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.is_silent.clear()
        self._server.shutdown()

    def _note_answer(self, event: evt.Event) -> None:
        if type(event.message).__name__ == "C_STORE_RSP":
            self.store_statuses.append(event.message.command_set.Status)

    def _wait(self) -> None:
        while self.is_silent.is_set():
            time.sleep(0.05)

    def _matching(self, asked: Dataset) -> list[Dataset]:
        return [one for one in self.instances if _matches(one, asked)]

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        level = asked.QueryRetrieveLevel
        self.found.append((level, asked))
        self._wait()
        if self.find_status:
            yield self.find_status, None
            return
        rows: dict[str, list[Dataset]] = {}
        for one in self._matching(asked):
            rows.setdefault(one[_KEYS[level]].value, []).append(one)
        for members in rows.values():
            row = Dataset()
            row.QueryRetrieveLevel = level
            for element in asked:
                if element.keyword in self.hidden_keys:
                    continue
                if element.keyword in members[0]:
                    row[element.keyword] = members[0][element.keyword]
            if "ModalitiesInStudy" in asked:
                row.ModalitiesInStudy = sorted({one.Modality for one in members})
            if "NumberOfSeriesRelatedInstances" in asked:
                row.NumberOfSeriesRelatedInstances = len(members)
            yield 0xFF00, row

    def _sent(self, asked: Dataset) -> list[Dataset]:
        self.retrieved.append(asked)
        self._wait()
        found = [
            one
            for one in self._matching(asked)
            if one.SOPInstanceUID not in self.withheld
        ]
        return found + self.extra

    def _get(self, event: evt.Event) -> Iterator[Any]:
        sent = self._sent(event.identifier)
        yield len(sent)
        for one in sent:
            yield 0xFF00, one

    def _move(self, event: evt.Event) -> Iterator[Any]:
        sent = self._sent(event.identifier)
        if self.move_to is None:
            yield None, None
            return
        yield (
            *self.move_to,
            {"contexts": [_context(one) for one in sent] or [_context(instance())]},
        )
        yield len(sent)
        for one in sent:
            yield 0xFF00, one


def _context(ds: Dataset) -> Any:
    return build_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)


def _matches(one: Dataset, asked: Dataset) -> bool:
    for keyword in (
        "PatientID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
    ):
        wanted = asked.get(keyword)
        if not wanted:
            continue
        values = [wanted] if isinstance(wanted, str) else list(wanted)
        if one.get(keyword) not in values:
            return False
    date = str(asked.get("StudyDate") or "")
    return not date.startswith("-") or str(one.get("StudyDate")) <= date[1:]

"""A processor that is quick: one small document per study, always the same bytes."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian

from dicom_node.identity import derive_uid
from dicom_node.records import ObjectReference, ResultObject, StudyReady

__all__ = ["QuickProcessor"]


class QuickProcessor:
    """Writes a document that names what it was made of.

    Parameters
    ----------
    fingerprint : str
        Stands for a model.
    delay_s : float
        How long processing takes.
    objects : int
        How many documents it writes.
    padding : int
        Bytes that make each document larger, the same for the same document.

    """

    def __init__(
        self,
        fingerprint: str = "quick-1",
        *,
        delay_s: float = 0.0,
        objects: int = 1,
        padding: int = 0,
    ) -> None:
        self.name = fingerprint
        self.trouble: str | None = None
        self.processed: list[StudyReady] = []
        self.failure: Exception | None = None
        self._delay_s = delay_s
        self._objects = objects
        self._padding = padding
        self._is_stopped = threading.Event()

    def fingerprint(self, model: str | None = None) -> str:
        return self.name if model is None else f"{self.name}:{model}"

    def start(self) -> None:
        self._is_stopped.clear()

    def stop(self) -> None:
        self._is_stopped.set()

    def process(
        self,
        ready: StudyReady,
        *,
        out_dir: Path,
        predecessors: tuple[ObjectReference, ...],
        model: str | None = None,
    ) -> Sequence[ResultObject]:
        self.processed.append(ready)
        if self._is_stopped.wait(self._delay_s):
            msg = "stopped"
            raise RuntimeError(msg)
        if self.failure is not None:
            raise self.failure
        before = [one.sop_instance_uid for one in predecessors]
        return [
            self._write(ready, out_dir, number, before)
            for number in range(1, self._objects + 1)
        ]

    def _write(
        self, ready: StudyReady, out_dir: Path, number: int, before: Sequence[str]
    ) -> ResultObject:
        uid = derive_uid(
            "quick", ready.content_version, self.fingerprint(), str(number), *before
        )
        document = Dataset()
        document.SOPClassUID = BasicTextSRStorage
        document.SOPInstanceUID = uid
        document.StudyInstanceUID = ready.study_instance_uid
        document.SeriesInstanceUID = derive_uid("quick-series", uid)
        document.Modality = "SR"
        document.InstanceNumber = number
        document.ContentLabel = str(len(ready.instances))
        if self._padding:
            document.add_new(0x00210010, "LO", "TORTURE")
            noise = random.Random(uid).randbytes(self._padding // 2 * 2)
            document.add_new(0x00211010, "OB", noise)
        document.file_meta = FileMetaDataset()
        document.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
        document.file_meta.MediaStorageSOPInstanceUID = uid
        document.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = out_dir / f"{number}.dcm"
        document.save_as(path, enforce_file_format=True)
        (out_dir / "result.json").write_text("{}")
        return ResultObject(
            path=path,
            reference=ObjectReference(
                sop_class_uid=BasicTextSRStorage,
                sop_instance_uid=uid,
                series_instance_uid=document.SeriesInstanceUID,
                study_instance_uid=ready.study_instance_uid,
            ),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )

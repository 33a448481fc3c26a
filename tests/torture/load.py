"""Many senders at once: what they were told is stored, and how it went."""

from __future__ import annotations

import hashlib
import io
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicom_node.config import DicomPeer
from dicom_node.deliver import SendOutcome, Timeouts, send_objects

__all__ = ["KEPT", "Acknowledged", "Load", "Sample", "Senders", "make_sample"]

KEPT = 0x00211010
"""Tag of the random bytes of each instance: no peer has a reason to change them."""

_NOISE = random.Random(0).randbytes(21 << 20)
_PLACE = 1000000001
"""Stands in the header where the number of the instance goes: always as long."""

_TIMEOUTS = Timeouts(connect_s=1.0, associate_s=3.0, response_s=20.0)


@dataclass(frozen=True, slots=True)
class Load:
    """How the senders send.

    Attributes
    ----------
    senders : int
        How many send at once, each over an association of its own.
    images : int
        Instances of a study.
    sizes : tuple of (int, float)
        Bytes of an instance, and how often it has them.
    study_pause_s, image_pause_s : float
        Rest after each study and each instance.
    late : int
        Every so many studies an instance is added to the one before; 0: never.

    """

    senders: int
    images: int
    sizes: tuple[tuple[int, float], ...]
    study_pause_s: float = 1.0
    image_pause_s: float = 0.05
    late: int = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """An instance: its file, and what must come out again."""

    path: Path
    study: str
    uid: str
    data_set: str
    """SHA-256 of the data set as it is sent."""
    kept: str
    """SHA-256 of the value of `KEPT`."""


@dataclass
class Acknowledged:
    """What the senders were told is stored, by study and SOP Instance UID."""

    studies: dict[str, dict[str, Sample]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, sample: Sample) -> None:
        with self.lock:
            self.studies[sample.study][sample.uid] = sample

    def count(self) -> int:
        with self.lock:
            return sum(map(len, self.studies.values()))

    def samples(self) -> list[Sample]:
        with self.lock:
            return [one for group in self.studies.values() for one in group.values()]


def make_sample(folder: Path, study: str, *, number: int, size: int) -> Sample:
    """Write an instance of so many random bytes, seeded by its names."""
    header = _header(study).replace(str(_PLACE).encode(), str(_PLACE + number).encode())
    at = random.Random(f"{study}.{number}").randrange(len(_NOISE) - size)
    size += size % 2
    value = _NOISE[at : at + size]
    # PS3.5 7.1.2: OB has a length of 32 bits.
    element = b"\x21\x00\x10\x10OB\0\0" + size.to_bytes(4, "little") + value
    path = folder / f"{study}.{number}.dcm"
    path.write_bytes(header + element)
    offset = header.index(b"\x08\x00\x16\x00UI")
    return Sample(
        path,
        study,
        f"{study}.{_PLACE + number}",
        hashlib.sha256(header[offset:] + element).hexdigest(),
        hashlib.sha256(value).hexdigest(),
    )


class Senders:
    """Threads that send study after study until each instance is acknowledged.

    Parameters
    ----------
    folder : pathlib.Path
        For files on their way; an acknowledged one is deleted.
    peer : DicomPeer
        Who gets them.
    load : Load
        How.
    seed : int
        Of sizes and UIDs.
    timeouts : Timeouts
        How long the peer may take.

    """

    def __init__(
        self,
        folder: Path,
        peer: DicomPeer,
        *,
        load: Load,
        seed: int,
        timeouts: Timeouts = _TIMEOUTS,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.acknowledged = Acknowledged()
        self.failures: Counter[str] = Counter()
        """Tries that were not acknowledged, by what was said."""
        self.errors: list[BaseException] = []
        self._folder = folder
        self._peer = peer
        self._load = load
        self._seed = seed
        self._timeouts = timeouts
        self._stop = threading.Event()
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(load.senders)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()

    def turn_to(self, peer: DicomPeer) -> None:
        """Send to another peer from the next try on."""
        self._peer = peer

    def finish(self, timeout_s: float = 300.0) -> int:
        """Begin no further study; return how many senders did not get through.

        They give up then.
        """
        self._stop.set()
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._is_over.set()
        if self.errors:
            raise self.errors[0]
        return sum(thread.is_alive() for thread in self._threads)

    def _run(self, sender: int) -> None:
        try:
            self._send_studies(sender)
        except BaseException as error:  # noqa: BLE001 - told by `finish`
            self.errors.append(error)

    def _send_studies(self, sender: int) -> None:
        load = self._load
        draw = random.Random(f"{self._seed}.{sender}")
        sizes, weights = zip(*load.sizes, strict=True)
        before: str | None = None
        number = 0
        while not self._stop.is_set():
            number += 1
            study = f"1.2.826.0.1.{self._seed + 1}.{sender + 1}.{number}"
            self._send(
                [
                    make_sample(
                        self._folder,
                        study,
                        number=image,
                        size=draw.choices(sizes, weights)[0],
                    )
                    for image in range(load.images)
                ]
            )
            if load.late and before and number % load.late == 0:
                self._send(
                    [make_sample(self._folder, before, number=load.images, size=4096)]
                )
                before = None
            else:
                before = study
            self._stop.wait(load.study_pause_s * draw.uniform(0.5, 1.5))

    def _send(self, samples: Sequence[Sample]) -> None:
        left = {one.path: one for one in samples}

        def note(outcome: SendOutcome) -> None:
            if outcome.is_delivered:
                self.acknowledged.note(left.pop(outcome.path))
                outcome.path.unlink()
            else:
                self.failures[outcome.reason] += 1
            if self._load.image_pause_s:
                self._stop.wait(self._load.image_pause_s)

        while left and not self._is_over.is_set():
            send_objects(
                list(left),
                self._peer,
                ae_title="PACS",
                timeouts=self._timeouts,
                on_outcome=note,
            )
            if left:
                time.sleep(0.1)


def _header(study: str) -> bytes:
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = f"{study}.{_PLACE}"
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = f"{study}.0"
    ds.Modality = "CT"
    ds.add_new(0x00210010, "LO", "TORTURE")
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()

"""What an archive can be asked, whatever it speaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dicom_node.errors import RetrieveError

__all__ = [
    "Archive",
    "Deadline",
    "FoundInstance",
    "FoundSeries",
    "FoundStudy",
    "Order",
]


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study that an archive has; texts are empty where it does not say."""

    study_instance_uid: str
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    study_date: str = ""
    study_time: str = ""
    modalities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """A series that an archive has."""

    series_instance_uid: str
    modality: str = ""
    body_part: str = ""
    instance_count: int | None = None
    """None: the archive does not say."""


@dataclass(frozen=True, slots=True)
class FoundInstance:
    """An instance that an archive has."""

    sop_instance_uid: str
    sop_class_uid: str
    """Empty where the archive does not say."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be fetched of a series."""

    study_instance_uid: str
    series_instance_uid: str
    instances: tuple[FoundInstance, ...]
    is_whole: bool
    """Whether these are all that the archive has of the series."""


class Archive(Protocol):
    """An archive for the time that one study takes.

    Every method raises RetrieveError when the archive cannot be asked, refuses, or
    does not answer in time.
    """

    def study(self, study_instance_uid: str) -> FoundStudy | None:
        """Return the study, or None where the archive has none."""

    def studies_before(self, date: str, *, patient_id: str) -> tuple[FoundStudy, ...]:
        """Return a patient's studies up to a date (DA), in any order."""

    def series(self, study_instance_uid: str) -> tuple[FoundSeries, ...]:
        """Return the series of a study."""

    def instances(
        self, study_instance_uid: str, series_instance_uid: str
    ) -> tuple[FoundInstance, ...]:
        """Return the instances of a series."""

    def fetch(self, orders: Sequence[Order]) -> str:
        """Fetch instances; return what went wrong on the way, or nothing.

        What arrives is recorded before this returns; what does not is seen there.
        """

    def close(self) -> None:
        """End the connection; a call in another thread then fails."""


class Deadline:
    """The moment until which an archive may take for one study.

    Parameters
    ----------
    seconds : float
        From now.
    monotonic : callable
        A clock that never goes back, in seconds.

    """

    def __init__(
        self, seconds: float, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        self._end = monotonic() + seconds

    @property
    def left_s(self) -> float:
        """Seconds that are left.

        Raises
        ------
        RetrieveError
            None are.

        """
        left = self._end - self._monotonic()
        if left <= 0:
            raise RetrieveError("it took longer than its timeout_s")
        return left

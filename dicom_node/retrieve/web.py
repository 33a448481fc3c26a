"""Ask an archive by QIDO-RS, and fetch by WADO-RS.

References
----------
PS3.18 10.6 (search), 10.4 (retrieve), F.2 (the DICOM JSON model).

"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from pydicom.datadict import tag_for_keyword

from dicom_node.errors import RetrieveError
from dicom_node.retrieve.archive import (
    Deadline,
    FoundInstance,
    FoundSeries,
    FoundStudy,
    Order,
)
from dicom_node.retrieve.parts import take_files
from dicom_node.retrieve.storing import Arrivals

__all__ = ["WebArchive"]

_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""As the archive keeps them: nothing is decoded on the way (PS3.18 8.7.3.5.2)."""

_SILENCE_S = 120.0
_MOST_ANSWER_BYTES = 64 << 20
_STUDY_KEYS = ("IssuerOfPatientID", "ModalitiesInStudy", "StudyDate", "StudyTime")


class WebArchive:
    """An archive that is a DICOMweb origin server.

    Parameters
    ----------
    client : httpx.Client
        Relative to the service root.
    deadline : Deadline
        Until when everything must be done.
    arrivals : Arrivals, optional
        Takes what comes; needed to fetch.

    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        deadline: Deadline,
        arrivals: Arrivals | None = None,
    ) -> None:
        self._client = client
        self._arrivals = arrivals
        self._deadline = deadline

    def close(self) -> None:
        """End the connection; a call in another thread then fails."""
        self._client.close()

    def release(self) -> None:
        """Close the connections."""
        self._client.close()

    def ping(self) -> None:
        """Search for one study, whichever.

        Raises
        ------
        RetrieveError
            It cannot be reached, or does not answer as QIDO-RS says.

        """
        self._search("studies", [("limit", "1")])

    def study(self, study_instance_uid: str) -> FoundStudy | None:
        """Return the study, or None where the archive has none."""
        for one in self._studies(StudyInstanceUID=study_instance_uid):
            if one.study_instance_uid == study_instance_uid:
                return one
        return None

    def studies_before(self, date: str, *, patient_id: str) -> tuple[FoundStudy, ...]:
        """Return a patient's studies up to a date (DA), in any order."""
        return tuple(self._studies(PatientID=patient_id, StudyDate=f"-{date}"))

    def series(self, study_instance_uid: str) -> tuple[FoundSeries, ...]:
        """Return the series of a study."""
        rows = self._search(
            f"studies/{study_instance_uid}/series",
            [
                ("includefield", _tag("BodyPartExamined")),
                ("includefield", _tag("NumberOfSeriesRelatedInstances")),
            ],
        )
        return tuple(
            FoundSeries(
                series_instance_uid=_text(one, "SeriesInstanceUID"),
                modality=_text(one, "Modality"),
                body_part=_text(one, "BodyPartExamined"),
                instance_count=_count(one, "NumberOfSeriesRelatedInstances"),
            )
            for one in rows
            if _text(one, "SeriesInstanceUID")
        )

    def instances(
        self, study_instance_uid: str, series_instance_uid: str
    ) -> tuple[FoundInstance, ...]:
        """Return the instances of a series."""
        rows = self._search(
            f"studies/{study_instance_uid}/series/{series_instance_uid}/instances", []
        )
        return tuple(
            FoundInstance(_text(one, "SOPInstanceUID"), _text(one, "SOPClassUID"))
            for one in rows
            if _text(one, "SOPInstanceUID")
        )

    def fetch(self, orders: Sequence[Order]) -> str:
        """Fetch instances; return what went wrong on the way, or nothing."""
        if self._arrivals is None:
            raise RetrieveError("nobody takes what it would send")
        troubles: dict[str, None] = {}
        self._arrivals.expect(
            {one.sop_instance_uid for order in orders for one in order.instances}
        )
        for order in orders:
            root = (
                f"studies/{order.study_instance_uid}/series/{order.series_instance_uid}"
            )
            paths = [root]
            if not order.is_whole:
                paths = [
                    f"{root}/instances/{one.sop_instance_uid}"
                    for one in order.instances
                ]
            for path in paths:
                trouble = self._retrieve(path, self._arrivals)
                if trouble:
                    troubles[trouble] = None
        return "; ".join(troubles)

    def _retrieve(self, path: str, arrivals: Arrivals) -> str:
        with self._get(path, accept=_ACCEPT) as answer:
            if answer.status_code not in {200, 206}:
                return f"it answered WADO-RS with {answer.status_code}"
            take_files(
                answer.headers.get("Content-Type", ""),
                self._blocks(answer),
                arrivals=arrivals,
            )
        return ""

    def _studies(self, **keys: str) -> Iterator[FoundStudy]:
        rows = self._search(
            "studies",
            [*keys.items(), *(("includefield", _tag(one)) for one in _STUDY_KEYS)],
        )
        for one in rows:
            yield FoundStudy(
                study_instance_uid=_text(one, "StudyInstanceUID"),
                patient_id=_text(one, "PatientID"),
                issuer_of_patient_id=_text(one, "IssuerOfPatientID"),
                study_date=_text(one, "StudyDate"),
                study_time=_text(one, "StudyTime"),
                modalities=_texts(one, "ModalitiesInStudy"),
            )

    def _search(
        self, path: str, parameters: Sequence[tuple[str, str]]
    ) -> list[dict[str, Any]]:
        with self._get(
            path, accept="application/dicom+json", parameters=parameters
        ) as answer:
            if answer.status_code == 204:
                return []
            if answer.status_code != 200:
                msg = f"it answered QIDO-RS with {answer.status_code}"
                raise RetrieveError(msg)
            body = bytearray()
            for block in self._blocks(answer):
                body += block
                if len(body) > _MOST_ANSWER_BYTES:
                    raise RetrieveError("it answered QIDO-RS without an end")
        try:
            rows = httpx.Response(200, content=bytes(body)).json()
        except ValueError as error:
            raise RetrieveError("its answer to QIDO-RS is not JSON") from error
        if not isinstance(rows, list):
            raise RetrieveError("its answer to QIDO-RS is not a list")
        return [one for one in rows if isinstance(one, dict)]

    @contextmanager
    def _get(
        self,
        path: str,
        *,
        accept: str,
        parameters: Sequence[tuple[str, str]] = (),
    ) -> Iterator[httpx.Response]:
        timeout_s = min(_SILENCE_S, self._deadline.left_s)
        try:
            with self._client.stream(
                "GET",
                path,
                params=list(parameters),
                headers={"Accept": accept},
                timeout=httpx.Timeout(timeout_s, connect=min(10.0, timeout_s)),
            ) as answer:
                yield answer
        except httpx.ConnectError as error:
            raise RetrieveError("it cannot be reached", is_away=True) from error
        except httpx.TimeoutException as error:
            raise RetrieveError("it did not answer in time", is_away=True) from error
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:
            msg = f"the connection failed ({type(error).__name__})"
            raise RetrieveError(msg) from error

    def _blocks(self, answer: httpx.Response) -> Iterator[bytes]:
        for block in answer.iter_bytes():
            _ = self._deadline.left_s
            yield block


def _tag(keyword: str) -> str:
    return f"{tag_for_keyword(keyword) or 0:08X}"


def _text(row: dict[str, Any], keyword: str) -> str:
    return (_texts(row, keyword) or ("",))[0]


def _texts(row: dict[str, Any], keyword: str) -> tuple[str, ...]:
    element = row.get(_tag(keyword))
    values = element.get("Value") if isinstance(element, dict) else None
    if not isinstance(values, list):
        return ()
    return tuple(str(one).strip() for one in values if isinstance(one, str | int))


def _count(row: dict[str, Any], keyword: str) -> int | None:
    text = _text(row, keyword)
    return int(text) if text.isdecimal() else None

"""Ask an archive by C-FIND, and fetch by C-GET or C-MOVE (Study Root).

References
----------
PS3.4 C.4 and C.6.2; role selection for C-GET: PS3.7 D.3.3.4.

"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.presentation import PresentationContext, build_context

from conformance.profile import (
    QUERY_RETRIEVE_CONTEXTS,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
)
from dicom_node.config import DicomPeer
from dicom_node.errors import AssociationRefusedError, RetrieveError
from dicom_node.retrieve.archive import (
    Deadline,
    FoundInstance,
    FoundSeries,
    FoundStudy,
    Order,
)
from dicom_node.retrieve.requests import (
    COMMON_CLASSES,
    group_orders,
    identifiers,
    left_of,
)
from dicom_node.retrieve.storing import Arrivals
from dicom_node.scu import Link, Timeouts, associate

__all__ = ["DimseArchive"]

_MOST_MATCHES = 50_000
"""More than any series has; a peer that never ends is cut off."""

_PENDING = frozenset({0xFF00, 0xFF01})
_WARNING = 0xB000

_QUERY, _STORED = QUERY_RETRIEVE_CONTEXTS


class DimseArchive:
    """An archive that is an application entity.

    Parameters
    ----------
    peer : DicomPeer
        The archive.
    ae_title : str
        Ours: calling, and the destination of C-MOVE.
    by_move : bool
        True: fetch by C-MOVE, which arrives at our own Storage SCP.
    arrivals : Arrivals
        Takes what C-GET brings.
    deadline : Deadline
        Until when everything must be done.

    """

    def __init__(
        self,
        peer: DicomPeer,
        *,
        ae_title: str,
        by_move: bool,
        arrivals: Arrivals,
        deadline: Deadline,
    ) -> None:
        self._peer = peer
        self._ae_title = ae_title
        self._by_move = by_move
        self._arrivals = arrivals
        self._deadline = deadline
        self._opened = ExitStack()
        self._query_link: Link | None = None
        self._live: Link | None = None

    def close(self) -> None:
        """End the association; a call in another thread then fails."""
        link = self._live
        if link is not None and not link.is_closed.is_set():
            link.association.abort()

    def release(self) -> None:
        """Release the association on which was asked."""
        self._opened.close()
        self._query_link = None

    def study(self, study_instance_uid: str) -> FoundStudy | None:
        """Return the study, or None where the archive has none."""
        for one in self._find_studies(StudyInstanceUID=study_instance_uid):
            if one.study_instance_uid == study_instance_uid:
                return one
        return None

    def studies_before(self, date: str, *, patient_id: str) -> tuple[FoundStudy, ...]:
        """Return a patient's studies up to a date (DA), in any order."""
        return tuple(self._find_studies(PatientID=patient_id, StudyDate=f"-{date}"))

    def series(self, study_instance_uid: str) -> tuple[FoundSeries, ...]:
        """Return the series of a study."""
        rows = self._find(
            "SERIES",
            StudyInstanceUID=study_instance_uid,
            SeriesInstanceUID="",
            Modality="",
            BodyPartExamined="",
            NumberOfSeriesRelatedInstances=None,
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
        rows = self._find(
            "IMAGE",
            StudyInstanceUID=study_instance_uid,
            SeriesInstanceUID=series_instance_uid,
            SOPInstanceUID="",
            SOPClassUID="",
        )
        return tuple(
            FoundInstance(_text(one, "SOPInstanceUID"), _text(one, "SOPClassUID"))
            for one in rows
            if _text(one, "SOPInstanceUID")
        )

    def fetch(self, orders: Sequence[Order]) -> str:
        """Fetch instances; return what went wrong on the way, or nothing."""
        troubles: dict[str, None] = {}
        for group in group_orders(orders, is_split=not self._by_move):
            if self._by_move:
                troubles |= dict.fromkeys(self._move(group))
            else:
                troubles |= dict.fromkeys(self._get(group))
        return "; ".join(troubles)

    def _move(self, group: Sequence[Order]) -> Iterator[str]:
        link = self._query()
        for order in group:
            for identifier in identifiers(order):
                yield from self._retrieve(link, identifier)

    def _get(self, group: Sequence[Order]) -> tuple[str, ...]:
        self.release()  # an archive may allow one association at a time
        syntaxes = _STORED.transfer_syntaxes
        troubles = self._get_in(group, syntaxes)
        left = tuple(left_of(group, self._arrivals.kept))
        if troubles and left:
            # Some archives take the first context of a SOP class, in whatever syntax
            # an instance lies there: give them no choice.
            troubles = self._get_in(left, _QUERY.transfer_syntaxes)
        return troubles

    def _get_in(
        self, group: Sequence[Order], syntaxes: Sequence[str]
    ) -> tuple[str, ...]:
        classes = sorted(
            {one.sop_class_uid for order in group for one in order.instances}
        )
        storage = [
            build_context(sop_class, syntax)
            for sop_class in classes
            for syntax in syntaxes
        ]
        if "" in classes:
            classes = list(COMMON_CLASSES)
            storage = [build_context(one, list(syntaxes)) for one in classes]
        query = build_context(STUDY_ROOT_GET, list(_QUERY.transfer_syntaxes))
        self._arrivals.expect(
            {one.sop_instance_uid for order in group for one in order.instances}
        )
        try:
            with self._associate([query, *storage], stored_classes=classes) as link:
                return tuple(
                    trouble
                    for order in group
                    for identifier in identifiers(order)
                    for trouble in self._retrieve(link, identifier)
                )
        finally:
            self._arrivals.abandon()

    def _retrieve(self, link: Link, identifier: Dataset) -> Iterator[str]:
        """Fetch by one request; yield what the archive says went wrong."""
        association = link.association
        name = "C-MOVE" if self._by_move else "C-GET"
        final: Dataset | None = None
        with self._cut_off(link):
            try:
                if self._by_move:
                    answers = association.send_c_move(
                        identifier, self._ae_title, STUDY_ROOT_MOVE
                    )
                else:
                    answers = association.send_c_get(identifier, STUDY_ROOT_GET)
                for status, _failed in answers:
                    final = status
            except (AttributeError, RuntimeError, ValueError) as error:
                msg = f"it does not accept {name}, or ended the association"
                raise RetrieveError(msg) from error
        code = None if final is None else final.get("Status")
        if final is None or code is None or code in _PENDING:
            _ = self._deadline.left_s  # tells when it was the time
            msg = f"it ended the association, or did not answer {name}"
            raise RetrieveError(msg)
        failed = final.get("NumberOfFailedSuboperations") or 0
        if code not in {0x0000, _WARNING}:
            yield f"it answered {name} with 0x{code:04X}"
        if failed:
            yield f"{name}: {failed} sub-operations failed"

    def _find_studies(self, **keys: str) -> Iterator[FoundStudy]:
        rows = self._find(
            "STUDY",
            **{
                "StudyInstanceUID": "",
                "PatientID": "",
                "IssuerOfPatientID": "",
                "StudyDate": "",
                "StudyTime": "",
                "ModalitiesInStudy": "",
                **keys,
            },
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

    def _find(self, level: str, **keys: Any) -> list[Dataset]:
        identifier = Dataset()
        identifier.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(identifier, keyword, value)
        if any(isinstance(one, str) and not one.isascii() for one in keys.values()):
            identifier.SpecificCharacterSet = "ISO_IR 192"
        link = self._query()
        found: list[Dataset] = []
        code: int | None = None
        with self._cut_off(link):
            try:
                for status, row in link.association.send_c_find(
                    identifier, STUDY_ROOT_FIND
                ):
                    code = status.get("Status")
                    if code in _PENDING and row is not None:
                        found.append(row)
                    if len(found) > _MOST_MATCHES:
                        link.association.abort()
                        raise RetrieveError("it answered C-FIND without an end")
            except (AttributeError, RuntimeError, ValueError) as error:
                msg = "it does not accept C-FIND, or ended the association"
                raise RetrieveError(msg) from error
        if code is None or code in _PENDING:
            _ = self._deadline.left_s  # tells when it was the time
            raise RetrieveError("it ended the association, or did not answer C-FIND")
        if code != 0x0000:
            msg = f"it answered C-FIND with 0x{code:04X}"
            raise RetrieveError(msg)
        return found

    def _query(self) -> Link:
        """Return the association on which is asked, a new one where it ended."""
        link = self._query_link
        if link is None or link.is_closed.is_set():
            self.release()
            classes = [STUDY_ROOT_FIND]
            if self._by_move:
                classes.append(STUDY_ROOT_MOVE)
            link = self._opened.enter_context(
                self._associate(
                    [
                        build_context(one, list(_QUERY.transfer_syntaxes))
                        for one in classes
                    ]
                )
            )
            self._query_link = link
        self._live = link
        return link

    @contextmanager
    def _associate(
        self,
        contexts: list[PresentationContext],
        *,
        stored_classes: Sequence[str] = (),
    ) -> Iterator[Link]:
        left_s = self._deadline.left_s
        defaults = Timeouts()
        try:
            with associate(
                contexts,
                self._peer,
                ae_title=self._ae_title,
                timeouts=Timeouts(
                    connect_s=min(left_s, defaults.connect_s),
                    associate_s=min(left_s, defaults.associate_s),
                    response_s=left_s,
                ),
                stored_classes=stored_classes,
                make_dimse=self._arrivals.make_dimse,
                on_store=self._arrivals.answer,
            ) as link:
                self._live = link
                yield link
        except AssociationRefusedError as error:
            raise RetrieveError(str(error), is_away=True) from error
        finally:
            self._live = None

    @contextmanager
    def _cut_off(self, link: Link) -> Iterator[None]:
        """End the association when the time is over, whatever the peer is doing."""
        timer = threading.Timer(self._deadline.left_s, link.association.abort)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _text(ds: Dataset, keyword: str) -> str:
    return _texts(ds, keyword)[0] if _texts(ds, keyword) else ""


def _texts(ds: Dataset, keyword: str) -> tuple[str, ...]:
    try:
        value = ds.get(keyword)
    except (ValueError, TypeError, NotImplementedError):
        return ()  # the archive wrote what cannot be read
    if value is None or value == "":
        return ()
    values = [value] if isinstance(value, str | int) else list(value)
    return tuple(str(one).strip() for one in values)


def _count(ds: Dataset, keyword: str) -> int | None:
    text = _text(ds, keyword)
    return int(text) if text.isdecimal() else None

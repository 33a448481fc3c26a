"""Reads the trail in its order and gathers what one message tells.

Instances come one by one and are told as one message for a study and its sender. Rows
are therefore read in stretches: one ends where nothing more came for some seconds, and
all of it is dealt with before the next. A stretch is never split by a restart, and
what is read again gives the same messages.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import structlog

from dicom_node.atna.batch import Batch, NodeIdentity
from dicom_node.atna.message import AuditMessage
from dicom_node.atna.table import MESSAGES, Audited, NotAudited
from dicom_node.audit import EventKind
from dicom_node.config import NodeSettings
from dicom_node.store.trail import TrailEvent, TrailStore

__all__ = ["LONGEST_S", "QUIET_S", "Stretch", "TrailReader", "node_identity"]

QUIET_S = 5.0
"""A stretch that gathers ends when nothing more came for so long, in seconds."""

LONGEST_S = 60.0
"""And after this long at the latest: an archive that sends all night is told, too."""

_ROWS = 1000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Messages of consecutive rows, and the last of these."""

    messages: tuple[AuditMessage, ...]
    last_id: int


def node_identity(settings: NodeSettings) -> NodeIdentity:
    """Return who this process is in its messages."""
    return NodeIdentity(settings.node.ae_title, socket.gethostname(), settings)


class TrailReader:
    """Makes messages of the trail.

    Parameters
    ----------
    trail : TrailStore
        The rows.
    node : NodeIdentity
        Who reports.
    monotonic : callable
        A clock that is never set, in seconds.

    """

    def __init__(
        self,
        trail: TrailStore,
        node: NodeIdentity,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trail = trail
        self._node = node
        self._monotonic = monotonic
        self._held = (0, 0)  # first and last row of a stretch that is not over
        self._held_since = 0.0
        self._grown_at = 0.0

    def next(self, after: int, *, is_last: bool = False) -> Stretch | None:
        """Return the next stretch after a row; None: there is none, or it goes on.

        Parameters
        ----------
        after : int
            The last row that was dealt with.
        is_last : bool
            The node stops: wait for nothing more.

        Raises
        ------
        StoreError
            The database cannot answer.

        """
        rows = self._trail.read(after, limit=_ROWS)
        if not rows:
            return None
        alone = 0
        while alone < len(rows) and not _is_gathered(rows[alone]):
            alone += 1
        if alone:
            rows = rows[:alone]
        elif not is_last and len(rows) < _ROWS and not self._is_over(rows):
            return None
        return Stretch(self._compose(rows), rows[-1].id)

    def _is_over(self, rows: Sequence[TrailEvent]) -> bool:
        # Not by the rows' own times: a clock may be set back.
        now = self._monotonic()
        first, last = rows[0].id, rows[-1].id
        if self._held[0] != first:
            self._held_since = now
        if self._held != (first, last):
            self._grown_at = now
        self._held = (first, last)
        return now - self._grown_at >= QUIET_S or now - self._held_since >= LONGEST_S

    def _compose(self, rows: Sequence[TrailEvent]) -> tuple[AuditMessage, ...]:
        groups: dict[Hashable, list[TrailEvent]] = {}
        for row in rows:
            rule = _rule_of(row)
            if isinstance(rule, Audited):
                groups.setdefault(_group_of(row, rule), []).append(row)
        studies = self._trail.studies(
            row.study_id for row in rows if row.study_id is not None
        )
        classes = self._trail.sop_classes(
            row.subject for row in rows if row.subject and _is_gathered(row)
        )
        patients = self._trail.report_patients(
            number for row in rows if (number := _report_of(row)) is not None
        )
        made = []
        for group in groups.values():
            first = group[0]
            rule = _rule_of(first)
            if not isinstance(rule, Audited):
                continue
            report = _report_of(first)
            batch = Batch(
                group,
                self._node,
                study=None if first.study_id is None else studies.get(first.study_id),
                patient_id="" if report is None else patients.get(report, ""),
                classes=classes,
            )
            made.append(rule.make(batch))
        return tuple(made)


def _rule_of(row: TrailEvent) -> Audited | NotAudited | None:
    try:
        return MESSAGES[EventKind(row.kind)]
    except ValueError:
        # A row of a newer node, after a return to an older one.
        log.warning("event_kind_unknown", kind=row.kind)
        return None


def _is_gathered(row: TrailEvent) -> bool:
    rule = _rule_of(row)
    return isinstance(rule, Audited) and rule.gathers is not None


def _group_of(row: TrailEvent, rule: Audited) -> Hashable:
    if rule.gathers is None:
        return row.id
    return (row.kind, row.study_id, *(str(row.detail.get(key)) for key in rule.gathers))


def _report_of(row: TrailEvent) -> int | None:
    """Return the report's row that an event names, ``channel:number`` or by itself."""
    if row.kind == EventKind.REPORT_RECEIVED:
        _, _, number = (row.subject or "").partition(":")
        return int(number) if number.isdecimal() else None
    named = row.detail.get("report")
    return named if isinstance(named, int) else None

"""`dicom-node pause`, `resume` and `drain`: told to the node through its database."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.commands.status import open_store
from dicom_node.config import NodeSettings
from dicom_node.store import DeliveryState, StudyState
from dicom_node.wording import counted
from dicom_node.workflows import DRAINING, PAUSED

__all__ = ["Remaining", "read_remaining", "set_draining", "set_paused"]


@dataclass(frozen=True, slots=True)
class Remaining:
    """What a node that drains still has to do."""

    collecting: int
    """Studies that wait for their quiet time."""
    queued: int
    """Versions that wait for the worker or are with it."""
    undelivered: int
    """Results that a destination lacks, or has not committed to."""
    untried: int
    """Parcels among them that were not sent yet."""
    away: tuple[str, ...]
    """Destinations that did not take what they were sent: waiting for them has no
    end, and a node that starts again sends it again."""

    @property
    def is_empty(self) -> bool:
        """Whether the node can be stopped without leaving work that it can do."""
        return not (self.collecting or self.queued or self.untried)

    def __str__(self) -> str:
        """Say it in a line."""
        said = (
            f"{counted(self.collecting, 'study collects', 'studies collect')}, "
            f"{counted(self.queued, 'waits', 'wait')} for the worker, "
            f"{counted(self.undelivered, 'result is', 'results are')} undelivered"
        )
        return f"{said} (waiting for {', '.join(self.away)})" if self.away else said


def set_paused(settings: NodeSettings, paused: bool, *, by: str = "terminal") -> bool:
    """Stop or go on with processing; receiving and delivering go on.

    Returns
    -------
    bool
        False: it was so already.

    Raises
    ------
    StoreError
        There is no database, or it cannot answer.

    """
    return _switch(settings, PAUSED, paused, by)


def set_draining(
    settings: NodeSettings, draining: bool, *, by: str = "terminal"
) -> bool:
    """Refuse new associations, or accept them again; work goes on.

    Returns
    -------
    bool
        False: it was so already.

    Raises
    ------
    StoreError
        There is no database, or it cannot answer.

    """
    return _switch(settings, DRAINING, draining, by)


def read_remaining(settings: NodeSettings) -> Remaining:
    """Count what is still to be done.

    Raises
    ------
    StoreError
        There is no database, or it cannot answer.

    """
    with open_store(settings) as store:
        counts = store.counts()
        parcels = store.outbox.pending_parcels()
    waits = (DeliveryState.PENDING, DeliveryState.STORED)
    return Remaining(
        collecting=counts.studies.get(StudyState.COLLECTING, 0),
        queued=counts.queued_versions,
        undelivered=sum(
            number for (_, state), number in counts.deliveries.items() if state in waits
        ),
        untried=sum(not one.attempts for one in parcels),
        away=tuple(sorted({one.destination for one in parcels if one.attempts})),
    )


def _switch(settings: NodeSettings, name: str, value: bool, by: str) -> bool:
    with open_store(settings) as store:
        was = bool(store.switches.get(name))
        store.switches.set(name, value, by=by)
    return was != value

"""What an operator turns on or off while the node runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select, update

from dicom_node.audit import EventKind
from dicom_node.store.database import Database
from dicom_node.store.events import record_event
from dicom_node.store.schema import switches

__all__ = ["DRAINING", "PAUSED", "SwitchStore"]

PAUSED = "paused"
"""Studies wait; receiving and delivering go on."""

DRAINING = "draining"
"""New associations are refused; work goes on."""


class SwitchStore:
    """Switches by name: ``paused``, ``draining``.

    Parameters
    ----------
    database : Database
        Where they are kept, so that they outlast the process.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str, default: Any = False) -> Any:
        """Return a switch's value, or ``default`` where nobody set it.

        Raises
        ------
        StoreError
            The database could not answer.

        """
        with self._database.read() as connection:
            row = connection.execute(
                select(switches.c.value).where(switches.c.name == name)
            ).one_or_none()
        return default if row is None else row.value

    def set(self, name: str, value: Any, *, by: str) -> None:
        """Set a switch to a JSON value; a change of it is an event.

        Parameters
        ----------
        name : str
            At most 32 characters.
        value : object
            What JSON can say.
        by : str
            The person who did it, or the part of the node.

        Raises
        ------
        StoreError
            The database could not answer; nothing was changed.

        """
        with self._database.write() as connection:
            known = connection.execute(
                select(switches.c.value).where(switches.c.name == name)
            ).one_or_none()
            if known is not None and known.value == value:
                return
            now = datetime.now(UTC)
            change = {"value": value, "changed_by": by[:64], "changed_at": now}
            if known is None:
                connection.execute(insert(switches).values(name=name, **change))
            else:
                connection.execute(
                    update(switches).where(switches.c.name == name).values(**change)
                )
            record_event(
                connection,
                EventKind.SWITCH_CHANGED,
                at=now,
                subject=name,
                detail={"value": str(value), "by": by[:64]},
            )

    def turned_on(self) -> dict[str, datetime]:
        """Return since when each switch is on that is, by name; moments are aware.

        Raises
        ------
        StoreError
            The database could not answer.

        """
        with self._database.read() as connection:
            rows = connection.execute(
                select(switches.c.name, switches.c.value, switches.c.changed_at)
            ).all()
        return {row.name: row.changed_at for row in rows if row.value}

    def all(self) -> dict[str, Any]:
        """Return every switch that was ever set, by name.

        Raises
        ------
        StoreError
            The database could not answer.

        """
        with self._database.read() as connection:
            rows = connection.execute(
                select(switches.c.name, switches.c.value).order_by(switches.c.name)
            )
            return {row.name: row.value for row in rows}

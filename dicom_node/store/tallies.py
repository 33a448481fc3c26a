"""How many rows the large tables have: numbers that are kept, as `schema.tallies`."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from dicom_node.store.schema import (
    deliveries,
    instances,
    results,
    studies,
    tallies,
    versions,
)

__all__ = ["deliveries_by_state", "kept_bytes", "kept_instances", "states"]

_KEPT = "kept"


def states(connection: Connection, *, of_versions: bool = False) -> dict[str, int]:
    """Return how many studies, or versions, are in each state."""
    table = versions if of_versions else studies
    rows = connection.execute(
        select(tallies.c.state, tallies.c.count).where(
            tallies.c.of_table == table.name, tallies.c.count > 0
        )
    )
    return {row.state: row[1] for row in rows}


def deliveries_by_state(connection: Connection) -> dict[tuple[str, str], int]:
    """Return how many deliveries there are by destination and state."""
    rows = connection.execute(
        select(tallies.c.destination, tallies.c.state, tallies.c.count).where(
            tallies.c.of_table == deliveries.name, tallies.c.count > 0
        )
    )
    return {(row.destination, row.state): row[2] for row in rows}


def kept_instances(connection: Connection) -> int:
    """Return how many instances are kept."""
    found = connection.scalar(
        select(tallies.c.count).where(
            tallies.c.of_table == instances.name, tallies.c.state == _KEPT
        )
    )
    return int(found or 0)


def kept_bytes(connection: Connection) -> int:
    """Return the size of the images and results that are kept."""
    found = connection.scalar(
        select(func.sum(tallies.c.size_bytes)).where(
            tallies.c.of_table.in_([instances.name, results.name]),
            tallies.c.state == _KEPT,
        )
    )
    return int(found or 0)

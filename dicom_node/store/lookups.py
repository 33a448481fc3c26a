"""Claims about other rows that a database looks up, and does not work out for all."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select

__all__ = ["has_some"]


def has_some(rows: Select[Any]) -> ColumnElement[bool]:
    """Return the claim that there are such rows, looked up for each row in turn.

    A page takes few of the rows that it may look at. PostgreSQL counts on all of them,
    and reads every row of the other table first, to have the answer for each at once:
    it does so for no query that begins at an offset.

    Parameters
    ----------
    rows : sqlalchemy.Select
        Rows of other tables that belong to the row that is asked about, by an index.

    """
    return rows.offset(0).exists()

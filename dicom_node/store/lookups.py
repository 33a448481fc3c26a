"""Claims about other rows that a database looks up, and does not work out for all."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, case

__all__ = ["has_none", "has_some"]


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


def has_none(rows: Select[Any]) -> ColumnElement[bool]:
    """Return the claim that there are no such rows, which most of a page pass.

    PostgreSQL expects every second row to pass the opposite of `has_some`, so that ten
    such claims leave too few for a page: it would look at all rows and sort them. Of
    two numbers it expects that they differ.
    """
    return case((has_some(rows), 1), else_=0) != 1

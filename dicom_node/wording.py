"""Words for people: a number and what it counts."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, one: str, several: str) -> str:
    """Return a number before the words that fit it: ``1 study waits``.

    Parameters
    ----------
    number : int
        How many, from 0.
    one, several : str
        What is said of one, and of any other number.

    """
    return f"{number} {one if number == 1 else several}"

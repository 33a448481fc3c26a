"""Say which structures cannot be on a picture of another kind: no liver in an eye."""

from __future__ import annotations

from training.derived.volumes import LABEL_TABLES

__all__ = ["PLACES", "absent_from"]

_TORSO = frozenset(
    {name for task in ("total", "total_mr") for name in LABEL_TABLES[task].values()}
    | {"pulmonary_artery"}
) - {"brain", "skull"}

_NAMED = ("head", "eye", "skin", "bowel_lumen", "cells", "tracer", "breast")

PLACES: dict[str, frozenset[str]] = {
    place: frozenset(LABEL_TABLES[place].values()) for place in _NAMED
} | {"torso": _TORSO | frozenset(LABEL_TABLES["chest"].values())}
"""Structures by the place where they are (``tracer``: what only a tracer shows). What
may be anywhere, a cyst or a solid mass, is in none of them."""


def absent_from(*places: str) -> frozenset[str]:
    """Return the structures that a picture of these places cannot show.

    Raises
    ------
    KeyError
        There is no such place.
    """
    here = frozenset[str]().union(*(PLACES[place] for place in places))
    return frozenset[str]().union(*PLACES.values()) - here

"""What to look for in images that come without a report: anatomy first."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from importlib import resources
from typing import Any

from dicom_node.records import Phrase
from dicom_node.reports.phrases import phrase_from_text

__all__ = ["vocabulary"]


def vocabulary(modality: str, body_part: str | None) -> tuple[Phrase, ...]:
    """Return the phrases to look for in one kind of image.

    Parameters
    ----------
    modality : str
        Modality (0008,0060).
    body_part : str or None
        Body Part Examined (0018,0015); None or unknown: the modality's usual part.

    Returns
    -------
    tuple of Phrase
        Never empty; ``source`` is ``vocabulary``. For CT and MR of the trunk it is
        the anatomy that the bundled model knows.

    """
    return _phrases(_list_name(modality.strip().upper(), body_part))


def _list_name(modality: str, body_part: str | None) -> str:
    table = _table()
    letters = "".join(one for one in (body_part or "").upper() if one.isalpha())
    # "LSPINE", "CHEST_TO_PELVIS", "ABDOMEN W/O": the longest known name counts.
    known = [name for name in table["body_parts"] if name in letters]
    part: str | None = None
    if letters in table["body_parts"]:
        part = table["body_parts"][letters]
    elif known:
        parts = {table["body_parts"][name] for name in known}
        is_trunk = len(parts & {"chest", "abdomen", "pelvis", "trunk"}) > 1
        part = "trunk" if is_trunk else table["body_parts"][max(known, key=len)]
    lists: dict[str, str] = table["modalities"].get(modality, {"default": "general"})
    if part is None:
        return lists["default"]
    return lists.get(part, part)


@cache
def _phrases(name: str) -> tuple[Phrase, ...]:
    return tuple(
        dataclasses.replace(phrase_from_text(text), source="vocabulary")
        for text in _table()["lists"][name]
    )


@cache
def _table() -> dict[str, Any]:
    source = resources.files("dicom_node.reports") / "data" / "vocabulary.json"
    table: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    return table

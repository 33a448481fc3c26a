"""A report as XHTML whose phrases are spans that refer to resources (IHE IMR)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Link", "narrative"]

_CLASS = "imr-ref-ImagingSelection"
"""IHE IMR: the class of an element that refers to an ImagingSelection by its id."""

_NOT_XML = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]"
)
"""Characters that XML 1.0 has not, or advises against."""

_ESCAPES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    # An XML reader turns it into a line feed.
    "\r": "&#13;",
}


@dataclass(frozen=True, slots=True)
class Link:
    """``text[start:end]`` refers to resources, such as ``ImagingSelection/1``."""

    start: int
    end: int
    targets: tuple[str, ...]


def narrative(text: str, links: Sequence[Link]) -> str:
    """Write a report as the ``div`` of a FHIR narrative.

    Parameters
    ----------
    text : str
        The report. Its characters, line breaks and blanks are those of the ``div``,
        but for control characters, which become blanks.
    links : sequence of Link
        In any order; they may nest and overlap. Each target is named once.

    Returns
    -------
    str
        One ``p`` in a ``div``. Each target of a link is a ``span`` with the class of
        IMR and the target as ``id``; a link that another one cuts in two goes on in
        spans that name the target as ``title``, since an id stands once.

    """
    # Longer links first, so that shorter ones lie inside them.
    order = sorted(
        (one for one in links if one.start < one.end),
        key=lambda one: (one.start, -one.end),
    )
    cuts = sorted({0, len(text), *(e for one in order for e in (one.start, one.end))})
    named: set[str] = set()
    pieces: list[str] = []
    opened: list[Link] = []
    for begin, end in pairwise(cuts):
        # Close what ends here, and what was opened inside it.
        keep = next(
            (n for n, one in enumerate(opened) if one.end <= begin), len(opened)
        )
        pieces += ["</span>" * len(one.targets) for one in opened[keep:]]
        cut = [one for one in opened[keep:] if one.end > begin]
        opened = opened[:keep]
        for one in [*cut, *(one for one in order if one.start == begin)]:
            pieces += [_opening(target, named) for target in one.targets]
            opened.append(one)
        pieces.append(_escaped(text[begin:end]))
    pieces += ["</span>" * len(one.targets) for one in opened]
    body = "".join(pieces)
    return (
        '<div xmlns="http://www.w3.org/1999/xhtml">'
        f'<p style="white-space: pre-wrap">{body}</p></div>'
    )


def _opening(target: str, named: set[str]) -> str:
    attribute = "title" if target in named else "id"
    named.add(target)
    return f'<span class="{_CLASS}" {attribute}="{_escaped(target)}">'


def _escaped(text: str) -> str:
    clean = _NOT_XML.sub(" ", text)
    return re.sub(r"[&<>\r]", lambda found: _ESCAPES[found[0]], clean)

"""The reason for the study, as the images' own tags say it: a weak source.

It tells what somebody looks for, not what was found. Study Description is left out:
it names the procedure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pydicom
from pydicom.dataset import Dataset

from dicom_node.errors import ReceiveError
from dicom_node.header import read_header
from dicom_node.quiet import quiet
from dicom_node.records import Report, StoredInstance
from dicom_node.reports.flat_text import clean
from dicom_node.reports.sr import UNREADABLE

__all__ = ["find_tag_reports"]

_KEYWORDS = (
    "ReasonForTheRequestedProcedure",
    "RequestedProcedureDescription",
    "AdmittingDiagnosesDescription",
)
"""PS3.3 C.4.11, C.7.2.2 and table 10-9: of the request, in the image or its Request
Attributes Sequence, and of the visit."""

_REQUESTS = "RequestAttributesSequence"

_MAX_CHARACTERS = 10_000


def find_tag_reports(instances: Sequence[StoredInstance]) -> tuple[Report, ...]:
    """Read the reason for the study from one image of each series.

    Parameters
    ----------
    instances : sequence of StoredInstance
        The images of a study. What cannot be read says nothing.

    Returns
    -------
    tuple of Report
        One for each keyword with a value, its source ``tag:<keyword>``; values that
        differ are lines of one text.

    """
    first = {one.series_instance_uid: one for one in reversed(instances)}
    said: dict[str, dict[str, None]] = {keyword: {} for keyword in _KEYWORDS}
    for uid in sorted(first):
        for keyword, value in _values(first[uid]):
            said[keyword][value] = None
    return tuple(
        Report(text="\n".join(values)[:_MAX_CHARACTERS], source=f"tag:{keyword}")
        for keyword, values in said.items()
        if values
    )


def _values(one: StoredInstance) -> Iterator[tuple[str, str]]:
    try:
        # The header reader refuses what would exhaust pydicom's stack.
        if read_header(one.path).is_own_result:
            return
        # pydicom's warnings quote values, which may be about a patient, to stderr.
        with quiet():
            ds = pydicom.dcmread(
                one.path, stop_before_pixels=True, specific_tags=[*_KEYWORDS, _REQUESTS]
            )
            found = list(_said(ds))
    except (ReceiveError, *UNREADABLE):
        return
    yield from found


def _said(ds: Dataset) -> Iterator[tuple[str, str]]:
    requests = ds.get(_REQUESTS) or []
    for item in (ds, *(one for one in requests if isinstance(one, Dataset))):
        for keyword in _KEYWORDS:
            value = item.get(keyword)
            # Admitting Diagnoses Description may have several values.
            for text in value if isinstance(value, list | tuple) else [value]:
                words = " ".join(clean(text).split())
                if words:
                    yield keyword, words

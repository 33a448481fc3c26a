"""Series of a finished study, ready to be shown: their frames and files."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException

from dicom_node.records import FrameReference, ImageSeries
from dicom_node.web.frames import ShownSeries

if TYPE_CHECKING:
    from dicom_node.store.details import ShownVersion
    from dicom_node.web.parts import WebParts

__all__ = [
    "SeriesFinder",
    "find_outline",
    "find_results",
    "find_version",
    "results_name",
    "series_document",
]

_KEPT = 32
"""Series in memory; one of 2000 frames takes a megabyte."""


class SeriesFinder:
    """Finds the series of results and keeps the last ones; safe between threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], ShownSeries] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, parts: WebParts, version: ShownVersion, index: int) -> ShownSeries:
        """Return a series of a version's results.

        Raises
        ------
        HTTPException
            404: there is no such series, or its files are gone; 410: retention
            deleted its images.

        """
        if version.images_removed_at is not None:
            msg = f"its images were deleted on {version.images_removed_at:%Y-%m-%d}"
            raise HTTPException(410, f"{msg} (retention)")
        key = (version.result_dir, index)
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
                return known
        found = _find(parts, version, index)
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found


def find_version(
    parts: WebParts, study_instance_uid: str, content_version: str | None = None
) -> ShownVersion:
    """Return a version with results, the newest when none is named.

    Raises
    ------
    HTTPException
        404: there is none; 410: retention deleted it.

    """
    found = parts.store.details.shown_version(study_instance_uid, content_version)
    if found is None:
        removed_at = parts.store.details.results_removed_at(study_instance_uid)
        if removed_at is not None:
            msg = f"the study's results were deleted on {removed_at:%Y-%m-%d}"
            raise HTTPException(410, f"{msg} (retention)")
        raise HTTPException(404, "there are no results of such a study")
    return found


def results_name(parts: WebParts, version: ShownVersion) -> str:
    """Return the name of a version's results; another run may give it another.

    Series are counted among those of one run: a number means a series only together
    with this name.
    """
    digest = parts.results.digest(version.result_dir) or version.result_dir
    said = f"{version.content_version} {digest}"
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def find_results(
    parts: WebParts, study_instance_uid: str, name: str | None
) -> ShownVersion:
    """Return the version that is shown, if its results are those that are named.

    Parameters
    ----------
    parts : WebParts
        The node.
    study_instance_uid : str
        The study.
    name : str, optional
        What `results_name` returned; None: any will do.

    Raises
    ------
    HTTPException
        404: there are no results; 409: others are shown by now.

    """
    version = find_version(parts, study_instance_uid)
    if name is not None and name != results_name(parts, version):
        raise HTTPException(409, "newer results of the study are shown: load it again")
    return version


def series_document(
    parts: WebParts, version: ShownVersion, index: int
) -> dict[str, Any]:
    """Return what ``result.json`` says of a series.

    Raises
    ------
    HTTPException
        404: there is no such series.

    """
    document = parts.results.document(version.result_dir) or {}
    known = document.get("series", [])
    if not 0 <= index < len(known):
        raise HTTPException(404, "the results have no such series")
    found: dict[str, Any] = known[index]
    return found


def find_outline(
    parts: WebParts, version: ShownVersion, tracking_uid: str
) -> dict[str, Any]:
    """Return what ``result.json`` says of a region.

    Raises
    ------
    HTTPException
        404: there is no such region.

    """
    document = parts.results.document(version.result_dir) or {}
    for phrase in document.get("phrases", ()):
        for outline in phrase.get("outlines", ()):
            if outline["tracking_uid"] == tracking_uid:
                found: dict[str, Any] = outline
                return found
    raise HTTPException(404, "the results have no such region")


def _find(parts: WebParts, version: ShownVersion, index: int) -> ShownSeries:
    # Imported here: the node listens before all this is loaded.
    from dicom_node.imaging import Display

    said = series_document(parts, version, index)
    paths = parts.store.details.paths(version.study_id)
    try:
        frames = tuple(
            FrameReference(uid, "", number, parts.data_dir / paths[uid])
            for uid, number in said["frames"]
        )
    except KeyError as error:
        raise HTTPException(404, "an image of the series is not here") from error
    series = ImageSeries(
        study_instance_uid="",
        series_instance_uid=said["series_instance_uid"],
        modality=said["modality"],
        body_part=None,
        frames=frames,
        rows=said["rows"],
        columns=said["columns"],
        is_colour=said["is_colour"],
        pixel_spacing_mm=None,
        affine_lps=None,
        frame_of_reference_uid=None,
        stack_number=said["stack_number"],
    )
    return ShownSeries(series, Display(**said["display"]))

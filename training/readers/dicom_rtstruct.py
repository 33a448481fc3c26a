"""Read RT structure sets as labels: contours in millimetres become masks.

References
----------
PS3.3 C.8.8.5 and C.8.8.6: Structure Set, ROI Contour.
Mayo et al., AAPM TG-263: standardizing nomenclatures in radiation oncology (2018).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from dicom_node.imaging.dataset import quiet_reading
from training.errors import DatasetError
from training.readers.contours import combine_outlines, fill_polygon
from training.readers.dicom_codes import (
    ALGORITHM_TIERS,
    Placement,
    code_of,
    first_item,
)
from training.readers.dicom_folder import DicomStudy, read_headers
from training.readers.dicom_series import PlacedSeries
from training.readers.source import Laterality, Mask, SourceRegion

__all__ = ["Contour", "fill_contours", "read_structure_set", "roi_words"]

_NOT_OF_THE_PATIENT = frozenset(
    {"BOLUS", "BRACHY_CHANNEL", "BRACHY_CHNL_SHLD", "BRACHY_SRC_APP", "CONTROL"}
    | {"DOSE_MEASUREMENT", "DOSE_REGION", "FIXATION", "IRRAD_VOLUME", "ISOCENTER"}
    | {"MARKER", "PTV", "CTV", "REGISTRATION", "SUPPORT", "TREATED_VOLUME"}
)
"""RT ROI Interpreted Type (3006,00A4) of what is planned or used, not seen."""

_SIDES: dict[str, Laterality] = {
    "l": "L",
    "lt": "L",
    "left": "L",
    "r": "R",
    "rt": "R",
    "right": "R",
    "bilat": "B",
    "bilateral": "B",
}
"""How names of structures say a side, at their beginning or end."""

_WORDS = {"L": "left", "R": "right", "B": "both"}


@dataclass(frozen=True, eq=False)
class Contour:
    """One contour of a structure."""

    points_lps: npt.NDArray[np.float64]
    """(n, 3) in mm"""
    is_exclusive: bool
    """Whether it is combined with others by exclusive or"""


def read_structure_set(path: Path, study: DicomStudy) -> Iterator[Placement]:
    """Yield every structure with closed contours, on the volume it was drawn on.

    Raises
    ------
    DatasetError
        The object cannot be read, or its images are not there or form no volume.
    """
    ds = read_headers(path)
    try:
        with quiet_reading():
            found = list(_placements(ds, path, study))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{path.name}: is no structure set that can be read "
            f"({type(error).__name__})"
        ) from error
    yield from found


def _placements(ds: Dataset, path: Path, study: DicomStudy) -> Iterator[Placement]:
    volumes = [one for one in _images_of(ds, study) if one.is_volume]
    if not volumes:
        raise DatasetError(
            f"{path.name}: the images that it was drawn on are not there, or form no "
            "volume"
        )
    kinds = {
        int(item.ReferencedROINumber): item
        for item in ds.get("RTROIObservationsSequence") or ()
    }
    outlines = {
        int(item.ReferencedROINumber): item
        for item in ds.get("ROIContourSequence") or ()
    }
    for roi in ds.StructureSetROISequence:
        number = int(roi.ROINumber)
        observed = kinds.get(number, Dataset())
        kind = str(observed.get("RTROIInterpretedType") or "").upper()
        if kind in _NOT_OF_THE_PATIENT or number not in outlines:
            continue
        contours = tuple(_contours(outlines[number]))
        for placed in volumes:
            mine = tuple(one for one in contours if _is_on(one, placed))
            if mine:
                load = partial(_load, placed, mine, path.name)
                yield Placement(placed, None, _region(roi, observed, load))


def _images_of(ds: Dataset, study: DicomStudy) -> tuple[PlacedSeries, ...]:
    frames = list(ds.get("ReferencedFrameOfReferenceSequence") or ())
    series = [
        item
        for frame in frames
        for one in frame.get("RTReferencedStudySequence") or ()
        for item in one.get("RTReferencedSeriesSequence") or ()
    ]
    instances = [
        str(image.get("ReferencedSOPInstanceUID", ""))
        for item in series
        for image in item.get("ContourImageSequence") or ()
    ]
    found = study.series_of(
        series_uids=[str(item.get("SeriesInstanceUID", "")) for item in series],
        instance_uids=instances,
    )
    if found:
        return found
    return tuple(
        one
        for frame in frames
        for one in study.in_frame_of_reference(str(frame.get("FrameOfReferenceUID")))
    )


def _contours(item: Dataset) -> Iterator[Contour]:
    for contour in item.get("ContourSequence") or ():
        kind = str(contour.get("ContourGeometricType") or "")
        if kind not in {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}:
            continue  # points and open curves enclose nothing
        values = np.array([float(one) for one in contour.ContourData])
        points = values.reshape(-1, 3)
        if len(points) >= 3 and np.isfinite(points).all():
            yield Contour(points, kind == "CLOSEDPLANAR_XOR")


def _is_on(contour: Contour, placed: PlacedSeries) -> bool:
    """Tell whether a contour lies on a slice, or between two of the volume."""
    return _frame_of(contour, placed) is not None


def _frame_of(contour: Contour, placed: PlacedSeries) -> int | None:
    """Return the slice nearest to a contour; None: it lies on none, or across."""
    affine = placed.series.affine_lps
    if affine is None:
        return None
    homogeneous = np.column_stack(
        [contour.points_lps, np.ones(len(contour.points_lps))]
    )
    frames = (np.linalg.inv(affine) @ homogeneous.T)[0]
    if np.ptp(frames) > 0.5:
        return None
    # A contour at half the way between two slices belongs to the lower one.
    frame = int(np.ceil(float(frames.mean()) - 0.5))
    return frame if 0 <= frame < len(placed.series.frames) else None


def fill_contours(placed: PlacedSeries, contours: tuple[Contour, ...]) -> Mask:
    """Fill contours on the slices of a volume.

    Returns
    -------
    numpy.ndarray
        (frames, rows, columns), in the order of the series.
    """
    series = placed.series
    affine = series.affine_lps
    if affine is None:
        raise ValueError("the images form no volume")
    shape = (series.rows, series.columns)
    outlines: dict[int, list[Mask]] = {}
    exclusive: set[int] = set()
    inverse = np.linalg.inv(affine)
    for contour in contours:
        frame = _frame_of(contour, placed)
        if frame is None:
            continue
        homogeneous = np.column_stack(
            [contour.points_lps, np.ones(len(contour.points_lps))]
        )
        places = np.asarray((inverse @ homogeneous.T)[1:3].T, np.float64)  # (points, 2)
        outlines.setdefault(frame, []).append(fill_polygon(places, shape))
        if contour.is_exclusive:
            exclusive.add(frame)
    mask = np.zeros((len(series.frames), *shape), np.bool_)
    for frame, filled in outlines.items():
        mask[frame] = combine_outlines(filled, exclusive=frame in exclusive)
    return mask


def _load(placed: PlacedSeries, contours: tuple[Contour, ...], name: str) -> Mask:
    try:
        return placed.turn_volume(fill_contours(placed, contours))
    except (ValueError, np.linalg.LinAlgError) as error:
        raise DatasetError(f"{name}: contours cannot be filled") from error


def _region(roi: Dataset, observed: Dataset, load: partial[Mask]) -> SourceRegion:
    name = str(roi.get("ROIName") or observed.get("ROIObservationLabel") or "").strip()
    words, side = roi_words(name)
    code = code_of(first_item(observed, "RTROIIdentificationCodeSequence"))
    return SourceRegion(
        label=words or name or "structure",
        mask=load,
        laterality=side,
        codes={} if code is None else {"type": code},
        tier=ALGORITHM_TIERS.get(str(roi.get("ROIGenerationAlgorithm") or "")),
    )


def roi_words(name: str) -> tuple[str, Laterality | None]:
    """Turn a structure's name into words in lower case, its side before them.

    RTSTRUCT has no codes that are used: names are all there is, written as
    ``Lung_L``, ``LT KIDNEY``, ``ParotidR``, ``SpinalCord`` and ``GTV-1``.
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = [word.lower() for word in re.split(r"[\s_\-^.,;:/()]+", spaced) if word]
    for place in (-1, 0):
        if len(words) > 1 and words[place] in _SIDES:
            side = _SIDES[words.pop(place)]
            return " ".join([_WORDS[side], *words]), side
    return " ".join(words), None

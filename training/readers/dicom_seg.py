"""Read DICOM segmentations as labels: binary, fractional and label maps.

References
----------
PS3.3 A.51 and C.8.20: Segmentation, Segment Description, Segmentation Type.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydicom import Dataset

from dicom_node.imaging.dataset import quiet_reading
from training.errors import DatasetError
from training.readers.dicom_codes import (
    ALGORITHM_TIERS,
    Code,
    Placement,
    SegmentWords,
    code_of,
    first_item,
    is_structure,
    plain_label,
    side_of_codes,
)
from training.readers.dicom_folder import DicomStudy, read_headers
from training.readers.dicom_seg_pixels import (
    Paste,
    StoredValues,
    load_segment_frame,
    load_segment_volume,
)
from training.readers.dicom_series import PlacedSeries
from training.readers.source import SourceRegion

__all__ = ["PhraseSource", "read_segmentation"]

PhraseSource = Literal["type", "label", "description"]
"""Which words of a segment are its phrase: those of its code, or verbatim Segment
Label or Segment Description."""

_HALF = 0.5
"""Share of Maximum Fractional Value from which a pixel belongs to the segment."""


def read_segmentation(
    path: Path,
    study: DicomStudy,
    *,
    phrase: PhraseSource = "type",
    words: Mapping[tuple[str, int], SegmentWords] | None = None,
) -> Iterator[Placement]:
    """Yield every segment on every volume or picture that it lies on.

    Parameters
    ----------
    path : pathlib.Path
    study : DicomStudy
        Where its images are.
    phrase : str
        See `PhraseSource`.
    words : mapping, optional
        SOP Instance UID and Segment Number to what a report says of the segment.

    Raises
    ------
    DatasetError
        The object cannot be read, its images are not there, or a frame of it lies on
        none of them.
    """
    ds = read_headers(path)
    try:
        with quiet_reading():
            found = list(_placements(ds, path, study, phrase=phrase, words=words or {}))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{path.name}: is no segmentation that can be read ({type(error).__name__})"
        ) from error
    yield from found


def _placements(
    ds: Dataset,
    path: Path,
    study: DicomStudy,
    *,
    phrase: PhraseSource,
    words: Mapping[tuple[str, int], SegmentWords],
) -> Iterator[Placement]:
    stacks = _images_of(ds, study)
    if not stacks:
        raise DatasetError(f"{path.name}: the images that it segments are not there")
    pasted = _pasted(ds, path, stacks)
    for segment in ds.SegmentSequence:
        number = int(segment.SegmentNumber)
        values = _values(ds, number)
        if number == 0 and values.is_label_map:
            continue  # what is not segmented
        template = _region(segment, phrase, words.get((str(ds.SOPInstanceUID), number)))
        key = 0 if values.is_label_map else number
        for index, pastes in sorted(pasted.get(key, {}).items()):
            yield from _on_stack(path, stacks[index], pastes, values, template)


def _on_stack(
    path: Path,
    placed: PlacedSeries,
    pastes: Sequence[Paste],
    values: StoredValues,
    template: dict[str, Any],
) -> Iterator[Placement]:
    if placed.is_volume:
        load = partial(load_segment_volume, path, placed, tuple(pastes), values)
        yield Placement(placed, None, SourceRegion(mask=load, **template))
        return
    for frame in sorted({one.frame for one in pastes}):
        mine = tuple(one for one in pastes if one.frame == frame)
        load = partial(load_segment_frame, path, placed, mine, values)
        yield Placement(placed, frame, SourceRegion(mask=load, **template))


def _images_of(ds: Dataset, study: DicomStudy) -> tuple[PlacedSeries, ...]:
    series = ds.get("ReferencedSeriesSequence") or ()
    instances = [
        str(one.get("ReferencedSOPInstanceUID", ""))
        for item in series
        for one in item.get("ReferencedInstanceSequence") or ()
    ]
    found = study.series_of(
        series_uids=[str(item.get("SeriesInstanceUID", "")) for item in series],
        instance_uids=instances,
    )
    return found or study.in_frame_of_reference(str(ds.get("FrameOfReferenceUID", "")))


def _pasted(
    ds: Dataset, path: Path, stacks: Sequence[PlacedSeries]
) -> dict[int, dict[int, list[Paste]]]:
    """Find where every frame goes: segment (0: all) to stack to frames."""
    found: dict[int, dict[int, list[Paste]]] = defaultdict(lambda: defaultdict(list))
    shared = first_item(ds, "SharedFunctionalGroupsSequence")
    groups = ds.get("PerFrameFunctionalGroupsSequence") or [Dataset()]
    for stored, group in enumerate(groups):
        place = _place(ds, (group, shared), stacks)
        if place is None:
            raise DatasetError(
                f"{path.name}: frame {stored + 1} lies on none of its images, or on "
                "another grid"
            )
        segment = _macro((group, shared), "SegmentIdentificationSequence")
        number = int(segment.get("ReferencedSegmentNumber") or 0)
        stack, frame, row, column = place
        found[number][stack].append(Paste(stored, frame, row, column))
    return found


def _place(
    ds: Dataset, groups: tuple[Dataset, ...], stacks: Sequence[PlacedSeries]
) -> tuple[int, int, int, int] | None:
    """Find stack, frame, row and column: by place in the patient, else by reference."""
    position = _macro(groups, "PlanePositionSequence").get("ImagePositionPatient")
    orientation = _macro(groups, "PlaneOrientationSequence").get(
        "ImageOrientationPatient"
    )
    spacing = _macro(groups, "PixelMeasuresSequence").get("PixelSpacing")
    is_placed = bool(position and orientation and spacing)
    sources = [
        (
            str(source.ReferencedSOPInstanceUID),
            int(source.get("ReferencedFrameNumber") or 1),
        )
        for derivation in _items(groups, "DerivationImageSequence")
        for source in derivation.get("SourceImageSequence") or ()
    ]
    for index, placed in enumerate(stacks):
        has_place = placed.series.orientation_lps is not None
        if is_placed and has_place:
            found = placed.locate(
                *([float(v) for v in one] for one in (position, orientation, spacing))
            )
            if found is not None:
                return index, *found
        elif len(sources) == 1 and sources[0] in placed.frame_of:
            size = (placed.series.rows, placed.series.columns)
            if size == (ds.Rows, ds.Columns):
                return index, placed.frame_of[sources[0]], 0, 0
    return None


def _macro(groups: tuple[Dataset, ...], keyword: str) -> Dataset:
    items = _items(groups, keyword)
    return items[0] if items else Dataset()


def _items(groups: tuple[Dataset, ...], keyword: str) -> list[Dataset]:
    for group in groups:
        if group.get(keyword):
            return list(group[keyword].value)
    return []


def _values(ds: Dataset, number: int) -> StoredValues:
    kind = str(ds.SegmentationType)
    if kind == "LABELMAP":
        return StoredValues(number, number, is_label_map=True)
    if kind == "FRACTIONAL":
        most = int(ds.MaximumFractionalValue)
        return StoredValues(int(np.ceil(_HALF * most)), most, is_label_map=False)
    return StoredValues(1, 255, is_label_map=False)


def _region(
    segment: Dataset, phrase: PhraseSource, words: SegmentWords | None
) -> dict[str, Any]:
    """Return what is said of a segment, as fields of a region."""
    codes: dict[str, Code] = {}
    kind = first_item(segment, "SegmentedPropertyTypeCodeSequence")
    site = first_item(segment, "AnatomicRegionSequence")
    for name, item in (
        ("category", first_item(segment, "SegmentedPropertyCategoryCodeSequence")),
        ("type", kind),
        ("site", site),
    ):
        if (code := code_of(item)) is not None:
            codes[name] = code
    side = side_of_codes(
        [
            *(kind.get("SegmentedPropertyTypeModifierCodeSequence") or ()),
            *(site.get("AnatomicRegionModifierSequence") or ()),
        ]
    )
    own = str(segment.get("SegmentLabel") or "").strip()
    meaning = codes["type"][2] if "type" in codes else own
    text = {
        "type": "",
        "label": own,
        "description": str(segment.get("SegmentDescription") or own).strip(),
    }[phrase]
    fields: dict[str, Any] = {
        "label": plain_label(
            meaning, side if is_structure(codes.get("category")) else None
        ),
        "phrase": text or None,
        "laterality": side,
        "codes": codes,
        "tier": ALGORITHM_TIERS.get(str(segment.get("SegmentAlgorithmType"))),
    }
    if words is not None:
        fields["phrase"] = words.phrase or fields["phrase"]
        fields["status"] = words.status
        fields["laterality"] = side or words.laterality
        fields["codes"] = {**words.codes, **codes}
    return fields

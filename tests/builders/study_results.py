"""Results to make objects of: any source series with drawn regions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread

from dicom_node.identity import derive_uid
from dicom_node.records import (
    BoundingBox,
    Code,
    Finding,
    FrameReference,
    ImageSeries,
    Laterality,
    Phrase,
    PhraseResult,
    PhraseStatus,
    Region,
    StoredInstance,
    StudyResult,
)

__all__ = [
    "EFFUSION",
    "KIDNEY",
    "blob",
    "image_series",
    "make_phrase",
    "make_region",
    "make_result",
    "mask_of",
    "one_region_each",
]

KIDNEY = Finding(
    category=Code("SCT", "91723000", "Anatomical Structure"),
    type=Code("SCT", "64033007", "Kidney"),
    finding=Code("SCT", "64033007", "Kidney"),
    site=Code("SCT", "64033007", "Kidney"),
)
EFFUSION = Finding(
    category=Code("SCT", "49755003", "Morphologically Altered Structure"),
    type=Code("SCT", "41699000", "Effusion"),
    finding=Code("99MEDGLIP", "pleural-effusion", "Pleural effusion"),
    site=Code("SCT", "91381003", "Pleural cavity"),
)


def image_series(
    instances: Sequence[StoredInstance], *, stack_number: int = 1
) -> ImageSeries:
    """Describe instances, in the order given, as the imaging room would."""
    headers = [dcmread(one.path, stop_before_pixels=True) for one in instances]
    first = headers[0]
    frames = []
    for one, header in zip(instances, headers, strict=True):
        count = int(header.get("NumberOfFrames") or 1)
        for number in range(1, count + 1):
            frames.append(
                FrameReference(
                    one.sop_instance_uid,
                    one.sop_class_uid,
                    number,
                    one.path,
                    _position(header, number),
                    count,
                )
            )
    orientation = _orientation(first)
    affine = None
    if orientation is not None and all(one.position_lps for one in frames):
        affine = _affine(first, orientation, frames)
    spacing = _measures(first).get("PixelSpacing") or first.get("ImagerPixelSpacing")
    return ImageSeries(
        study_instance_uid=first.get("StudyInstanceUID") or "2.25.1",
        series_instance_uid=first.get("SeriesInstanceUID") or "2.25.2",
        modality=first.get("Modality", "OT"),
        body_part=None,
        frames=tuple(frames),
        rows=first.Rows,
        columns=first.Columns,
        is_colour=first.get("SamplesPerPixel") == 3,
        pixel_spacing_mm=None
        if spacing is None
        else (spacing[0] * 1.0, spacing[1] * 1.0),
        affine_lps=affine,
        frame_of_reference_uid=first.get("FrameOfReferenceUID") or None,
        orientation_lps=None
        if orientation is None
        else tuple(np.ravel(orientation).tolist()),  # type: ignore[arg-type]
        stack_number=stack_number,
        pixel_aspect_ratio=None
        if "PixelAspectRatio" not in first
        else tuple(first.PixelAspectRatio),
    )


def make_phrase(
    text: str,
    *,
    finding: Finding = KIDNEY,
    status: PhraseStatus = PhraseStatus.PRESENT,
    laterality: Laterality | None = None,
    source: str = "file",
) -> Phrase:
    """Describe a phrase of a report."""
    return Phrase(
        text=text,
        source=source,
        status=status,
        finding=finding,
        prompt=text,
        laterality=laterality,
    )


def make_region(
    series: ImageSeries, mask: npt.NDArray[np.bool_], name: str, *, score: float = 0.875
) -> Region:
    """Crop a mask of shape (frames, rows, columns) and box every frame of it."""
    where = np.argwhere(mask)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    boxes = []
    for frame in np.flatnonzero(mask.any(axis=(1, 2))).tolist():
        inside = np.argwhere(mask[frame])
        (y0, x0), (y1, x1) = inside.min(axis=0), inside.max(axis=0) + 1
        boxes.append(BoundingBox(frame, (x0, y0, x1, y1), score))
    cropped = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    shades = np.random.default_rng(mask.size).integers(1, 128, cropped.shape, np.uint8)
    return Region(
        series_instance_uid=series.series_instance_uid,
        mask=cropped,
        probability=np.where(cropped, 255 - shades, shades).astype(np.uint8),
        mask_origin=(int(low[0]), int(low[1]), int(low[2])),
        boxes=tuple(boxes),
        score=score,
        uncertainty=0.125,
        tracking_id=f"phrase-{name}",
        tracking_uid=derive_uid(
            "test-region", series.series_instance_uid, str(series.stack_number), name
        ),
        stack_number=series.stack_number,
    )


def mask_of(region: Region, series: ImageSeries) -> npt.NDArray[np.bool_]:
    """Return the whole mask of a region in its series' grid."""
    mask = np.zeros((len(series.frames), series.rows, series.columns), bool)
    window = tuple(
        slice(start, start + size)
        for start, size in zip(region.mask_origin, region.mask.shape, strict=True)
    )
    mask[window] = region.mask
    return mask


def blob(series: ImageSeries, seed: int) -> npt.NDArray[np.bool_]:
    """Draw a ragged shape somewhere in a series; no symmetry maps it onto itself."""
    generator = np.random.default_rng(seed)
    shape = (len(series.frames), series.rows, series.columns)
    mask = np.zeros(shape, bool)
    low = [int(generator.integers(0, max(1, size // 2))) for size in shape]
    size = [max(1, int(generator.integers(s // 4 + 1, s // 2 + 2))) for s in shape]
    window = tuple(slice(a, a + b) for a, b in zip(low, size, strict=True))
    mask[window] = generator.random(mask[window].shape) < 0.7
    mask[tuple(low)] = True
    return mask


def one_region_each(
    series: ImageSeries, texts: Sequence[str], **phrase_options: object
) -> tuple[PhraseResult, ...]:
    """Give each phrase one random region; regions may overlap."""
    return tuple(
        PhraseResult(
            phrase=make_phrase(text, **phrase_options),  # type: ignore[arg-type]
            status=PhraseStatus.PRESENT,
            regions=(make_region(series, blob(series, 7 + n), f"{n}"),),
            score=0.875,
            uncertainty=0.125,
        )
        for n, text in enumerate(texts)
    )


def make_result(
    series: Sequence[ImageSeries],
    phrases: Sequence[PhraseResult],
    **changes: object,
) -> StudyResult:
    """Describe the result of a study."""
    values: dict[str, object] = {
        "study_instance_uid": series[0].study_instance_uid if series else "2.25.1",
        "content_version": "version-1",
        "series": tuple(series),
        "reports": (),
        "phrases": tuple(phrases),
        "not_processed": (),
        "model_name": "synthetic-model",
        "model_version": "1.2.3",
        "model_sha256": "ab" * 32,
        "configuration_sha256": "cd" * 32,
        "content_datetime": datetime(2026, 1, 1, 12, 30, 15),  # noqa: DTZ001
    }
    return StudyResult(**{**values, **changes})  # type: ignore[arg-type]


def _measures(header: Dataset) -> Dataset:
    for groups in header.get("SharedFunctionalGroupsSequence") or ():
        for item in groups.get("PixelMeasuresSequence") or ():
            return item
    return header


def _position(header: Dataset, number: int) -> tuple[float, float, float] | None:
    item = header
    if "PerFrameFunctionalGroupsSequence" in header:
        groups = header.PerFrameFunctionalGroupsSequence[number - 1]
        item = groups.PlanePositionSequence[0]
    values = item.get("ImagePositionPatient")
    return None if not values else (values[0] * 1.0, values[1] * 1.0, values[2] * 1.0)


def _orientation(header: Dataset) -> npt.NDArray[np.float64] | None:
    item = header
    for groups in header.get("SharedFunctionalGroupsSequence") or ():
        item = groups.PlaneOrientationSequence[0]
    values = item.get("ImageOrientationPatient")
    return None if not values else np.asarray(values, np.float64)


def _affine(
    header: Dataset,
    orientation: npt.NDArray[np.float64],
    frames: Sequence[FrameReference],
) -> npt.NDArray[np.float64]:
    spacing = _measures(header).PixelSpacing
    affine = np.eye(4)
    origin = np.asarray(frames[0].position_lps)
    affine[:3, 3] = origin
    affine[:3, 1] = orientation[3:] * spacing[0]
    affine[:3, 2] = orientation[:3] * spacing[1]
    if len(frames) > 1:
        affine[:3, 0] = np.asarray(frames[1].position_lps) - origin
    else:
        affine[:3, 0] = np.cross(orientation[:3], orientation[3:])
    return affine

"""What training learns from corrections: pictures in canonical axes, and regions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.corrections.kept import KeptResult, mask_of_frames
from dicom_node.corrections.pseudonyms import (
    Pseudonyms,
    identifying_words,
    names_somebody,
)
from dicom_node.imaging import CanonicalGrid
from dicom_node.objects.sources import read_header, study_header
from dicom_node.records import ImageSeries, Mask, PhraseResult, Region
from dicom_node.store.corrections import Correction, CorrectionAction

__all__ = ["TrainingImage", "training_images"]


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """One volume, or one frame of what is no volume, with what was said of it."""

    key: str
    series: ImageSeries
    frame: int | None
    """Index in the series; None: all of them are one volume."""
    document: dict[str, Any]
    """What ``image.json`` says: nothing of it names anybody."""
    masks: tuple[Mask, ...]
    """By the ``mask`` of a region; canonical (slices, rows, columns), or (rows,
    columns) of a frame."""

    def turn(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the picture of the pixels of the whole series."""
        return _turn(pixels, CanonicalGrid.of(self.series), self.frame)


def training_images(
    kept: KeptResult,
    newest: Mapping[str, Correction],
    *,
    pseudonyms: Pseudonyms,
    counts: Counter[str],
) -> Iterator[TrainingImage]:
    """Yield what a version's newest corrections teach; what is left out is counted.

    Accepted regions keep the machine's mask, redrawn ones have the person's. A
    rejected region says that the phrase is not there, unless a report states it: then
    only the place was wrong, and the region is left out.
    """
    header = study_header(kept.result)
    words = identifying_words(header)
    patient = [str(header.get(one, "")) for one in ("PatientID", "IssuerOfPatientID")]
    study = kept.result.study_instance_uid
    names = {
        "patient": pseudonyms.of("patient", *patient)
        if patient[0]
        else pseudonyms.of("study", study),
        "study": pseudonyms.of("study", study),
    }
    for series in kept.result.series:
        said = list(_said(kept, series, newest, words, counts))
        if not said:
            continue
        flag = read_header(series.frames[0].path, ["BurnedInAnnotation"])
        if flag.get("BurnedInAnnotation") == "YES":
            counts["left out: words burned into the picture"] += len(said)
            continue
        yield from _of_series(kept, series, said, names, words, pseudonyms)


@dataclass(frozen=True, eq=False)
class _Said:
    """A phrase, the machine's region, and the mask that counts now."""

    phrase: PhraseResult
    correction: Correction
    machine: npt.NDArray[np.intp]
    """Frames of the machine's region."""
    mask: Mask | None
    """In the series' grid; None: it is not there."""


def _said(
    kept: KeptResult,
    series: ImageSeries,
    newest: Mapping[str, Correction],
    words: frozenset[str],
    counts: Counter[str],
) -> Iterator[_Said]:
    place = (series.series_instance_uid, series.stack_number)
    for one in kept.result.phrases:
        for region in one.regions:
            correction = newest.get(region.tracking_uid)
            if (region.series_instance_uid, region.stack_number) != place:
                continue
            if correction is None:
                counts["left out: nobody judged it"] += 1
                continue
            texts = (one.phrase.text, one.phrase.finding.finding.meaning)
            if names_somebody(texts, words):
                counts["left out: the phrase may name somebody"] += 1
                continue
            is_rejected = correction.action is CorrectionAction.REJECT
            if is_rejected and one.phrase.is_stated:
                counts["left out: rejected, and a report states it"] += 1
                continue
            counts[correction.action.value] += 1
            drawn = np.flatnonzero(region.mask.any(axis=(1, 2))) + region.mask_origin[0]
            yield _Said(one, correction, drawn, _whole(series, region, correction))


def _whole(series: ImageSeries, region: Region, correction: Correction) -> Mask | None:
    if correction.action is CorrectionAction.REJECT:
        return None
    mask, origin = region.mask, region.mask_origin
    if correction.action is CorrectionAction.REDRAW:
        frames = {one.frame: one.runs for one in correction.frames if one.runs}
        mask, origin = mask_of_frames(series, frames)
    whole = np.zeros((len(series.frames), series.rows, series.columns), np.bool_)
    ends = tuple(o + n for o, n in zip(origin, mask.shape, strict=True))
    whole[tuple(slice(o, e) for o, e in zip(origin, ends, strict=True))] = mask
    return whole


def _of_series(
    kept: KeptResult,
    series: ImageSeries,
    said: list[_Said],
    names: Mapping[str, str],
    words: frozenset[str],
    pseudonyms: Pseudonyms,
) -> Iterator[TrainingImage]:
    grid = CanonicalGrid.of(series)
    frames: list[int | None] = [None]
    if not series.is_volume or series.is_colour:
        used = [one.machine for one in said]
        used += [
            np.flatnonzero(one.mask.any(axis=(1, 2)))
            for one in said
            if one.mask is not None
        ]
        frames = list(np.unique(np.concatenate(used)).tolist())
    for frame in frames:
        regions: list[dict[str, Any]] = []
        masks: list[Mask] = []
        for one in said:
            mask = None if one.mask is None else _turn(one.mask, grid, frame)
            is_empty = mask is None or not mask.any()
            if is_empty and frame is not None and frame not in one.machine:
                continue  # nobody looked for it here
            regions.append(
                {
                    **_region(one, pseudonyms, kept.result.model_sha256),
                    "status": "absent" if is_empty else _status(one.phrase),
                    "mask": None if is_empty or mask is None else len(masks),
                    "boxes_xyxy": [] if mask is None else _boxes(mask),
                }
            )
            if mask is not None and not is_empty:
                masks.append(np.ascontiguousarray(mask))
        place = [series.series_instance_uid, str(series.stack_number), str(frame)]
        body_part = series.body_part or ""
        yield TrainingImage(
            key=pseudonyms.of("image", *place),
            series=series,
            frame=frame,
            document={
                **names,
                "modality": series.modality,
                "body_part": None
                if not body_part or names_somebody([body_part], words)
                else body_part,
                "is_volume": frame is None,
                "spacing_mm": _spacing(grid, series, frame),
                "windows": _windows(kept, series),
                "model": kept.result.model_sha256,
                "regions": regions,
            },
            masks=tuple(masks),
        )


def _region(one: _Said, pseudonyms: Pseudonyms, model: str) -> dict[str, Any]:
    phrase, said = one.phrase.phrase, one.correction
    codes = {"finding": phrase.finding.finding, "type": phrase.finding.type}
    codes["category"] = phrase.finding.category
    if phrase.finding.site is not None:
        codes["site"] = phrase.finding.site
    return {
        "phrase": phrase.text,
        "label": phrase.finding.finding.meaning,
        "laterality": None if phrase.laterality is None else phrase.laterality.value,
        "codes": {
            key: [code.value, code.scheme, code.meaning]
            for key, code in sorted(codes.items())
        },
        "verdict": said.action.value,
        "person": pseudonyms.of("person", said.person),
        "year": said.at.year,
    }


def _status(one: PhraseResult) -> str:
    # Whoever drew it says that it is there, where no report hedges.
    return "uncertain" if one.status.value == "uncertain" else "present"


def _boxes(mask: Mask) -> list[list[int]]:
    """Return the box of a picture's mask; a volume's are made slice by slice."""
    if mask.ndim != 2 or not mask.any():
        return []
    rows, columns = np.nonzero(mask)
    return [
        [
            int(columns.min()),
            int(rows.min()),
            int(columns.max()) + 1,
            int(rows.max()) + 1,
        ]
    ]


def _turn(
    array: npt.NDArray[Any], grid: CanonicalGrid, frame: int | None
) -> npt.NDArray[Any]:
    """Turn a series to canonical axes, or one frame of it as it is shown."""
    if frame is None:
        return np.ascontiguousarray(grid.apply(array))
    if grid.axes[0] != 0:
        return np.ascontiguousarray(array[frame])
    # The grid turns whole series: one frame of it is turned alike.
    one = CanonicalGrid(
        (1, *grid.source_shape[1:]), grid.axes, grid.flipped, grid.spacing_mm
    )
    return np.ascontiguousarray(one.apply(array[frame : frame + 1])[0])


def _spacing(
    grid: CanonicalGrid, series: ImageSeries, frame: int | None
) -> list[float] | None:
    if grid.spacing_mm is None:
        return None
    if frame is None:
        return list(grid.spacing_mm)
    if grid.axes[0] != 0 and series.pixel_spacing_mm is not None:
        return [0.0, *series.pixel_spacing_mm]
    return [0.0, *grid.spacing_mm[1:]]


def _windows(kept: KeptResult, series: ImageSeries) -> list[list[float]]:
    """Return centre and width of the windows; their names are free text."""
    for one in kept.document["series"]:
        if (one["series_instance_uid"], one["stack_number"]) == (
            series.series_instance_uid,
            series.stack_number,
        ):
            return [[each["centre"], each["width"]] for each in one["windows"]]
    return []

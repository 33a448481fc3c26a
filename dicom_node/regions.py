"""Join phrases with what the model found: which region belongs to which phrase.

Every image series of a study is asked for every phrase, whatever its plane, phase or
kernel: a radiologist's phrase does not say which series it was read from. A phrase
has at most one region in a series, with all its disconnected parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dicom_node.errors import GroundingError
from dicom_node.grounding.grounder import GroundedPrompt, boxes_around
from dicom_node.identity import derive_uid
from dicom_node.records import (
    BoundingBox,
    ImageSeries,
    Mask,
    Phrase,
    PhraseResult,
    PhraseStatus,
    Region,
)

__all__ = ["check_answer", "crop_mask", "make_phrase_results"]

_TRACKING_ID_LENGTH = 64


def make_phrase_results(
    phrases: Sequence[Phrase],
    grounded: Sequence[tuple[ImageSeries, Sequence[GroundedPrompt]]],
    *,
    study_instance_uid: str,
    content_version: str,
    model_sha256: str,
) -> tuple[PhraseResult, ...]:
    """Give each phrase its status, score and regions.

    Parameters
    ----------
    phrases : sequence of Phrase
        In the order of the report.
    grounded : sequence
        Each series with the answers about the prompts it was asked for; answers
        that `check_answer` has let pass.
    study_instance_uid, content_version, model_sha256 : str
        What the tracking UIDs are derived from, beside prompt and series.

    Returns
    -------
    tuple of PhraseResult
        One for each phrase, in their order. What the report negates stays absent and
        has no region, whatever the model says. What the report states keeps its
        status when the model does not find it. A phrase that no report states is
        absent when the model finds it in no series.

    """
    names: Counter[str] = Counter()
    seen: Counter[tuple[str, str, int]] = Counter()
    results = []
    for phrase in phrases:
        if phrase.status is PhraseStatus.ABSENT:
            results.append(PhraseResult(phrase, PhraseStatus.ABSENT))
            continue
        answers = [
            (series, answer)
            for series, found in grounded
            for answer in found
            if answer.prompt == phrase.prompt
        ]
        regions = []
        for series, answer in answers:
            place = _place(series, answer)
            if place is None:
                continue
            key = (phrase.prompt, series.series_instance_uid, series.stack_number)
            seen[key] += 1
            label = _label(phrase)
            names[label] += 1
            mask, origin, boxes = place
            probability = answer.probability
            if probability is not None:
                window = _window(origin, answer.mask_origin, mask.shape)
                probability = probability[window].copy()
            regions.append(
                Region(
                    series_instance_uid=series.series_instance_uid,
                    mask=mask,
                    mask_origin=origin,
                    boxes=boxes,
                    score=answer.score,
                    uncertainty=answer.uncertainty,
                    tracking_id=_tracking_id(label, names[label]),
                    tracking_uid=derive_uid(
                        "tracking",
                        study_instance_uid,
                        content_version,
                        model_sha256,
                        *(str(part) for part in key),
                        str(seen[key]),
                    ),
                    stack_number=series.stack_number,
                    probability=probability,
                )
            )
        best = max((one for _, one in answers), key=lambda one: one.score, default=None)
        results.append(
            PhraseResult(
                phrase=phrase,
                status=_status(phrase, [one for _, one in answers]),
                regions=tuple(regions),
                score=None if best is None else best.score,
                uncertainty=None if best is None else best.uncertainty,
            )
        )
    return tuple(results)


def crop_mask(
    mask: Mask, origin: tuple[int, int, int]
) -> tuple[Mask, tuple[int, int, int]] | None:
    """Crop a mask to its bounding box; None when it is empty.

    Parameters
    ----------
    mask : numpy.ndarray
        Shape ``(frames, rows, columns)``.
    origin : tuple of int
        Where its first voxel lies in the series' grid.

    """
    if not mask.any():
        return None
    spans = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(mask.any(axis=others))
        spans.append(slice(int(used[0]), int(used[-1]) + 1))
    start = tuple(o + span.start for o, span in zip(origin, spans, strict=True))
    return mask[tuple(spans)].copy(), (start[0], start[1], start[2])


def check_answer(series: ImageSeries, answer: GroundedPrompt) -> None:
    """Check that an answer of a model fits its series.

    Raises
    ------
    GroundingError
        A number of it is not finite or a share beyond 0 and 1, its mask reaches
        outside the series' grid, or its probabilities do not lie on the mask.

    """
    shares = (answer.score, answer.uncertainty, *(box.score for box in answer.boxes))
    edges = [edge for box in answer.boxes for edge in box.xyxy]
    # NaN compares as false.
    if not (all(0.0 <= one <= 1.0 for one in shares) and np.isfinite(edges).all()):
        raise GroundingError("the model's answer holds numbers that are none")
    if answer.mask.ndim != 3:
        raise GroundingError("a mask has not three dimensions")
    if answer.probability is not None and (
        answer.probability.shape != answer.mask.shape
        or answer.probability.dtype != np.uint8
    ):
        raise GroundingError("probabilities have not the shape of their mask")
    starts = answer.mask_origin
    ends = (start + size for start, size in zip(starts, answer.mask.shape, strict=True))
    sizes = zip(ends, _grid(series), strict=True)
    if min(starts) < 0 or any(end > size for end, size in sizes):
        raise GroundingError("a mask lies outside its series")


def _window(
    inner: Sequence[int], outer: Sequence[int], shape: Sequence[int]
) -> tuple[slice, ...]:
    """Return where a box of that shape lies in the box that begins at ``outer``."""
    starts = np.subtract(inner, outer).tolist()
    return tuple(slice(a, a + n) for a, n in zip(starts, shape, strict=True))


def _grid(series: ImageSeries) -> tuple[int, int, int]:
    return len(series.frames), series.rows, series.columns


def _status(phrase: Phrase, answers: Sequence[GroundedPrompt]) -> PhraseStatus:
    is_found = any(answer.is_present for answer in answers)
    if not phrase.is_stated and answers and not is_found:
        return PhraseStatus.ABSENT
    return phrase.status


def _place(
    series: ImageSeries, answer: GroundedPrompt
) -> tuple[Mask, tuple[int, int, int], tuple[BoundingBox, ...]] | None:
    """Return mask, origin and boxes of an answer; None: nothing to draw."""
    cropped = crop_mask(answer.mask, answer.mask_origin) if answer.is_present else None
    if cropped is None:
        return None
    mask, origin = cropped
    grid = _grid(series)
    boxes = answer.boxes or boxes_around(mask, origin, score=answer.score)
    inside = (_clip(box, grid) for box in boxes if 0 <= box.frame_index < grid[0])
    kept = [box for box in inside if box.xyxy[0] < box.xyxy[2]]
    kept = [box for box in kept if box.xyxy[1] < box.xyxy[3]]
    return mask, origin, tuple(sorted(kept, key=lambda b: (b.frame_index, b.xyxy)))


def _clip(box: BoundingBox, grid: tuple[int, int, int]) -> BoundingBox:
    x0, y0, x1, y1 = box.xyxy
    rows, columns = grid[1:]
    xyxy = (max(x0, 0.0), max(y0, 0.0), min(x1, float(columns)), min(y1, float(rows)))
    return BoundingBox(box.frame_index, xyxy, box.score)


def _label(phrase: Phrase) -> str:
    """Name a phrase by its code: its own words may hold anything that is dictated."""
    meaning = phrase.finding.finding.meaning.lower()
    if phrase.laterality is not None and phrase.laterality.value not in meaning:
        meaning = f"{phrase.laterality.value} {meaning}"
    return meaning


def _tracking_id(label: str, number: int) -> str:
    suffix = f" #{number}"
    return label[: _TRACKING_ID_LENGTH - len(suffix)] + suffix

"""The masks of a returned segmentation, on the frames that were sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from dicom_node.deidentify import Pseudonyms
from dicom_node.errors import RemoteModelError
from dicom_node.objects.segment_frames import frames_of, masks_of
from dicom_node.records import ImageSeries, NotProcessed
from dicom_node.remote.asking import Question
from dicom_node.remote.hearing import UNKNOWN_SCORE, Said, items_of, words_of

__all__ = ["Drawn", "Sent", "draw"]

_TOLERANCE_MM = 0.05

_MORE_SEGMENTS = 256
"""Beyond what was asked: who segments the whole body draws some 120 structures."""


@dataclass(frozen=True, eq=False)
class Sent:
    """What a remote model was sent."""

    remote: str
    series: Sequence[ImageSeries]
    questions: Sequence[Question]
    pseudonyms: Pseudonyms
    patient_id: str
    """The pseudonym."""
    other_uids: frozenset[str]
    """SOP Instance UIDs of the images and report that left, pseudonymous."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why a series did not leave, by its UID."""


@dataclass(eq=False)
class Drawn:
    """What was drawn so far, by series (its index) and prompt."""

    masks: dict[tuple[int, str], dict[int, npt.NDArray[np.bool_]]] = field(
        default_factory=dict
    )
    """By index of the frame."""
    scores: dict[tuple[int, str], tuple[float, float]] = field(default_factory=dict)
    """Certainty and uncertainty."""
    told: list[NotProcessed] = field(default_factory=list)

    def add(self, other: Drawn) -> None:
        """Add what another holds."""
        for key, frames in other.masks.items():
            for index, mask in frames.items():
                self.mark(key, index, mask=mask, score=other.scores[key])
        self.told += other.told

    def mark(
        self,
        key: tuple[int, str],
        frame_index: int,
        *,
        mask: npt.NDArray[np.bool_],
        score: tuple[float, float],
    ) -> None:
        """Add a mask to a frame of a series and prompt."""
        frames = self.masks.setdefault(key, {})
        before = frames.get(frame_index)
        frames[frame_index] = mask if before is None else before | mask
        self.scores[key] = max(self.scores.get(key, score), score)


def draw(ds: Dataset, sent: Sent, said: Said, *, drawn: Drawn) -> None:
    """Add the masks of a segmentation to what is drawn: all of them, or none.

    Parameters
    ----------
    ds : pydicom.Dataset
        The segmentation.
    sent : Sent
        What was sent.
    said : Said
        What the reports of the answer say.
    drawn : Drawn
        Added to.

    Raises
    ------
    RemoteModelError
        A frame lies on no image that was sent, or has not its size.

    """
    places = _places(sent)
    total = sum(len(one.frames) for one in sent.series)
    segments = {int(item.SegmentNumber): item for item in ds.SegmentSequence}
    # Before a frame is decoded: what it takes must be known to be small.
    if (ds.Rows, ds.Columns) not in {(one.rows, one.columns) for one in sent.series}:
        raise RemoteModelError("it has not the size of its images")
    if ds.BitsAllocated not in {1, 8, 16} or ds.get("SamplesPerPixel", 1) != 1:
        raise RemoteModelError("its pixels have not a segmentation's bits")
    if len(segments) > len(sent.questions) + _MORE_SEGMENTS:
        raise RemoteModelError("it has more segments than a model draws")
    if int(ds.NumberOfFrames) > max(1, total) * max(1, len(segments)):
        raise RemoteModelError("it has more frames than there are images")
    uid = str(ds.SOPInstanceUID)
    prompts = {
        number: _prompt_of(item, said.by_segment.get((uid, number)), sent.questions)
        for number, item in segments.items()
    }
    unknown: set[int] = set()
    found = Drawn()
    for group, pixels in zip(
        ds.PerFrameFunctionalGroupsSequence, frames_of(ds), strict=True
    ):
        index, frame_index = _place(ds, group, sent, places)
        series = sent.series[index]
        if pixels.shape != (series.rows, series.columns):
            raise RemoteModelError("it has not the size of its images")
        for number, mask in masks_of(ds, group, pixels):
            prompt = prompts.get(number)
            if prompt is None:
                unknown.add(number)
                continue
            known = said.by_segment.get((uid, number))
            score = UNKNOWN_SCORE if known is None else known[1:]
            found.mark((index, prompt), frame_index, mask=mask.copy(), score=score)
    if unknown:
        reason = (
            f"{len(unknown)} segments of the remote model belong to no phrase that it "
            "was asked for"
        )
        found.told.append(NotProcessed("", reason))
    drawn.add(found)


def _places(sent: Sent) -> dict[tuple[str, int], tuple[int, int]]:
    return {
        (sent.pseudonyms.uid(frame.sop_instance_uid), frame.frame_number): (index, at)
        for index, series in enumerate(sent.series)
        for at, frame in enumerate(series.frames)
    }


def _place(
    ds: Dataset,
    group: Dataset,
    sent: Sent,
    places: Mapping[tuple[str, int], tuple[int, int]],
) -> tuple[int, int]:
    """Return series and frame of a frame: by its source, else by where it lies."""
    for derivation in group.get("DerivationImageSequence") or ():
        for source in derivation.get("SourceImageSequence") or ():
            number = int(source.get("ReferencedFrameNumber", 1) or 1)
            key = (str(source.ReferencedSOPInstanceUID), number)
            if key in places:
                return places[key]
    position = group.get("PlanePositionSequence")
    if position:
        point = [float(one) for one in position[0].ImagePositionPatient]
        frame_of_reference = str(ds.get("FrameOfReferenceUID", ""))
        named = {
            str(one.get("SeriesInstanceUID", ""))
            for one in ds.get("ReferencedSeriesSequence") or ()
        }
        for index, series in enumerate(sent.series):
            reference = series.frame_of_reference_uid
            if (
                reference is None
                or sent.pseudonyms.uid(reference) != frame_of_reference
            ):
                continue
            if named and sent.pseudonyms.uid(series.series_instance_uid) not in named:
                continue
            for at, frame in enumerate(series.frames):
                if frame.position_lps is not None and np.allclose(
                    frame.position_lps, point, atol=_TOLERANCE_MM
                ):
                    return index, at
    raise RemoteModelError("a frame of it lies on no image that was sent")


def _prompt_of(
    segment: Dataset,
    said: tuple[str, float, float] | None,
    questions: Sequence[Question],
) -> str | None:
    """Return which question a segment answers: by words, else by codes."""
    texts = {
        words_of(segment.get("SegmentDescription", "")),
        words_of(segment.get("SegmentLabel", "")),
    }
    if said is not None:
        texts.add(said[0])
    texts.discard("")
    for one in questions:
        if words_of(one.text) in texts or words_of(one.prompt) in texts:
            return one.prompt
    sides = _sides(segment)
    codes = {
        (str(item.get("CodingSchemeDesignator", "")), str(item.get("CodeValue", "")))
        for item in segment.get("SegmentedPropertyTypeCodeSequence") or ()
    }
    fitting = [
        one
        for one in questions
        if {
            (one.finding.type.scheme, one.finding.type.value),
            (one.finding.finding.scheme, one.finding.finding.value),
        }
        & codes
    ]
    on_side = [
        one
        for one in fitting
        if not sides or one.laterality is None or one.laterality.value in sides
    ]
    return on_side[0].prompt if len(on_side) == 1 else None


def _sides(segment: Dataset) -> set[str]:
    return {
        str(item.get("CodeMeaning", "")).casefold()
        for item in items_of(segment)
        if str(item.get("CodeMeaning", "")).casefold() in {"left", "right", "bilateral"}
    }

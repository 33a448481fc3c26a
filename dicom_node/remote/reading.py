"""Read what a remote model returned, and put it back to the images that it is about.

Nothing of an object that comes back is copied into ours but masks, certainties and
the name of the algorithm: patient, study, references and words are those of the
study here.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
)

from conformance.rules_seg import SEGMENTATION_CLASSES
from dicom_node.deidentify import Pseudonyms
from dicom_node.errors import NodeError, RemoteModelError
from dicom_node.grounder import GroundedPrompt, ModelIdentity, boxes_around
from dicom_node.header import read_header
from dicom_node.imaging.dataset import quiet_reading
from dicom_node.objects.segment_frames import frames_of, masks_of
from dicom_node.records import ImageSeries, NotProcessed
from dicom_node.regions import crop_mask
from dicom_node.remote.asking import Question
from dicom_node.remote.grounder import RemoteAnswers
from dicom_node.reports.codes import PRIVATE_SCHEME

__all__ = ["Sent", "missing_objects", "read_answers"]

_REPORTS = frozenset(
    {
        BasicTextSRStorage,
        EnhancedSRStorage,
        ComprehensiveSRStorage,
        Comprehensive3DSRStorage,
    }
)

_NOT_ASKED_FOR = "it is neither a segmentation nor a structured report"
_TOLERANCE_MM = 0.05
_PRINTABLE = re.compile(r"[^ -~]")
_UNKNOWN_SCORE = (1.0, 1.0)
"""Certainty and uncertainty of what a remote draws without saying how sure it is."""


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
class _Said:
    """What a structured report says, by segment and by words."""

    by_segment: dict[tuple[str, int], tuple[str, float, float]] = field(
        default_factory=dict
    )
    """Words, certainty and uncertainty."""
    by_words: dict[str, tuple[float, float]] = field(default_factory=dict)
    not_processed: set[str] = field(default_factory=set)
    """Pseudonymous Series Instance UIDs."""


def missing_objects(paths: Iterable[Path], here: frozenset[str]) -> frozenset[str]:
    """Return the segmentations that reports of an answer refer to and that lack.

    Parameters
    ----------
    paths : iterable of pathlib.Path
        The answer's files.
    here : frozenset of str
        SOP Instance UIDs that have come.

    """
    found: set[str] = set()
    for path in paths:
        try:
            ds = _read(path)
        except RemoteModelError:
            continue
        if ds.get("SOPClassUID") in _REPORTS:
            found |= {
                str(item.get("ReferencedSOPInstanceUID", ""))
                for item in _items(ds)
                if item.get("ReferencedSOPClassUID") in SEGMENTATION_CLASSES
            }
    return frozenset(found) - here


def read_answers(sent: Sent, paths: Sequence[Path]) -> RemoteAnswers:
    """Read the objects of an answer; what cannot be used is told and left.

    Parameters
    ----------
    sent : Sent
        What was asked.
    paths : sequence of pathlib.Path
        The files that came back, in the order of coming.

    """
    told: list[NotProcessed] = []
    segmentations: list[Dataset] = []
    said = _Said()
    names: list[tuple[str, str]] = []
    digest = hashlib.sha256(sent.remote.encode())
    read: list[Dataset] = []
    for path in sorted(paths):
        try:
            ds = _read(path)
            _check_kind(ds, sent)
        except RemoteModelError as error:
            told.append(_tell(f"an object of the remote model is not used: {error}"))
        else:
            read.append(ds)
            digest.update(path.name.encode())
    known = sent.other_uids | {str(ds.SOPInstanceUID) for ds in read}
    for ds in read:
        if not _references(ds) <= known:
            told.append(
                _tell(
                    "an object of the remote model is not used: it refers to what "
                    "was not sent"
                )
            )
        elif ds.SOPClassUID in _REPORTS:
            _hear(ds, said)
        else:
            segmentations.append(ds)
            names += _algorithms(ds)
    drawn: dict[tuple[int, str], dict[int, npt.NDArray[np.bool_]]] = defaultdict(dict)
    scores: dict[tuple[int, str], tuple[float, float]] = {}
    for ds in segmentations:
        try:
            _draw(ds, sent, said, drawn=drawn, scores=scores, told=told)
        except (
            RemoteModelError,
            *_UNREADABLE,
        ) as error:
            why = str(error) if isinstance(error, RemoteModelError) else "unreadable"
            told.append(_tell(f"a segmentation of the remote model is not used: {why}"))
    refused = dict(sent.refused)
    original = {
        sent.pseudonyms.uid(one.series_instance_uid): one for one in sent.series
    }
    for uid in said.not_processed & set(original):
        series_uid = original[uid].series_instance_uid
        refused[series_uid] = "the remote model did not process it"
    name, version = names[0] if names else (sent.remote, "unknown")
    return RemoteAnswers(
        identity=ModelIdentity(name, version, digest.hexdigest()),
        found=_grounded(sent, said, drawn, scores),
        refused=refused,
        told=tuple(told),
    )


_UNREADABLE = (
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What pydicom raises for values that are missing or not of their kind."""


def _tell(reason: str) -> NotProcessed:
    return NotProcessed("", reason)


def _read(path: Path) -> Dataset:
    try:
        read_header(path)  # refuses what would exhaust the reader
        with quiet_reading():
            ds = dcmread(path)
            ds.walk(lambda _ds, _element: None)  # read now: values may be unreadable
    except (NodeError, *_UNREADABLE) as error:
        raise RemoteModelError("it cannot be read") from error
    return ds


def _check_kind(ds: Dataset, sent: Sent) -> None:
    if ds.get("SOPClassUID") not in SEGMENTATION_CLASSES | _REPORTS:
        raise RemoteModelError(_NOT_ASKED_FOR)
    if str(ds.get("PatientID", "")).strip() != sent.patient_id:
        raise RemoteModelError("it names another patient")


def _items(ds: Dataset) -> Iterator[Dataset]:
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield item
                yield from _items(item)


def _references(ds: Dataset) -> set[str]:
    return {
        str(item.ReferencedSOPInstanceUID)
        for item in _items(ds)
        if "ReferencedSOPInstanceUID" in item
    }


def _algorithms(ds: Dataset) -> Iterator[tuple[str, str]]:
    for segment in ds.get("SegmentSequence") or ():
        for item in segment.get("SegmentationAlgorithmIdentificationSequence") or ():
            name = _short(item.get("AlgorithmName", ""))
            if name:
                yield name, _short(item.get("AlgorithmVersion", "")) or "unknown"
        if name := _short(segment.get("SegmentAlgorithmName", "")):
            yield name, "unknown"


def _short(value: object) -> str:
    return _PRINTABLE.sub("", str(value or "")).replace("\\", "").strip()[:64]


def _hear(ds: Dataset, said: _Said) -> None:
    """Read certainties, words and what was not processed from a report."""
    for item in (ds, *_items(ds)):
        children = item.get("ContentSequence") or ()
        concept = _concept(item)
        numbers = _numbers(children)
        words = next(
            (
                _words(child.get("TextValue", ""))
                for child in children
                if _concept(child) == ("DCM", "121106")
            ),
            "",
        )
        if concept == (PRIVATE_SCHEME, "not-processed"):
            said.not_processed |= {str(child.get("UID", "")) for child in children}
        if not words:
            continue
        segments = [
            (str(one.get("ReferencedSOPInstanceUID", "")), int(number))
            for child in children
            for one in child.get("ReferencedSOPSequence") or ()
            for number in _several(one.get("ReferencedSegmentNumber"))
        ]
        for segment in segments:
            said.by_segment[segment] = (words, *(numbers or _UNKNOWN_SCORE))
        if numbers is not None and not segments:
            said.by_words.setdefault(words, numbers)


def _numbers(children: Iterable[Dataset]) -> tuple[float, float] | None:
    """Return certainty and uncertainty, from 0 to 1."""
    found: dict[str, float] = {}
    for child in children:
        value = child.get("MeasuredValueSequence")
        if value:
            found[_concept(child)[1]] = float(value[0].get("NumericValue", 0) or 0)
    percent = found.get("111012", found.get("local-certainty"))
    if percent is None:
        return None
    uncertainty = found.get("uncertainty", 1.0)
    return min(max(percent / 100, 0.0), 1.0), min(max(uncertainty, 0.0), 1.0)


def _concept(item: Dataset) -> tuple[str, str]:
    names = item.get("ConceptNameCodeSequence")
    if not names:
        return "", ""
    first = names[0]
    scheme, value = first.get("CodingSchemeDesignator"), first.get("CodeValue")
    return str(scheme or ""), str(value or "")


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, int | str) else list(value)


def _words(text: object) -> str:
    return " ".join(re.findall(r"\w+", str(text).casefold()))


def _draw(
    ds: Dataset,
    sent: Sent,
    said: _Said,
    *,
    drawn: dict[tuple[int, str], dict[int, npt.NDArray[np.bool_]]],
    scores: dict[tuple[int, str], tuple[float, float]],
    told: list[NotProcessed],
) -> None:
    """Add the masks of a segmentation to what is drawn."""
    places = _places(sent)
    total = sum(len(one.frames) for one in sent.series)
    segments = {int(item.SegmentNumber): item for item in ds.SegmentSequence}
    if int(ds.NumberOfFrames) > max(1, total) * max(1, len(segments)):
        raise RemoteModelError("it has more frames than there are images")
    uid = str(ds.SOPInstanceUID)
    prompts = {
        number: _prompt_of(item, said.by_segment.get((uid, number)), sent.questions)
        for number, item in segments.items()
    }
    unknown: set[int] = set()
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
            key = (index, prompt)
            frames = drawn[key]
            before = frames.get(frame_index)
            frames[frame_index] = mask.copy() if before is None else before | mask
            known = said.by_segment.get((uid, number))
            score = _UNKNOWN_SCORE if known is None else known[1:]
            scores[key] = max(scores.get(key, score), score)
    if unknown:
        told.append(
            _tell(
                f"{len(unknown)} segments of the remote model belong to no phrase "
                "that it was asked for"
            )
        )


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
        _words(segment.get("SegmentDescription", "")),
        _words(segment.get("SegmentLabel", "")),
    }
    if said is not None:
        texts.add(said[0])
    texts.discard("")
    for one in questions:
        if _words(one.text) in texts or _words(one.prompt) in texts:
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
        for item in _items(segment)
        if str(item.get("CodeMeaning", "")).casefold() in {"left", "right", "bilateral"}
    }


def _grounded(
    sent: Sent,
    said: _Said,
    drawn: Mapping[tuple[int, str], Mapping[int, npt.NDArray[np.bool_]]],
    scores: Mapping[tuple[int, str], tuple[float, float]],
) -> dict[tuple[str, int, str], GroundedPrompt]:
    found: dict[tuple[str, int, str], GroundedPrompt] = {}
    for index, series in enumerate(sent.series):
        for question in sent.questions:
            key = (series.series_instance_uid, series.stack_number, question.prompt)
            frames = drawn.get((index, question.prompt))
            cropped = None if not frames else _crop(series, frames)
            if cropped is None:
                heard = said.by_words.get(_words(question.text))
                score, uncertainty = heard or (0.0, 1.0)
                found[key] = GroundedPrompt(
                    prompt=question.prompt,
                    score=score,
                    is_present=False,
                    uncertainty=uncertainty,
                    mask=np.zeros((0, 0, 0), np.bool_),
                    mask_origin=(0, 0, 0),
                    boxes=(),
                )
                continue
            mask, origin = cropped
            score, uncertainty = scores[index, question.prompt]
            found[key] = GroundedPrompt(
                prompt=question.prompt,
                score=score,
                is_present=True,
                uncertainty=uncertainty,
                mask=mask,
                mask_origin=origin,
                boxes=boxes_around(mask, origin, score=score),
            )
    return found


def _crop(
    series: ImageSeries, frames: Mapping[int, npt.NDArray[np.bool_]]
) -> tuple[npt.NDArray[np.bool_], tuple[int, int, int]] | None:
    first, last = min(frames), max(frames)
    mask = np.zeros((last - first + 1, series.rows, series.columns), np.bool_)
    for at, plane in frames.items():
        mask[at - first] = plane
    return crop_mask(mask, (first, 0, 0))

"""Read what a remote model returned, and put it back to the images that it is about.

Nothing of an object that comes back is copied into ours but masks, certainties and
the name of the algorithm: patient, study, references and words are those of the
study here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

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
from dicom_node.errors import NodeError, RemoteModelError
from dicom_node.grounding.grounder import GroundedPrompt, ModelIdentity, boxes_around
from dicom_node.header import read_header
from dicom_node.imaging.dataset import quiet_reading
from dicom_node.records import ImageSeries, NotProcessed
from dicom_node.regions import crop_mask
from dicom_node.remote.drawing import Drawn, Sent, draw
from dicom_node.remote.grounder import RemoteAnswers
from dicom_node.remote.hearing import Said, hear, items_of, words_of

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
_PRINTABLE = re.compile(r"[^ -~]")


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
            if str(ds.get("SOPClassUID")) in _REPORTS:
                found |= {
                    str(item.get("ReferencedSOPInstanceUID", ""))
                    for item in items_of(ds)
                    if str(item.get("ReferencedSOPClassUID")) in SEGMENTATION_CLASSES
                }
        except (RemoteModelError, *_UNREADABLE):
            continue  # what it refers to is not waited for
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
    said = Said()
    names: list[tuple[str, str]] = []
    equipment: list[tuple[str, str]] = []
    digest = hashlib.sha256(sent.remote.encode())
    read: list[Dataset] = []
    for path in sorted(paths):
        try:
            ds = _read(path)
            _check_kind(ds, sent)
        except (RemoteModelError, *_UNREADABLE) as error:
            told.append(_tell_unused(error))
        else:
            read.append(ds)
            digest.update(path.name.encode())
    known = sent.other_uids | {str(ds.SOPInstanceUID) for ds in read}
    drawn = Drawn(told=told)
    # Reports first: they say how sure the drawings are.
    for ds in sorted(read, key=lambda one: one.SOPClassUID not in _REPORTS):
        try:
            if not _references(ds) <= known:
                _refuse("it refers to what was not sent")
            if ds.SOPClassUID in _REPORTS:
                made_by = list(_equipment(ds))  # before it counts: it may fail, too
                hear(ds, said)
                equipment += made_by
            else:
                drawn_by = list(_algorithms(ds))
                draw(ds, sent, said, drawn=drawn)
                names += drawn_by
        except (RemoteModelError, *_UNREADABLE) as error:
            told.append(_tell_unused(error))
    refused = dict(sent.refused)
    original = {
        sent.pseudonyms.uid(one.series_instance_uid): one for one in sent.series
    }
    for uid in said.not_processed & set(original):
        series_uid = original[uid].series_instance_uid
        refused[series_uid] = "the remote model did not process it"
    name, version = next(iter([*names, *equipment]), (sent.remote, "unknown"))
    return RemoteAnswers(
        identity=ModelIdentity(name, version, digest.hexdigest()),
        found=_grounded(sent, said, drawn),
        refused=refused,
        told=tuple(told),
    )


_UNREADABLE = (
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What pydicom raises for values that are missing or not of their kind."""


def _refuse(why: str) -> NoReturn:
    raise RemoteModelError(why)


def _tell_unused(error: Exception) -> NotProcessed:
    why = str(error) if isinstance(error, RemoteModelError) else "unreadable"
    return NotProcessed("", f"an object of the remote model is not used: {why}")


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
    # Texts, as an element of several values is no key.
    if str(ds.get("SOPClassUID")) not in SEGMENTATION_CLASSES | _REPORTS:
        raise RemoteModelError(_NOT_ASKED_FOR)
    if str(ds.get("PatientID", "")).strip() != sent.patient_id:
        raise RemoteModelError("it names another patient")
    if "SOPInstanceUID" not in ds:
        raise RemoteModelError("it has no SOP Instance UID")


def _references(ds: Dataset) -> set[str]:
    return {
        str(item.ReferencedSOPInstanceUID)
        for item in items_of(ds)
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


def _equipment(ds: Dataset) -> Iterator[tuple[str, str]]:
    """Yield what made a report, where nothing was drawn that names an algorithm."""
    if name := _short(ds.get("ManufacturerModelName", "")):
        versions = ds.get("SoftwareVersions", "")
        first = versions if isinstance(versions, str) else next(iter(versions), "")
        yield name, _short(first) or "unknown"


def _short(value: object) -> str:
    return _PRINTABLE.sub("", str(value or "")).replace("\\", "").strip()[:64]


def _grounded(
    sent: Sent, said: Said, drawn: Drawn
) -> dict[tuple[str, int, str], GroundedPrompt]:
    found: dict[tuple[str, int, str], GroundedPrompt] = {}
    for index, series in enumerate(sent.series):
        for question in sent.questions:
            key = (series.series_instance_uid, series.stack_number, question.prompt)
            frames = drawn.masks.get((index, question.prompt))
            cropped = None if not frames else _crop(series, frames)
            if cropped is None:
                heard = said.by_words.get(words_of(question.text))
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
            score, uncertainty = drawn.scores[index, question.prompt]
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

"""What leaves for a remote model: de-identified images and the list of phrases."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.deidentify import Options, Pseudonyms, deidentify_file
from dicom_node.deidentify.files import encode
from dicom_node.durable import write_whole
from dicom_node.errors import DeidentificationError
from dicom_node.records import ImageSeries
from dicom_node.remote.asking import Question, make_report

__all__ = ["Leaving", "prepare"]


@dataclass(frozen=True, slots=True)
class Leaving:
    """Files that may leave."""

    report: Path | None
    """None: no image may leave, so nothing does."""
    images: Mapping[Path, str]
    """Series Instance UID, the original one, by file."""
    refused: Mapping[str, str]
    """Why a series stays, by its UID."""


def prepare(
    series: Sequence[ImageSeries],
    questions: Sequence[Question],
    *,
    folder: Path,
    study_instance_uid: str,
    pseudonyms: Pseudonyms,
    options: Options,
) -> Leaving:
    """Write de-identified copies of series, and the report that asks.

    A series leaves as a whole or not at all. The same study gives the same files.

    Parameters
    ----------
    series : sequence of ImageSeries
        What can be interpreted; nothing else of the study leaves.
    questions : sequence of Question
        What is asked.
    folder : pathlib.Path
        Emptied first.
    study_instance_uid : str
        Of the study.
    pseudonyms : Pseudonyms
        What stands for UIDs and patient.
    options : Options
        Options of the profile.

    Raises
    ------
    OSError
        The folder cannot be made.

    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    refused: dict[str, str] = {}
    images: dict[Path, str] = {}
    first: Dataset | None = None
    study_uid = pseudonyms.uid(study_instance_uid)
    for uid in dict.fromkeys(one.series_instance_uid for one in series):
        sources = dict.fromkeys(
            frame.path
            for one in series
            if one.series_instance_uid == uid
            for frame in one.frames
        )
        made: dict[Path, str] = {}
        try:
            for number, source in enumerate(sources, start=len(images) + 1):
                target = folder / f"{number:06}.dcm"
                copy = deidentify_file(source, target, pseudonyms, options=options)
                made[target] = uid
                _check_study(copy, study_uid)
                first = first or copy
        except DeidentificationError as error:
            refused[uid] = f"it did not leave to the remote model: {error}"
            for path in made:
                path.unlink()
        else:
            images.update(made)
    if first is None or not images:
        return Leaving(None, {}, refused)
    report = make_report(
        questions,
        first,
        series_uid=pseudonyms.uid(f"{study_instance_uid}/questions"),
        instance_uid=pseudonyms.uid(f"{study_instance_uid}/questions/1"),
    )
    data = encode(report, ExplicitVRLittleEndian)
    return Leaving(write_whole(folder / "questions.dcm", data), images, refused)


def _check_study(copy: Dataset, study_uid: str) -> None:
    # What comes back could not be told whose it is.
    if copy.get("StudyInstanceUID") != study_uid:
        raise DeidentificationError("it does not name its study")

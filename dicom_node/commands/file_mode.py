"""`dicom-node ground`: the node's rooms on files, without network or database."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.commands.overlay import segmentation_paths, write_overlays
from dicom_node.commands.study_files import StudyFiles, gather_studies
from dicom_node.config import NodeSettings
from dicom_node.errors import ObjectError, SettingsError
from dicom_node.grounding.worker import GroundingWorker
from dicom_node.imaging import PixelReader
from dicom_node.pipeline import (
    ProcessedStudy,
    Progress,
    Rooms,
    process_study,
    profiles_of,
)
from dicom_node.records import NotProcessed, StudyReady
from dicom_node.reports import DocumentReader
from dicom_node.result import remove_previous_result

__all__ = ["FilesOutcome", "ground_files"]


@dataclass(frozen=True, slots=True)
class FilesOutcome:
    """What became of the files: one ``result.json`` a study, and what was left out."""

    studies: tuple[ProcessedStudy, ...]
    reasons: tuple[str, ...]

    @property
    def documents(self) -> tuple[Path, ...]:
        """The ``result.json`` of each study."""
        return tuple(one.result_json for one in self.studies)


def ground_files(
    paths: Sequence[Path],
    *,
    out_dir: Path,
    settings: NodeSettings,
    phrases: Sequence[str] = (),
    report_text: str | None = None,
    progress: Progress | None = None,
) -> FilesOutcome:
    """Ground the phrases of the studies among files.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        DICOM files or folders.
    out_dir : pathlib.Path
        Where ``*.dcm``, ``result.json`` and overlay pictures go, in place of those
        that an earlier run left there; when the files hold several studies, each
        gets a folder named by a hash of its UID.
    settings : NodeSettings
        Which model, which limits, which destination profiles.
    phrases, report_text, progress
        As for `pipeline.interpret`.

    Returns
    -------
    FilesOutcome
        A study that could not be processed is among the reasons; the others are
        not held up by it.

    Raises
    ------
    SettingsError
        The output folder cannot be used, or a report was given for several studies.
    ModelLoadError
        There is no model to ask.

    """
    gathered = gather_studies(paths)
    if report_text is not None and len(gathered.studies) > 1:
        msg = f"--report goes with one study, and these are {len(gathered.studies)}"
        raise SettingsError(msg)
    reasons = [f"{one.path.name}: {one.reason.reason}" for one in gathered.left_out]
    done: list[ProcessedStudy] = []
    _make_folder(out_dir)
    with (
        # Files without a name, on the disk that the results go to.
        PixelReader(settings.limits, scratch_dir=out_dir) as reader,
        GroundingWorker(settings.model, scratch_dir=out_dir) as grounder,
        DocumentReader() as documents,
    ):
        rooms = Rooms(reader=reader, grounder=grounder, documents=documents)
        for ready in gathered.studies:
            folder = out_dir
            if len(gathered.studies) > 1:
                name = hashlib.sha256(ready.study_instance_uid.encode()).hexdigest()
                folder = out_dir / name[:16]
            _make_ready(folder)
            try:
                processed = process_study(
                    ready,
                    rooms=rooms,
                    out_dir=folder,
                    profiles=profiles_of(settings, with_pages=False),
                    phrases=phrases,
                    report_text=report_text,
                    report_settings=settings.reports,
                    left_out=_left_out_of(ready, gathered),
                    progress=progress,
                )
            except ObjectError as error:
                reasons.append(f"study {ready.study_instance_uid}: {error}")
                continue
            write_overlays(
                segmentation_paths(processed.objects),
                processed.result.series,
                reader,
                folder,
            )
            done.append(processed)
            reasons.extend(
                f"series {one.series_instance_uid}: {one.reason}"
                for one in processed.result.not_processed
            )
    return FilesOutcome(studies=tuple(done), reasons=tuple(reasons))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"--out {folder}: {error.strerror}"
        raise SettingsError(msg) from error


def _make_ready(folder: Path) -> None:
    _make_folder(folder)
    try:
        remove_previous_result(folder)
    except OSError as error:
        msg = f"--out {folder}: {error.strerror}"
        raise SettingsError(msg) from error


def _left_out_of(ready: StudyReady, gathered: StudyFiles) -> tuple[NotProcessed, ...]:
    uids = {"", ready.study_instance_uid}
    return tuple(
        one.reason for one in gathered.left_out if one.study_instance_uid in uids
    )

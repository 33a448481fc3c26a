"""What happens to a study, on one page.

    instances -> series -> phrases -> grounding -> regions -> objects -> verify

`interpret` finds the regions, `process_study` writes them as verified objects.
Both are functions of their arguments: the same study, model and settings give the
same files, whether they run in the daemon's workflow or from the command line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node import __version__
from dicom_node.config import NodeSettings, ReportSettings
from dicom_node.errors import (
    GroundingError,
    ModelLoadError,
    PixelDecodingError,
    WorkerLostError,
)
from dicom_node.fhir.bundle import write_fhir_json
from dicom_node.grounding.grounder import GroundedPrompt, Grounder
from dicom_node.imaging import PixelReader, find_series, latest_datetime
from dicom_node.imaging.read_ahead import ReadAhead, read_ahead
from dicom_node.objects import make_objects, needs_probabilities
from dicom_node.records import (
    ImageSeries,
    NotProcessed,
    ObjectReference,
    Phrase,
    PhraseStatus,
    Report,
    ResultObject,
    StudyReady,
    StudyResult,
)
from dicom_node.regions import check_answer, make_phrase_results
from dicom_node.remote import RemoteModel
from dicom_node.reports import (
    DocumentReader,
    collect_phrases,
    find_tag_reports,
    gather_reports,
)
from dicom_node.result import write_result_json
from dicom_node.stages import StageLog
from dicom_node.verify import verify_objects

__all__ = [
    "ProcessedStudy",
    "Progress",
    "Rooms",
    "interpret",
    "process_study",
    "profiles_of",
]

_NOT_UNDERSTOOD = (
    "no phrase of the report is recognised, so nothing was looked for; only English "
    "reports are understood"
)

Progress = Callable[[str, int, int], None]
"""Called with the step's name, what is done and what there is to do."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """The rooms that keep processes: they decode pixels, ground phrases, read PDFs."""

    reader: PixelReader
    grounder: Grounder | RemoteModel
    documents: DocumentReader = field(default_factory=DocumentReader)


@dataclass(frozen=True, slots=True)
class ProcessedStudy:
    """What one version of a study became: verified files under one folder."""

    result: StudyResult
    objects: tuple[ResultObject, ...]
    result_json: Path


def interpret(
    ready: StudyReady,
    *,
    rooms: Rooms,
    phrases: Sequence[str] = (),
    report_text: str | None = None,
    report_settings: ReportSettings | None = None,
    predecessors: tuple[ObjectReference, ...] = (),
    may_retry: bool = False,
    with_probabilities: bool = False,
    progress: Progress | None = None,
    stages: StageLog | None = None,
) -> StudyResult:
    """Find the regions of a study's phrases.

    Parameters
    ----------
    ready : StudyReady
        The study's instances, the reports that were sent, and its priors: their
        phrases are read and never grounded.
    rooms : Rooms
        Who decodes, who grounds and who reads documents.
    phrases : sequence of str
        Phrases to ground instead of those of the report.
    report_text : str, optional
        A report to take instead of the study's own.
    report_settings : ReportSettings, optional
        Which reports count; as the settings begin when absent.
    predecessors : tuple of ObjectReference
        Result documents that this result supersedes.
    may_retry : bool
        True: the caller tries again when the model's process was lost.
    with_probabilities : bool
        Ask for the probability of every pixel, for objects that hold them.
    progress : Progress, optional
        Told how far grounding is.
    stages : StageLog, optional
        Notes when ``headers``, ``text``, ``pixels`` and ``inference`` began and ended.

    Raises
    ------
    ModelLoadError
        There is no model to ask.
    RemoteWaitsError
        The model is remote and has not answered yet.
    WorkerLostError
        The model's process ended over a series, and ``may_retry`` is true. All other
        trouble with one series ends in ``StudyResult.not_processed`` with its reason.

    """
    settings = report_settings or ReportSettings()
    with _measure(stages, "headers"):
        series, left_out = find_series(ready.instances)
    with _measure(stages, "text"):
        gathered = gather_reports(
            ready, rooms.documents, counts_preliminary=settings.preliminary
        )
        reports = gathered.reports
        if report_text is not None:
            reports = (Report(text=report_text, source="file"),)
        if settings.tags and not reports:
            reports = find_tag_reports(ready.instances)
        asked = collect_phrases(
            reports, phrases, series, uses_vocabulary=settings.vocabulary
        )
    not_processed = [*left_out, *gathered.not_processed]
    if not asked and any(not one.is_weak for one in reports):
        not_processed.append(NotProcessed("", _NOT_UNDERSTOOD))
    grounder = rooms.grounder
    if isinstance(grounder, RemoteModel):
        grounder = answer = grounder.ask(ready, series=series, phrases=asked)
        not_processed += answer.told
    grounded: list[tuple[ImageSeries, tuple[GroundedPrompt, ...]]] = []
    with read_ahead(series, rooms.reader) as ahead:
        for image_series in series:
            try:
                answers = _ground_series(
                    image_series,
                    asked,
                    ahead,
                    grounder,
                    progress=progress,
                    with_probabilities=with_probabilities,
                    stages=stages,
                )
            except ModelLoadError:
                raise
            except (PixelDecodingError, GroundingError) as error:
                if may_retry and isinstance(error, WorkerLostError):
                    raise  # of this machine perhaps, and not of the series
                uid = image_series.series_instance_uid
                not_processed.append(NotProcessed(uid, str(error)))
            else:
                grounded.append((image_series, answers))
    identity = grounder.identity
    computed_on = sorted(
        {one.computed_on for _, found in grounded for one in found} - {""}
    )
    return StudyResult(
        study_instance_uid=ready.study_instance_uid,
        content_version=ready.content_version,
        series=tuple(one for one, _ in grounded),
        reports=reports,
        phrases=make_phrase_results(
            asked,
            grounded,
            study_instance_uid=ready.study_instance_uid,
            content_version=ready.content_version,
            model_sha256=identity.sha256,
        ),
        not_processed=tuple(not_processed),
        model_name=identity.name,
        model_version=identity.version,
        model_sha256=identity.sha256,
        configuration_sha256=_configuration_sha256(
            phrases,
            report_text,
            settings,
            not_processed,
            predecessors,
            computed_on=computed_on,
        ),
        content_datetime=latest_datetime(ready.instances),
        predecessors=predecessors,
        priors=gathered.priors,
        instances=ready.instances,
        computed_on=tuple(computed_on),
    )


def process_study(
    ready: StudyReady,
    *,
    rooms: Rooms,
    out_dir: Path,
    profiles: Sequence[str] = ("default",),
    phrases: Sequence[str] = (),
    report_text: str | None = None,
    report_settings: ReportSettings | None = None,
    predecessors: tuple[ObjectReference, ...] = (),
    may_retry: bool = False,
    left_out: Sequence[NotProcessed] = (),
    progress: Progress | None = None,
    stages: StageLog | None = None,
) -> ProcessedStudy:
    """Interpret a study and write its objects and ``result.json`` into a folder.

    Parameters
    ----------
    ready, rooms, phrases, report_text, report_settings
        As for `interpret`.
    out_dir : pathlib.Path
        An existing folder; the objects of the first profile lie in it, those of
        each further profile in a folder of that name.
    profiles : sequence of str
        Which sets of objects to make (`NodeSettings.destinations`).
    predecessors, may_retry, progress
        As for `interpret`.
    left_out : sequence of NotProcessed
        What was left out before: named in ``result.json`` too.
    stages : StageLog, optional
        As for `interpret`; notes ``objects``, ``verified`` and ``written`` too.

    Raises
    ------
    ModelLoadError, RemoteWaitsError, WorkerLostError
        As `interpret`.
    ObjectError
        An object could not be made, or breaks a rule of the standard.

    """
    result = interpret(
        ready,
        rooms=rooms,
        phrases=phrases,
        report_text=report_text,
        report_settings=report_settings,
        predecessors=predecessors,
        may_retry=may_retry,
        with_probabilities=needs_probabilities(profiles),
        progress=progress,
        stages=stages,
    )
    out_dir = out_dir.resolve()
    objects: list[ResultObject] = []
    for index, profile in enumerate(profiles):
        folder = out_dir if index == 0 else out_dir / profile
        folder.mkdir(exist_ok=True)
        with _measure(stages, "objects"):
            made = make_objects(
                result, profile=profile, out_dir=folder, reader=rooms.reader
            )
        with _measure(stages, "verified"):
            verify_objects(made, result.series)
        objects.extend(made)
    with _measure(stages, "written"):
        path = write_result_json(result, objects, out_dir, left_out=left_out)
        write_fhir_json(result, objects, out_dir)
    return ProcessedStudy(result=result, objects=tuple(objects), result_json=path)


def profiles_of(settings: NodeSettings, *, with_pages: bool = True) -> tuple[str, ...]:
    """Return the profiles that are made: the pages' first, then the destinations'.

    Without pages, ``default`` is made when no destination asks for any.
    """
    names = dict.fromkeys(one.profile for one in settings.destinations)
    if with_pages:
        return tuple(dict.fromkeys((settings.shown_profile, *names)))
    return tuple(names) or ("default",)


def _ground_series(
    series: ImageSeries,
    phrases: Sequence[Phrase],
    reader: ReadAhead,
    grounder: Grounder,
    *,
    progress: Progress | None,
    with_probabilities: bool,
    stages: StageLog | None,
) -> tuple[GroundedPrompt, ...]:
    # What the report negates is reported and never drawn, so it is never asked.
    prompts = tuple(
        dict.fromkeys(
            one.prompt for one in phrases if one.status is not PhraseStatus.ABSENT
        )
    )
    if not prompts:
        return ()

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress("ground", done, total)

    with _measure(stages, "pixels"):
        pixels = reader.read(series)
    with _measure(stages, "inference"):
        answers = grounder.ground(
            series,
            pixels,
            prompts,
            progress=tell,
            with_probabilities=with_probabilities,
        )
    for answer in answers:
        check_answer(series, answer)
    return answers


def _measure(stages: StageLog | None, name: str) -> AbstractContextManager[None]:
    return nullcontext() if stages is None else stages.measure(name)


def _configuration_sha256(
    phrases: Sequence[str],
    report_text: str | None,
    settings: ReportSettings,
    not_processed: Sequence[NotProcessed],
    predecessors: Sequence[ObjectReference],
    *,
    computed_on: Sequence[str],
) -> str:
    """Hash what shapes the result beside the study and the model.

    Limits and lost processes show in what was not processed: a later run that gets
    further must not give other content the same UID.
    """
    chosen = {
        "software": __version__,
        "phrases": list(phrases),
        "report": report_text,
        "counted": [settings.preliminary, settings.tags, settings.vocabulary],
        "not_processed": [
            [one.series_instance_uid, one.reason] for one in not_processed
        ],
        "predecessors": [one.sop_instance_uid for one in predecessors],
        "computed_on": list(computed_on),
    }
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()

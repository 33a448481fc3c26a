"""Every report of a study and of its priors, whichever way it came."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dicom_node.records import (
    NotProcessed,
    PriorStudy,
    Report,
    ReportStatus,
    StudyReady,
)
from dicom_node.reports.collect import merged_phrases
from dicom_node.reports.document_reader import DocumentReader
from dicom_node.reports.find import find_reports

__all__ = ["StudyReports", "gather_reports"]


@dataclass(frozen=True, slots=True)
class StudyReports:
    """The reports of a study, in the order in which their phrases are read."""

    reports: tuple[Report, ...]
    priors: tuple[PriorStudy, ...]
    """With their phrases; the sources of what they say begin with ``prior:``."""
    not_processed: tuple[NotProcessed, ...]
    """Documents of this study that could not be read."""


def gather_reports(
    ready: StudyReady, documents: DocumentReader, *, counts_preliminary: bool = True
) -> StudyReports:
    """Read the documents of a study and of its priors, beside what was sent.

    Documents come first: of what both say, the results can refer to them.

    Parameters
    ----------
    ready : StudyReady
        The study, with the reports that were sent and its priors.
    documents : DocumentReader
        Reads PDF and CDA.
    counts_preliminary : bool
        Whether preliminary reports count.

    """

    def counted(reports: tuple[Report, ...]) -> tuple[Report, ...]:
        return tuple(
            one
            for one in reports
            if counts_preliminary or one.status is not ReportStatus.PRELIMINARY
        )

    found, left_out = find_reports(ready.instances, documents)
    priors = []
    for prior in ready.priors:
        earlier, unreadable = find_reports(prior.instances, documents)
        reports = tuple(
            replace(one, source=f"prior:{one.source}", lasting_name=None)
            for one in counted((*earlier, *prior.reports))
        )
        priors.append(
            replace(
                prior,
                reports=reports,
                phrases=merged_phrases(reports),
                not_processed=unreadable,
            )
        )
    return StudyReports(counted((*found, *ready.reports)), tuple(priors), left_out)

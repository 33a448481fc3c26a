"""Which phrases a study is asked for: by arguments, reports, tags, a vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from dicom_node.records import ImageSeries, Phrase, PhraseStatus, Report
from dicom_node.reports.phrases import extract_phrases, phrase_from_text
from dicom_node.reports.vocabulary import vocabulary

__all__ = ["collect_phrases", "merged_phrases"]


def collect_phrases(
    reports: Sequence[Report],
    arguments: Sequence[str],
    series: Sequence[ImageSeries],
    *,
    uses_vocabulary: bool = True,
) -> tuple[Phrase, ...]:
    """Collect the phrases to ground in a study.

    Parameters
    ----------
    reports : sequence of Report
        The study's reports. Those that only ask (`Report.is_weak`) count when there is
        no other; what they negate is left out, the rest is asked.
    arguments : sequence of str
        Phrases that someone asked for; when there are any, nothing else is grounded.
    series : sequence of ImageSeries
        The images: without arguments and reports, their modality and body part choose
        a vocabulary.
    uses_vocabulary : bool
        Whether they do.

    Returns
    -------
    tuple of Phrase
        In reading order, one for what is said twice in the same words. None when a
        report is there and nothing of it is recognised: what it says is not known,
        and nothing else is asked in its place.

    Raises
    ------
    ReportError
        An argument is empty or too long.

    """
    if arguments:
        return _merged(phrase_from_text(one) for one in arguments)
    stated = [one for one in reports if not one.is_weak]
    if stated:
        return merged_phrases(stated)
    asked = _asked_by(reports)
    if asked or not uses_vocabulary:
        return asked
    return _merged(
        phrase for one in series for phrase in vocabulary(one.modality, one.body_part)
    )


def merged_phrases(reports: Iterable[Report]) -> tuple[Phrase, ...]:
    """Return the phrases of reports in reading order, each said once."""
    return _merged(phrase for one in reports for phrase in extract_phrases(one))


def _asked_by(reports: Iterable[Report]) -> tuple[Phrase, ...]:
    # "R/o effusion" hedges nothing: it asks.
    return _merged(
        replace(one, status=PhraseStatus.PRESENT)
        for one in merged_phrases(reports)
        if one.status is not PhraseStatus.ABSENT
    )


def _merged(phrases: Iterable[Phrase]) -> tuple[Phrase, ...]:
    """Keep the first of the phrases that mean and say the same."""
    first: dict[tuple[object, ...], Phrase] = {}
    for one in phrases:
        key = (one.finding, one.laterality, one.status, one.prompt)
        first.setdefault(key, one)
    return tuple(first.values())

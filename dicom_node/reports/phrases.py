"""From report text to phrases: what is named, where, on which side, stated or not."""

from __future__ import annotations

from dicom_node.errors import ReportError
from dicom_node.records import Finding, Laterality, Phrase, PhraseStatus, Report
from dicom_node.reports.attributes import laterality_of, measurements_mm, side_words
from dicom_node.reports.codes import finding_of, unspecified_finding
from dicom_node.reports.drafts import (
    Draft,
    Heading,
    drafts_of,
    heading_of,
    spoken,
)
from dicom_node.reports.lexicon import ConceptKind
from dicom_node.reports.sections import SectionKind, split_sections, split_sentences
from dicom_node.reports.sentence import read_sentence

__all__ = ["extract_phrases", "phrase_from_text"]

MAX_PHRASE_CHARACTERS = 1024
"""Longest phrase that can be asked for; a report is not a phrase."""


def extract_phrases(report: Report) -> tuple[Phrase, ...]:
    """Find the phrases of a report, in reading order.

    Parameters
    ----------
    report : Report
        The report's text. Sections on indication, history, technique and comparison
        are left out, but of a report that only asks (`Report.is_weak`).

    Returns
    -------
    tuple of Phrase
        ``report.text[phrase.start:phrase.end] == phrase.text`` for each.

    """
    text = report.text
    phrases: list[Phrase] = []
    for section in split_sections(text):
        is_other = section.kind is SectionKind.OTHER
        if is_other and not report.is_weak:
            continue
        is_named = not is_other and section.kind is not SectionKind.UNTITLED
        name = section.kind.value if is_named else None
        heading: Heading | None = None
        previous = section.start
        for start, end in split_sentences(text, section.start, section.end):
            if "\n" in text[previous:start]:
                heading = None
            previous = end
            sentence = read_sentence(text, start, end)
            heading = heading_of(sentence) or heading
            for draft in drafts_of(sentence, heading):
                begin = sentence.words[draft.first].start
                stop = sentence.words[draft.last].end
                phrases.append(
                    Phrase(
                        text=text[begin:stop],
                        source=report.source,
                        status=draft.status,
                        finding=finding_of(draft.about, draft.site),
                        prompt=draft.prompt,
                        laterality=draft.laterality,
                        start=begin,
                        end=stop,
                        section=name,
                        measurements_mm=measurements_mm(text[begin:stop]),
                    )
                )
    return tuple(phrases)


def phrase_from_text(text: str) -> Phrase:
    """Make a phrase of what someone asked for.

    Parameters
    ----------
    text : str
        One phrase, such as "left kidney" or "no ascites".

    Raises
    ------
    ReportError
        The text is empty, or too long to be a phrase.

    """
    words = " ".join(text.split())
    if not words:
        msg = "a phrase must not be empty"
        raise ReportError(msg)
    if len(words) > MAX_PHRASE_CHARACTERS:
        msg = f"a phrase has at most {MAX_PHRASE_CHARACTERS} characters"
        raise ReportError(msg)
    sentence = read_sentence(words, 0, len(words))
    drafts = sorted(drafts_of(sentence, None), key=_rank)
    finding: Finding
    status = PhraseStatus.PRESENT
    laterality: Laterality | None = None
    if drafts:
        best = drafts[0]
        finding = finding_of(best.about, best.site)
        status, laterality = best.status, best.laterality
    else:
        # An adjective or a region by itself is no statement, but it can be asked for.
        places = sentence.places
        named = places[0] if places else None
        sides = side_words(
            sentence.words, range(len(sentence.words)), sentence.mentions
        )
        laterality = laterality_of(sentence.words, sides, None)
        is_whole = named is not None and len(sides) + len(named.words) >= len(
            [one for one in sentence.words if one.stem not in ("the", "a", "an")]
        )
        finding = (
            finding_of(named.concept)
            if named is not None and is_whole
            else unspecified_finding(words, named.concept if named else None)
        )
    last = len(sentence.words) - 1
    return Phrase(
        text=words,
        source="argument",
        status=status,
        finding=finding,
        prompt=spoken(sentence, 0, last) if sentence.words else words.lower(),
        laterality=laterality,
        measurements_mm=measurements_mm(words),
    )


def _rank(draft: Draft) -> tuple[bool, int]:
    return draft.about.kind is not ConceptKind.FINDING, draft.first

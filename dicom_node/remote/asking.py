"""What a remote model is asked: phrases in words of the lexicon, as a text report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from pydicom import Dataset
from pydicom.uid import BasicTextSRStorage

from dicom_node.identity import MANUFACTURER, MODEL_NAME
from dicom_node.objects.common import add_coding_schemes, clean_text, laterality_code
from dicom_node.records import Code, Finding, Laterality, Phrase, PhraseStatus, Report
from dicom_node.reports import extract_phrases
from dicom_node.reports.codes import code_of
from dicom_node.reports.lexicon import concepts

__all__ = ["Question", "make_questions", "make_report"]

_NAMES_TRIED = 8
"""Synonyms of a concept, and of its site, in which it is tried to say it."""

_PATIENT_AND_STUDY = (
    "SpecificCharacterSet",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
    "StudyInstanceUID",
    "StudyID",
)


@dataclass(frozen=True, slots=True)
class Question:
    """A phrase as a remote model is asked for it."""

    prompt: str
    """What the phrases are asked by here (`Phrase.prompt`)."""
    text: str
    """What leaves."""
    finding: Finding
    laterality: Laterality | None


def make_questions(
    phrases: Sequence[Phrase], *, sends_text: bool = False
) -> tuple[tuple[Question, ...], tuple[str, ...]]:
    """Say phrases so that nothing leaves that was dictated.

    Parameters
    ----------
    phrases : sequence of Phrase
        As they were collected; what a report negates is not asked.
    sends_text : bool
        True: in the words of the report.

    Returns
    -------
    tuple of Question
        One for each prompt.
    tuple of str
        Prompts of which the lexicon knows no name: they are not asked.

    """
    questions: dict[str, Question] = {}
    unsaid: dict[str, None] = {}
    for one in phrases:
        if one.status is PhraseStatus.ABSENT or one.prompt in questions:
            continue
        text = clean_text(one.text) if sends_text else _say(one)
        if text is None:
            unsaid[one.prompt] = None
        else:
            questions[one.prompt] = Question(
                one.prompt, " ".join(text.split()), one.finding, one.laterality
            )
    return tuple(questions.values()), tuple(unsaid)


def make_report(
    questions: Sequence[Question], image: Dataset, *, series_uid: str, instance_uid: str
) -> Dataset:
    """Make the Basic Text SR that asks (PS3.3 A.35.1).

    Each question is a text of its own in the section "Findings", with codes of
    finding, site and side as its modifiers.

    Parameters
    ----------
    questions : sequence of Question
        What is asked.
    image : pydicom.Dataset
        A de-identified image of the study.
    series_uid, instance_uid : str
        Of the report; pseudonymous.

    """
    ds = Dataset()
    for keyword in _PATIENT_AND_STUDY:
        if keyword in image:
            ds[keyword] = image[keyword]
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = BasicTextSRStorage
    ds.SOPInstanceUID = instance_uid
    ds.SeriesInstanceUID = series_uid
    ds.Modality = "SR"
    ds.SeriesNumber = ds.InstanceNumber = 1
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = MODEL_NAME
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.ContentDate = image.get("StudyDate") or "19000101"
    ds.ContentTime = image.get("StudyTime") or "000000"
    ds.CompletionFlag, ds.VerificationFlag = "PARTIAL", "UNVERIFIED"
    ds.PerformedProcedureCodeSequence = []
    ds.ValueType = "CONTAINER"
    ds.ContinuityOfContent = "SEPARATE"
    ds.ConceptNameCodeSequence = [
        _code(Code("LN", "18748-4", "Diagnostic imaging study"))
    ]
    section = Dataset()
    section.RelationshipType = "CONTAINS"
    section.ValueType = "CONTAINER"
    section.ContinuityOfContent = "SEPARATE"
    section.ConceptNameCodeSequence = [_code(Code("DCM", "121070", "Findings"))]
    texts = {one.text: one for one in questions}
    section.ContentSequence = [_item(one) for one in texts.values()]
    ds.ContentSequence = [section]
    add_coding_schemes(ds)
    return ds


def _item(question: Question) -> Dataset:
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "TEXT"
    item.ConceptNameCodeSequence = [_code(Code("DCM", "121071", "Finding"))]
    item.TextValue = question.text[:1].upper() + question.text[1:] + "."
    modifiers = [
        (Code("DCM", "121071", "Finding"), question.finding.finding),
        (Code("SCT", "363698007", "Finding Site"), question.finding.site),
    ]
    if question.laterality is not None:
        side = laterality_code(question.laterality)
        modifiers.append(
            (
                Code("SCT", "272741003", "Laterality"),
                Code(side.scheme_designator, side.value, side.meaning),
            )
        )
    item.ContentSequence = [
        _modifier(name, value) for name, value in modifiers if value is not None
    ]
    return item


def _modifier(name: Code, value: Code) -> Dataset:
    item = Dataset()
    item.RelationshipType = "HAS CONCEPT MOD"
    item.ValueType = "CODE"
    item.ConceptNameCodeSequence = [_code(name)]
    item.ConceptCodeSequence = [_code(value)]
    return item


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme
    item.CodeMeaning = code.meaning
    return item


def _say(phrase: Phrase) -> str | None:
    """Return a phrase in words of the lexicon that our own rules understand again."""
    side = "" if phrase.laterality is None else f"{phrase.laterality.value} "
    finding = phrase.finding
    names = list(islice(_names(finding.finding), _NAMES_TRIED))
    places = list(islice(_names(finding.site), _NAMES_TRIED)) if finding.site else []
    texts = [f"{side}{name}" for name in names]
    texts += [f"{side}{name} in the {place}" for name in names for place in places]
    heard = {text: _hear(text) for text in texts}
    exact = (finding, phrase.laterality)
    for text, one in heard.items():
        if one is not None and (one.finding, one.laterality) == exact:
            return text
    # Less exact about the place, but of the same thing on the same side.
    for text, one in heard.items():
        if one is not None and one.finding.finding == finding.finding:
            return text
    return None


def _hear(text: str) -> Phrase | None:
    found = extract_phrases(Report(text=f"Findings: {text}.", source="lexicon"))
    is_one = len(found) == 1 and found[0].status is PhraseStatus.PRESENT
    return found[0] if is_one else None


def _names(code: Code | None) -> Iterator[str]:
    for one in concepts().values():
        if code is not None and code_of(one) == code:
            yield one.meaning.lower()
            yield from one.synonyms

"""The phrases of one sentence: their words, place, side, status and prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dicom_node.records import Laterality, PhraseStatus
from dicom_node.reports.attributes import laterality_of, side_words
from dicom_node.reports.lexicon import Concept, ConceptKind, Mention, concept
from dicom_node.reports.sentence import Sentence
from dicom_node.reports.spans import (
    extend_finding,
    noun_phrase,
    subject_of,
    with_article,
)
from dicom_node.reports.structures import compound_end, is_aside, structure_span
from dicom_node.reports.tails import size_end

__all__ = ["Draft", "Heading", "drafts_of", "heading_of", "spoken"]

_KEEPS_SITE = frozenset({"effusion", "pneumothorax", "organ", "device", "embolus"})
"""Types whose usual place is better than a structure named beside them: an effusion
"at the left lung base" is in the pleural cavity."""

_REQUESTS = frozenset(
    {
        "recommend",
        "recommended",
        "recommendation",
        "correlate",
        "correlation",
        "consider",
        "please",
        "suggest",
        "advise",
    }
)
"""What a sentence begins with that asks for something and states nothing."""


@dataclass(frozen=True, slots=True)
class Heading:
    """The structure that a line is about: "Left kidney: ..."."""

    concept: Concept
    text: str
    laterality: Laterality | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A phrase before it is coded."""

    first: int
    last: int
    about: Concept
    site: Concept | None
    status: PhraseStatus
    laterality: Laterality | None
    prompt: str


def heading_of(sentence: Sentence) -> Heading | None:
    """Return the structure that a sentence begins with as a label, if it does."""
    for place in sentence.places:
        if ":" in sentence.words[place.last].gap:
            first = noun_phrase(sentence, place.first, place.last)
            if first == 0:
                return Heading(
                    concept=place.concept,
                    text=spoken(sentence, place.first, place.last),
                    laterality=_side(sentence, first, place.last, plural_of=place),
                )
        break
    return None


def drafts_of(sentence: Sentence, heading: Heading | None) -> Iterator[Draft]:
    """Yield the phrases of a sentence, in reading order.

    Parameters
    ----------
    sentence : Sentence
        The sentence, read.
    heading : Heading, optional
        The structure that the line began with as a label; it places findings that
        name no place of their own.

    """
    if sentence.words and sentence.words[0].text in _REQUESTS:
        return
    drafts: list[Draft] = []
    used: set[Mention] = set()
    for mention in sentence.findings:
        first, last = extend_finding(sentence, mention)
        inside = [one for one in sentence.places if first <= one.first <= last]
        used.update(inside)
        subject = None if inside else subject_of(sentence, first)
        if subject is not None:
            # A place that another finding's phrase holds only says where this one is.
            subject = (subject[0], subject[1] and subject[0] not in used)
            if subject[1]:
                used.add(subject[0])
        status = sentence.context.status_of(mention)
        if status is None:
            continue
        drafts.append(
            _finding_draft(
                sentence, mention, (first, last), inside, subject, status, heading
            )
        )
    for place in sentence.places:
        if place in used or place.is_adjective:
            continue
        if place.concept.kind is ConceptKind.REGION or is_aside(sentence, place):
            continue
        if sentence.findings and ":" in sentence.words[place.last].gap:
            continue  # a label: "Lymph nodes: no ..."
        status = sentence.context.status_of(place)
        if status is None:
            continue
        drafts.append(_structure_draft(sentence, place, status))
    yield from sorted(drafts, key=lambda one: (one.first, one.last, one.about.key))


def _finding_draft(
    sentence: Sentence,
    mention: Mention,
    span: tuple[int, int],
    inside: Sequence[Mention],
    subject: tuple[Mention, bool] | None,
    status: PhraseStatus,
    heading: Heading | None,
) -> Draft:
    first, last = span
    about = mention.concept
    places = list(inside)
    side = _side(sentence, first, last)
    if subject is not None:
        place, is_part = subject
        if is_part or not about.site_key:
            places = [place]
        start = noun_phrase(sentence, place.first, place.last)
        side = side or _side(sentence, start, place.last)
        if is_part:
            first = with_article(sentence, start)
    site = _site(about, places)
    prompt = _finding_prompt(sentence, mention, first, last)
    if heading is not None and subject is None and not inside:
        is_here = not about.site_key or about.site_key == heading.concept.key
        if is_here and heading.concept.kind is ConceptKind.STRUCTURE:
            site = site or heading.concept
            prompt = _in_place(prompt, heading, has_site=bool(about.site_key))
            if heading.laterality is not Laterality.BILATERAL:
                side = side or heading.laterality
    return Draft(first, last, about, site, status, side, prompt)


def _in_place(prompt: str, heading: Heading, *, has_site: bool) -> str:
    """Say the place that the line's label says: "2 cm cyst" of "Liver: ... "."""
    side = heading.laterality
    word = f"{side.value} " if side in (Laterality.LEFT, Laterality.RIGHT) else ""
    if has_site:
        return prompt if not word or word.strip() in prompt else f"{word}{prompt}"
    return f"{prompt} in the {word}{heading.text}"


def _site(about: Concept, places: Sequence[Mention]) -> Concept | None:
    """Choose the coded place of a finding; None: its usual one."""
    named = [one.concept for one in places if one.concept.kind is ConceptKind.STRUCTURE]
    if about.site_key and (not named or about.type_key in _KEEPS_SITE):
        return None
    named = named or [one.concept for one in places]
    if not named:
        return None
    if len({one.key for one in named}) > 1:
        wholes = {one.site_key for one in named}
        if len(wholes) == 1 and "" not in wholes:
            return concept(wholes.pop())  # two lobes: the lung
    return named[0]


def _structure_draft(sentence: Sentence, place: Mention, status: PhraseStatus) -> Draft:
    start = noun_phrase(sentence, place.first, place.last)
    end = _plain_end(sentence, place)
    first, last = structure_span(sentence, place, start, compound_end(sentence, end))
    return Draft(
        first=first,
        last=size_end(sentence, last),
        about=place.concept,
        site=None,
        status=status,
        laterality=_side(sentence, start, end, plural_of=place),
        prompt=_structure_prompt(sentence, start, place, end),
    )


def _structure_prompt(sentence: Sentence, start: int, place: Mention, end: int) -> str:
    """Ask for the structure and its side, without what is said of it."""
    before = side_words(sentence.words, range(start, place.first), sentence.mentions)
    sides = [sentence.words[index].text for index in before]
    return " ".join([*sides, spoken(sentence, place.first, end)])


def _plain_end(sentence: Sentence, place: Mention) -> int:
    """Return the last word of "kidney [on the left]"."""
    words = sentence.words
    tail = [one.stem for one in words[place.last + 1 : place.last + 4]]
    if len(tail) == 3 and tail[:2] == ["on", "the"] and tail[2] in ("left", "right"):
        return place.last + 3
    return place.last


def _side(
    sentence: Sentence, first: int, last: int, *, plural_of: Mention | None = None
) -> Laterality | None:
    sides = side_words(sentence.words, range(first, last + 1), sentence.mentions)
    subject: Concept | None = None
    if plural_of is not None:
        word = sentence.words[plural_of.last]
        is_plural = word.text != word.stem and word.text.endswith(("s", "ae", "ora"))
        subject = plural_of.concept if is_plural else None
    return laterality_of(sentence.words, sides, subject)


def _finding_prompt(sentence: Sentence, mention: Mention, first: int, last: int) -> str:
    others = [
        one
        for one in sentence.findings
        if one != mention and one.predicate & mention.predicate
    ]
    if others:
        # "The liver and spleen are enlarged" asks for two things: say each one.
        subject = sorted(mention.words - mention.predicate)
        start = noun_phrase(sentence, subject[0], subject[-1])
        return (
            f"{spoken(sentence, min(mention.predicate), max(mention.predicate))} "
            f"{spoken(sentence, start, subject[-1])}"
        )
    return spoken(sentence, first, last)


def spoken(sentence: Sentence, first: int, last: int) -> str:
    """Return words as the model is asked: lower case, sides and terms spelled out."""
    parts: list[str] = []
    for index in range(first, last + 1):
        word = sentence.words[index]
        parts.append(word.text)
        if index == last:
            break
        mark = word.gap.strip()
        if mark in ("-", "/") and not word.gap.isspace() and len(word.gap) == 1:
            parts.append(mark)
        elif mark in (",", ":"):
            parts.append(f"{mark} ")
        else:
            parts.append(" ")
    return "".join(parts)

"""How far a statement about a structure reaches: "the spleen is unremarkable"."""

from __future__ import annotations

from dicom_node.reports.grammar import PLACES, STOPS
from dicom_node.reports.lexicon import ConceptKind, Mention
from dicom_node.reports.sentence import Sentence
from dicom_node.reports.spans import with_article
from dicom_node.reports.triggers import Trigger, TriggerKind
from dicom_node.reports.words import stems

__all__ = ["compound_end", "is_aside", "structure_span"]

_SAYS = frozenset(
    {TriggerKind.NORMAL, TriggerKind.NEGATES_BEFORE, TriggerKind.HEDGES_BEFORE}
)
_MAX_WORDS_TO_PREDICATE = 8
_TAIL = frozenset(
    stems(
        "in size contour appearance morphology attenuation calibre caliber course "
        "position limits and configuration signal intensity thickness enhancement "
        "echotexture density shape "
    )
)
"""Words that may follow the predicate: "normal in size and contour"."""


def is_aside(sentence: Sentence, place: Mention) -> bool:
    """Whether a structure only says where something else is: "above the carina"."""
    if not sentence.findings or any(one.kinds & _SAYS for one in sentence.triggers):
        return False
    before = sentence.words[max(place.first - 4, 0) : place.first]
    return any(one.stem in PLACES for one in before)


def compound_end(sentence: Sentence, end: int) -> int:
    """Return the last word of a compound that a structure begins: "lung [volumes]"."""
    for index in range(end + 1, min(end + 3, len(sentence.words))):
        if (
            not sentence.words[index - 1].gap.isspace()
            or sentence.owners[index] is not None
            or sentence.words[index].stem in STOPS
            or any(one.first <= index <= one.last for one in sentence.triggers)
        ):
            break
        end = index
    return end


def structure_span(
    sentence: Sentence, place: Mention, start: int, end: int
) -> tuple[int, int]:
    """Return first and last word of a statement about one structure.

    Parameters
    ----------
    sentence : Sentence
        Where it stands.
    place : Mention
        The structure.
    start, end : int
        First and last word of its noun phrase.

    Returns
    -------
    tuple of int
        The noun phrase, or the whole statement when it is about this one structure.
        In a list ("the liver, spleen and pancreas are normal") each structure keeps
        its own words.

    """
    said = [one for one in sentence.triggers if one.kinds & _SAYS]
    after = next((one for one in said if one.first > end), None)
    if after is not None and _is_lone(sentence, end, after.first):
        shares = any(
            other is not place and other.last < place.first
            for other in _joined_before(sentence, place)
        )
        if not shares:
            return with_article(sentence, start), _tail(sentence, after)
    before = next((one for one in reversed(said) if one.last < start), None)
    if (
        before is not None
        and start - before.last <= 4
        and not _crosses(sentence, before.last, start)
        and _is_last_in_list(sentence, place)
        and "of" in {sentence.words[i].stem for i in range(before.last + 1, start)}
    ):
        return before.first, end
    return start, end


def _is_lone(sentence: Sentence, end: int, predicate: int) -> bool:
    """Whether nothing else is named, and no comma stands, before the predicate."""
    between = range(end + 1, predicate)
    if len(between) > _MAX_WORDS_TO_PREDICATE:
        return False
    if any(sentence.owners[index] is not None for index in between):
        return False
    gaps = "".join(sentence.words[index].gap for index in range(end, predicate))
    return "," not in gaps and ";" not in gaps and "(" not in gaps


def _joined_before(sentence: Sentence, place: Mention) -> list[Mention]:
    """Return the structures that an "and" or a comma joins to this one."""
    first = place.first
    joined: list[Mention] = []
    for other in reversed(sentence.places):
        if other.last >= first:
            continue
        between = [one.stem for one in sentence.words[other.last + 1 : first]]
        gap = sentence.words[other.last].gap
        is_list = set(between) <= {"and", "or", "the", "left", "right", "both"}
        if not is_list or not ("and" in between or "or" in between or "," in gap):
            break
        if other.concept.kind is not ConceptKind.FINDING:
            joined.append(other)
        first = other.first
    return joined


def _is_last_in_list(sentence: Sentence, place: Mention) -> bool:
    return not _joined_before(sentence, place) and not any(
        place in _joined_before(sentence, other) for other in sentence.places
    )


def _crosses(sentence: Sentence, first: int, last: int) -> bool:
    gaps = "".join(sentence.words[index].gap for index in range(first, last))
    return any(mark in gaps for mark in ",;:(") or any(
        sentence.owners[index] is not None for index in range(first + 1, last)
    )


def _tail(sentence: Sentence, predicate: Trigger) -> int:
    """Return the last word of the predicate: "normal [in size and contour]"."""
    last = predicate.last
    for index in range(predicate.last + 1, len(sentence.words)):
        gap = sentence.words[index - 1].gap
        if sentence.owners[index] is not None or any(mark in gap for mark in ",;:("):
            break
        if sentence.words[index].stem not in _TAIL:
            break
        if sentence.words[index].stem not in ("and", "in"):
            last = index
    return last

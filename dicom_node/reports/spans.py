"""Which words of a sentence make the shortest readable phrase around a mention."""

from __future__ import annotations

from dicom_node.reports.attributes import SIDE_WORDS
from dicom_node.reports.grammar import BREAK, STOPS
from dicom_node.reports.lexicon import ConceptKind, Mention
from dicom_node.reports.sentence import Sentence
from dicom_node.reports.tails import noun_end, place_end, size_end
from dicom_node.reports.triggers import TriggerKind
from dicom_node.reports.words import stems

__all__ = ["extend_finding", "noun_phrase", "subject_of", "with_article"]

_VERBS = frozenset(
    stems("is are was were has contains shows demonstrates appears remains measures")
)
"""Verbs that make a statement of a phrase: then its subject keeps its article."""

_QUANTITIES = frozenset(
    stems(
        "amount area focus degree number collection region volume cluster component "
        "loss burden spectrum mm cm"
    )
)
"""Nouns that take what they measure with "of": "a small amount of ascites"."""

_MAX_MODIFIERS = 12
_MAX_SUBJECT_WORDS = 8


def noun_phrase(sentence: Sentence, first: int, last: int) -> int:
    """Return where the noun phrase that ends with words `first` to `last` begins."""
    words = sentence.words
    own = [sentence.owners[index] for index in range(first, last + 1)]
    farthest = max(first - _MAX_MODIFIERS, 0)
    while first > farthest:
        before = words[first - 1]
        owner = sentence.owners[first - 1]
        if BREAK.search(before.gap) or first - 1 in sentence.deciding:
            break
        if owner is not None and owner not in own:
            if owner.concept.kind is ConceptKind.FINDING:
                break
            first = owner.first
            own.append(owner)
            continue
        if before.stem == "of" and first > 1 and words[first - 2].stem in _QUANTITIES:
            first -= 2
            continue
        if before.stem in ("and", "to", "than") and _is_side_pair(sentence, first - 1):
            first -= 1
            continue
        if before.stem in STOPS and owner is None and before.gap != "-":
            break
        first -= 1
    return first


def extend_finding(sentence: Sentence, mention: Mention) -> tuple[int, int]:
    """Return first and last word of the phrase of a finding.

    To the left its modifiers, to the right its place and its size: "[3 mm] stone
    [in the left kidney]".
    """
    partners = [
        one for one in sentence.findings if one.predicate & mention.predicate
    ] or [mention]
    first = noun_phrase(sentence, min(one.first for one in partners), mention.last)
    last = max(one.last for one in partners)
    if any(sentence.words[index].stem in _VERBS for index in range(first, last)):
        first = with_article(sentence, first)
    while True:
        extended = noun_end(sentence, mention, last)
        if extended == last:
            extended = size_end(sentence, last)
        if extended == last:
            extended = place_end(sentence, last)
        if extended == last:
            return first, last
        last = extended


def with_article(sentence: Sentence, first: int) -> int:
    """Return `first`, or the article right before it: "the liver is enlarged"."""
    if first > 0:
        before = sentence.words[first - 1]
        if before.stem == "the" and not BREAK.search(before.gap):
            return first - 1
    return first


def subject_of(sentence: Sentence, first: int) -> tuple[Mention, bool] | None:
    """Find the structure that a finding is said of: "the left kidney has a ...".

    Parameters
    ----------
    sentence : Sentence
        Where to look.
    first : int
        The finding phrase's first word.

    Returns
    -------
    tuple of Mention and bool, or None
        The structure, and whether the words between belong into the phrase; a
        negation, a hedge or "with" between them do not.

    """
    words = sentence.words
    for place in reversed(sentence.places):
        if place.last >= first:
            continue
        between = range(place.last + 1, first)
        gaps = "".join(words[index].gap for index in range(place.last, first))
        is_far = len(between) > _MAX_SUBJECT_WORDS or ";" in gaps or "," in gaps
        owners = {sentence.owners[index] for index in between} - {None}
        names = {words[index].stem for index in between}
        if is_far or owners or names & {"but", "while", "whereas", "however", "and"}:
            return None
        if any(
            one.first in between
            for one in sentence.triggers
            if TriggerKind.NORMAL in one.kinds
        ):
            return None  # "the lungs are clear without ...": a statement of its own
        # "Liver with a cyst" is one phrase; "kidneys enhance well, with a cyst" is two.
        is_far = bool(names & {"with", "without"}) and not names <= {"with", "a", "an"}
        is_part = (
            not is_far
            and not (":" in gaps and noun_phrase(sentence, place.first, place.last))
            and place.concept.kind is ConceptKind.STRUCTURE
            and not any(index in sentence.deciding for index in between)
        )
        return place, is_part
    return None


def _is_side_pair(sentence: Sentence, position: int) -> bool:
    """Whether a joining word stands between two sides: "right and moderate left"."""
    words = sentence.words
    after = any(one.stem in SIDE_WORDS for one in words[position + 1 : position + 4])
    for index in range(position - 1, max(position - 4, -1), -1):
        if sentence.owners[index] is not None or BREAK.search(words[index].gap):
            return False
        if words[index].stem in SIDE_WORDS:
            return after
    return False

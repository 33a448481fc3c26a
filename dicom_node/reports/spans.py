"""Which words of a sentence make the shortest readable phrase around a mention."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dicom_node.reports.attributes import SIDE_WORDS
from dicom_node.reports.context import Context, read_context
from dicom_node.reports.lexicon import ConceptKind, Mention, find_mentions
from dicom_node.reports.triggers import Trigger, TriggerKind, find_triggers
from dicom_node.reports.words import Word, split_words, stems

__all__ = [
    "PLACES",
    "STOPS",
    "Sentence",
    "extend_finding",
    "noun_phrase",
    "read_sentence",
    "size_end",
    "subject_of",
    "with_article",
]

_BREAK = re.compile(r"[,;:()\[\]?!\u2013\u2014\u2022]|\s-+\s|\n\s*\n")
"""Punctuation that a noun phrase does not cross."""

STOPS = frozenset(
    stems(
        "a an the this that these those there here it its is are was were be been "
        "being has have had do does did may might could can cannot will would should "
        "must "
        "seen noted identified visualized visualised demonstrated demonstrates show "
        "shows showing shown reveals revealed contains contain containing suggests "
        "represents representing measures measure measuring appears appear appearing "
        "remains remain and or nor but with without no not in on at of to from by for "
        "as than within into along near via per due however although which who also "
        "again overall otherwise additionally we i you likely consistent compatible "
        "indicating keeping given because since so then if when while whereas where "
        "status post evidence about redemonstrated present clear normal unremarkable "
        "intact patent involving overlying adjacent throughout over above below "
        "between through containing demonstrating include includes including enhance "
        "enhances extend extends extending show terminates terminating ends projects "
        "lies persists none"
    )
)
"""Words that end a noun phrase on its left."""

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

PLACES = frozenset(
    stems(
        "in of within at along involving over overlying near adjacent throughout on "
        "to from around abutting affecting about into through between above below "
        "projecting"
    )
)
"""Words that lead to where a finding is."""

_IN_PLACES = frozenset(
    stems(
        "the a an both and or of to in at its this anterior posterior medial lateral "
        "superior inferior upper lower mid middle proximal distal central peripheral "
        "inner outer segment part portion aspect side region level pole zone third "
        "adjacent within over along bilateral dependent"
    )
)

_SIZE_LEADS = frozenset(
    stems(
        "measuring measures measure of up to approximately about is which at roughly "
        "size in diameter maximum currently now"
    )
)

_ADJECTIVE_ENDS = ("ed", "ic", "ent", "ous")
"""How the adjectives end that name findings: "enlarged", "atrophic", "prominent"."""

_SEEN = frozenset(
    stems("is are was were again seen noted identified present visualized located")
)
"""What stands between a finding and its place: "a lesion [is seen] in the liver"."""

_UNITS = frozenset(("mm", "cm"))
_MAX_MODIFIERS = 12
_MAX_PLACE_WORDS = 9
_MAX_SUBJECT_WORDS = 8


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, read: its words, what it names, what it says about it."""

    words: tuple[Word, ...]
    mentions: tuple[Mention, ...]
    triggers: tuple[Trigger, ...]
    owners: tuple[Mention | None, ...]
    """The mention that each word belongs to."""
    context: Context
    deciding: frozenset[int]
    """The words of negations, hedges and history: no part of a noun phrase."""

    findings: tuple[Mention, ...]
    """The mentions of findings."""
    places: tuple[Mention, ...]
    """The mentions of structures and regions."""


def read_sentence(text: str, start: int, end: int) -> Sentence:
    """Read the sentence ``text[start:end]``."""
    words = split_words(text, start, end)
    mentions = find_mentions(words)
    triggers = find_triggers(words)
    owners: list[Mention | None] = [None] * len(words)
    for one in mentions:
        for index in one.words:
            owners[index] = one
    deciding = frozenset(
        index
        for one in triggers
        if one.kinds - {TriggerKind.NORMAL, TriggerKind.ENDS}
        for index in range(one.first, one.last + 1)
        if owners[index] is None
    )
    return Sentence(
        words=words,
        mentions=mentions,
        triggers=triggers,
        owners=tuple(owners),
        context=read_context(words, mentions, triggers),
        deciding=deciding,
        findings=tuple(
            one for one in mentions if one.concept.kind is ConceptKind.FINDING
        ),
        places=tuple(
            one for one in mentions if one.concept.kind is not ConceptKind.FINDING
        ),
    )


def noun_phrase(sentence: Sentence, first: int, last: int) -> int:
    """Return where the noun phrase that ends with words `first` to `last` begins."""
    words = sentence.words
    own = [sentence.owners[index] for index in range(first, last + 1)]
    farthest = max(first - _MAX_MODIFIERS, 0)
    while first > farthest:
        before = words[first - 1]
        owner = sentence.owners[first - 1]
        if _BREAK.search(before.gap) or first - 1 in sentence.deciding:
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
        extended = _noun_end(sentence, mention, last)
        if extended == last:
            extended = size_end(sentence, last)
        if extended == last:
            extended = _place_end(sentence, last)
        if extended == last:
            return first, last
        last = extended


def with_article(sentence: Sentence, first: int) -> int:
    """Return `first`, or the article right before it: "the liver is enlarged"."""
    if first > 0:
        before = sentence.words[first - 1]
        if before.stem == "the" and not _BREAK.search(before.gap):
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
        if sentence.owners[index] is not None or _BREAK.search(words[index].gap):
            return False
        if words[index].stem in SIDE_WORDS:
            return after
    return False


def _noun_end(sentence: Sentence, mention: Mention, last: int) -> int:
    """Return the last word of the structure that an adjective is said of, or `last`."""
    words = sentence.words
    if last != mention.last or not words[last].text.endswith(_ADJECTIVE_ENDS):
        return last
    for index in range(last + 1, min(last + 4, len(words))):
        if _BREAK.search(words[index - 1].gap) or index in sentence.deciding:
            return last
        owner = sentence.owners[index]
        if owner is not None:
            is_place = owner.concept.kind is not ConceptKind.FINDING
            return owner.last if is_place and not owner.is_adjective else last
        if words[index].stem in STOPS:
            return last
    return last


def size_end(sentence: Sentence, last: int) -> int:
    """Return the last word of a size that follows, or `last`."""
    words = sentence.words
    position = last + 1
    leads = 0
    while position < len(words) and leads < 6:
        if ";" in words[position - 1].gap or sentence.owners[position] is not None:
            return last
        if words[position].text[0].isdigit():
            break
        if words[position].stem not in _SIZE_LEADS:
            return last
        position += 1
        leads += 1
    end = last
    for index in range(position, min(position + 8, len(words))):
        text = words[index].text
        if text in _UNITS and index > position:
            follows = words[index + 1].stem if index + 1 < len(words) else ""
            end = last if follows == "of" else index  # "6 mm of midline shift"
        elif not (text[0].isdigit() or text in ("x", "by", "to")):
            break
    return end


def _place_end(sentence: Sentence, last: int) -> int:
    """Return the last word of the place that follows, or `last`."""
    words = sentence.words
    begin = last + 1
    while begin < len(words) - 1 and begin < last + 4 and words[begin].stem in _SEEN:
        begin += 1
    gaps = [one.gap for one in words[last:begin]]
    if (
        begin >= len(words)
        or words[begin].stem not in PLACES
        or any(_BREAK.search(gap) for gap in gaps)
    ):
        return last
    end = last
    is_joined = False
    for index in range(begin, min(begin + _MAX_PLACE_WORDS, len(words))):
        owner = sentence.owners[index]
        word = words[index]
        is_ordinal = word.text[0].isdigit()
        if index > begin and _BREAK.search(words[index - 1].gap):
            # A list of places goes on after a comma, anything else does not.
            if words[index - 1].gap.strip() != "," or not (owner or is_ordinal):
                break
            is_joined = True
        if index in sentence.deciding:
            break
        if owner is not None:
            if owner.concept.kind is ConceptKind.FINDING:
                break
            if is_joined and _names_finding(sentence, owner.last + 1):
                break  # "... in the liver and renal cysts": another phrase
            end = max(end, owner.last)
        elif word.stem in SIDE_WORDS:
            end = end if is_joined else max(end, index)
        elif word.stem in ("and", "or"):
            is_joined = True
        elif is_ordinal or word.stem in _IN_PLACES or word.stem in PLACES:
            continue
        elif words[index - 1].stem in SIDE_WORDS and word.stem not in STOPS:
            end = end if is_joined else index  # "along the right convexity"
        elif end > last or word.stem in STOPS:
            break
    return end


def _names_finding(sentence: Sentence, index: int) -> bool:
    if index >= len(sentence.words):
        return False
    owner = sentence.owners[index]
    return owner is not None and owner.concept.kind is ConceptKind.FINDING

"""What may follow a finding in its phrase: its structure, its size, its place."""

from __future__ import annotations

from dicom_node.reports.attributes import SIDE_WORDS
from dicom_node.reports.grammar import BREAK, PLACES, STOPS
from dicom_node.reports.lexicon import ConceptKind, Mention
from dicom_node.reports.sentence import Sentence
from dicom_node.reports.words import stems

__all__ = ["noun_end", "place_end", "size_end"]

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
_MAX_PLACE_WORDS = 9


def noun_end(sentence: Sentence, mention: Mention, last: int) -> int:
    """Return the last word of the structure that an adjective is said of, or `last`."""
    words = sentence.words
    if last != mention.last or not words[last].text.endswith(_ADJECTIVE_ENDS):
        return last
    for index in range(last + 1, min(last + 4, len(words))):
        if BREAK.search(words[index - 1].gap) or index in sentence.deciding:
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


def place_end(sentence: Sentence, last: int) -> int:
    """Return the last word of the place that follows, or `last`."""
    words = sentence.words
    begin = last + 1
    if begin < len(words) and words[begin].text == "bilaterally":
        return begin
    while begin < len(words) - 1 and begin < last + 4 and words[begin].stem in _SEEN:
        begin += 1
    gaps = [one.gap for one in words[last:begin]]
    if (
        begin >= len(words)
        or words[begin].stem not in PLACES
        or any(BREAK.search(gap) for gap in gaps)
    ):
        return last
    end = last
    is_joined = False
    for index in range(begin, min(begin + _MAX_PLACE_WORDS, len(words))):
        owner = sentence.owners[index]
        word = words[index]
        is_ordinal = word.text[0].isdigit()
        if index > begin and BREAK.search(words[index - 1].gap):
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
    while end > last and end + 1 < len(words) and words[end].gap == "-":
        end += 1  # "at L4-5"
    return end


def _names_finding(sentence: Sentence, index: int) -> bool:
    if index >= len(sentence.words):
        return False
    owner = sentence.owners[index]
    return owner is not None and owner.concept.kind is ConceptKind.FINDING

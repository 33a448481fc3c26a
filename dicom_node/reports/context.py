"""What a sentence says about the things it names: stated, negated, hedged, past."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dicom_node.records import PhraseStatus
from dicom_node.reports.lexicon import ConceptKind, Mention
from dicom_node.reports.triggers import Trigger, TriggerKind
from dicom_node.reports.words import Word, stems

__all__ = ["Context", "read_context"]

_MAX_LOOK_BACK_WORDS = 30
"""Farthest that "... is not seen" looks back."""

_MAX_ITEM_WORDS = 30
"""Words of a list after a comma that are searched for its "or"."""

_NEW_ITEM = frozenset(
    stems(
        "small mild moderate large stable unchanged new there the a an tiny trace "
        "severe minimal increased decreased persistent chronic marked extensive "
        "multiple several few left right bilateral again mildly moderately severely"
    )
)
"""Words that begin a statement of its own after a comma or an "and"."""

_FINITE = frozenset(
    stems("is are was were remains remain appears appear measures measure contains")
)

_GONE = frozenset(
    stems(text)
    for text in (
        "absent",
        "surgically absent",
        "removed",
        "has been removed",
        "have been removed",
        "has been resected",
    )
)
"""How a report says that an organ is not there; "not seen" does not say so."""

_VERSUS = frozenset({stems("versus"), stems("vs")})
"""What hedges the one thing before it and what comes after."""

_NOT_SEEN = frozenset(
    ("not", name)
    for name in stems("seen identified visualized visualised demonstrated found")
)
"""How a report says that it does not know about an organ."""


@dataclass(frozen=True, slots=True)
class Context:
    """A sentence with what decides about its mentions.

    ``barriers[i]`` is the first word from the i-th on that no scope passes into,
    ``commas[i]`` the first that a comma or a barrier stands before.
    """

    words: Sequence[Word]
    mentions: Sequence[Mention]
    triggers: Sequence[Trigger]
    barriers: tuple[int, ...]
    commas: tuple[int, ...]

    def status_of(self, mention: Mention) -> PhraseStatus | None:
        """Decide what the sentence says about one of its mentions.

        Returns
        -------
        PhraseStatus or None
            None: it is history, a question or a request, and the report does not
            say that it is in the images.

        """
        before = [
            one
            for one in self.triggers
            if one.last < mention.first and self._reaches_after(one, mention.first)
        ]
        after = [
            one
            for one in self.triggers
            if one.first > mention.first and self._reaches_before(one, mention)
        ]
        if any(TriggerKind.HISTORY in one.kinds for one in before):
            return None
        if self._is_hedged(mention, before, after):
            return PhraseStatus.UNCERTAIN
        if mention.concept.kind is ConceptKind.FINDING:
            is_negated = self._is_negated(mention, before, after)
        else:
            is_negated = self._is_gone(mention, before, after)
        return PhraseStatus.ABSENT if is_negated else PhraseStatus.PRESENT

    def _is_hedged(
        self, mention: Mention, before: Sequence[Trigger], after: Sequence[Trigger]
    ) -> bool:
        if any(TriggerKind.HEDGES_AFTER in one.kinds for one in before):
            return True
        if mention.concept.kind is not ConceptKind.FINDING:
            return any(self._names(one) in _NOT_SEEN for one in after)
        return any(
            TriggerKind.HEDGES_BEFORE in one.kinds and self._looks_back(one, mention)
            for one in after
        )

    def _looks_back(self, trigger: Trigger, mention: Mention) -> bool:
        """Whether a hedge that can stand on either side is about what is before."""
        if self._names(trigger) in _VERSUS:
            return not any(
                mention.last < one.first < trigger.first for one in self.mentions
            )
        is_last = self.mentions[-1].first <= trigger.last
        return is_last or TriggerKind.HEDGES_AFTER not in trigger.kinds

    def _is_negated(
        self, mention: Mention, before: Sequence[Trigger], after: Sequence[Trigger]
    ) -> bool:
        if any(TriggerKind.NEGATES_AFTER in one.kinds for one in before):
            return True
        for one in after:
            if one.last < mention.last:
                # "The heart is not enlarged": the trigger stands inside the name.
                if TriggerKind.NEGATES_AFTER in one.kinds:
                    return True
            elif TriggerKind.NEGATES_BEFORE in one.kinds or self._is_answer(one):
                return True
        return False

    def _is_gone(
        self, place: Mention, before: Sequence[Trigger], after: Sequence[Trigger]
    ) -> bool:
        """Whether a structure itself is said to be absent."""
        return any(self._names(one) in _GONE for one in after) or any(
            TriggerKind.NEGATES_AFTER in one.kinds
            and place.first - one.last <= 3
            and not self._is_of_abnormality(one)
            for one in before
        )

    def _names(self, trigger: Trigger) -> tuple[str, ...]:
        words = self.words[trigger.first : trigger.last + 1]
        return tuple(one.stem for one in words)

    def _is_answer(self, trigger: Trigger) -> bool:
        """Whether it is the answer "no" of a form: "Pneumothorax: No"."""
        return (
            self.words[trigger.first].stem == "no"
            and trigger.last == len(self.words) - 1
            and ":" in self.words[trigger.first - 1].gap
        )

    def _is_of_abnormality(self, trigger: Trigger) -> bool:
        """Whether "abnormality" is negated, which says that all is well."""
        after = self.words[trigger.last + 1 : trigger.last + 4]
        return any(one.stem.startswith("abnormal") for one in after)

    def _reaches_after(self, trigger: Trigger, target: int) -> bool:
        """Whether nothing ends the trigger's scope before the target word."""
        ends = self.commas if TriggerKind.HISTORY in trigger.kinds else self.barriers
        return ends[trigger.last + 1] > target

    def _reaches_before(self, trigger: Trigger, mention: Mention) -> bool:
        """Whether the trigger looks back as far as the mention."""
        if trigger.first <= mention.last:
            return True
        if trigger.first - mention.last > _MAX_LOOK_BACK_WORDS:
            return False
        gaps = "".join(one.gap for one in self.words[mention.last : trigger.first])
        # "Effusion, no longer seen" looks over one comma, not over two statements.
        if ";" in gaps or gaps.count(",") > 1:
            return False
        return not any(
            TriggerKind.ENDS in one.kinds
            and mention.last < one.first < trigger.first
            and self.words[one.first].stem not in ("which", "with")
            for one in self.triggers
        )


def read_context(
    words: Sequence[Word], mentions: Sequence[Mention], triggers: Sequence[Trigger]
) -> Context:
    """Read how far the triggers of a sentence reach.

    Parameters
    ----------
    words : sequence of Word
        The sentence.
    mentions : sequence of Mention
        What it names, in reading order.
    triggers : sequence of Trigger
        Its triggers, in reading order.

    """
    ends = {one.first for one in triggers if TriggerKind.ENDS in one.kinds}

    def is_barrier(position: int) -> bool:
        gap = words[position - 1].gap
        if position in ends or ";" in gap or ("\n" in gap and ":" in gap):
            return True
        is_comma = "," in gap and words[position].stem not in ("and", "or", "nor")
        is_joint = is_comma or words[position].stem == "and"
        return is_joint and _starts_statement(position, is_comma, words)

    def is_comma_or_barrier(position: int) -> bool:
        return "," in words[position - 1].gap or is_barrier(position)

    return Context(
        words=words,
        mentions=mentions,
        triggers=triggers,
        barriers=_next_positions(len(words), is_barrier),
        commas=_next_positions(len(words), is_comma_or_barrier),
    )


def _next_positions(count: int, holds: Callable[[int], bool]) -> tuple[int, ...]:
    """Return for each position the first one from it on for which `holds`."""
    following = [count] * (count + 1)
    for position in range(count - 1, 0, -1):
        following[position] = position if holds(position) else following[position + 1]
    return tuple(following)


def _starts_statement(position: int, is_comma: bool, words: Sequence[Word]) -> bool:
    """Whether what follows a comma or an "and" is a statement of its own."""
    rest = words[position : position + _MAX_ITEM_WORDS]
    if is_comma:
        for one in rest:
            if one.stem in ("or", "nor"):
                return False
            if ";" in one.gap:
                break
    content = [one for one in rest[:2] if one.stem != "and"]
    if content and content[0].stem in _NEW_ITEM:
        return True
    for one in rest:
        if one.stem in _FINITE:
            return True
        if "," in one.gap or ";" in one.gap:
            break
    return False

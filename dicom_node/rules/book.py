"""The rules of a node, in their order, and what they decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.config import RuleSettings
from dicom_node.rules.tags import Tags, read_tags

if TYPE_CHECKING:
    from dicom_node.rules.expression import Expression

__all__ = [
    "PRIORITIES",
    "Decision",
    "RuleBook",
    "RuleStep",
    "RuleTrial",
    "try_rules",
]

PRIORITIES: Mapping[str, int] = {
    "requested": 1,
    "urgent": 1,
    "normal": 2,
    "low": 3,
}
"""By name; the lower goes first."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a study. ``rule`` is None when none fitted."""

    rule: str | None = None
    is_processed: bool = True
    model: str | None = None
    """A name of ``[[models]]``; None: the default model."""
    priority: str = "normal"
    is_off_peak: bool = False


@dataclass(frozen=True, slots=True)
class RuleStep:
    """How one rule was tried; those after the first that fits are not."""

    rule: str
    when: str
    is_match: bool
    trouble: str | None
    """Why it could not be evaluated on some series: an element is absent there."""


@dataclass(frozen=True, eq=False)
class RuleTrial:
    """What the rules made of some files."""

    decision: Decision
    steps: tuple[RuleStep, ...]
    tags: tuple[Tags, ...]
    """Of each file; they hold patient data."""


class RuleBook:
    """The rules of a node, in their order.

    Parameters
    ----------
    rules : sequence of RuleSettings
        The rules.

    Raises
    ------
    RuleError
        An expression cannot be parsed, compares a text with a number, or names
        something that is no DICOM keyword; the message names the rule.

    """

    def __init__(self, rules: Sequence[RuleSettings]) -> None:
        self._rules: tuple[Expression, ...] = ()
        if rules:
            # The library builds the tables of its parser, for as long as the whole
            # node needs to start: nodes without rules do not wait for it.
            from dicom_node.rules.expression import Expression

            self._rules = tuple(Expression(one) for one in rules)

    def __bool__(self) -> bool:
        """Whether there are any rules."""
        return bool(self._rules)

    def decide(self, tags: Sequence[Tags]) -> Decision:
        """Decide about a study.

        Parameters
        ----------
        tags : sequence of mapping
            The elements of one instance of each series (`study_tags`).

        """
        return self.trace(tags)[0]

    def trace(self, tags: Sequence[Tags]) -> tuple[Decision, tuple[RuleStep, ...]]:
        """Decide, and tell how."""
        steps = []
        for rule in self._rules:
            settings = rule.settings
            is_match, trouble = rule.fits(tags)
            steps.append(RuleStep(settings.name, settings.when, is_match, trouble))
            if is_match:
                decision = Decision(
                    rule=settings.name,
                    is_processed=settings.action == "process",
                    model=settings.model,
                    priority=settings.priority,
                    is_off_peak=settings.off_peak,
                )
                return decision, tuple(steps)
        return Decision(), tuple(steps)


def try_rules(paths: Sequence[Path], rules: Sequence[RuleSettings]) -> RuleTrial:
    """Say what the rules make of files, as if each were the first of a series.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        DICOM files of one study.
    rules : sequence of RuleSettings
        The rules.

    Raises
    ------
    RuleError
        A rule cannot be understood.
    CannotUnderstandError
        A file is no DICOM file.

    """
    tags = tuple(read_tags(path) for path in paths)
    decision, steps = RuleBook(rules).trace(tags)
    return RuleTrial(decision, steps, tags)

"""One rule's expression: parsed once, held against the elements of each series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rule_engine

from dicom_node.config import RuleSettings
from dicom_node.errors import RuleError
from dicom_node.rules.tags import Tags, kind_of

__all__ = ["Expression"]


class Expression:
    """A rule that can be tried.

    Parameters
    ----------
    settings : RuleSettings
        The rule.

    Raises
    ------
    RuleError
        It cannot be parsed, compares a text with a number, or names something that
        is no DICOM keyword; the message names the rule.

    """

    def __init__(self, settings: RuleSettings) -> None:
        self.settings = settings
        self._rule = _compile(settings)

    def fits(self, tags: Sequence[Tags]) -> tuple[bool, str | None]:
        """Say whether it fits a study; if not, also why it could not be evaluated.

        Parameters
        ----------
        tags : sequence of mapping
            The elements of one instance of each series.

        """
        trouble = None
        results = []
        is_ignore = self.settings.action == "ignore"
        # A report beside the images does not keep a study from being ignored.
        images = [one for one in tags if "Rows" in one] if is_ignore else []
        for one in images or tags:
            try:
                results.append(bool(self._rule.matches(one)))
            except Exception as error:  # noqa: BLE001 - no study may stop the others
                results.append(False)
                # Never the message itself: it may quote a value.
                absent = sorted(
                    name
                    for name in self._rule.context.symbols
                    if _value_of(one, name) in (None, ())
                )
                trouble = (
                    f"absent: {', '.join(absent)}" if absent else type(error).__name__
                )
        if not results:
            return False, "no series can be read"
        fits = all(results) if is_ignore else any(results)
        return fits, None if fits else trouble


def _compile(settings: RuleSettings) -> Any:
    context = rule_engine.Context(
        resolver=_value_of, type_resolver=_type_of, default_value=None
    )
    try:
        return rule_engine.Rule(settings.when, context=context)
    except rule_engine.errors.SymbolResolutionError as error:
        what = f"{error.symbol_name} is not a DICOM keyword that rules can use"
        msg = f"rules.{settings.name}.when: {what}"
        raise RuleError(msg) from error
    except rule_engine.errors.EngineError as error:
        what = error.message or type(error).__name__
        msg = f"rules.{settings.name}.when: {what}"
        raise RuleError(msg) from error


def _type_of(name: str) -> Any:
    kind = kind_of(name)
    if kind is None:
        raise rule_engine.errors.SymbolResolutionError(name)
    scalar = rule_engine.DataType.FLOAT if kind[0] else rule_engine.DataType.STRING
    return rule_engine.DataType.ARRAY(scalar) if kind[1] else scalar


def _value_of(tags: Tags, name: str) -> Any:
    kind = kind_of(name)
    # An absent list is an empty one: `"AXIAL" in ImageType` is then simply false.
    return tags.get(name, () if kind is not None and kind[1] else None)

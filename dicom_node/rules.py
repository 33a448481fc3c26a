"""Which studies are processed, by which model and when: rules over DICOM keywords.

A rule is an expression of the ``rule-engine`` language over the elements of an
instance: ``Modality == "CT" and StudyDescription =~ "(?i).*chest.*"``. The first
instance of every series is looked at. A rule with the action ``process`` fits a study
when it fits one of its series; one with the action ``ignore`` when it fits every one
of them, so that a localizer does not take its study along. The first rule that fits
counts; a study that none fits is processed by the default model.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pydicom
import rule_engine
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue

from dicom_node.config import RuleSettings
from dicom_node.errors import CannotUnderstandError, RuleError
from dicom_node.records import StoredInstance

__all__ = [
    "PRIORITIES",
    "Decision",
    "RuleBook",
    "RuleStep",
    "RuleTrial",
    "Tags",
    "read_tags",
    "study_tags",
    "try_rules",
]

Tags: TypeAlias = Mapping[str, Any]
"""DICOM keyword to text, number, or tuple of these where the element may hold many."""

PRIORITIES: Mapping[str, int] = {"urgent": 1, "normal": 2, "low": 3}
"""By name; the lower goes first."""

_NUMBERS = frozenset(
    {"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"}
)
_TEXTS = frozenset(
    {
        *("AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM"),
        *("UC", "UI", "UR", "UT"),
    }
)
_MAX_VALUES = 64
"""Of an element with many values, the rest is left out."""

_MAX_CHARACTERS = 1024

_UNREADABLE = (
    InvalidDicomError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


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
        self._rules = tuple((one, _compile(one)) for one in rules)

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
        for settings, rule in self._rules:
            is_match, trouble = _fits(settings, rule, tags)
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


def study_tags(instances: Iterable[StoredInstance]) -> tuple[Tags, ...]:
    """Read the elements of the first instance of each series that can be read."""
    found: dict[str, Tags] = {}
    for one in instances:
        if one.series_instance_uid in found:
            continue
        try:
            found[one.series_instance_uid] = read_tags(one.path)
        except CannotUnderstandError:
            continue
    return tuple(found.values())


def read_tags(path: Path) -> Tags:
    """Read the elements of a DICOM file that rules can speak of.

    Sequences, private elements and pixels are left out.

    Raises
    ------
    CannotUnderstandError
        It is no DICOM file, or its header cannot be read.

    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(path, stop_before_pixels=True, defer_size=4096)
            return _tags(ds)
    except _UNREADABLE as error:
        raise CannotUnderstandError("it is not a DICOM file") from error


def _tags(ds: Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tag in ds.keys():  # noqa: SIM118 - iterating decodes every element
        keyword = pydicom.datadict.keyword_for_tag(tag)
        kind = _kind(keyword) if keyword else None
        if kind is None:
            continue
        try:
            value = ds[tag].value
        except _UNREADABLE:
            continue
        many = value if isinstance(value, MultiValue | list | tuple) else [value]
        plain = [
            one
            for one in (_plain(item, kind[0]) for item in list(many)[:_MAX_VALUES])
            if one is not None
        ]
        if kind[1]:
            found[keyword] = tuple(plain)
        elif plain:
            found[keyword] = plain[0]
    return found


def _plain(value: Any, is_number: bool) -> str | float | None:
    if value is None or value == "":
        return None
    if not is_number:
        return str(value)[:_MAX_CHARACTERS]
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


@cache
def _kind(keyword: str) -> tuple[bool, bool] | None:
    """Return (is it a number, may it hold many values); None: rules cannot use it."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        return None
    vr = dictionary_VR(tag)
    if vr not in _NUMBERS and vr not in _TEXTS:
        return None
    return vr in _NUMBERS, dictionary_VM(tag) != "1"


def _type_of(name: str) -> Any:
    kind = _kind(name)
    if kind is None:
        raise rule_engine.errors.SymbolResolutionError(name)
    scalar = rule_engine.DataType.FLOAT if kind[0] else rule_engine.DataType.STRING
    return rule_engine.DataType.ARRAY(scalar) if kind[1] else scalar


def _value_of(tags: Tags, name: str) -> Any:
    kind = _kind(name)
    # An absent list is an empty one: `"AXIAL" in ImageType` is then simply false.
    return tags.get(name, () if kind is not None and kind[1] else None)


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


def _fits(
    settings: RuleSettings, rule: Any, tags: Sequence[Tags]
) -> tuple[bool, str | None]:
    trouble = None
    results = []
    for one in tags:
        try:
            results.append(bool(rule.matches(one)))
        except (rule_engine.errors.EngineError, TypeError) as error:
            results.append(False)
            # Never the message itself: it may quote a value.
            absent = sorted(
                name for name in _symbols(rule) if _value_of(one, name) in (None, ())
            )
            trouble = f"absent: {', '.join(absent)}" if absent else type(error).__name__
    if not results:
        return False, "no series can be read"
    fits = all(results) if settings.action == "ignore" else any(results)
    return fits, None if fits else trouble


def _symbols(rule: Any) -> set[str]:
    names: set[str] = rule.context.symbols
    return names

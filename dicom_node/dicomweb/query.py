"""QIDO-RS queries: what a client asks for, read from the address and matched.

Matching follows PS3.4 C.2.2.2: single value, list of UIDs, wildcards and ranges.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from dicom_node.errors import DicomwebError

__all__ = ["DEFAULT_LIMIT", "MAX_LIMIT", "Condition", "Query", "Value", "parse_query"]

DEFAULT_LIMIT = 200
"""Results in one answer where the client names no number."""

MAX_LIMIT = 5000
"""The largest number that a client may ask for."""

_MAX_CONDITIONS = 64
_MAX_TEXT = 4096
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_RANGE_VRS = {"DA": 8, "TM": 6, "DT": 14}
_PLAIN_VRS = {"UI", "DA", "TM", "DT", "IS", "DS", "US", "UL", "SS", "SL", "FL", "FD"}
"""In these an asterisk or a question mark is no wildcard (PS3.4 C.2.2.2.4)."""

_MATCHING_OFF = "fuzzymatching is not supported: only literal matching was done"

Value: TypeAlias = str | int | tuple[str, ...] | None
"""What an attribute holds: one value, several, or none."""


@dataclass(frozen=True)
class Condition:
    """One attribute and what it has to be; any of ``wanted`` is enough."""

    keyword: str
    vr: str
    wanted: tuple[str, ...]

    def holds(self, value: Value) -> bool:
        """Return whether a value matches.

        An attribute without a value matches universal matching alone, as a query
        key of zero length is (PS3.4 C.2.2.2.3).
        """
        if self.is_universal:
            return True
        values = value if isinstance(value, tuple) else (value,)
        return any(
            one is not None and str(one) != "" and self._holds_one(str(one))
            for one in values
        )

    @property
    def is_universal(self) -> bool:
        """Whether everything matches."""
        return all(one in {"", "*"} for one in self.wanted)

    @property
    def exact(self) -> tuple[str, ...]:
        """The values, where each has to be met as it is; else nothing."""
        if self.vr in _RANGE_VRS or any(
            one == "" or (self.vr not in _PLAIN_VRS and set("*?") & set(one))
            for one in self.wanted
        ):
            return ()
        return self.wanted

    @property
    def bounds(self) -> tuple[str, str]:
        """The first and the last value that match, empty where open.

        For dates, times and moments; a single one is both.
        """
        first, dash, last = self.wanted[0].partition("-")
        return (first, last) if dash else (first, first)

    def _holds_one(self, value: str) -> bool:
        if self.vr in _RANGE_VRS:
            return self._is_within(value)
        if self.vr == "PN":
            groups = [value, *value.split("=")]
            return any(
                pattern.fullmatch(group.rstrip("^ "))
                for pattern in self._patterns
                for group in groups
            )
        if self.vr in {"IS", "US", "UL", "SS", "SL"}:
            return any(_is_same_integer(one, value) for one in self.wanted)
        return any(pattern.fullmatch(value) for pattern in self._patterns)

    def _is_within(self, value: str) -> bool:
        digits = value.replace(":", "")
        first, last = self.bounds
        return (not first or digits[: max(len(first), 1)] >= first) and (
            not last or digits[: len(last)] <= last
        )

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        # Names may be matched without regard to case (PS3.4 C.2.2.2.1).
        flags = re.IGNORECASE if self.vr == "PN" else 0
        return tuple(
            re.compile(_pattern(one, is_plain=self.vr in _PLAIN_VRS), flags)
            for one in self.wanted
        )


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for.

    ``include`` names attributes beyond the usual ones by keyword or tag; ``warnings``
    says what was not done as asked.
    """

    conditions: tuple[Condition, ...] = ()
    include: frozenset[str] = frozenset()
    includes_all: bool = False
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    warnings: tuple[str, ...] = ()

    def condition(self, keyword: str) -> Condition | None:
        """Return the condition on an attribute that narrows; None: there is none."""
        return next(
            (
                one
                for one in self.conditions
                if one.keyword == keyword and not one.is_universal
            ),
            None,
        )

    def holds(self, attributes: Mapping[str, Value], *, known: Iterable[str]) -> bool:
        """Return whether attributes meet the conditions on those that are known."""
        names = set(known)
        return all(
            one.holds(attributes.get(one.keyword))
            for one in self.conditions
            if one.keyword in names
        )


def parse_query(
    parameters: Iterable[tuple[str, str]], *, known: Iterable[str]
) -> Query:
    """Read a query, PS3.18 8.3.4.

    Parameters
    ----------
    parameters : iterable of tuple of str
        Names and decoded values in the order of the address.
    known : iterable of str
        Keywords that can be matched; others are left out, with a warning.

    Raises
    ------
    DicomwebError
        A name is no attribute, a value no date, range, UID or number. The message
        names the attribute and never the value.

    """
    names = set(known)
    conditions: dict[str, Condition] = {}
    include: set[str] = set()
    numbers = {"limit": DEFAULT_LIMIT, "offset": 0}
    warnings: list[str] = []
    for name, value in parameters:
        if len(conditions) >= _MAX_CONDITIONS or len(value) > _MAX_TEXT:
            raise DicomwebError("the query is too long", status=414)
        if name in numbers:
            numbers[name] = _number(name, value)
        elif name == "includefield":
            include.update(_keyword(one) for one in value.split(",") if one)
        elif name == "fuzzymatching":
            if value.lower() == "true":
                warnings.append(_MATCHING_OFF)
        elif name.lower() in {"accept", "charset", "emptyvaluematching"}:
            continue
        else:
            keyword = _keyword(name)
            if keyword not in names:
                warnings.append(f"{keyword} cannot be matched and was left out")
                continue
            conditions[keyword] = _condition(keyword, value)
    if numbers["limit"] > MAX_LIMIT:
        warnings.append(f"at most {MAX_LIMIT} results are given at once")
    return Query(
        conditions=tuple(conditions.values()),
        include=frozenset(include - {"all"}),
        includes_all="all" in include,
        limit=min(numbers["limit"], MAX_LIMIT),
        offset=numbers["offset"],
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _condition(keyword: str, value: str) -> Condition:
    vr = dictionary_VR(keyword)
    text = value.strip(" \0")
    # Only UIDs may come as a list; a comma or a backslash is text elsewhere.
    many = re.split(r"[,\\]", text) if vr == "UI" else [text]
    if keyword in {"ModalitiesInStudy", "SOPClassesInStudy"}:
        many = re.split(r"[,\\]", text)
    wanted = tuple(one.strip() for one in many)
    if vr in _RANGE_VRS:
        wanted = (wanted[0].replace(":", ""),)
        _check_range(keyword, wanted[0], vr)
    elif vr == "UI" and not all(
        re.fullmatch(r"[0-9.]{1,64}|\*?", one) for one in wanted
    ):
        raise DicomwebError(f"{keyword} is not a UID", status=400)
    return Condition(keyword, vr, wanted)


def _check_range(keyword: str, text: str, vr: str) -> None:
    if text in {"", "*"}:
        return
    first, _, last = text.partition("-")
    length = _RANGE_VRS[vr]
    pattern = rf"[0-9]{{{length}}}" if vr == "DA" else r"[0-9]{2,14}(\.[0-9]{1,6})?"
    if not (first or last) or not all(
        re.fullmatch(pattern, one) for one in (first, last) if one
    ):
        what = {"DA": "YYYYMMDD", "TM": "HHMMSS", "DT": "YYYYMMDDHHMMSS"}[vr]
        raise DicomwebError(f"{keyword} is not {what}, nor a range of it", status=400)


def _keyword(name: str) -> str:
    """Return the keyword that a name or hexadecimal tag means."""
    if name == "all":
        return name
    # Attributes of a sequence's item have their path before them (PS3.18 8.3.4.1).
    parts = name.split(".")
    found = []
    for part in parts:
        if _TAG.fullmatch(part):
            # A private tag has no keyword; it stays what it is.
            found.append(keyword_for_tag(int(part, 16)) or part.upper())
        elif part.isidentifier() and tag_for_keyword(part) is not None:
            found.append(part)
        else:
            raise DicomwebError("a query parameter is no DICOM attribute", status=400)
    return ".".join(found)


def _number(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise DicomwebError(f"{name} is not a number from 0", status=400)
    return int(value)


def _pattern(wanted: str, *, is_plain: bool) -> str:
    if is_plain:
        return re.escape(wanted)
    # fnmatch also knows brackets, DICOM does not; what it makes takes linear time.
    return fnmatch.translate(wanted.rstrip("^ ").replace("[", "[[]"))


def _is_same_integer(wanted: str, value: str) -> bool:
    try:
        return int(wanted) == int(value)
    except ValueError:
        return False

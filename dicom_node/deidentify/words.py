"""The words by which a data set names somebody, looked for in what would stay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

__all__ = ["NamingWords", "find_words"]

_NAMES = frozenset(
    {
        "AccessionNumber",
        "DeviceSerialNumber",
        "InstitutionAddress",
        "InstitutionName",
        "InstitutionalDepartmentName",
        "IssuerOfPatientID",
        "MilitaryRank",
        "Occupation",
        "OtherPatientIDs",
        "PatientAddress",
        "PatientID",
        "PatientTelephoneNumbers",
        "StationName",
        "StudyID",
    }
)
"""Elements whose words name a person or place, beside every Person Name."""

_WORD = re.compile(r"\w{3,}")
_LEAST_INSIDE = 5
"""From so many characters on a word is found inside others, too."""

_DIGITS = re.compile(r"\d+")


class NamingWords:
    """Words that name somebody.

    Parameters
    ----------
    words : iterable of str
        In any case.

    """

    def __init__(self, words: Iterable[str]) -> None:
        self._words = frozenset(one.casefold() for one in words)
        self._long = tuple(one for one in self._words if len(one) >= _LEAST_INSIDE)

    def are_in(self, text: str) -> bool:
        """Return whether a text holds one of them."""
        folded = text.casefold()
        if any(one in folded for one in self._long):
            return True
        return not self._words.isdisjoint(re.split(r"[\W_]+", folded))


def find_words(ds: Dataset) -> NamingWords:
    """Collect the words by which a data set, or an item in it, names somebody.

    Numbers count from four digits on: a Study ID of 1 names nobody.
    """
    return NamingWords(
        word
        for text in _naming_texts(ds)
        for word in (*_WORD.findall(text.replace("_", " ")), text.strip())
        if len(word) > (3 if _DIGITS.fullmatch(word) else 2)
    )


def _naming_texts(ds: Dataset) -> Iterator[str]:
    for tag in list(ds.keys()):
        keyword, vr = _describe(tag)
        said = ds.get_item(tag).VR  # a file may put a name where a number belongs
        if not {vr, said} & {"PN", "SQ"} and keyword not in _NAMES:
            continue
        try:
            value = ds[tag].value
        except Exception:  # noqa: BLE001, S112 - what cannot be read does not leave
            continue
        if value is None:
            continue
        if isinstance(value, Sequence):
            for item in value:
                yield from _naming_texts(item)
        elif isinstance(value, MultiValue | list):
            yield from (str(one) for one in value)
        else:
            yield str(value)


def _describe(tag: BaseTag) -> tuple[str, str]:
    try:
        return keyword_for_tag(tag), dictionary_VR(tag)
    except KeyError:
        return "", ""

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

_WORD = re.compile(r"\w{2,}")
_SHORT = 2
"""Words of so many characters count where they are a person's."""

_TERMS = frozenset(
    {"ct", "mr", "pt", "nm", "us", "cr", "dx", "dr", "mg", "xa", "rf", "hu", "no"}
)
"""What is a term and no name where it stands alone (Modality, Rescale Type)."""

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
        if folded.strip() in _TERMS:
            return False
        return not self._words.isdisjoint(re.split(r"[\W_]+", folded))


def find_words(ds: Dataset) -> NamingWords:
    """Collect the words by which a data set, or an item in it, names somebody.

    Numbers count from four digits on: a Study ID of 1 names nobody.
    """
    return NamingWords(
        word
        for text, is_person in _naming_texts(ds)
        for word in (*_WORD.findall(text.replace("_", " ")), text.strip())
        if len(word) > (3 if _DIGITS.fullmatch(word) else 1 if is_person else _SHORT)
    )


def _naming_texts(ds: Dataset) -> Iterator[tuple[str, bool]]:
    """Yield texts, and whether each is a person's name."""
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
            yield from ((str(one), "PN" in {vr, said}) for one in value)
        else:
            yield str(value), "PN" in {vr, said}


def _describe(tag: BaseTag) -> tuple[str, str]:
    try:
        return keyword_for_tag(tag), dictionary_VR(tag)
    except KeyError:
        return "", ""

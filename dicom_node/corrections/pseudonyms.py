"""Names that lead to nobody: pseudonyms under a secret, and texts that name people."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from pydicom import Dataset

from dicom_node.errors import SettingsError

__all__ = ["SALT_FILE", "Pseudonyms", "identifying_words", "names_somebody"]

SALT_FILE = "corrections-export.salt"
"""In the data folder. Who has it can tell which pseudonym is whose: it never lies in
an export."""

_SALT_BYTES = 32

_NUMBERS = re.compile(r"\d{1,4}\s*[./-]\s*\d{1,2}\s*[./-]\s*\d{1,4}|\d{5,}")
"""Dates, and numbers long enough to be of a patient."""

_MONTH = re.compile(
    r"\b(jan|feb|m[aä]r|mrz|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-z]*\.?"
    r",?\s+\d{1,4}\b",
    re.IGNORECASE,
)

_TITLE = re.compile(r"\b(dr|prof|mrs?|ms|herr|frau)\.?\s+\w", re.IGNORECASE)

_IDENTIFYING = (
    "PatientName",
    "PatientID",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "PerformingPhysicianName",
    "OperatorsName",
    "RequestingPhysician",
    "InstitutionName",
)
"""What says who somebody is, as images usually have it."""


class Pseudonyms:
    """Keyed hashes: the same thing, the same name, as long as the salt is kept.

    Parameters
    ----------
    salt : bytes
        The secret.

    """

    def __init__(self, salt: bytes) -> None:
        self._salt = salt

    @classmethod
    def read(cls, path: Path) -> Pseudonyms:
        """Read the salt of a file; it is made where there is none.

        Raises
        ------
        SettingsError
            It can neither be read nor made, or holds no salt.

        """
        try:
            if not path.exists():
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(file, "w", encoding="ascii") as stream:
                    stream.write(secrets.token_hex(_SALT_BYTES) + "\n")
            salt = bytes.fromhex(path.read_text(encoding="ascii").strip())
        except (OSError, ValueError) as error:
            msg = f"{path}: the salt cannot be read or made"
            raise SettingsError(msg) from error
        if len(salt) < _SALT_BYTES:
            raise SettingsError(f"{path}: it holds no salt; choose another file")
        return cls(salt)

    def of(self, kind: str, *parts: str) -> str:
        """Return the name of what a kind of thing is called: 32 hexadecimal digits."""
        text = "\x1f".join((kind, *parts)).encode("utf-8", "surrogatepass")
        return hmac.new(self._salt, text, hashlib.sha256).hexdigest()[:32]


def identifying_words(header: Dataset) -> frozenset[str]:
    """Return what in a header says who somebody is: words of three letters or more."""
    values = (str(header.get(keyword, "") or "") for keyword in _IDENTIFYING)
    return frozenset(
        word
        for value in values
        for word in re.findall(r"\w+", value.casefold())
        if len(word) > 2
    )


def names_somebody(texts: Iterable[str], words: frozenset[str]) -> bool:
    """Return whether a text has one of the words, a date, a long number or a title."""
    for text in texts:
        if _NUMBERS.search(text) or _MONTH.search(text) or _TITLE.search(text):
            return True
        if words & set(re.findall(r"\w+", text.casefold())):
            return True
    return False

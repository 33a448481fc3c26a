"""What coded headings of report documents mean, and which language is read."""

from __future__ import annotations

from functools import cache

from dicom_node.reports.words import read_table

__all__ = ["is_english", "section_title"]

_ENGLISH = ("en", "eng", "")


def section_title(scheme: str, code: str) -> str | None:
    """Return the title of the section that a concept names (CID 7001, 7002)."""
    return _titles().get((scheme, code))


def is_english(language: str) -> bool:
    """Tell whether a language code (RFC 5646) is English, or says nothing."""
    return language.lower().split("-")[0] in _ENGLISH


@cache
def _titles() -> dict[tuple[str, str], str]:
    return {
        (row["scheme"], row["code"]): row["title"]
        for row in read_table("sr_headings.csv")
    }

"""Codes of phrases: SNOMED CT and DICOM where the tables have them, else our own.

A concept without a public code, and a phrase that names nothing in the lexicon, get a
code of the private scheme `PRIVATE_SCHEME` (PS3.3 8.2). Its value is a hash, so the
same words always get the same code. Its meaning is the concept's name; for a phrase
outside the lexicon it says "Unspecified finding", with the site when that is known:
the words of such a phrase are free text that may name a person, and the SR carries
them where free text belongs, so nothing is lost for the reader.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache

from dicom_node.records import Code, Finding
from dicom_node.reports.lexicon import Concept, ConceptKind, concept
from dicom_node.reports.words import read_table, stems

__all__ = [
    "PRIVATE_SCHEME",
    "code_of",
    "finding_of",
    "private_code",
    "unspecified_finding",
]

PRIVATE_SCHEME = "99MEDGLIP"
"""Coding Scheme Designator of the node's own codes; "99" marks private schemes."""

_CATEGORIES = {
    "structure": Code("SCT", "91723000", "Anatomical Structure"),
    "morphology": Code("SCT", "49755003", "Morphologically Abnormal Structure"),
    "object": Code("SCT", "260787004", "Physical object"),
    "substance": Code("SCT", "105590001", "Substance"),
    "body_substance": Code("SCT", "91720002", "Body Substance"),
    "spatial": Code("SCT", "309825002", "Spatial and Relational Concept"),
}
"""CID 7150."""

_SELECTED_REGION = Code("DCM", "111099", "Selected region")
"""Property type of a region that a phrase outside the lexicon selects."""


@dataclass(frozen=True, slots=True)
class _PropertyType:
    code: Code | None
    category: Code


def private_code(words: str, meaning: str) -> Code:
    """Return the private code of some words.

    Parameters
    ----------
    words : str
        What the code stands for; case, spacing and plurals do not matter.
    meaning : str
        Code Meaning, cut to the 64 characters of its VR (PS3.5 6.2, LO).

    """
    normal = " ".join(stems(words.lower())) or words.strip().lower()
    digest = hashlib.sha256(normal.encode("utf-8", "surrogatepass")).digest()
    value = "MG" + base64.b32encode(digest)[:12].decode("ascii")
    return Code(PRIVATE_SCHEME, value, meaning[:64])


def code_of(one: Concept) -> Code:
    """Return the code of a concept."""
    if not one.code_value:
        return private_code(one.key.replace("_", " "), one.meaning)
    return Code(one.scheme, one.code_value, one.meaning)


def finding_of(one: Concept, site: Concept | None = None) -> Finding:
    """Return how a concept is coded in SEG and SR.

    Parameters
    ----------
    one : Concept
        What the phrase is about.
    site : Concept, optional
        The structure that the report names as its place; the concept's usual place
        when absent.

    """
    if one.kind is not ConceptKind.FINDING:
        code = code_of(one)
        return Finding(
            category=_CATEGORIES["structure"], type=code, finding=code, site=code
        )
    place = site or (concept(one.site_key) if one.site_key else None)
    place_code = code_of(place) if place is not None else None
    kind = _types()[one.type_key]
    # What changes a whole organ, such as hepatomegaly, is outlined as the organ.
    is_organ = one.type_key == "organ" and place_code is not None
    return Finding(
        category=kind.category,
        type=(place_code if is_organ and place_code else kind.code) or code_of(one),
        finding=code_of(one),
        site=place_code,
    )


def unspecified_finding(text: str, site: Concept | None = None) -> Finding:
    """Return the codes of a phrase that names no finding of the lexicon."""
    meaning = "Unspecified finding"
    if site is not None:
        meaning = f"Unspecified finding of {site.meaning.lower()}"
    return Finding(
        category=_CATEGORIES["spatial"],
        type=_SELECTED_REGION,
        finding=private_code(text, meaning),
        site=code_of(site) if site is not None else None,
    )


@cache
def _types() -> dict[str, _PropertyType]:
    return {
        row["key"]: _PropertyType(
            code=Code(row["scheme"], row["code"], row["meaning"])
            if row["code"]
            else None,
            category=_CATEGORIES[row["category"]],
        )
        for row in read_table("types.csv")
    }

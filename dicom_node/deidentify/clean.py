"""De-identify one data set: every element, at every depth, by the table.

References
----------
PS3.15 E.1.1 (de-identifier), E.2 (Basic Application Level Confidentiality Profile),
E.3.3 to E.3.6 and E.3.9 (options).

"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.tag import BaseTag

from dicom_node.deidentify.pseudonyms import Pseudonyms
from dicom_node.deidentify.table import EDITION, Action, action_for
from dicom_node.deidentify.words import NamingWords, find_words
from dicom_node.errors import DeidentificationError

__all__ = ["DUMMY_TEXT", "Options", "clean_data_set", "patient_identity"]

DUMMY_TEXT = "REMOVED"
"""What text becomes that must not be empty."""

_PUBLIC_SCHEMES = frozenset(
    {"DCM", "SCT", "SRT", "SNM3", "LN", "UCUM", "UMLS", "FMA", "NCIt", "RADLEX", "MA"}
)
"""Coding schemes whose codes are published (PS3.16 8); others may say anything."""

_CODE_TEXT = frozenset(
    {
        "CodeValue",
        "LongCodeValue",
        "CodeMeaning",
        "CodingSchemeDesignator",
        "CodingSchemeVersion",
    }
)
"""What a code is made of (PS3.3 8.1 to 8.3)."""

_KIND = re.compile(r" \([^()]*\)$")

_DATE = re.compile(r"(\d{4})[.]?(\d{2})[.]?(\d{2})")
_TIME = re.compile(r"\d{2}:?(\d{2}:?(\d{2}(\.\d{1,6})?)?)?")
_MOMENT = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2,6}(?:\.\d{1,6})?)?([+-]\d{4})?")

_DUMMIES = {
    "AS": "000Y",
    "DA": "19000101",
    "DT": "19000101",
    "TM": "000000",
    "UR": "urn:removed",
}
_NUMBERS = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"})

_METHODS = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113103", "Clean Graphics Option"),
    ("113104", "Clean Structured Content Option"),
    ("113105", "Clean Descriptors Option"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
"""CID 7050. Pixels are not cleaned: what may show somebody is refused, and no code
says so."""

_RETAINS_CHARACTERISTICS = ("113108", "Retain Patient Characteristics Option")


@dataclass(frozen=True, slots=True)
class Options:
    """What may differ from the profile as we offer it."""

    retain_patient_characteristics: bool = False
    """Age, sex, size and weight stay."""
    allow_burned_in: bool = False
    """Images leave in which text may be burned in."""
    allow_faces: bool = False
    """Images leave from which a face can be made."""


def patient_identity(ds: Dataset) -> str:
    """Return what a patient is known by: the ID, or the study where there is none."""
    identity = str(ds.get("PatientID", "") or "").strip()
    return identity or f"study:{ds.get('StudyInstanceUID', '')}"


def clean_data_set(
    ds: Dataset, pseudonyms: Pseudonyms, *, options: Options | None = None
) -> Dataset:
    """Return a de-identified copy of a data set; the same one, the same copy.

    Parameters
    ----------
    ds : pydicom.Dataset
        Without file meta information. It is left as it is; values of pixels are
        shared with the copy.
    pseudonyms : Pseudonyms
        What stands for UIDs and patient.
    options : Options, optional
        Options of the profile.

    Raises
    ------
    DeidentificationError
        It holds something that cannot be read, where it cannot be left out.

    """
    options = options or Options()
    identity = patient_identity(ds)
    cleaner = _Cleaner(
        pseudonyms, pseudonyms.shift(identity), find_words(ds), options=options
    )
    copy = cleaner.clean(ds)
    pseudonym = pseudonyms.patient(identity)
    copy.PatientID = pseudonym
    copy.PatientName = f"Pseudonym^{pseudonym}"
    copy.PatientBirthDate = ""
    if "PatientSex" not in copy:
        copy.PatientSex = ""
    _tell_method(copy, options)
    return copy


def _tell_method(ds: Dataset, options: Options) -> None:
    # PS3.15 E.1.1 items 6 to 8, PS3.3 C.7.1.1 and C.7.6.1.
    methods = [*_METHODS]
    if options.retain_patient_characteristics:
        methods.append(_RETAINS_CHARACTERISTICS)
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = EDITION
    ds.DeidentificationMethodCodeSequence = [_code(*one) for one in methods]
    ds.LongitudinalTemporalInformationModified = "MODIFIED"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = "DCM"
    item.CodeMeaning = meaning
    return item


class _Cleaner:
    """Cleans a data set and what is nested in it."""

    def __init__(
        self,
        pseudonyms: Pseudonyms,
        shift: datetime.timedelta,
        words: NamingWords,
        *,
        options: Options,
    ) -> None:
        self._pseudonyms = pseudonyms
        self._shift = shift
        self._words = words
        self._options = options

    def clean(self, ds: Dataset) -> Dataset:
        copy = Dataset()
        is_private_code = _is_private_code(ds)
        for tag in sorted(ds.keys()):
            cleaned = self._clean_element(ds, tag, is_private_code)
            if cleaned is not None:
                copy.add(cleaned)
        return copy

    def _clean_element(
        self, ds: Dataset, tag: BaseTag, is_private_code: bool
    ) -> DataElement | None:
        try:
            named_vr = dictionary_VR(tag)
        except KeyError:
            return None
        action = action_for(
            tag,
            named_vr,
            retains_characteristics=self._options.retain_patient_characteristics,
        )
        if action is Action.REMOVE:
            return None
        try:
            element = ds[tag]
            if not _is_as_promised(element.VR, named_vr):
                return None  # its bytes may be anything, whatever the tag promises
            if is_private_code and keyword_for_tag(tag) in _CODE_TEXT:
                return self._private_code(element)
            if keyword_for_tag(tag) == "CodeMeaning":
                return DataElement(tag, element.VR, _published_meaning(ds))
            return self._apply(action, element)
        except DeidentificationError:
            raise
        except Exception as error:
            if keyword_for_tag(tag) in {"PixelData", "SOPInstanceUID"}:
                raise DeidentificationError("a value cannot be read") from error
            return None  # what cannot be read cannot be judged

    def _apply(self, action: Action, element: DataElement) -> DataElement | None:
        if element.VR == "SQ":
            return self._sequence(action, element)
        if action is Action.EMPTY:
            return DataElement(element.tag, element.VR, _nothing(element.VR))
        if element.is_empty:
            return DataElement(element.tag, element.VR, _nothing(element.VR))
        if action is Action.DUMMY:
            return _dummy(element, self._pseudonyms)
        if action is Action.REPLACE_UID:
            return self._mapped(element, self._uid)
        if action is Action.SHIFT:
            return self._shifted(element)
        if action is Action.CHECK:
            return self._mapped(element, self._checked)
        return element if _is_of_its_kind(element) else None

    def _sequence(self, action: Action, element: DataElement) -> DataElement | None:
        if action is Action.EMPTY:
            return DataElement(element.tag, "SQ", Sequence())
        items = Sequence([self.clean(item) for item in element.value])
        for item in items:
            if "PixelData" in item:  # a thumbnail, which nobody needs
                del item.PixelData
        cleaned = DataElement(element.tag, "SQ", items)
        return None if element.value and not any(items) else cleaned

    def _mapped(
        self, element: DataElement, change: Callable[[str], str]
    ) -> DataElement:
        value = element.value
        if isinstance(value, MultiValue | list | tuple):
            return DataElement(
                element.tag, element.VR, [change(str(one)) for one in value]
            )
        return DataElement(element.tag, element.VR, change(str(value)))

    def _uid(self, value: str) -> str:
        value = value.strip(" \0")
        return self._pseudonyms.uid(value) if value else value

    def _checked(self, value: str) -> str:
        return DUMMY_TEXT if self._words.are_in(value) else value

    def _private_code(self, element: DataElement) -> DataElement:
        # Equal codes stay equal, and say nothing; nor does the name of their scheme,
        # which may be that of a hospital.
        keyword = keyword_for_tag(element.tag)
        if keyword == "CodeMeaning":
            return DataElement(element.tag, element.VR, DUMMY_TEXT)
        prefix = "99" if keyword == "CodingSchemeDesignator" else ""  # PS3.16 8
        return self._mapped(
            element, lambda one: prefix + self._pseudonyms.label("code", one)
        )

    def _shifted(self, element: DataElement) -> DataElement | None:
        value = element.value
        values = list(value) if isinstance(value, MultiValue | list) else [value]
        moved = [self._moved(str(one), element.VR) for one in values]
        if "" in moved:
            moved = [_DUMMIES[element.VR]] if len(moved) == 1 else []
        return DataElement(
            element.tag, element.VR, moved[0] if len(moved) == 1 else moved
        )

    def _moved(self, text: str, vr: str) -> str:
        """Return a date or moment moved by whole days; empty where it is none."""
        text = text.strip(" \0")
        if vr == "TM":  # the time of day is kept
            return text if _TIME.fullmatch(text) else ""
        found = (_DATE if vr == "DA" else _MOMENT).fullmatch(text)
        if found is None:
            return ""
        year, month, day = (int(one or 1) for one in found.groups()[:3])
        try:
            moved = datetime.date(year, month, day) + self._shift
        except (ValueError, OverflowError):
            return ""
        digits = moved.strftime("%Y%m%d").rjust(8, "0")
        if vr == "DA":
            return digits
        _, has_month, has_day, time, _ = found.groups()  # the zone tells a place
        length = 8 if has_day else 6 if has_month else 4
        return digits[:length] + (time or "")


def _is_private_code(ds: Dataset) -> bool:
    if not any(keyword in ds for keyword in _CODE_TEXT):
        return False
    return _scheme_of(ds) not in _PUBLIC_SCHEMES


def _scheme_of(ds: Dataset) -> str:
    return str(ds.get("CodingSchemeDesignator", "") or "").strip()


def _published_meaning(ds: Dataset) -> str:
    """Return what a published code means: what a file says may be anything."""
    value = str(ds.get("CodeValue", "") or "").strip()
    return _meanings().get((_scheme_of(ds), value), DUMMY_TEXT)


@cache
def _meanings() -> Mapping[tuple[str, str], str]:
    schemes = [getattr(codes, name) for name in codes.schemes()]
    found = [getattr(scheme, name) for scheme in schemes for name in scheme.dir()]
    # Without the kind of concept, as SNOMED's "(body structure)"; LO holds 64 letters.
    return {
        (one.scheme_designator, one.value): _KIND.sub("", one.meaning)[:64].strip()
        for one in found
    }


def _is_as_promised(vr: str, named_vr: str) -> bool:
    # A file may say that a number is text; the table judges by the dictionary.
    return vr != "UN" and (vr == named_vr or vr in named_vr.split(" or "))


def _is_of_its_kind(element: DataElement) -> bool:
    """Whether a number is one, where the representation would let text through."""
    if element.VR not in {"DS", "IS", "AS"}:
        return True
    pattern = r"\d{3}[DWMY]" if element.VR == "AS" else r"[-+.\dEe ]*"
    value = element.value
    values = value if isinstance(value, MultiValue | list) else [value]
    return all(re.fullmatch(pattern, str(one)) is not None for one in values)


def _nothing(vr: str) -> object:
    return Sequence() if vr == "SQ" else None


def _dummy(element: DataElement, pseudonyms: Pseudonyms) -> DataElement | None:
    vr = element.VR
    if vr == "UI":
        value: object = pseudonyms.uid(str(element.value))
    elif vr in _NUMBERS or vr in {"DS", "IS"}:
        value = 0
    elif vr.startswith("O"):
        value = b"\0\0"
    else:
        value = _DUMMIES.get(vr, DUMMY_TEXT)
    return DataElement(element.tag, vr, value)

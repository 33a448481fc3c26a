"""What happens to each data element: PS3.15 table E.1-1, and what it leaves open.

The table is that of `dicom-anonymizer` (edition 2026c), which is generated from the
standard. What it does not name is decided by value representation: text that anybody
can type goes, unless it is on the list of technical terms; UIDs are replaced; dates
move. Nothing that the data dictionary does not know leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import cache

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as _e1
from pydicom.datadict import keyword_for_tag
from pydicom.tag import BaseTag

__all__ = ["EDITION", "Action", "action_for"]

EDITION = "PS3.15 2026c, table E.1-1"
"""The edition of the table."""


class Action(Enum):
    """What becomes of a data element (PS3.15 table E.1-1a)."""

    KEEP = "K"
    """It stays; a sequence is cleaned item by item."""
    CHECK = "K?"
    """It stays unless it holds a word that names somebody."""
    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    """A value of its kind that says nothing."""
    REPLACE_UID = "U"
    SHIFT = "C"
    """A date or time that moves with all of its patient's."""


_CATEGORIES: Mapping[str, Action] = {
    "X_TAGS": Action.REMOVE,
    "Z_TAGS": Action.EMPTY,
    "D_TAGS": Action.DUMMY,
    "U_TAGS": Action.REPLACE_UID,
    # Of two actions the one that is valid for each type of element (PS3.5 7.4): an
    # element of type 2 or 3 may be empty, one of type 1 needs a value.
    "X_Z_TAGS": Action.EMPTY,
    "X_D_TAGS": Action.DUMMY,
    "Z_D_TAGS": Action.DUMMY,
    "X_Z_D_TAGS": Action.DUMMY,
    # References to images: the items stay, with other UIDs.
    "X_Z_U_STAR_TAGS": Action.KEEP,
}

_PATIENT_CHARACTERISTICS = frozenset(
    {
        "EthnicGroup",
        "PatientAge",
        "PatientSex",
        "PatientSexNeutered",
        "PatientSize",
        "PatientWeight",
        "PregnancyStatus",
        "SmokingStatus",
    }
)
"""K in the column of the Retain Patient Characteristics Option; its C are removed."""

_BIRTH = frozenset({"PatientBirthDate", "PatientBirthTime", "GPSTimeStamp"})
"""Dates that the Retain Longitudinal Temporal Information Options do not retain."""

_CLEANED = frozenset(
    {
        "AcquisitionContextSequence",
        "ContentSequence",
        "SpecimenPreparationSequence",
        "ReferencedPerformedProcedureStepSequence",
        "FlowIdentifierSequence",
    }
)
"""Sequences whose items are cleaned (Clean Structured Content Option), or of which
only UIDs are left."""

_REMOVED = frozenset(
    {
        "ContributingEquipmentSequence",
        "EncryptedAttributesSequence",
        "GraphicAnnotationSequence",
        "MACParametersSequence",
        "DataSetTrailingPadding",
        "OperatorIdentificationSequence",
        "InstitutionCodeSequence",
        "PersonIdentificationCodeSequence",
        "WaveformAnnotationSequence",
    }
)
"""Removed whole: drawings may be letters (Clean Graphics Option), and a code of a
person or a place needs no dummy where its sequence may be left out."""

_TECHNICAL = frozenset(
    {
        "AcquisitionMode",
        "AlgorithmName",
        "AlgorithmVersion",
        "AttenuationCorrectionMethod",
        "CardiacFramingType",
        "CollimatorGridName",
        "ContrastBolusRoute",
        "ConvolutionKernel",
        "DetectorManufacturerModelName",
        "DetectorManufacturerName",
        "DigitalImageFormatAcquired",
        "FilterType",
        "ImagedNucleus",
        "ManufacturerModelName",
        "Manufacturer",
        "ModalityLUTType",
        "PhosphorType",
        "PlateType",
        "PositionReferenceIndicator",
        "PulseSequenceName",
        "Radionuclide",
        "Radiopharmaceutical",
        "RadiopharmaceuticalRoute",
        "ReconstructionMethod",
        "RescaleType",
        "ScatterCorrectionMethod",
        "SegmentAlgorithmName",
        "SequenceName",
        "SoftwareVersions",
        "StackID",
        "TypeOfFilters",
        # What a code is; those of private schemes are replaced (`clean`).
        "CodeValue",
        "CodeMeaning",
        "CodingSchemeDesignator",
        "CodingSchemeVersion",
        "LongCodeValue",
    }
)
"""Text that devices write and models need, beyond the table."""

_TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "AE"})
"""Value representations that anybody can type into (PS3.5 6.2)."""

_BINARY = frozenset(
    {
        "PixelData",
        "FloatPixelData",
        "DoubleFloatPixelData",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
        "LUTData",
        "RedPaletteColorLookupTableData",
        "GreenPaletteColorLookupTableData",
        "BluePaletteColorLookupTableData",
        "AlphaPaletteColorLookupTableData",
    }
)
"""Bytes that are measured and not typed; `pixels` cuts them to their length."""


def action_for(
    tag: BaseTag, vr: str, *, retains_characteristics: bool = False
) -> Action:
    """Return what becomes of a data element.

    Parameters
    ----------
    tag : pydicom.tag.BaseTag
        Which element.
    vr : str
        Its value representation, by the data dictionary.
    retains_characteristics : bool
        Whether the Retain Patient Characteristics Option holds.

    Returns
    -------
    Action
        REMOVE for private elements, group lengths, groups 50xx and 60xx, and what the
        data dictionary does not know.

    """
    keyword = keyword_for_tag(tag)
    group = tag.group
    is_curve_or_overlay = group & 0xFF00 in {0x5000, 0x6000}
    if group % 2 or not keyword or tag.element == 0 or is_curve_or_overlay:
        return Action.REMOVE
    if keyword in _REMOVED:
        return Action.REMOVE
    if keyword in _CLEANED:
        return Action.KEEP
    if retains_characteristics and keyword in _PATIENT_CHARACTERISTICS:
        return Action.KEEP
    named = _table().get(int(tag))
    if vr in {"DA", "DT", "TM"} and keyword not in _BIRTH:
        return Action.SHIFT
    if named is not None:
        return named
    return _beyond_the_table(keyword, vr)


def _beyond_the_table(keyword: str, vr: str) -> Action:
    if vr == "UI":
        return Action.REPLACE_UID
    if vr == "UN" or any(one.startswith("O") for one in vr.split(" or ")):
        return Action.KEEP if keyword in _BINARY else Action.REMOVE
    if keyword in _TECHNICAL or vr == "CS":
        return Action.CHECK
    if vr in _TEXT:
        return Action.DUMMY
    return Action.KEEP


@cache
def _table() -> Mapping[int, Action]:
    # Repeating groups (four numbers: a tag and its mask) are removed as a whole.
    return {
        (row[0] << 16) + row[1]: action
        for name, action in _CATEGORIES.items()
        for row in getattr(_e1, name)
        if len(row) == 2
    }

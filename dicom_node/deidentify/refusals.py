"""What does not leave at all: pixels, documents and classes that nobody can clean."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Final

from pydicom import Dataset, uid
from pydicom.datadict import keyword_for_tag
from pydicom.multival import MultiValue
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.deidentify.clean import Options
from dicom_node.imaging.sop_classes import VIDEO_TRANSFER_SYNTAXES

__all__ = ["refusal"]

_DOCUMENTS: Final = frozenset(
    {
        uid.EncapsulatedPDFStorage,
        uid.EncapsulatedCDAStorage,
        uid.EncapsulatedSTLStorage,
        uid.EncapsulatedOBJStorage,
        uid.EncapsulatedMTLStorage,
    }
)

_OPAQUE: Final = frozenset({uid.RawDataStorage, uid.UID("1.2.840.10008.5.1.4.1.1.66")})

_SOUNDS: Final = frozenset(
    {uid.BasicVoiceAudioWaveformStorage, uid.GeneralAudioWaveformStorage}
)

_CAPTURES: Final = frozenset(
    {
        uid.SecondaryCaptureImageStorage,
        uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
        uid.UltrasoundImageStorage,
        uid.UltrasoundMultiFrameImageStorage,
        uid.EnhancedUSVolumeStorage,
        uid.PhotoacousticImageStorage,
        uid.XRayAngiographicImageStorage,
        uid.EnhancedXAImageStorage,
        uid.XRayRadiofluoroscopicImageStorage,
        uid.EnhancedXRFImageStorage,
        uid.VLEndoscopicImageStorage,
        uid.VLMicroscopicImageStorage,
        uid.VLSlideCoordinatesMicroscopicImageStorage,
        uid.VLPhotographicImageStorage,
        uid.VLWholeSlideMicroscopyImageStorage,
        uid.OphthalmicPhotography8BitImageStorage,
        uid.OphthalmicPhotography16BitImageStorage,
        uid.UID("1.2.840.10008.5.1.4.1.1.3"),  # Ultrasound Multi-frame, retired
        uid.UID("1.2.840.10008.5.1.4.1.1.6"),  # Ultrasound, retired
        uid.UID("1.2.840.10008.5.1.4.1.1.12.3"),  # X-Ray Angiographic Bi-Plane
    }
)
"""Classes whose devices often burn text in: only BurnedInAnnotation NO lets them go."""

_PHOTOGRAPHS: Final = frozenset(
    {
        uid.VLPhotographicImageStorage,
        uid.DermoscopicPhotographyImageStorage,
        uid.XRay3DCraniofacialImageStorage,
    }
)

_VOLUMES: Final = frozenset({"CT", "MR", "PT"})
"""Modalities from whose slices of a head a face can be made."""

_HEAD: Final = re.compile(
    r"head|brain|skull|face|facial|cranio|cerebr|orbit|sinus|temporal|mandib|maxill|jaw"
    r"|dent(al|a|ition)|pituitary|hypophys|sella|mastoid|neuro|stroke|mprage|willis"
    r"|neck|cervic|c.?spine|carotid|[ck]arotis|laryn|pharyn|parotid|parotis"
    r"|whole.?body|total.?body|polytrauma|ganzk(ö|oe?)rper"
    r"|kopf|sch(ä|ae?)del|hirn|hals|gesicht|kiefer|zahn|felsenbein"
    r"|(?<![a-z])(ear|iac|wb|ent|hno|nnh|pns|cct|cmrt|cmr[at]?|hws|tmj|tof|cbct)(?![a-z])",
    re.IGNORECASE,
)
_WORDS_OF_PLACE: Final = frozenset(
    {
        "BodyPartExamined",
        "StudyDescription",
        "SeriesDescription",
        "ProtocolName",
        "AcquisitionProtocolName",
        "PerformedProcedureStepDescription",
        "RequestedProcedureDescription",
        "ScheduledProcedureStepDescription",
    }
)
_CODES_OF_PLACE: Final = frozenset(
    {
        "AnatomicRegionSequence",
        "PrimaryAnatomicStructureSequence",
        "ProcedureCodeSequence",
        "RequestedProcedureCodeSequence",
        "PerformedProtocolCodeSequence",
        "ScheduledProtocolCodeSequence",
    }
)

_PICTURES_OF_CT: Final = frozenset({"AXIAL", "LOCALIZER", "REFORMATTED", "MPR"})
"""Value 3 of Image Type (PS3.3 C.8.2.1.1.1) of what is no page of text."""


def refusal(
    ds: Dataset, *, options: Options, transfer_syntax_uid: str = ""
) -> str | None:
    """Return why an instance must not leave, free of patient data; None: it may.

    Parameters
    ----------
    ds : pydicom.Dataset
        The instance as it is.
    options : Options
        What the operator allows all the same.
    transfer_syntax_uid : str
        How it is encoded.

    """
    sop_class = str(ds.get("SOPClassUID", ""))
    if uid.UID(sop_class).type != "SOP Class":
        return "its SOP class is private or unknown"
    if sop_class in _DOCUMENTS or "EncapsulatedDocument" in ds:
        return "encapsulated documents do not leave"
    if sop_class in _OPAQUE:
        return "raw data cannot be cleaned"
    if sop_class in _SOUNDS:
        return "sound may be speech"
    if transfer_syntax_uid in VIDEO_TRANSFER_SYNTAXES:
        return "video cannot be cleaned"
    if _has_overlay_in_pixels(ds):
        return "an overlay lies in unused bits of its pixels"
    if not options.allow_burned_in and (why := _burned_in(ds, sop_class)):
        return why
    if not options.allow_faces and (why := _face(ds, sop_class)):
        return why
    return None


def _has_overlay_in_pixels(ds: Dataset) -> bool:
    # PS3.3 C.9.2.1.1: Overlay Bit Position is 0 for one that has data of its own.
    positions = ((group, 0x0102) for group in range(0x6000, 0x6020, 2))
    return any(one in ds and ds[one].value not in {None, 0} for one in positions)


def _burned_in(ds: Dataset, sop_class: str) -> str | None:
    said = str(ds.get("BurnedInAnnotation", "") or "").upper()
    if said == "YES":
        return "text is burned into its pixels"
    kinds = [str(one).upper() for one in _values(ds.get("ImageType"))]
    is_capture = (
        sop_class in _CAPTURES or "ConversionType" in ds or "SCREEN SAVE" in kinds
    )
    if sop_class == uid.CTImageStorage:
        # A scanner's patient protocol and dose page are "CT images", too.
        is_page = any("PROT" in one or "DOSE" in one for one in kinds)
        is_capture |= is_page or not set(kinds[2:3]) <= _PICTURES_OF_CT
    if is_capture and "PixelData" in ds and said != "NO":
        return "text may be burned into its pixels, and it does not deny that"
    return None


def _face(ds: Dataset, sop_class: str) -> str | None:
    said = str(ds.get("RecognizableVisualFeatures", "") or "").upper()
    if said == "NO" or not _has_pixels(ds):
        return None
    if said == "YES" or sop_class in _PHOTOGRAPHS:
        return "it may show a face"
    if str(ds.get("Modality", "")) not in _VOLUMES:
        return None
    if _shows_head(ds):
        return "a face can be made from slices of the head"
    return None


def _shows_head(ds: Dataset) -> bool:
    """Whether words or codes at any depth, such as of one frame, name the head."""
    for element in ds:
        keyword = keyword_for_tag(element.tag)
        if keyword in _WORDS_OF_PLACE and _HEAD.search(str(element.value)):
            return True
        if element.VR != "SQ":
            continue
        for item in element.value:
            if keyword in _CODES_OF_PLACE and _is_of_head(item):
                return True
            if _shows_head(item):
                return True
    return False


def _is_of_head(item: Dataset) -> bool:
    if _HEAD.search(str(item.get("CodeMeaning", ""))):
        return True
    value = str(item.get("CodeValue", "") or "")
    scheme = str(item.get("CodingSchemeDesignator", "") or "")
    return bool(value) and _is_head_code(scheme, value)


@lru_cache(maxsize=1024)
def _is_head_code(scheme: str, value: str) -> bool:
    # SNOMED RT says the same by other numbers, which `Code` knows when it compares.
    is_rt = scheme in {"SRT", "SNM3", "99SDM"}
    code = Code(value, "SRT" if is_rt else scheme, "")
    return any(code == one for one in _head_codes())


@cache
def _head_codes() -> frozenset[Code]:
    """Return the codes of the head: of its regions, and of what lies in it."""
    groups = (codes.cid4, codes.cid4028, codes.cid4031, codes.cid7140)
    named = {getattr(group, name) for group in groups for name in group.dir()}
    return frozenset(
        one
        for one in named
        if _HEAD.search(one.meaning) or one in codes.cid4028 or one in codes.cid7140
    )


def _has_pixels(ds: Dataset) -> bool:
    keywords = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    return any(one in ds for one in keywords)


def _values(value: object) -> list[object]:
    return list(value) if isinstance(value, MultiValue) else [value]

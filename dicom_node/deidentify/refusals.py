"""What does not leave at all: pixels, documents and classes that nobody can clean."""

from __future__ import annotations

import re
from typing import Final

from pydicom import Dataset, uid
from pydicom.multival import MultiValue

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
    r"head|brain|skull|face|facial|cranio|cerebr|orbit|sinus|temporal|mandib|jaw"
    r"|\bear\b|\biac\b|pituitary|sella|whole.?body|\bwb\b|kopf|sch(ä|ae?)del",
    re.IGNORECASE,
)
_WORDS_OF_PLACE: Final = (
    "BodyPartExamined",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionProtocolName",
    "PerformedProcedureStepDescription",
)


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
    words = [str(ds.get(keyword, "") or "") for keyword in _WORDS_OF_PLACE]
    regions = ds.get("AnatomicRegionSequence") or ()
    words += [str(item.get("CodeMeaning", "")) for item in regions]
    if any(_HEAD.search(one) for one in words):
        return "a face can be made from slices of the head"
    return None


def _has_pixels(ds: Dataset) -> bool:
    keywords = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    return any(one in ds for one in keywords)


def _values(value: object) -> list[object]:
    return list(value) if isinstance(value, MultiValue) else [value]

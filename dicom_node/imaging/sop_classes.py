"""Which SOP classes are images to process, and which are left out by name."""

from __future__ import annotations

from typing import Final

from pydicom import uid

__all__ = ["IMAGE_CLASSES", "LEFT_OUT_CLASSES", "VIDEO_TRANSFER_SYNTAXES"]

IMAGE_CLASSES: Final = frozenset(
    {
        uid.ComputedRadiographyImageStorage,
        uid.DigitalXRayImageStorageForPresentation,
        uid.DigitalXRayImageStorageForProcessing,
        uid.DigitalMammographyXRayImageStorageForPresentation,
        uid.DigitalMammographyXRayImageStorageForProcessing,
        uid.DigitalIntraOralXRayImageStorageForPresentation,
        uid.DigitalIntraOralXRayImageStorageForProcessing,
        uid.BreastTomosynthesisImageStorage,
        uid.BreastProjectionXRayImageStorageForPresentation,
        uid.BreastProjectionXRayImageStorageForProcessing,
        uid.CTImageStorage,
        uid.EnhancedCTImageStorage,
        uid.LegacyConvertedEnhancedCTImageStorage,
        uid.MRImageStorage,
        uid.EnhancedMRImageStorage,
        uid.EnhancedMRColorImageStorage,
        uid.LegacyConvertedEnhancedMRImageStorage,
        uid.PositronEmissionTomographyImageStorage,
        uid.EnhancedPETImageStorage,
        uid.LegacyConvertedEnhancedPETImageStorage,
        uid.NuclearMedicineImageStorage,
        uid.UltrasoundImageStorage,
        uid.UltrasoundMultiFrameImageStorage,
        uid.EnhancedUSVolumeStorage,
        uid.PhotoacousticImageStorage,
        uid.XRayAngiographicImageStorage,
        uid.EnhancedXAImageStorage,
        uid.XRayRadiofluoroscopicImageStorage,
        uid.EnhancedXRFImageStorage,
        uid.XRay3DAngiographicImageStorage,
        uid.XRay3DCraniofacialImageStorage,
        uid.RTImageStorage,
        uid.ParametricMapStorage,
        uid.IntravascularOpticalCoherenceTomographyImageStorageForPresentation,
        uid.IntravascularOpticalCoherenceTomographyImageStorageForProcessing,
        uid.OphthalmicPhotography8BitImageStorage,
        uid.OphthalmicPhotography16BitImageStorage,
        uid.OphthalmicTomographyImageStorage,
        uid.WideFieldOphthalmicPhotographyStereographicProjectionImageStorage,
        uid.WideFieldOphthalmicPhotography3DCoordinatesImageStorage,
        uid.VLEndoscopicImageStorage,
        uid.VLMicroscopicImageStorage,
        uid.VLSlideCoordinatesMicroscopicImageStorage,
        uid.VLPhotographicImageStorage,
        uid.DermoscopicPhotographyImageStorage,
        uid.ConfocalMicroscopyImageStorage,
        uid.SecondaryCaptureImageStorage,
        uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
        # Retired, still sent by old devices (PS3.6 table A-1).
        uid.UID("1.2.840.10008.5.1.4.1.1.3"),  # Ultrasound Multi-frame
        uid.UID("1.2.840.10008.5.1.4.1.1.5"),  # Nuclear Medicine
        uid.UID("1.2.840.10008.5.1.4.1.1.6"),  # Ultrasound
        uid.UID("1.2.840.10008.5.1.4.1.1.12.3"),  # X-Ray Angiographic Bi-Plane
    }
)
"""Storage SOP classes (PS3.4 B.5) whose pixels a phrase can be found in."""

LEFT_OUT_CLASSES: Final = {
    uid.VideoEndoscopicImageStorage: "video is not processed",
    uid.VideoMicroscopicImageStorage: "video is not processed",
    uid.VideoPhotographicImageStorage: "video is not processed",
    uid.VLWholeSlideMicroscopyImageStorage: "whole slide images are not processed",
    uid.ConfocalMicroscopyTiledPyramidalImageStorage: (
        "tiled microscopy is not processed"
    ),
    uid.MRSpectroscopyStorage: "spectroscopy holds no image",
    uid.RTDoseStorage: "a dose grid is not an image of the patient",
}
"""What a user may take for images, and why it is left out."""

VIDEO_TRANSFER_SYNTAXES: Final = frozenset(
    {
        uid.MPEG2MPML,
        uid.MPEG2MPMLF,
        uid.MPEG2MPHL,
        uid.MPEG2MPHLF,
        uid.MPEG4HP41,
        uid.MPEG4HP41F,
        uid.MPEG4HP41BD,
        uid.MPEG4HP41BDF,
        uid.MPEG4HP422D,
        uid.MPEG4HP422DF,
        uid.MPEG4HP423D,
        uid.MPEG4HP423DF,
        uid.MPEG4HP42STEREO,
        uid.MPEG4HP42STEREOF,
        uid.HEVCMP51,
        uid.HEVCM10P51,
    }
)
"""Encapsulated video (PS3.5 8.2.5 to 8.2.8)."""

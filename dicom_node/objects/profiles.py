"""Profiles: which encoding of SEG and SR a destination reads best."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from dicom_node.errors import ObjectError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "PROFILES",
    "ImageLink",
    "ObjectSet",
    "Profile",
    "SegmentationEncoding",
    "find_profile",
    "needs_probabilities",
]


class ObjectSet(StrEnum):
    """Which kinds of objects a destination gets."""

    SEG_AND_SR = "SEG and SR"
    """Segmentations and a report that name each other."""
    PICTURES = "pictures"
    """For archives that show neither: presentation states, secondary captures, a key
    object selection and a PDF."""


class SegmentationEncoding(StrEnum):
    """How a SEG stores its pixels (Segmentation Type, PS3.3 C.8.20.2)."""

    BINARY = "BINARY"
    """One bit a pixel, one frame for each segment and plane; segments may overlap."""
    LABELMAP = "LABELMAP"
    """One segment number a pixel; segments of one instance never overlap."""
    FRACTIONAL = "FRACTIONAL"
    """The model's probability of every pixel, one frame for each segment and plane;
    segments may overlap."""


class ImageLink(StrEnum):
    """How an SR group carries the image coordinates of a region."""

    PLANAR_ROI = "TID 1410"
    """Image Region on the group, no number beside it: Cornerstone looks for
    coordinates only below numbers once there is one."""
    MEASURED_COORDINATES = "TID 1501"
    """A number inferred from the coordinates, and the tracking identifier of a
    Cornerstone tool: OHIF hydrates it and lists the phrase as a measurement."""
    NONE = "none"
    """No coordinates: the segment is the only link (TID 1411). A report with planar
    groups makes QuantitativeReporting of 3D Slicer leave the segmentation alone."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What is sent to a destination."""

    name: str
    segmentation: SegmentationEncoding
    image_link: ImageLink
    tracking_prefix: str = ""
    """Put before every tracking identifier, in SEG and SR alike."""
    objects: ObjectSet = ObjectSet.SEG_AND_SR
    is_compressed: bool = False
    """Whether pixels of more than one bit are written RLE Lossless."""
    splits_odd_frames: bool = True
    """Whether BINARY frames that end inside a byte are kept out of one instance:
    OHIF 3.13 shears every one after the first."""
    max_binary_frames: int | None = None
    """BINARY frames of an instance from which on label maps are written."""


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile("default", SegmentationEncoding.BINARY, ImageLink.PLANAR_ROI),
            Profile(
                "ohif",
                SegmentationEncoding.BINARY,
                ImageLink.MEASURED_COORDINATES,
                tracking_prefix="Cornerstone3DTools@^0.1.0:PlanarFreehandROI:",
            ),
            Profile(
                "slicer",
                SegmentationEncoding.BINARY,
                ImageLink.NONE,
                splits_odd_frames=False,
            ),
            Profile(
                "weasis",
                SegmentationEncoding.BINARY,
                ImageLink.PLANAR_ROI,
                max_binary_frames=400,
            ),
            Profile(
                "labelmap",
                SegmentationEncoding.LABELMAP,
                ImageLink.PLANAR_ROI,
                is_compressed=True,
            ),
            Profile(
                "fractional",
                SegmentationEncoding.FRACTIONAL,
                ImageLink.PLANAR_ROI,
                is_compressed=True,
            ),
            Profile(
                "pacs",
                SegmentationEncoding.BINARY,
                ImageLink.PLANAR_ROI,
                objects=ObjectSet.PICTURES,
            ),
        )
    }
)
"""The profiles that a destination may name in its settings."""


def find_profile(name: str) -> Profile:
    """Return the profile of that name.

    Raises
    ------
    ObjectError
        There is no such profile.

    """
    try:
        return PROFILES[name]
    except KeyError:
        known = ", ".join(PROFILES)
        msg = f"there is no profile {name!r}; known are {known}"
        raise ObjectError(msg, profile=name) from None


def needs_probabilities(names: Iterable[str]) -> bool:
    """Return whether one of the profiles encodes the probability of every pixel.

    Raises
    ------
    ObjectError
        There is no such profile.

    """
    return any(
        find_profile(name).segmentation is SegmentationEncoding.FRACTIONAL
        for name in names
    )

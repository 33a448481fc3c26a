"""Profiles: which encoding of SEG and SR a destination reads best."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from dicom_node.errors import ObjectError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "PROFILES",
    "ImageLink",
    "ObjectSet",
    "Profile",
    "SegmentationEncoding",
    "find_profile",
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


class ImageLink(StrEnum):
    """How an SR group carries the image coordinates of a region."""

    PLANAR_ROI = "TID 1410"
    """Image Region on the group, no number beside it: Cornerstone looks for
    coordinates only below numbers once there is one."""
    MEASURED_COORDINATES = "TID 1501"
    """A number inferred from the coordinates, and the tracking identifier of a
    Cornerstone tool: OHIF hydrates it and lists the phrase as a measurement."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What is sent to a destination."""

    name: str
    segmentation: SegmentationEncoding
    image_link: ImageLink
    tracking_prefix: str = ""
    """Put before every tracking identifier, in SEG and SR alike."""
    objects: ObjectSet = ObjectSet.SEG_AND_SR


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
            Profile("labelmap", SegmentationEncoding.LABELMAP, ImageLink.PLANAR_ROI),
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

"""What SEG and SR share: who made them, when, how they are named and written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import highdicom as hd
from highdicom.color import CIELabColor
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from conformance.profile import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
)
from conformance.rules_common import PUBLIC_SCHEMES
from conformance.rules_sr import NO_SEGMENTATION
from dicom_node import __version__
from dicom_node.errors import ObjectError
from dicom_node.identity import MANUFACTURER, MODEL_NAME, derive_uid
from dicom_node.objects.colours import colour_of
from dicom_node.objects.files import write_object
from dicom_node.objects.profiles import SegmentationEncoding
from dicom_node.records import (
    Code,
    ImageSeries,
    Laterality,
    NotProcessed,
    ObjectReference,
    Region,
    ResultObject,
    StudyResult,
)
from dicom_node.reports.codes import PRIVATE_SCHEME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from dicom_node.objects.files import Frames
    from dicom_node.objects.profiles import Profile
    from dicom_node.objects.review import Review

__all__ = [
    "FIRST_SERIES_NUMBER",
    "NOT_FOR_DIAGNOSIS",
    "NO_PROBABILITIES",
    "FrameReader",
    "Making",
    "add_coding_schemes",
    "clean_text",
    "coded",
    "display_colour",
    "laterality_code",
    "long_string",
    "observer_context",
]

NOT_FOR_DIAGNOSIS = "AI - not for diagnostic use"
"""What every Series Description begins with."""

FIRST_SERIES_NUMBER = 9000
"""Series Number of the SR; segmentations follow. Above what modalities use."""

NO_PROBABILITIES = f"{NO_SEGMENTATION} this engine gives no probabilities of pixels"
"""Why a profile of probabilities has a report and no segment: a mask is a decision,
and neither it nor the score of the phrase is the probability of a pixel."""

_LATERALITY = {
    Laterality.LEFT: codes.SCT.Left,
    Laterality.RIGHT: codes.SCT.Right,
    Laterality.BILATERAL: codes.SCT.Bilateral,
}
"""CID 244."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
"""Control characters that no text VR allows (PS3.5 6.1.3)."""


class FrameReader(Protocol):
    """Decodes the frames of a series, as `imaging.PixelReader` does."""

    def read(self, series: ImageSeries, /) -> npt.NDArray[Any]:
        """Return the frames, `imaging.Pixels`: larger values are brighter."""


@dataclass(frozen=True, eq=False)
class Making:
    """One run of making objects: the result, its profile, and what follows from them.

    Every UID is derived from the study, its content version, model, configuration
    and profile, so the same input gives the same objects.
    """

    result: StudyResult
    profile: Profile
    source: Dataset
    """Header of an instance of the study."""
    reader: FrameReader | None = None
    """Who reads the pixels of the source, for profiles that paint pictures."""
    review: Review | None = None
    """What people said of the regions; None: the result is the machine's alone."""

    @property
    def first_series_number(self) -> int:
        """Series Number of the report; corrected ones stand beside the machine's."""
        return FIRST_SERIES_NUMBER + (0 if self.review is None else 500)

    def uid(self, *parts: str) -> str:
        """Derive a UID of this result from what the object is."""
        result = self.result
        return derive_uid(
            "result",
            result.study_instance_uid,
            result.content_version,
            result.model_sha256,
            result.configuration_sha256,
            self.profile.name,
            *parts,
        )

    @cached_property
    def device_uid(self) -> str:
        """Device UID (0018,1002) of node and model together: a new model, a new UID."""
        return derive_uid("device", self.result.model_sha256)

    @cached_property
    def algorithm_version(self) -> str:
        """Version of the model as LO."""
        return long_string(self.result.model_version) or "unknown"

    @cached_property
    def algorithm_name(self) -> str:
        """Name of the model as LO."""
        return long_string(self.result.model_name) or "unknown"

    @cached_property
    def without_segment(self) -> frozenset[str]:
        """Tracking UIDs of regions whose probabilities the profile needs and lacks."""
        if self.profile.segmentation is not SegmentationEncoding.FRACTIONAL:
            return frozenset()
        return frozenset(
            region.tracking_uid
            for phrase in self.result.phrases
            for region in phrase.regions
            if region.probability is None
        )

    @cached_property
    def not_processed(self) -> tuple[NotProcessed, ...]:
        """What was left out, of the result and of this profile."""
        series = dict.fromkeys(
            region.series_instance_uid
            for phrase in self.result.phrases
            for region in phrase.regions
            if region.tracking_uid in self.without_segment
        )
        own = (NotProcessed(uid, NO_PROBABILITIES) for uid in series)
        return (*self.result.not_processed, *own)

    @property
    def content_day_and_time(self) -> tuple[str, str]:
        """Date (DA) and time (TM) of the content."""
        moment = self.result.content_datetime
        return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")

    def tracking_id(self, region: Region) -> str:
        """Return the tracking identifier of a region in this profile."""
        return self.profile.tracking_prefix + clean_text(region.tracking_id)

    def series_description(self, what: str) -> str:
        """Return a Series Description: the warning, what it is, the model."""
        return long_string(
            f"{NOT_FOR_DIAGNOSIS}: {what}, {self.algorithm_name}"
            f" {self.algorithm_version}"
        )

    def stamp(self, ds: Dataset) -> None:
        """Give a data set our equipment and the times of its content.

        Dates come from the newest source instance and never from a clock, so that
        bytes do not depend on when they are made.
        """
        day, time = self.content_day_and_time
        for kind in ("InstanceCreation", "Series", "Content"):
            setattr(ds, f"{kind}Date", day)
            setattr(ds, f"{kind}Time", time)
        ds.Manufacturer = MANUFACTURER
        ds.ManufacturerModelName = MODEL_NAME
        ds.DeviceSerialNumber = self.result.model_sha256[:16] or "unknown"
        ds.SoftwareVersions = [__version__, self.algorithm_version]
        ds.ContributingEquipmentSequence = [
            _equipment(MODEL_NAME, __version__, self.device_uid),
            _equipment(
                self.algorithm_name,
                self.algorithm_version,
                derive_uid("algorithm", self.result.model_sha256),
            ),
        ]
        ds.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
        ds.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME

    def write(
        self,
        ds: Dataset,
        path: Path,
        segments: Mapping[str, int],
        *,
        frames: Frames | None = None,
    ) -> ResultObject:
        """Write an object, with its frames where they are apart, and describe it."""
        sha256 = write_object(ds, path, frames=frames)
        return ResultObject(
            path=path.resolve(),
            reference=ObjectReference(
                sop_class_uid=str(ds.SOPClassUID),
                sop_instance_uid=str(ds.SOPInstanceUID),
                series_instance_uid=str(ds.SeriesInstanceUID),
                study_instance_uid=str(ds.StudyInstanceUID),
            ),
            sha256=sha256,
            transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
            segments=dict(segments),
            profile=self.profile.name,
        )

    def check_sources(self) -> None:
        """Raise ObjectError unless every source frame can be referred to."""
        for series in self.result.series:
            for frame in series.frames:
                if not frame.sop_class_uid or not frame.sop_instance_uid:
                    msg = "a source instance has no SOP Class or Instance UID"
                    raise ObjectError(msg)

    def placed_regions(self) -> Iterator[tuple[int, ImageSeries, Region]]:
        """Yield (index of the phrase, series, region) for every region."""
        grids = {
            (one.series_instance_uid, one.stack_number): one
            for one in self.result.series
        }
        for index, phrase in enumerate(self.result.phrases):
            for region in phrase.regions:
                key = (region.series_instance_uid, region.stack_number)
                if key not in grids:
                    msg = "a region lies in a series that the result does not have"
                    raise ObjectError(msg, series_instance_uid=key[0])
                yield index, grids[key], region


def _equipment(model: str, version: str, device_uid: str) -> Dataset:
    # IHE AIR 6.5.3.1: every algorithm, by name, version and Device UID.
    item = Dataset()
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = model
    item.SoftwareVersions = version
    item.DeviceUID = device_uid
    item.PurposeOfReferenceCodeSequence = [
        hd.sr.CodedConcept("109102", "DCM", "Processing Equipment")
    ]
    return item


def clean_text(text: str) -> str:
    """Return text without the characters that no text VR allows."""
    return _CONTROL.sub(" ", text).strip()


def long_string(text: str, length: int = 64) -> str:
    r"""Cut a text to a valid LO: one line, no backslash, `length` characters.

    A text that is too long is cut between words and ends in three dots.
    """
    line = " ".join(_CONTROL.sub(" ", text).replace("\\", "/").split())
    if len(line) <= length:
        return line
    cut = line[: length - 3]
    words = cut.rsplit(" ", 1)
    if len(words) == 2 and len(words[0]) > length // 2:
        cut = words[0]
    return cut.rstrip(" ,;.") + "..."


def coded(code: Code) -> hd.sr.CodedConcept:
    """Return a code as a highdicom concept; the meaning is cut to LO."""
    return hd.sr.CodedConcept(
        value=code.value,
        scheme_designator=long_string(code.scheme, 16),
        meaning=long_string(code.meaning) or code.value,
    )


def laterality_code(laterality: Laterality) -> hd.sr.CodedConcept:
    """Return the code of a side (CID 244)."""
    return hd.sr.CodedConcept.from_code(_LATERALITY[laterality])


def observer_context(making: Making) -> hd.sr.ObserverContext:
    """Return who observed: node and model together, a device (TID 1004)."""
    return hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=making.device_uid,
            name=MODEL_NAME,
            manufacturer_name=MANUFACTURER,
            model_name=MODEL_NAME,
            serial_number=making.result.model_sha256[:16] or "unknown",
        ),
    )


def display_colour(index: int) -> CIELabColor:
    """Return the colour of the phrase with that index as objects hold it."""
    return CIELabColor.from_rgb(*colour_of(index))


def add_coding_schemes(ds: Dataset) -> None:
    """Identify every private coding scheme that a data set uses (PS3.3 C.12.1)."""
    schemes = sorted(set(_schemes(ds)) - PUBLIC_SCHEMES)
    if not schemes:
        return
    items = []
    for scheme in schemes:
        item = Dataset()
        item.CodingSchemeDesignator = scheme
        if scheme == PRIVATE_SCHEME:
            item.CodingSchemeName = "Codes of the DICOM Grounding Node project"
            item.CodingSchemeResponsibleOrganization = MANUFACTURER
        items.append(item)
    ds.CodingSchemeIdentificationSequence = items


def _schemes(ds: Dataset) -> Iterator[str]:
    if "CodeMeaning" in ds:
        yield str(ds.CodingSchemeDesignator)
    for element in ds:
        if element.VR == "SQ":
            items: Sequence[Dataset] = element.value
            for item in items:
                yield from _schemes(item)

"""Sort a folder of DICOM files into studies: images, and what is said about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pydicom
from pydicom import Dataset, uid

from dicom_node.errors import CannotUnderstandError
from dicom_node.header import read_header
from dicom_node.imaging import find_series
from dicom_node.imaging.dataset import quiet_reading
from dicom_node.records import StoredInstance
from dicom_node.reports import find_reports
from training.errors import DatasetError
from training.readers.dicom_series import PlacedSeries

__all__ = ["DicomStudy", "find_studies", "read_headers"]

_SEGMENTATIONS = frozenset(
    {uid.SegmentationStorage, uid.UID("1.2.840.10008.5.1.4.1.1.66.7")}
)
"""Segmentation, and Label Map Segmentation Storage, which pydicom has no name for."""

_STRUCTURE_SETS = frozenset({uid.RTStructureSetStorage})
_DOCUMENTS = frozenset(
    {uid.EnhancedSRStorage, uid.ComprehensiveSRStorage, uid.Comprehensive3DSRStorage}
)
_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
"""Files that must be DICOM; among others what is none is passed over."""


@dataclass(frozen=True, eq=False)
class DicomStudy:
    """The instances of one study, in the order of their UIDs."""

    study_instance_uid: str
    instances: tuple[StoredInstance, ...]

    def of_class(self, classes: frozenset[uid.UID]) -> tuple[Path, ...]:
        """Return the files of some SOP classes."""
        return tuple(one.path for one in self.instances if one.sop_class_uid in classes)

    @property
    def segmentations(self) -> tuple[Path, ...]:
        """SEG files."""
        return self.of_class(_SEGMENTATIONS)

    @property
    def structure_sets(self) -> tuple[Path, ...]:
        """RTSTRUCT files."""
        return self.of_class(_STRUCTURE_SETS)

    @property
    def documents(self) -> tuple[Path, ...]:
        """Files of structured reports that may hold measurements."""
        return self.of_class(_DOCUMENTS)

    @cached_property
    def series(self) -> tuple[PlacedSeries, ...]:
        """The image series that the node itself would process."""
        found, _ = find_series(self.instances)
        return tuple(PlacedSeries(one) for one in found)

    @cached_property
    def report(self) -> str | None:
        """The text of the study's reports; None: there is none."""
        reports, _ = find_reports(self.instances)
        return "\n\n".join(one.text for one in reports) or None

    @cached_property
    def patient_id(self) -> str | None:
        """Patient ID of the first instance that has one."""
        for one in self.instances:
            value = read_headers(one.path, ["PatientID"]).get("PatientID")
            if value:
                return str(value)
        return None

    def series_of(
        self, *, series_uids: Sequence[str], instance_uids: Sequence[str] = ()
    ) -> tuple[PlacedSeries, ...]:
        """Return the stacks that references name, by series or else by instance."""
        wanted, instances = set(series_uids) - {""}, set(instance_uids)
        by_series = tuple(
            one for one in self.series if one.series.series_instance_uid in wanted
        )
        if by_series:
            return by_series
        return tuple(
            one
            for one in self.series
            if any(frame.sop_instance_uid in instances for frame in one.series.frames)
        )

    def in_frame_of_reference(self, frame_uid: str) -> tuple[PlacedSeries, ...]:
        """Return the stacks that lie in a frame of reference."""
        return tuple(
            one
            for one in self.series
            if frame_uid and one.series.frame_of_reference_uid == frame_uid
        )


def find_studies(root: Path) -> tuple[DicomStudy, ...]:
    """Sort every DICOM file below `root` into its study.

    Raises
    ------
    DatasetError
        A file that calls itself DICOM cannot be read, or there is none.
    """
    studies: dict[str, list[StoredInstance]] = defaultdict(list)
    for path in sorted(root.rglob("*")):
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            header = read_header(path)
        except CannotUnderstandError as error:
            if path.suffix.lower() in _SUFFIXES:
                raise DatasetError(f"{path.name}: {error}") from error
            continue
        studies[header.study_instance_uid].append(
            StoredInstance(
                sop_instance_uid=header.sop_instance_uid,
                sop_class_uid=header.sop_class_uid,
                transfer_syntax_uid=header.transfer_syntax_uid,
                series_instance_uid=header.series_instance_uid,
                path=path,
                # It only orders copies of one instance; their place does as well,
                # and reading every byte would not.
                sha256=path.relative_to(root).as_posix(),
            )
        )
    if not studies:
        raise DatasetError(f"{root.name}: holds no DICOM file")
    return tuple(
        DicomStudy(name, tuple(sorted(found, key=lambda one: one.sop_instance_uid)))
        for name, found in sorted(studies.items())
    )


def read_headers(path: Path, keywords: Sequence[str] | None = None) -> Dataset:
    """Read a data set without its pixels, in silence about patients.

    Raises
    ------
    DatasetError
        pydicom cannot read it.
    """
    tags = None if keywords is None else list(keywords)
    try:
        with quiet_reading():
            return pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=tags, force=True
            )
    except Exception as error:  # broken files raise nearly anything in pydicom
        raise DatasetError(
            f"{path.name}: cannot be read ({type(error).__name__})"
        ) from error

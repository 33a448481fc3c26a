"""What every object for an archive has: patient, study, series, equipment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.objects.common import add_coding_schemes
from dicom_node.objects.references import related_series, texts_of
from dicom_node.objects.study_module import copy_study_modules

if TYPE_CHECKING:
    from dicom_node.objects.common import Making

__all__ = ["begin", "complete"]

_DOCUMENTS = frozenset({"DOC", "KO"})
"""Modalities whose series have a module of their own."""


def begin(
    making: Making,
    sop_class_uid: str,
    *,
    series: tuple[str, ...],
    modality: str,
    series_number: int,
    instance_number: int,
    what: str,
) -> Dataset:
    """Begin an object with its identification.

    Parameters
    ----------
    making : Making
        The result.
    sop_class_uid : str
        What it becomes.
    series : tuple of str
        What its series is derived from; with the instance number, the instance.
    modality : str
        Modality (0008,0060).
    series_number, instance_number : int
        Where it stands.
    what : str
        What the series holds, for its description.

    """
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = sop_class_uid
    ds.SOPInstanceUID = making.uid(*series, str(instance_number))
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.Modality = modality
    ds.SeriesInstanceUID = making.uid("series", *series)
    ds.SeriesNumber = series_number
    ds.InstanceNumber = instance_number
    if modality not in _DOCUMENTS:
        ds.Laterality = ""  # type 2C (PS3.3 C.7.3.1): the phrases may be of any side
    ds.SeriesDescription = making.series_description(what)
    return ds


def complete(making: Making, ds: Dataset) -> None:
    """Give an object its equipment, its times, and the patient and study.

    Objects that are no documents name the series of their kind that they supersede.
    """
    making.stamp(ds)
    if ds.Modality not in _DOCUMENTS and (
        related := related_series(making, {ds.SOPClassUID})
    ):
        ds.RelatedSeriesSequence = related
    copy_study_modules(making.source, ds, list(texts_of(ds)))
    ds.StudyInstanceUID = making.result.study_instance_uid
    add_coding_schemes(ds)

"""The key object selection: which source frames matter, for whom, shown how.

PS3.3 A.35.4, PS3.16 TID 2010.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from highdicom.ko import KeyObjectSelection
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import KeyObjectSelectionDocumentStorage

from dicom_node.objects.common import observer_context
from dicom_node.objects.outcomes import phrase_line
from dicom_node.objects.references import hierarchy, image_item, requests_of
from dicom_node.objects.whole import begin, complete
from dicom_node.painting import WARNING
from dicom_node.records import ObjectReference

if TYPE_CHECKING:
    from dicom_node.objects.common import Making
    from dicom_node.objects.key_frames import KeyFrame
    from dicom_node.objects.presentation import Presentation

__all__ = ["make_key_objects"]


def make_key_objects(
    making: Making,
    keys: Sequence[KeyFrame],
    *,
    presentations: Sequence[Presentation],
    captures: Sequence[Dataset],
    series_number: int,
    more: int,
) -> Dataset:
    """Make the selection of key frames and of the pictures of them.

    Parameters
    ----------
    making : Making
        The result.
    keys : sequence of KeyFrame
        What is selected, at least one.
    presentations : sequence of Presentation
        Each key frame names the one that draws on it, so that a viewer shows it so.
    captures : sequence of Dataset
        The pictures, selected too.
    series_number : int
        Series Number.
    more : int
        Key frames that are left out.

    """
    ds = begin(
        making,
        KeyObjectSelectionDocumentStorage,
        series=("ko",),
        modality="KO",
        series_number=series_number,
        instance_number=1,
        what="key images",
    )
    content = KeyObjectSelection(
        document_title=codes.DCM.OfInterest,
        referenced_objects=[*map(_of_frame, keys), *captures],
        observer_device_context=observer_context(making),
        description=_description(making, keys, more=more),
    )
    (root,) = content
    items = [one for one in root.ContentSequence if one.ValueType == "IMAGE"]
    for item, key in zip(items, keys, strict=False):
        item.ReferencedSOPSequence = [_shown_frame(key, presentations)]
    for element in root:
        ds.add(element)
    ds.ContinuityOfContent = "SEPARATE"
    ds.CurrentRequestedProcedureEvidenceSequence = hierarchy(
        _evidence(making, keys, presentations, captures)
    )
    ds.ReferencedPerformedProcedureStepSequence = []
    if requests := requests_of(making.source, making.result.study_instance_uid):
        ds.ReferencedRequestSequence = requests
    complete(making, ds)
    return ds


def _description(making: Making, keys: Sequence[KeyFrame], *, more: int) -> str:
    shown = sorted({one.index for key in keys for one in key.regions})
    lines = [WARNING]
    lines += [phrase_line(making.result.phrases[index], index) for index in shown]
    if more:
        lines.append(f"{more} more key frames are not selected.")
    return "\r\n".join(lines)


def _of_frame(key: KeyFrame) -> Dataset:
    """Describe an image as the builder asks for it."""
    ds = Dataset()
    ds.SOPClassUID = key.frame.sop_class_uid
    ds.SOPInstanceUID = key.frame.sop_instance_uid
    ds.Rows, ds.Columns = key.series.rows, key.series.columns
    return ds


def _shown_frame(key: KeyFrame, presentations: Sequence[Presentation]) -> Dataset:
    """Refer to a frame, and to the state that presents it (PS3.3 C.18.4)."""
    frame = key.frame
    item = image_item(frame, [frame.frame_number])
    for one in presentations:
        if (frame.sop_instance_uid, frame.frame_number) in one.frames:
            state = Dataset()
            state.ReferencedSOPClassUID = one.dataset.SOPClassUID
            state.ReferencedSOPInstanceUID = one.dataset.SOPInstanceUID
            item.ReferencedSOPSequence = [state]
            break
    return item


def _evidence(
    making: Making,
    keys: Sequence[KeyFrame],
    presentations: Sequence[Presentation],
    captures: Sequence[Dataset],
) -> list[ObjectReference]:
    study = making.result.study_instance_uid
    images = [
        ObjectReference(
            key.frame.sop_class_uid,
            key.frame.sop_instance_uid,
            key.series.series_instance_uid,
            study,
        )
        for key in keys
    ]
    made = [*(one.dataset for one in presentations), *captures]
    return images + [
        ObjectReference(ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID, study)
        for ds in made
    ]

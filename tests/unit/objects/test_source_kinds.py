"""Results of every kind of image that may be sent, and of single frames of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UID

from conformance.rules_sr import image_references
from dicom_node.errors import InvalidObjectError
from dicom_node.imaging import find_series
from dicom_node.imaging.sop_classes import IMAGE_CLASSES
from dicom_node.objects import make_objects
from dicom_node.records import ImageSeries
from dicom_node.verify import verify_objects
from tests.builders.dicom_series import make_enhanced_ct, stored_instance
from tests.builders.other_images import make_photograph
from tests.builders.study_results import image_series, make_result, one_region_each

PRIVATE_CLASS = "1.3.12.2.1107.5.9.1"
THREE_PLANES = (
    (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
    (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
)


def _image_of(sop_class_uid: str, folder: Path) -> ImageSeries:
    path = make_photograph(folder).path
    ds = dcmread(path)
    ds.SOPClassUID = sop_class_uid
    ds.file_meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    ds.save_as(path)
    return image_series([stored_instance(ds, path)])


def _three_planes(folder: Path) -> tuple[ImageSeries, ...]:
    """Return one instance of three frames that lie in three planes: three stacks."""
    (instance,) = make_enhanced_ct(folder, slices=3).instances
    ds = dcmread(instance.path)
    del ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    groups = ds.PerFrameFunctionalGroupsSequence
    for group, cosines in zip(groups, THREE_PLANES, strict=True):
        item = Dataset()
        item.ImageOrientationPatient = list(cosines)
        group.PlaneOrientationSequence = [item]
    ds.save_as(instance.path)
    series, left_out = find_series([instance])
    assert left_out == ()
    return series


@pytest.mark.parametrize("profile", ["default", "ohif"])
@pytest.mark.parametrize("sop_class_uid", [*sorted(IMAGE_CLASSES), PRIVATE_CLASS])
def test_an_image_of_any_class_gets_a_result(
    sop_class_uid: str, profile: str, tmp_path: Path
) -> None:
    series = _image_of(sop_class_uid, tmp_path)
    result = make_result([series], one_region_each(series, ["left kidney"]))

    objects = make_objects(result, profile=profile, out_dir=tmp_path)

    verify_objects(objects, result.series)
    references = list(image_references(dcmread(objects[-1].path)))
    assert any(one.points for one in references)
    assert {one.sop_class_uid for one in references} == {
        sop_class_uid,
        objects[0].reference.sop_class_uid,
    }


@pytest.mark.parametrize("profile", ["default", "ohif"])
def test_a_box_names_its_frame_where_a_stack_holds_one_frame_of_an_instance(
    profile: str, tmp_path: Path
) -> None:
    stacks = _three_planes(tmp_path)
    phrases = [one for stack in stacks for one in one_region_each(stack, ["mass"])]
    result = make_result(stacks, phrases)

    objects = make_objects(result, profile=profile, out_dir=tmp_path)

    verify_objects(objects, result.series)
    boxes = [one for one in image_references(dcmread(objects[-1].path)) if one.points]
    assert {one.frame_numbers for one in boxes} == {(1,), (2,), (3,)}
    for one in objects[:-1]:
        for groups in dcmread(one.path).PerFrameFunctionalGroupsSequence:
            (source,) = groups.DerivationImageSequence[0].SourceImageSequence
            assert source.ReferencedFrameNumber in {1, 2, 3}


def test_a_box_that_does_not_name_its_frame_is_a_broken_rule(tmp_path: Path) -> None:
    series = _image_of(PRIVATE_CLASS, tmp_path)
    result = make_result([series], one_region_each(series, ["mass"]))
    objects = make_objects(result, out_dir=tmp_path)
    frames = tuple(replace(one, number_of_frames=2) for one in series.frames)

    with pytest.raises(InvalidObjectError) as caught:
        verify_objects(objects, [replace(series, frames=frames)])

    rules = {one.rule for one in caught.value.facts["violations"]}  # type: ignore[attr-defined]
    assert rules == {"source-frame", "image-frame"}

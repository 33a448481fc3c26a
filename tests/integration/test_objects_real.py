"""The real CT, which has no study or series UID, with the organs drawn in it."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest

from conformance.validators import judge_file
from dicom_node.header import read_header
from dicom_node.imaging import find_series
from dicom_node.objects import make_objects
from dicom_node.opendata import fetch_totalsegmentator
from dicom_node.records import (
    ImageSeries,
    PhraseResult,
    PhraseStatus,
    StoredInstance,
    StudyResult,
)
from dicom_node.verify import verify_objects
from tests.builders.study_results import make_phrase, make_region, make_result
from tests.builders.viewer_readers import read_by_dcmqi

ORGANS = {"spleen": 1, "liver": 5, "stomach": 6, "aorta": 52}
"""Labels of the annotation that comes with the CT."""


def _stored(path: Path) -> StoredInstance:
    header = read_header(path)  # the data sets have no UIDs, the files' meta has
    return StoredInstance(
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        series_instance_uid=header.series_instance_uid,
        path=path,
        sha256="",
    )


def _labels_at(
    points_lps: npt.NDArray[np.float64], image: nibabel.Nifti1Image
) -> npt.NDArray[np.int64]:
    """Look up the annotation at points in LPS millimetres, shape (n, 3)."""
    points = points_lps * np.array([-1.0, -1.0, 1.0])  # LPS to RAS
    index = (points - image.affine[:3, 3]) @ np.linalg.inv(image.affine[:3, :3]).T
    i, j, k = np.rint(index).astype(int).T
    return np.asarray(image.dataobj)[i, j, k].astype(np.int64)


def _points(series_affine: npt.NDArray[np.float64], index: npt.NDArray[np.int64]):  # type: ignore[no-untyped-def]
    return index @ series_affine[:3, :3].T + series_affine[:3, 3]


@pytest.fixture(scope="module")
def annotation() -> nibabel.Nifti1Image:
    return nibabel.load(fetch_totalsegmentator() / "example_seg_dicom.nii.gz")


@pytest.fixture(scope="module")
def series() -> ImageSeries:
    folder = fetch_totalsegmentator() / "example_ct_dicom"
    (one,), left_out = find_series([_stored(path) for path in folder.iterdir()])
    assert left_out == ()
    return one


@pytest.fixture(scope="module")
def result(series: ImageSeries, annotation: nibabel.Nifti1Image) -> StudyResult:
    shape = (len(series.frames), series.rows, series.columns)
    index = np.indices(shape).reshape(3, -1).T
    assert series.affine_lps is not None
    labels = _labels_at(_points(series.affine_lps, index), annotation).reshape(shape)
    return make_result(
        [series],
        [
            PhraseResult(
                make_phrase(organ),
                PhraseStatus.PRESENT,
                (make_region(series, labels == label, organ),),
                0.9,
                0.1,
            )
            for organ, label in ORGANS.items()
        ],
    )


@pytest.mark.parametrize("profile", ["default", "ohif", "labelmap"])
def test_results_of_the_real_ct_are_valid(
    profile: str, result: StudyResult, tmp_path: Path
) -> None:
    objects = make_objects(result, profile=profile, out_dir=tmp_path)

    verify_objects(objects, result.series)
    judgements = [judge_file(one.path) for one in objects]

    assert [str(v) for one in judgements for v in one.violations] == []
    assert len(objects) == 2
    assert {one.reference.study_instance_uid for one in objects} == {
        result.series[0].study_instance_uid
    }


@pytest.mark.parametrize("profile", ["default", "labelmap"])
def test_slicer_s_reader_finds_each_organ_where_its_annotation_is(
    profile: str,
    result: StudyResult,
    annotation: nibabel.Nifti1Image,
    tmp_path: Path,
) -> None:
    objects = make_objects(result, profile=profile, out_dir=tmp_path)

    read = read_by_dcmqi(objects[0].path, tmp_path / "read")

    for one in result.phrases:
        (region,) = one.regions
        mask, affine = read[region.tracking_uid]
        where = np.argwhere(mask)
        assert len(where) == int(region.mask.sum())
        found = _labels_at(_points(affine, where), annotation)
        assert set(found.tolist()) == {ORGANS[one.phrase.text]}

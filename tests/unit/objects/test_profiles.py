"""What each profile promises its viewer, checked on the written objects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from dicom_node.config.sections import PROFILE_NAMES
from dicom_node.corrections.runs import runs_of_mask
from dicom_node.corrections.segments import read_segments
from dicom_node.errors import InvalidObjectError
from dicom_node.objects import make_objects, needs_probabilities
from dicom_node.objects.profiles import PROFILES
from dicom_node.records import StudyResult
from dicom_node.verify import verify_objects
from tests.builders.dicom_series import make_ct_series
from tests.builders.result_cases import result_of
from tests.builders.study_results import (
    image_series,
    make_phrase,
    make_region,
    make_result,
    mask_of,
    one_region_each,
)

BINARY = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"


def _tall(folder: Path, *, segments: int, slices: int = 150) -> StudyResult:
    """Return a result with disjoint columns that reach through every slice."""
    series = image_series(
        make_ct_series(folder / "ct", slices=slices, rows=16, columns=16).instances
    )
    (one,) = one_region_each(series, ["kidney"])
    phrases = []
    for number in range(segments):
        mask = np.zeros((slices, 16, 16), bool)
        mask[:, 4:9, 3 * number : 3 * number + 3] = True
        region = make_region(series, mask, f"{number}")
        phrase = make_phrase(f"part {number}")
        phrases.append(replace(one, phrase=phrase, regions=(region,)))
    return make_result([series], phrases)


def test_every_profile_that_settings_may_name_is_there() -> None:
    assert set(PROFILES) == set(PROFILE_NAMES)


def test_only_one_profile_needs_probabilities() -> None:
    names = {name for name in PROFILES if needs_probabilities([name])}

    assert names == {"fractional"}
    assert needs_probabilities(["default", "fractional"])


@pytest.mark.parametrize(("halo", "said"), [(0, "NO"), (1, "YES")])
def test_fractional_segments_overlap_where_two_may_be(
    halo: int, said: str, tmp_path: Path
) -> None:
    series = image_series(make_ct_series(tmp_path / "ct", slices=2).instances)
    (one,) = one_region_each(series, ["kidney"])
    below = np.tri(series.rows, series.columns, -1, bool)
    phrases = []
    for number, side in enumerate((below, below.T)):
        mask = np.broadcast_to(side, (2, *side.shape))
        region = make_region(series, mask, f"{number}")
        shares = np.where(region.mask, 200, halo).astype(np.uint8)
        region = replace(region, probability=shares)
        phrase = make_phrase(f"part {number}")
        phrases.append(replace(one, phrase=phrase, regions=(region,)))
    result = make_result([series], phrases)

    made, *_ = make_objects(result, profile="fractional", out_dir=tmp_path)

    ds = pydicom.dcmread(made.path)
    segments = (ds.pixel_array > 0).reshape(2, 2, *below.shape)
    assert (segments.sum(axis=0).max() > 1) == (said == "YES")
    assert ds.SegmentsOverlap == said


@pytest.mark.parametrize("profile", ["default", "ohif", "slicer", "weasis"])
def test_a_profile_that_does_not_ask_for_compression_gets_none(
    profile: str, tmp_path: Path
) -> None:
    result = result_of("odd volume", tmp_path / "source")

    objects = make_objects(result, profile=profile, out_dir=tmp_path)

    assert {one.transfer_syntax_uid for one in objects} == {ExplicitVRLittleEndian}


def test_a_label_map_shrinks_and_keeps_every_voxel(tmp_path: Path) -> None:
    result = _tall(tmp_path, segments=3)

    one, _ = objects = make_objects(result, profile="labelmap", out_dir=tmp_path)

    verify_objects(objects, result.series)
    assert one.transfer_syntax_uid == RLELossless
    assert len(bytes(pydicom.dcmread(one.path).PixelData)) < 150 * 16 * 16 * 0.75
    segmentation = hd.seg.segread(one.path)
    uids = [frame.sop_instance_uid for frame in result.series[0].frames]
    pixels = segmentation.get_pixels_by_source_instance(uids)
    for phrase in result.phrases:
        (region,) = phrase.regions
        number = one.segments[region.tracking_uid]
        expected = mask_of(region, result.series[0])
        assert np.array_equal(pixels[..., number - 1] > 0, expected)


@pytest.mark.parametrize(
    ("segments", "sop_class", "frames"), [(2, BINARY, 300), (3, LABEL_MAP, 150)]
)
def test_weasis_gets_no_more_than_four_hundred_binary_frames(
    segments: int, sop_class: str, frames: int, tmp_path: Path
) -> None:
    result = _tall(tmp_path, segments=segments)

    one, _ = objects = make_objects(result, profile="weasis", out_dir=tmp_path)

    verify_objects(objects, result.series)
    ds = pydicom.dcmread(one.path)
    assert (ds.SOPClassUID, ds.NumberOfFrames) == (sop_class, frames)
    assert sorted(one.segments.values()) == list(range(1, segments + 1))


@pytest.mark.parametrize("name", ["oblique", "radiograph", "odd volume"])
def test_weasis_finds_the_image_of_every_frame(name: str, tmp_path: Path) -> None:
    result = result_of(name, tmp_path / "source")
    (series,) = result.series

    *segmentations, report = make_objects(result, profile="weasis", out_dir=tmp_path)

    uids = {frame.sop_instance_uid for frame in series.frames}
    for one in segmentations:
        ds = pydicom.dcmread(one.path)
        (referenced,) = ds.ReferencedSeriesSequence
        assert referenced.SeriesInstanceUID == series.series_instance_uid
        named = referenced.ReferencedInstanceSequence
        assert {item.ReferencedSOPInstanceUID for item in named} == uids
        assert (ds.Rows, ds.Columns) == (series.rows, series.columns)
        if series.frame_of_reference_uid is not None:
            assert ds.FrameOfReferenceUID == series.frame_of_reference_uid
        for frame in ds.PerFrameFunctionalGroupsSequence:
            assert frame.PlanePositionSequence[0].ImagePositionPatient
            (source,) = frame.DerivationImageSequence[0].SourceImageSequence
            assert source.ReferencedSOPInstanceUID in uids
    assert _coordinates(pydicom.dcmread(report.path)) == len(result.phrases)


def test_reports_for_slicer_have_no_coordinates_and_others_must(
    tmp_path: Path,
) -> None:
    result = result_of("axial", tmp_path / "source")

    objects = make_objects(result, profile="slicer", out_dir=tmp_path)

    verify_objects(objects, result.series)
    assert _coordinates(pydicom.dcmread(objects[-1].path)) == 0
    claimed = [replace(one, profile="default") for one in objects]
    with pytest.raises(InvalidObjectError, match="has no coordinates"):
        verify_objects(claimed, result.series)


def _coordinates(item: pydicom.Dataset) -> int:
    """Count SCOORD items that select from an image, below an item."""
    found = 0
    for child in item.get("ContentSequence", []):
        if child.ValueType == "SCOORD":
            (image,) = child.ContentSequence
            found += image.ValueType == "IMAGE"
        found += _coordinates(child)
    return found


def test_the_page_draws_what_is_at_least_as_likely_as_not(tmp_path: Path) -> None:
    result = result_of("radiograph", tmp_path / "source", ("left kidney",))
    (region,) = result.phrases[0].regions
    made, _ = make_objects(result, profile="fractional", out_dir=tmp_path)

    (frame,) = read_segments(made.path)[1]

    # The builder gives more than half to what is in the mask and less to the rest.
    expected = runs_of_mask(mask_of(region, result.series[0])[0])
    assert frame.runs == tuple(expected)

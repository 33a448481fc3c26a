"""What the readers of a profile show of it: voxels, names, colours and table rows."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK
from pydicom.encaps import parse_basic_offsets
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import RLELossless

from dicom_node.objects import make_objects
from dicom_node.objects.common import display_colour
from dicom_node.records import Region, StudyResult
from dicom_node.verify import verify_objects
from tests.builders.result_cases import SERIES, full_result, result_of
from tests.builders.study_results import make_result, one_region_each
from tests.builders.viewer_readers import read_report_by_dcmqi

SEGMENTS = "segmentAttributes"


def _regions(result: StudyResult) -> dict[str, Region]:
    return {
        region.tracking_uid: region
        for phrase in result.phrases
        for region in phrase.regions
    }


def _shares(region: Region, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return the probabilities of a region in the whole grid, where it has frames."""
    whole = np.zeros(shape, np.uint8)
    assert region.probability is not None
    starts = region.mask_origin
    window = tuple(
        slice(start, start + size)
        for start, size in zip(starts, region.mask.shape, strict=True)
    )
    seen = region.mask.any(axis=(1, 2))[:, np.newaxis, np.newaxis]
    whole[window] = np.where(seen, region.probability, 0)
    return whole


def _by_dcmqi(path: Path, work: Path) -> dict[str, Any]:
    """Convert a SEG as 3D Slicer does; return what is said of its segments."""
    work.mkdir()
    program = Path(sys.executable).with_name("segimage2itkimage")
    command = [program, "--inputDICOM", path, "--outputDirectory", work]
    subprocess.run(
        [*command, "--outputType", "nrrd"], check=True, capture_output=True, timeout=120
    )
    meta: dict[str, Any] = json.loads((work / "meta.json").read_text())
    return meta


@pytest.mark.parametrize("name", ["axial", "odd volume", "odd radiograph", "enhanced"])
def test_highdicom_and_dcmqi_read_the_probability_of_every_pixel(
    name: str, tmp_path: Path
) -> None:
    # Regions that all overlap: dcmqi joins those that do not in one grey picture.
    series = SERIES[name](tmp_path / "source")
    (one,) = one_region_each(series, ["kidney"])
    other = replace(
        one.regions[0],
        tracking_uid="2.25.50",
        probability=255 - np.asarray(one.regions[0].probability),
    )
    result = make_result([series], [one, replace(one, regions=(other,))])

    made, _ = objects = make_objects(result, profile="fractional", out_dir=tmp_path)

    verify_objects(objects, result.series)
    assert made.transfer_syntax_uid == RLELossless
    shape = (len(series.frames), series.rows, series.columns)
    segmentation = hd.seg.segread(made.path)
    assert segmentation.SegmentationType == "FRACTIONAL"
    assert segmentation.SegmentationFractionalType == "PROBABILITY"
    assert segmentation.MaximumFractionalValue == 255
    assert segmentation.SegmentsOverlap == "YES"
    if len({frame.sop_instance_uid for frame in series.frames}) == shape[0]:
        uids = [frame.sop_instance_uid for frame in series.frames]
        pixels = segmentation.get_pixels_by_source_instance(
            uids, assert_missing_frames_are_empty=True, rescale_fractional=False
        )
    else:
        pixels = segmentation.get_pixels_by_source_frame(
            series.frames[0].sop_instance_uid,
            [frame.frame_number for frame in series.frames],
            assert_missing_frames_are_empty=True,
            rescale_fractional=False,
        )
    meta = _by_dcmqi(made.path, tmp_path / "dcmqi")
    regions = _regions(result)
    for group, (attributes,) in enumerate(meta[SEGMENTS], start=1):
        region = regions[attributes["TrackingUniqueIdentifier"]]
        number = made.segments[region.tracking_uid]
        expected = _shares(region, shape)
        assert np.array_equal(pixels[..., number - 1], expected)
        image = SimpleITK.ReadImage(str(tmp_path / "dcmqi" / f"{group}.nrrd"))
        read = SimpleITK.GetArrayFromImage(image)
        filled = expected[expected.any(axis=(1, 2))]
        assert np.array_equal(read[read.any(axis=(1, 2))], filled)
    assert sum(map(len, meta[SEGMENTS])) == 2


@pytest.mark.parametrize("name", ["axial", "odd volume", "radiograph", "odd cine"])
def test_slicer_s_reader_sees_names_and_colours_of_every_segment(
    name: str, tmp_path: Path
) -> None:
    result = result_of(name, tmp_path / "source")

    made, _ = make_objects(result, profile="slicer", out_dir=tmp_path)

    meta = _by_dcmqi(made.path, tmp_path / "dcmqi")
    read = {
        one["TrackingUniqueIdentifier"]: (
            one["SegmentLabel"],
            one["SegmentDescription"],
            tuple(one["recommendedDisplayRGBValue"]),
        )
        for group in meta[SEGMENTS]
        for one in group
    }
    for index, phrase in enumerate(result.phrases):
        label, description, colour = read.pop(phrase.regions[0].tracking_uid)
        assert (label, description) == (phrase.phrase.text, phrase.phrase.text)
        expected = display_colour(index).to_rgb()
        assert np.abs(np.subtract(colour, expected)).max() <= 3, colour
    assert read == {}


def test_slicer_s_reader_of_reports_makes_a_row_of_each_segment(tmp_path: Path) -> None:
    result = full_result(tmp_path / "source")

    *segmentations, report = make_objects(result, profile="slicer", out_dir=tmp_path)

    table = read_report_by_dcmqi(report.path, tmp_path)
    rows = {
        (one["TrackingUniqueIdentifier"], one["segmentationSOPInstanceUID"]): (
            one["ReferencedSegment"],
            one["SourceSeriesForImageSegmentation"],
            [value["conceptValue"] for value in one["qualitativeEvaluations"]],
        )
        for one in table["Measurements"]
    }
    expected = {
        (uid, one.reference.sop_instance_uid): number
        for one in segmentations
        for uid, number in one.segments.items()
    }
    assert {key: row[0] for key, row in rows.items()} == expected
    assert len(table["Measurements"]) == len(expected) == len(_regions(result))
    by_uid = {uid: row for (uid, _), row in rows.items()}
    for phrase in result.phrases:
        for region in phrase.regions:
            _, series_uid, texts = by_uid[region.tracking_uid]
            assert phrase.phrase.text in texts
            assert series_uid == region.series_instance_uid


def test_quantitative_reporting_finds_one_segmentation_of_each_grid_by_the_evidence(
    tmp_path: Path,
) -> None:
    result = full_result(tmp_path / "source")

    *segmentations, report = make_objects(result, profile="slicer", out_dir=tmp_path)

    ds = pydicom.dcmread(report.path)
    named = [
        sop.ReferencedSOPInstanceUID
        for study in ds.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
        if sop.ReferencedSOPClassUID == pydicom.uid.SegmentationStorage
    ]
    assert named == [one.reference.sop_instance_uid for one in segmentations]
    assert len(named) == len({one.series_instance_uid for one in result.series})
    text = str(ds)
    assert "SCOORD" not in text  # planar groups make it take another way
    assert "Referenced Segment" in text


@pytest.mark.parametrize("name", ["axial", "odd volume"])
def test_every_frame_of_a_compressed_object_is_found_by_its_offset(
    name: str, tmp_path: Path
) -> None:
    result = result_of(name, tmp_path / "source")

    objects = make_objects(result, profile="labelmap", out_dir=tmp_path)

    for one in objects[:-1]:
        ds = pydicom.dcmread(one.path)
        assert ds.file_meta.TransferSyntaxUID == one.transfer_syntax_uid == RLELossless
        offsets = parse_basic_offsets(ds.PixelData)
        assert len(offsets) == ds.NumberOfFrames
        decoder = get_decoder(RLELossless)
        ways = [
            np.concatenate(
                [frame for frame, _ in decoder.iter_array(ds, decoding_plugin=plugin)]
            )
            for plugin in ("pydicom", "pylibjpeg")
        ]
        assert np.array_equal(*ways)

"""Every object we write, before readers and judges that other projects wrote."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from conformance.judges import FALSE_COMPLAINTS, ask_dciodvfy, find_dciodvfy
from conformance.validators import judge_file
from dicom_node.objects import make_objects
from dicom_node.objects.common import display_colour
from dicom_node.records import (
    ImageSeries,
    Region,
    ResultObject,
    StudyResult,
)
from dicom_node.verify import verify_objects
from tests.builders.dicom_series import make_ct_series
from tests.builders.peers import require_program
from tests.builders.result_cases import SERIES, TEXTS, full_result, result_of
from tests.builders.study_results import (
    image_series,
    make_result,
    mask_of,
    one_region_each,
)
from tests.builders.viewer_readers import (
    Shown,
    digest,
    read_by_cornerstone,
    read_by_dcmqi,
    read_report_by_dcmqi,
)

PROFILES = ("default", "ohif", "labelmap")
CASES = [(name, "default") for name in SERIES] + [
    (name, profile)
    for profile in ("ohif", "labelmap")
    for name in ("oblique", "radiograph", "enhanced")
]
CASES += [("odd volume", "labelmap"), ("odd cine", "labelmap"), ("oblique", "weasis")]
CASES += [
    (name, "slicer")
    for name in ("sagittal", "oblique", "odd volume", "odd radiograph", "odd cine")
]


EVERYTHING = "everything"

PROFILES_OF_SEGMENTS = (*PROFILES, "slicer", "weasis", "fractional")

Make = Callable[[str, str], tuple[StudyResult, tuple[ResultObject, ...]]]
"""From a name of `SERIES`, or `EVERYTHING`, and a profile: a result, its objects."""


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Build each source once and its objects once for each profile."""

    @cache
    def result(name: str) -> StudyResult:
        folder = tmp_path_factory.mktemp("source")
        return full_result(folder) if name == EVERYTHING else result_of(name, folder)

    @cache
    def build(name: str, profile: str) -> tuple[StudyResult, tuple[ResultObject, ...]]:
        out = tmp_path_factory.mktemp("objects")
        return result(name), make_objects(result(name), profile=profile, out_dir=out)

    return build


def _regions(result: StudyResult) -> dict[str, Region]:
    return {
        region.tracking_uid: region
        for phrase in result.phrases
        for region in phrase.regions
    }


def _grid_affine(series: ImageSeries) -> npt.NDArray[np.float64]:
    if series.affine_lps is not None:
        return series.affine_lps
    rows, columns = series.pixel_spacing_mm or (1.0, 1.0)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 1.0, rows, columns, 1.0
    return affine


@pytest.mark.parametrize(
    ("name", "profile"),
    [*CASES, *((EVERYTHING, profile) for profile in PROFILES_OF_SEGMENTS)],
)
def test_rules_and_dciodvfy_find_no_error(name: str, profile: str, make: Make) -> None:
    result, objects = make(name, profile)

    verify_objects(objects, result.series)
    judgements = [judge_file(one.path) for one in objects]

    assert [str(v) for one in judgements for v in one.violations] == []
    assert {one.judges for one in judgements} == {("rules", "dciodvfy")}


def test_dciodvfy_is_wrong_about_label_maps_exactly_as_tabled(make: Make) -> None:
    _, objects = make("axial", "labelmap")
    program = find_dciodvfy()
    assert program is not None
    said: list[str] = []

    for one in objects:
        done = subprocess.run(
            [program, one.path], capture_output=True, text=True, check=False
        )
        said += [
            line.removeprefix("Error - ")
            for line in (done.stdout + done.stderr).splitlines()
            if line.startswith("Error")
        ]

    report = dcmread(objects[-1].path)
    expected = {one.text: one.count(report) for one in FALSE_COMPLAINTS}
    assert {text: said.count(text) for text in set(said)} == expected


def test_one_more_of_a_false_complaint_is_an_error(make: Make) -> None:
    _, objects = make("axial", "labelmap")
    program = find_dciodvfy()
    assert program is not None
    report = objects[-1].path
    blind = dcmread(objects[0].path)  # refers to no label map

    complaints = list(ask_dciodvfy(program, report, blind))

    assert len(complaints) == len(TEXTS)


@pytest.mark.parametrize(("name", "profile"), CASES)
def test_highdicom_reads_the_same_voxels(name: str, profile: str, make: Make) -> None:
    result, objects = make(name, profile)
    regions, (series,) = _regions(result), result.series
    uids = list(dict.fromkeys(frame.sop_instance_uid for frame in series.frames))
    seen = set()

    for one in objects[:-1]:
        segmentation = hd.seg.segread(one.path)
        if len(uids) == len(series.frames):
            pixels = segmentation.get_pixels_by_source_instance(
                uids, assert_missing_frames_are_empty=True
            )
        else:
            pixels = segmentation.get_pixels_by_source_frame(
                uids[0],
                [frame.frame_number for frame in series.frames],
                assert_missing_frames_are_empty=True,
            )
        for uid, number in one.segments.items():
            found = pixels[..., list(segmentation.segment_numbers).index(number)] > 0
            assert np.array_equal(found, mask_of(regions[uid], series))
            seen.add(uid)

    assert seen == set(regions)


@pytest.mark.parametrize(("name", "profile"), CASES)
def test_dcmqi_reads_the_same_voxels_at_the_same_place(
    name: str, profile: str, make: Make, tmp_path: Path
) -> None:
    result, objects = make(name, profile)
    regions, (series,) = _regions(result), result.series
    to_grid = np.linalg.inv(_grid_affine(series))
    seen = set()

    for index, one in enumerate(objects[:-1]):
        read = read_by_dcmqi(one.path, tmp_path / f"read-{index}")
        for uid, (mask, affine) in read.items():
            where = np.argwhere(mask)
            points = np.c_[where, np.ones(len(where))] @ (to_grid @ affine).T
            voxels = np.rint(points[:, :3]).astype(int)
            assert np.abs(points[:, :3] - voxels).max() < 1e-3
            expected = np.argwhere(mask_of(regions[uid], series))
            assert sorted(map(tuple, voxels)) == sorted(map(tuple, expected))
            seen.add(uid)

    assert seen == set(regions)


SHOWN = ("axial", "reversed", "oblique", "odd cine", "radiograph", "enhanced")


@pytest.fixture(scope="module")
def cornerstone(
    make: Make, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, list[list[dict[str, Any]]]]]:
    """Show everything in one process: most of its time goes into its start."""
    shown = []
    for name in SHOWN:
        made = [make(name, profile) for profile in PROFILES]
        shown.append(
            Shown(
                series=made[0][0].series[0],
                segmentations=[one.path for _, out in made for one in out[:-1]],
                reports=[out[-1].path for _, out in made],
            )
        )
    answers = read_by_cornerstone(shown, tmp_path_factory.mktemp("cornerstone"))
    return dict(zip(SHOWN, answers, strict=True))


@pytest.mark.peers
@pytest.mark.parametrize("name", SHOWN)
def test_cornerstone_reads_the_same_voxels_labels_colours_and_phrases(
    name: str,
    make: Make,
    cornerstone: dict[str, dict[str, list[list[dict[str, Any]]]]],
) -> None:
    result, _ = make(name, "default")
    answer = cornerstone[name]
    regions, (series,) = _regions(result), result.series
    tools = {
        "default": "RectangleROI",
        "ohif": "PlanarFreehandROI",
        "labelmap": "RectangleROI",
    }

    seen = []
    for segment in (one for segments in answer["segmentations"] for one in segments):
        uid = segment["tracking_uid"]
        assert segment["sha256"] == digest(mask_of(regions[uid], series))
        seen.append((uid, segment["label"], tuple(segment["colour"])))
    assert sorted(seen) == sorted(
        (one.regions[0].tracking_uid, one.phrase.text, display_colour(index).value)
        for index, one in enumerate(result.phrases)
        for _ in PROFILES
    )
    for profile, hydrated in zip(PROFILES, answer["reports"], strict=True):
        found = {one["tracking_uid"]: one for one in hydrated}
        assert {uid: (one["tool"], one["label"]) for uid, one in found.items()} == {
            one.regions[0].tracking_uid: (tools[profile], one.phrase.text)
            for one in result.phrases
        }
        for uid, region in regions.items():
            areas = region.mask.sum(axis=(1, 2))
            source = series.frames[region.mask_origin[0] + int(areas.argmax())]
            assert found[uid]["sop_instance_uid"] == source.sop_instance_uid
            assert found[uid]["frame"] == source.frame_number


@pytest.mark.parametrize("profile", PROFILES)
def test_dcmqi_reads_the_findings_of_a_report(
    profile: str, make: Make, tmp_path: Path
) -> None:
    result, objects = make("axial", profile)

    report = read_report_by_dcmqi(objects[-1].path, tmp_path)

    groups: dict[str, list[dict[str, object]]] = {}
    for one in report["Measurements"]:
        groups.setdefault(one["TrackingUniqueIdentifier"], []).append(one)
    for phrase in result.phrases:
        box, segment = groups[phrase.regions[0].tracking_uid]
        assert "ReferencedSegment" not in box
        assert segment["ReferencedSegment"] in {1, 2, 3}
        for group in (box, segment):
            texts = [
                one["conceptValue"]
                for one in group["qualitativeEvaluations"]  # type: ignore[attr-defined]
            ]
            assert phrase.phrase.text in texts


@pytest.mark.peers
@pytest.mark.parametrize("profile", ["default", "ohif"])
def test_dcmtk_reads_the_phrases_of_a_report(profile: str, make: Make) -> None:
    program = require_program("dsrdump")
    result, objects = make(EVERYTHING, profile)

    done = subprocess.run(
        [program, objects[-1].path], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr.replace("ISO_IR 192", "").count("E:") == 0
    for phrase in result.phrases:
        assert f'"{phrase.phrase.text}"' in done.stdout


@pytest.mark.slow
def test_ten_phrases_in_three_hundred_slices_keep_every_voxel(tmp_path: Path) -> None:
    voxels = np.zeros((300, 512, 512), np.int16)
    series = image_series(make_ct_series(tmp_path / "ct", voxels=voxels).instances)
    del voxels
    phrases = one_region_each(series, [f"phrase {n}" for n in range(10)])

    segmentation, _ = make_objects(
        make_result([series], phrases), profile="default", out_dir=tmp_path
    )

    bits = np.frombuffer(dcmread(segmentation.path).PixelData, np.uint8)
    expected = sum(int(one.regions[0].mask.sum()) for one in phrases)
    assert int(np.bitwise_count(bits).sum()) == expected


@pytest.mark.parametrize(
    ("label", "name", "is_valid"),
    [
        ("GBK", "王^小东 ".encode("gbk"), True),
        # Four bytes for a letter: GB18030 has them, GBK has not.
        ("GBK", "Muñoz".encode("gb18030"), False),
        ("ISO_IR 6", "王^小东 ".encode("gbk"), False),
    ],
)
def test_gbk_is_judged_by_what_it_may_hold(
    label: str, name: bytes, *, is_valid: bool, tmp_path: Path
) -> None:
    series = make_ct_series(tmp_path, slices=1, rows=8, columns=8)
    (path,) = series.paths
    ds = dcmread(path)
    ds.SpecificCharacterSet = label
    # Bytes are then written as they are.
    implicit, little = ds.original_encoding
    ds.set_original_encoding(implicit, little, convert_encodings(label))
    tag = Tag("PatientName")
    ds[tag] = RawDataElement(tag, "PN", len(name), name, 0, False, True)
    ds.save_as(path)

    complaints = [str(one) for one in judge_file(path).violations]

    assert [one for one in complaints if "(0x0010,0x0010)" in one] == complaints[:1]
    assert (not complaints) is is_valid

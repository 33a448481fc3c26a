from __future__ import annotations

import random
import re
from collections import Counter
from datetime import datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import (
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    RTDoseStorage,
    RTStructureSetStorage,
    VideoEndoscopicImageStorage,
)

from dicom_node.header import read_header
from dicom_node.imaging import (
    MAX_LOOP_FRAMES,
    MAX_REPEATS,
    find_series,
    latest_datetime,
)
from tests.builders.dicom_series import (
    make_ct_series,
    make_dx_image,
    make_enhanced_ct,
    pattern_hu,
    without,
    write_dataset,
)
from tests.builders.other_images import make_cine, make_photograph


def positions(series):
    return [frame.position_lps[2] for frame in series.frames]


def make_plain(path, sop_class, **values):
    ds = Dataset()
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = f"1.2.3.{abs(hash(path.name)) % 10**9}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return write_dataset(ds, path)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_ct_series_becomes_a_volume_that_grows_along_its_normal(tmp_path, reverse):
    made = make_ct_series(tmp_path, reverse=reverse)

    (series,), left_out = find_series(made.instances)

    assert left_out == ()
    assert series.is_volume
    assert (series.modality, series.body_part) == ("CT", "ABDOMEN")
    assert series.study_instance_uid == made.study_instance_uid
    assert series.series_instance_uid == made.series_instance_uid
    assert series.frame_of_reference_uid == made.frame_of_reference_uid
    assert positions(series) == sorted(positions(series))
    np.testing.assert_allclose(series.affine_lps, made.affine_lps)


@pytest.mark.parametrize("reverse", [False, True])
def test_an_enhanced_ct_becomes_the_same_volume(tmp_path, reverse):
    made = make_enhanced_ct(tmp_path, reverse=reverse)

    (series,), left_out = find_series(made.instances)

    assert left_out == ()
    assert series.body_part == "ABDOMEN"
    numbers = [frame.frame_number for frame in series.frames]
    assert numbers == sorted(numbers, reverse=reverse)
    np.testing.assert_allclose(series.affine_lps, made.affine_lps)


def test_the_order_in_which_instances_arrive_changes_nothing(tmp_path):
    made = make_ct_series(tmp_path)
    shuffled = list(made.instances)
    random.Random(1).shuffle(shuffled)

    assert (
        find_series(shuffled)[0][0].frames == find_series(made.instances)[0][0].frames
    )


def test_an_instance_given_twice_counts_once(tmp_path):
    made = make_ct_series(tmp_path)

    (series,), _ = find_series([*made.instances, *made.instances])

    assert len(series.frames) == len(made.instances)


def test_a_missing_slice_cuts_the_volume_in_two(tmp_path):
    made = without(make_ct_series(tmp_path, slices=9), 4)

    series, left_out = find_series(made.instances)

    assert left_out == ()
    assert [len(one.frames) for one in series] == [4, 4]
    assert [one.stack_number for one in series] == [1, 2]
    for one in series:
        assert one.is_volume
        np.testing.assert_allclose(one.affine_lps[:3, 0], [0, 0, 5])


def test_a_stack_whose_spacing_changes_once_is_cut_there(tmp_path):
    made = without(make_ct_series(tmp_path, slices=20), *range(11, 20, 2))

    series, _ = find_series(made.instances)

    assert [one.affine_lps[2, 0] for one in series] == [5, 10]
    assert sum(len(one.frames) for one in series) == 15


def test_irregular_spacing_leaves_sorted_slices(tmp_path):
    z = np.cumsum([3, 5, 4, 7, 3.5, 6, 4.5, 8])
    instances = []
    for k, place in enumerate(z):
        one = make_ct_series(
            tmp_path,
            slices=1,
            origin_lps=(0, 0, float(place)),
            name=f"s{k}",
            series_uid="1.2.3",
        )
        instances.extend(one.instances)

    (series,), left_out = find_series(instances)

    assert left_out == ()
    assert not series.is_volume
    assert series.orientation_lps == (1, 0, 0, 0, 1, 0)
    assert positions(series) == pytest.approx(list(z))


def test_a_tilted_gantry_leaves_sorted_slices(tmp_path):
    instances = []
    for k in range(6):
        one = make_ct_series(
            tmp_path,
            slices=1,
            origin_lps=(0, 2.0 * k, 5.0 * k),
            name=f"s{k}",
            series_uid="1.2.3",
        )
        instances.extend(one.instances)

    (series,), left_out = find_series(instances)

    assert left_out == ()
    assert not series.is_volume
    assert len(series.frames) == 6


def test_a_single_slice_is_a_volume_of_its_thickness(tmp_path):
    made = make_ct_series(tmp_path, slices=1, spacing_mm=(2.5, 0.8, 0.7))

    (series,), _ = find_series(made.instances)

    np.testing.assert_allclose(series.affine_lps, made.affine_lps)


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("TemporalPositionIdentifier", ["1", "2"]),
        ("EchoTime", ["10", "80"]),
        ("AcquisitionNumber", ["3", "4"]),
        ("ImageType", [["ORIGINAL", "PRIMARY", "A"], ["DERIVED", "PRIMARY", "A"]]),
        ("ConvolutionKernel", ["B30f", "B70f"]),
        (None, [None, None]),
    ],
)
def test_repeated_places_become_a_volume_each(tmp_path, keyword, values):
    instances = []
    for k, value in enumerate(values):
        instances += make_ct_series(
            tmp_path,
            slices=6,
            name=f"phase{k}",
            series_uid="1.2.3",
            changes={keyword: value} if keyword else None,
        ).instances

    series, left_out = find_series(instances)

    assert left_out == ()
    assert [len(one.frames) for one in series] == [6, 6]
    assert all(one.is_volume for one in series)
    if keyword:
        for one in series:
            names = {frame.path.name.split("_")[0] for frame in one.frames}
            assert len(names) == 1


def test_two_header_values_together_can_tell_volumes_apart(tmp_path):
    instances = []
    for echo in ("10", "20"):
        for phase in ("1", "2"):
            instances += make_ct_series(
                tmp_path,
                slices=4,
                name=f"e{echo}p{phase}",
                series_uid="1.2.3",
                changes={"EchoTime": echo, "TemporalPositionIdentifier": phase},
            ).instances

    series, _ = find_series(instances)

    assert len(series) == 4
    for one in series:
        assert len({frame.path.name.split("_")[0] for frame in one.frames}) == 1


def test_many_repetitions_are_sampled_and_the_rest_is_named(tmp_path):
    instances = []
    for k in range(9):
        instances += make_ct_series(
            tmp_path,
            slices=3,
            name=f"p{k}",
            series_uid="1.2.3",
            changes={"TemporalPositionIdentifier": str(k + 1)},
        ).instances

    series, (left_out,) = find_series(instances)

    assert len(series) == MAX_REPEATS
    assert left_out.reason.startswith("4 of 9 volumes at the same place")


def test_a_localizer_is_named(tmp_path):
    scout = make_ct_series(
        tmp_path / "scout",
        slices=1,
        orientation=((0, 1, 0), (0, 0, -1)),
        name="scout",
        series_uid="1.2.3",
        changes={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
    )
    made = make_ct_series(tmp_path, series_uid="1.2.3")

    (series,), (left_out,) = find_series([*scout.instances, *made.instances])

    assert len(series.frames) == 8
    assert left_out.series_instance_uid == "1.2.3"
    assert "localizer" in left_out.reason


def test_a_scout_that_does_not_say_so_is_named(tmp_path):
    scout = make_ct_series(
        tmp_path / "scout",
        slices=1,
        orientation=((0, 1, 0), (0, 0, -1)),
        name="scout",
        series_uid="1.2.3",
    )
    made = make_ct_series(tmp_path, series_uid="1.2.3")

    (series,), (left_out,) = find_series([*scout.instances, *made.instances])

    assert len(series.frames) == 8
    assert "localizer" in left_out.reason


def test_three_planes_become_three_volumes(tmp_path):
    planes = [
        ((1, 0, 0), (0, 1, 0)),
        ((1, 0, 0), (0, 0, -1)),
        ((0, 1, 0), (0, 0, -1)),
    ]
    instances = []
    for k, plane in enumerate(planes):
        instances += make_ct_series(
            tmp_path, slices=4, orientation=plane, name=f"p{k}", series_uid="1.2.3"
        ).instances

    series, left_out = find_series(instances)

    assert left_out == ()
    assert [one.orientation_lps for one in series] == [(*a, *b) for a, b in planes]
    assert all(one.is_volume for one in series)


def test_images_of_different_size_are_apart(tmp_path):
    small = make_ct_series(tmp_path, rows=16, name="small", series_uid="1.2.3")
    large = make_ct_series(tmp_path, rows=24, name="large", series_uid="1.2.3")

    series, left_out = find_series([*small.instances, *large.instances])

    assert left_out == ()
    assert sorted(one.rows for one in series) == [16, 24]


def test_a_dose_screen_is_named(tmp_path):
    made = make_dx_image(tmp_path, changes={"SeriesDescription": "Dose Report"})

    series, (left_out,) = find_series(made.instances)

    assert series == ()
    assert "dose report" in left_out.reason


def test_missing_study_and_series_uids_are_those_of_the_header_reader(tmp_path):
    made = make_ct_series(tmp_path, study_uid="", series_uid="")
    header = read_header(made.paths[0])

    (series,), _ = find_series(made.instances)

    assert series.study_instance_uid == header.study_instance_uid
    assert series.series_instance_uid == header.series_instance_uid


@pytest.mark.parametrize(
    "changes",
    [
        {"ImagePositionPatient": None},
        {"ImageOrientationPatient": None},
        {"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]},
        {"PixelSpacing": None},
        {"PixelSpacing": ["0", "0"]},
        {"FrameOfReferenceUID": None, "ImagePositionPatient": ""},
    ],
)
def test_slices_without_geometry_are_processed_as_images(tmp_path, changes):
    made = make_ct_series(tmp_path, changes=changes)

    (series,), left_out = find_series(made.instances)

    assert left_out == ()
    assert not series.is_volume
    assert len(series.frames) == 8


def test_a_radiograph_has_its_pixel_spacing_and_no_affine(tmp_path):
    made = make_dx_image(tmp_path)

    (series,), _ = find_series(made.instances)

    assert not series.is_volume
    assert series.frame_of_reference_uid is None
    assert series.pixel_spacing_mm == (0.15, 0.15)


def test_a_photograph_is_a_colour_series(tmp_path):
    (series,), _ = find_series([make_photograph(tmp_path)])

    assert series.is_colour
    assert series.modality == "XC"


def test_a_short_loop_keeps_every_frame(tmp_path):
    (series,), left_out = find_series([make_cine(tmp_path, frames=5)])

    assert left_out == ()
    assert [frame.frame_number for frame in series.frames] == [1, 2, 3, 4, 5]


def test_a_long_loop_is_sampled_from_end_to_end_and_that_is_said(tmp_path):
    (series,), (left_out,) = find_series([make_cine(tmp_path, frames=50)])

    numbers = [frame.frame_number for frame in series.frames]
    assert len(numbers) == MAX_LOOP_FRAMES
    assert (numbers[0], numbers[-1]) == (1, 50)
    assert left_out.reason.startswith("16 of 50 frames")


def test_objects_that_are_no_images_are_passed_over(tmp_path):
    instances = [
        make_plain(tmp_path / "pdf.dcm", EncapsulatedPDFStorage),
        make_plain(tmp_path / "rs.dcm", RTStructureSetStorage),
        make_plain(tmp_path / "ps.dcm", GrayscaleSoftcopyPresentationStateStorage),
        make_plain(tmp_path / "private.dcm", "1.2.3.4.5.6"),
    ]

    assert find_series(instances) == ((), ())


@pytest.mark.parametrize(
    ("sop_class", "reason"),
    [
        (VideoEndoscopicImageStorage, "video"),
        (RTDoseStorage, "dose grid"),
    ],
)
def test_what_a_user_may_take_for_images_is_named(tmp_path, sop_class, reason):
    instance = make_plain(tmp_path / "x.dcm", sop_class)

    series, (left_out,) = find_series([instance])

    assert series == ()
    assert reason in left_out.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Rows": None}, "no Rows"),
        ({"Rows": [16, 16]}, "Rows is not a number"),
        ({"NumberOfFrames": "999999"}, "Number of Frames"),
        ({"NumberOfFrames": "-1"}, "Number of Frames"),
    ],
)
def test_headers_that_cannot_be_believed_are_named(tmp_path, changes, reason):
    made = make_dx_image(tmp_path, changes=changes)

    series, (left_out,) = find_series(made.instances)

    assert series == ()
    assert reason in left_out.reason


def test_a_file_that_is_gone_is_named(tmp_path):
    made = make_dx_image(tmp_path)
    made.paths[0].unlink()

    series, (left_out,) = find_series(made.instances)

    assert series == ()
    assert "cannot be read" in left_out.reason


def test_reasons_hold_nothing_of_the_patient(tmp_path):
    canary = {"PatientName": "Canary^Carl", "PatientID": "CANARY", "Rows": None}
    made = make_dx_image(tmp_path, changes=canary)

    _, (left_out,) = find_series(made.instances)

    assert "canary" not in left_out.reason.lower()


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "ImagePositionPatient": st.sampled_from(
            [None, "", ["0", "0", "0"], ["1", "2", "3.5"], ["1"]]
        ),
        "ImageOrientationPatient": st.sampled_from(
            [None, ["0", "1", "0", "0", "0", "-1"], ["0"] * 6, ["1", "0", "0"]]
        ),
        "PixelSpacing": st.sampled_from([None, "", ["1", "1"], ["-1", "1"], ["0.5"]]),
        "ImageType": st.sampled_from([None, "", ["ORIGINAL", "PRIMARY", "LOCALIZER"]]),
        "Rows": st.sampled_from([None, 0, 12, [1, 2]]),
        "InstanceNumber": st.sampled_from([None, "", "7", "99999999999"]),
        "TemporalPositionIdentifier": st.sampled_from(["1", "2"]),
        "FrameOfReferenceUID": st.sampled_from([None, "", "1.2"]),
        "SamplesPerPixel": st.sampled_from([None, 3]),
        "SliceThickness": st.sampled_from([None, "", "0", "-3"]),
        "NumberOfFrames": st.sampled_from([None, "1", "0", "2"]),
    },
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(CHANGES, min_size=1, max_size=6), st.sampled_from([1, 2, 4]))
def test_every_image_ends_in_one_series_or_is_named(tmp_path_factory, changes, slices):
    folder = tmp_path_factory.mktemp("images")
    instances = []
    for k, change in enumerate(changes):
        instances += make_ct_series(
            folder,
            slices=slices,
            rows=8,
            columns=8,
            name=f"n{k}",
            series_uid="1.2.3",
            origin_lps=(0, 0, 3.0 * k),
            changes=change,
        ).instances

    series, left_out = find_series(instances)

    frames = Counter(
        (frame.sop_instance_uid, frame.frame_number)
        for one in series
        for frame in one.frames
    )
    assert set(frames.values()) <= {1}
    named = 0
    for one in left_out:
        many = re.match(r"(\d+) (of its instances|images across)", one.reason)
        repeats = re.match(r"(\d+) of (\d+) volumes", one.reason)
        if repeats:
            named += (int(repeats[2]) - int(repeats[1])) * slices
        elif not re.match(r"\d+ of \d+ frames", one.reason):
            named += int(many[1]) if many else 1
    in_series = len({uid for uid, _ in frames})
    sampled = any("volumes" in one.reason for one in left_out)
    assert in_series + named == len(instances) or (
        sampled and in_series < len(instances)
    )


def test_the_latest_datetime_is_that_of_the_last_header(tmp_path):
    made = make_ct_series(
        tmp_path, changes={"ContentDate": "20260304", "ContentTime": "0506"}
    )

    assert latest_datetime(made.instances) == datetime.fromisoformat("2026-03-04T05:06")


def test_broken_dates_do_not_count(tmp_path):
    made = make_ct_series(
        tmp_path, changes={"ContentDate": "20269999", "ContentTime": "x"}
    )

    assert latest_datetime(made.instances) == datetime.fromisoformat("2026-01-01T12:00")
    assert latest_datetime([]) == datetime.fromisoformat("1970-01-01")


def test_the_pattern_of_the_builder_has_no_symmetry():
    hu = pattern_hu((6, 6, 6))
    for axis in range(3):
        assert not np.array_equal(hu, np.flip(hu, axis))
    assert not np.array_equal(hu, hu.transpose(1, 0, 2))
    assert not np.array_equal(hu, hu.transpose(0, 2, 1))

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicom_node.imaging import (
    Display,
    Window,
    patient_sides,
    series_display,
    to_display,
)
from dicom_node.records import FrameReference, ImageSeries
from tests.builders.result_cases import SERIES


def series(
    folder: Path, *headers: dict[str, object], modality: str = "MR"
) -> ImageSeries:
    frames = []
    for number, header in enumerate(headers):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"1.2.{number + 1}"
        ds.BitsAllocated, ds.BitsStored, ds.PixelRepresentation = 16, 12, 0
        ds.PhotometricInterpretation = "MONOCHROME2"
        for keyword, value in header.items():
            setattr(ds, keyword, value)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        path = folder / f"{number}.dcm"
        ds.save_as(path, enforce_file_format=True)
        frames.append(FrameReference(ds.SOPInstanceUID, CTImageStorage, 1, path))
    return ImageSeries(
        study_instance_uid="1.2",
        series_instance_uid="1.2.0",
        modality=modality,
        body_part=None,
        frames=tuple(frames),
        rows=2,
        columns=2,
        is_colour=False,
        pixel_spacing_mm=None,
        affine_lps=None,
        frame_of_reference_uid=None,
    )


def test_a_ct_is_shown_in_hounsfield_units_with_its_own_window_first(
    tmp_path: Path,
) -> None:
    ct = {
        "RescaleSlope": "1",
        "RescaleIntercept": "-1024",
        "WindowCenter": ["50", "-500"],
        "WindowWidth": ["350", "1400"],
        "WindowCenterWidthExplanation": ["ABDOMEN", "LUNG"],
    }

    display = series_display(series(tmp_path, ct, modality="CT"))

    assert (display.dtype, display.slope, display.intercept) == ("int16", 1.0, 0.0)
    assert [(one.name, one.centre, one.width) for one in display.windows][:3] == [
        ("ABDOMEN", 50.0, 350.0),
        ("LUNG", -500.0, 1400.0),
        ("Soft tissue", 40, 400),
    ]


def test_a_radiograph_of_negatives_has_its_window_mirrored(tmp_path: Path) -> None:
    negative = {
        "PhotometricInterpretation": "MONOCHROME1",
        "WindowCenter": "1000",
        "WindowWidth": "2000",
    }

    (window,) = series_display(series(tmp_path, negative)).windows

    # LINEAR is about half a value below its centre (PS3.3 C.11.2.1.2.1).
    assert (window.centre, window.width) == (4095 - 1000 + 1, 2000)


@pytest.mark.parametrize(
    ("said", "width", "function"),
    [
        ("LINEAR", "1", "LINEAR"),
        ("LINEAR_EXACT", "0.8", "LINEAR_EXACT"),
        ("SIGMOID", "0.8", "SIGMOID"),
        ("UNKNOWN", "400", "LINEAR"),
        # LINEAR needs at least one: it can only be meant exactly.
        ("LINEAR", "0.8", "LINEAR_EXACT"),
        (None, "0.8", "LINEAR_EXACT"),
    ],
)
def test_a_window_has_the_function_that_the_image_names(
    tmp_path: Path, said: str | None, width: str, function: str
) -> None:
    header = {
        "RescaleSlope": "0.001",
        "RescaleIntercept": "0",
        "WindowCenter": "0.4",
        "WindowWidth": width,
    }
    if said is not None:
        header["VOILUTFunction"] = said
    display = series_display(series(tmp_path, header, modality="PT"))

    (window,) = display.windows

    assert window.function == function
    back = window.scaled(1 / display.slope, -display.intercept / display.slope)
    assert (back.centre, back.width) == pytest.approx((0.4, float(width)))


_WINDOWS = st.builds(
    Window,
    st.just(""),
    st.floats(-1000, 1000),
    st.floats(2, 2000),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)


@given(_WINDOWS, st.floats(0.001, 50), st.floats(-100, 100))
def test_scaled_values_look_the_same_through_a_scaled_window(
    window: Window, slope: float, intercept: float
) -> None:
    values = np.linspace(-2500, 2500, 201)

    scaled = window.scaled(slope, intercept).shade((values - intercept) / slope)

    difference = scaled.astype(int) - window.shade(values)
    assert np.abs(difference).max() <= 1  # of rounding


@given(_WINDOWS, st.floats(-100, 5000))
def test_mirrored_values_look_inverted_through_a_mirrored_window(
    window: Window, total: float
) -> None:
    values = np.linspace(-2500, 2500, 201)

    mirrored = window.mirrored(total).shade(total - values)

    difference = mirrored.astype(int) - (255 - window.shade(values).astype(int))
    assert np.abs(difference).max() <= 1  # of rounding


def test_eight_bits_stay_eight_bits(tmp_path: Path) -> None:
    found = series_display(series(tmp_path, {"BitsStored": 8}, modality="US"))

    assert found == Display("uint8")


@pytest.mark.parametrize(
    "header",
    [
        {"BitsStored": 16},
        {"BitsStored": 16, "RescaleSlope": "0.000125", "RescaleIntercept": "-2.5"},
        {"BitsStored": 12, "RescaleSlope": "37.5", "RescaleIntercept": "0"},
    ],
)
def test_what_sixteen_bits_do_not_hold_is_scaled_and_told(
    tmp_path: Path, header: dict[str, object]
) -> None:
    display = series_display(series(tmp_path, header))
    slope = float(str(header.get("RescaleSlope", "1")))
    intercept = float(str(header.get("RescaleIntercept", "0")))
    stored = np.linspace(0, 2 ** int(str(header["BitsStored"])) - 1, 101)
    values = (stored * slope + intercept).astype(np.float32)

    shown = to_display(values, display)

    back = shown.astype(np.float64) * display.slope + display.intercept
    assert shown.dtype == np.dtype("<i2")
    assert np.abs(back - values).max() <= 0.51 * max(display.slope, 0)


def test_slices_that_are_scaled_each_by_itself_share_one_scale(tmp_path: Path) -> None:
    slices = [
        {"BitsStored": 16, "RescaleSlope": str(slope), "RescaleIntercept": "0"}
        for slope in (0.5, 1.5, 0.75, 2.5, 0.25)
    ]

    display = series_display(series(tmp_path, *slices, modality="PT"))

    highest = 65535 * 2.5
    shown = to_display(np.array([0.0, highest], np.float32), display)
    back = shown.astype(float) * display.slope + display.intercept
    assert back.tolist() == pytest.approx([0.0, highest], abs=display.slope)


def test_a_header_that_cannot_be_read_names_no_window(tmp_path: Path) -> None:
    one = series(tmp_path, {})
    one.frames[0].path.write_bytes(b"nothing")

    assert series_display(one) == Display("int16")


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=50))
def test_values_that_fit_are_shown_as_they_are(values: list[int]) -> None:
    shown = to_display(np.array(values, np.float32), Display("int16"))

    assert shown.tolist() == values


@pytest.mark.parametrize(
    ("orientation", "sides"),
    [
        ((1, 0, 0, 0, 1, 0), ("R", "L", "A", "P")),
        ((0, 1, 0, 0, 0, -1), ("A", "P", "H", "F")),
        ((1, 0, 0, 0, 0, -1), ("R", "L", "H", "F")),
        ((-0.9, 0.1, 0, 0, -1, 0), ("L", "R", "P", "A")),
    ],
)
def test_the_edges_of_an_image_are_sides_of_the_patient(
    orientation: tuple[float, float, float, float, float, float],
    sides: tuple[str, ...],
) -> None:
    found = patient_sides(orientation)

    assert found == dict(zip(("left", "right", "top", "bottom"), sides, strict=True))
    assert patient_sides(None) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("axial", ("R", "L")),
        ("prone", ("L", "R")),
        ("sagittal", ("A", "P")),
        ("coronal", ("R", "L")),
        ("radiograph", None),
    ],
)
def test_a_series_tells_the_sides_of_the_patient(
    name: str, expected: tuple[str, str] | None, tmp_path: Path
) -> None:
    found = patient_sides(SERIES[name](tmp_path).orientation_lps)

    assert (found and (found["left"], found["right"])) == expected

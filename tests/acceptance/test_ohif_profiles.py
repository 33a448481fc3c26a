"""OHIF paints each profile's regions where they are, in the colours they have.

Single images and stacks, single-frame and multi-frame instances, sizes whose frames do
not end on a byte, regions that overlap, RLE, and images without a frame of reference:
all in one run of the browser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from dicom_node.imaging import find_series
from dicom_node.objects import make_objects
from dicom_node.objects.common import display_colour
from dicom_node.records import ImageSeries, PhraseResult, ResultObject
from tests.builders.canvas import corner_points_lps, shown_segments
from tests.builders.dicom_series import (
    SyntheticSeries,
    make_ct_series,
    make_dx_image,
    make_enhanced_ct,
)
from tests.builders.ohif import OHIF_DIST, drive_ohif_through, serve_ohif
from tests.builders.orthanc import run_orthanc
from tests.builders.overlays import compare_masks
from tests.builders.peers import cannot_run, require_program
from tests.builders.study_results import make_phrase, make_region, make_result, mask_of

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]

LEAST_OVERLAP = 0.95

Mask = npt.NDArray[np.bool_]
Ellipse = tuple[float, float, float, float]
"""Top, left, bottom and right as shares of the image."""

APART: Mapping[str, Ellipse] = {
    "Cyst in the liver.": (0.2, 0.1, 0.7, 0.4),
    "Spleen is enlarged.": (0.3, 0.55, 0.8, 0.9),
}
CROSSED: Mapping[str, Ellipse] = {
    "Opacity in the right lower zone.": (0.46, 0.12, 0.8, 0.52),
    "Enlarged heart.": (0.54, 0.36, 0.88, 0.84),
}


@dataclass(frozen=True)
class Case:
    """A study and the profile that it is shown in."""

    build: Callable[..., SyntheticSeries]
    options: Mapping[str, Any]
    profile: str
    ellipses: Mapping[str, Ellipse]
    transfer_syntaxes: tuple[str, ...]
    """Of its segmentations, in their order."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What was given to OHIF, and what it showed."""

    series: ImageSeries
    phrases: tuple[PhraseResult, ...]
    objects: tuple[ResultObject, ...]
    answer: Mapping[str, Any]


ODD = {"rows": 643, "columns": 511}
"""Frames of one bit a pixel that end inside a byte."""

CASES = {
    "x-ray": Case(
        make_dx_image,
        {"rows": 640, "columns": 512, "name": "dx-1"},
        "ohif",
        CROSSED,
        (ExplicitVRLittleEndian,),
    ),
    "odd x-ray": Case(
        make_dx_image,
        {**ODD, "name": "dx-2"},
        "ohif",
        CROSSED,
        (ExplicitVRLittleEndian,) * 2,
    ),
    "odd x-ray, label maps": Case(
        make_dx_image, {**ODD, "name": "dx-3"}, "labelmap", CROSSED, (RLELossless,) * 2
    ),
    "stack, label map": Case(
        make_ct_series,
        {"slices": 9, "rows": 128, "columns": 112},
        "labelmap",
        APART,
        (RLELossless,),
    ),
    "multi-frame": Case(
        make_enhanced_ct,
        {"slices": 9, "rows": 128, "columns": 112, "name": "enhanced-1"},
        "ohif",
        CROSSED,
        (ExplicitVRLittleEndian,),
    ),
    "odd multi-frame": Case(
        make_enhanced_ct,
        {"slices": 9, "rows": 125, "columns": 131, "name": "enhanced-2"},
        "weasis",
        APART,
        (ExplicitVRLittleEndian,),
    ),
}


@pytest.fixture(scope="module")
def seen(
    hospital_network: None, tmp_path_factory: pytest.TempPathFactory, artifacts: Path
) -> Iterator[dict[str, Seen]]:
    """Show every case in one browser, from one PACS."""
    for program in ("Orthanc", "chromium", "node"):
        require_program(program)
    if not (OHIF_DIST / "index.html").is_file():
        cannot_run("OHIF is not installed: run tests/viewers/install.sh")
    folder = tmp_path_factory.mktemp("profiles")
    made = {}
    for number, (name, case) in enumerate(CASES.items()):
        study_uid = f"2.25.{7000 + number}"
        place = folder / f"{number}"
        images = case.build(place, study_uid=study_uid, **case.options)
        (series,), _ = find_series(images.instances)
        phrases = _phrases(series, case.ellipses)
        objects = make_objects(
            make_result([series], phrases), profile=case.profile, out_dir=place
        )
        made[name] = (images, series, phrases, objects)
    with (
        run_orthanc(folder / "orthanc") as orthanc,
        serve_ohif(pacs_http_port=orthanc.http_port) as url,
    ):
        for images, _, _, objects in made.values():
            for path in (*images.paths, *(one.path for one in objects)):
                orthanc.store(path)
        answers = drive_ohif_through(
            [
                (
                    _task(url, series, objects, profile=CASES[name].profile),
                    artifacts / "ohif-profiles" / name,
                )
                for name, (_, series, _, objects) in made.items()
            ]
        )
        yield {
            name: Seen(series, phrases, objects, answer)
            for (name, (_, series, phrases, objects)), answer in zip(
                made.items(), answers, strict=True
            )
        }


@pytest.mark.parametrize("name", CASES)
def test_every_region_is_painted_on_its_pixels_in_its_colour(
    name: str, seen: dict[str, Seen]
) -> None:
    one = seen[name]
    segmentations = one.objects[:-1]
    masks, colours = _expected(one)

    assert CASES[name].transfer_syntaxes == tuple(
        made.transfer_syntax_uid for made in segmentations
    )
    compared = 0
    for frame, slice_ in zip(_frames(one.series), one.answer["slices"], strict=True):
        planes = [mask[frame] for mask in masks]
        plain = shown_segments(Path(slice_["plain"]), dict(enumerate(colours, start=1)))
        assert not any(mask.any() for mask in plain.values())
        agreement = compare_masks(planes, colours, slice_)
        assert min(agreement.values()) > LEAST_OVERLAP, (frame, agreement)
        compared += len(agreement)
    assert compared == len(masks) * len(one.answer["slices"])


@pytest.mark.parametrize("name", CASES)
def test_phrases_are_listed_and_nothing_is_complained_of(
    name: str, seen: dict[str, Seen]
) -> None:
    one = seen[name]
    phrases = {phrase.phrase.text for phrase in one.phrases}

    assert {segment["label"] for segment in one.answer["segments"]} == phrases
    # The panel unfolds the segmentation that was loaded last.
    assert any(text in one.answer["segmentation_panel"] for text in phrases)
    assert one.answer["complaints"] == []


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if case.profile == "ohif"]
)
def test_profile_ohif_lists_its_phrases_as_measurements(
    name: str, seen: dict[str, Seen]
) -> None:
    one = seen[name]

    for phrase in one.phrases:
        assert phrase.phrase.text in one.answer["measurement_panel"]


def _expected(one: Seen) -> tuple[list[Mask], list[tuple[int, ...]]]:
    """Return mask and colour of every segment, as OHIF counts them when it loads."""
    by_uid = {
        region.tracking_uid: (mask_of(region, one.series), display_colour(index))
        for index, phrase in enumerate(one.phrases)
        for region in phrase.regions
    }
    order = [
        uid
        for made in one.objects
        for uid, _ in sorted(made.segments.items(), key=lambda item: item[1])
    ]
    return (
        [by_uid[uid][0] for uid in order],
        [by_uid[uid][1].to_rgb() for uid in order],
    )


def _phrases(
    series: ImageSeries, ellipses: Mapping[str, Ellipse]
) -> tuple[PhraseResult, ...]:
    """Draw an ellipse for each phrase, on the middle frames of a stack."""
    count, rows, columns = len(series.frames), series.rows, series.columns
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    found = []
    for number, (text, (top, left, bottom, right)) in enumerate(ellipses.items()):
        down = (y / rows - (top + bottom) / 2) / (bottom - top)
        across = (x / columns - (left + right) / 2) / (right - left)
        mask = np.zeros((count, rows, columns), bool)
        frames = range(count // 4, count - count // 4)
        mask[list(frames)] = down**2 + across**2 <= 0.25
        phrase = make_phrase(text, source="argument")
        region = make_region(series, mask, str(number))
        found.append(PhraseResult(phrase, phrase.status, (region,), 0.9, 0.1))
    return tuple(found)


def _frames(series: ImageSeries) -> Sequence[int]:
    """Return the frames that are looked at: two of a stack."""
    count = len(series.frames)
    return (0,) if count == 1 else (count // 2, count // 2 + 1)


def _task(
    url: str, series: ImageSeries, objects: Sequence[ResultObject], *, profile: str
) -> dict[str, Any]:
    files = [pydicom.dcmread(one.path, stop_before_pixels=True) for one in objects]
    slices = []
    for index in _frames(series):
        frame = series.frames[index]
        slice_: dict[str, Any] = {
            "sop_instance_uid": frame.sop_instance_uid,
            "frame": frame.frame_number,
        }
        if frame.position_lps is None or series.orientation_lps is None:
            slice_["points_image"] = [[0, 0], [100, 0], [0, 100]]
        else:
            assert series.pixel_spacing_mm is not None
            slice_["points_lps"] = corner_points_lps(
                frame.position_lps, series.orientation_lps, series.pixel_spacing_mm
            )
        slices.append(slice_)
    return {
        "url": url,
        "study": series.study_instance_uid,
        # What the descriptions of all parts begin with.
        "seg": files[0].SeriesDescription.partition(",")[0],
        # Other profiles' reports draw boxes, and their phrases are in the segments.
        "sr": files[-1].SeriesDescription if profile == "ohif" else None,
        "slices": slices,
    }

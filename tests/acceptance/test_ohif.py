"""A person opens the study in OHIF and sees each phrase where it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest

from dicom_node.config import DestinationSettings
from tests.builders.canvas import corner_points_lps, shown_segments
from tests.builders.node import run_node
from tests.builders.ohif import OHIF_DIST, drive_ohif, serve_ohif
from tests.builders.orthanc import Orthanc, run_orthanc
from tests.builders.overlays import colours_of, compare_overlay
from tests.builders.pacs_study import make_study
from tests.builders.peers import cannot_run, require_program
from tests.builders.process import wait_until
from tests.builders.storescp import storescu

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

LEAST_OVERLAP = 0.95
"""Intersection over union of painted and expected canvas pixels. A shift by one
image pixel costs more than this for organs in a CT, and so does a wrong slice."""


@dataclass(frozen=True)
class Seen:
    """What OHIF showed, and the object that it was given."""

    answer: dict[str, Any]
    images: tuple[pydicom.Dataset, ...]
    segmentation: hd.seg.Segmentation


@pytest.fixture(scope="module")
def seen(
    hospital_network: None, tmp_path_factory: pytest.TempPathFactory, artifacts: Path
) -> Iterator[Seen]:
    """Let the node fill a PACS, and look at the study in OHIF."""
    for program in ("storescu", "Orthanc", "chromium", "node"):
        require_program(program)
    if not (OHIF_DIST / "index.html").is_file():
        cannot_run("OHIF is not installed: run tests/viewers/install.sh")
    folder = tmp_path_factory.mktemp("viewer")
    # One phrase for each organ: where two overlap, there is no colour to look for.
    study = make_study(folder / "study", impression="")
    with (
        run_orthanc(folder / "orthanc") as orthanc,
        serve_ohif(pacs_http_port=orthanc.http_port) as url,
    ):
        for path in (*study.images, study.report):
            orthanc.store(path)
        results = _ground(folder / "node", orthanc, (*study.images, study.report))
        seg, sr = (
            next(one for one in results if one.Modality == modality)
            for modality in ("SEG", "SR")
        )
        segmentation = hd.seg.Segmentation.from_dataset(seg)
        images = tuple(map(pydicom.dcmread, study.images))
        answer = drive_ohif(
            {
                "url": url,
                "study": study.study_instance_uid,
                "seg": seg.SeriesDescription,
                "sr": sr.SeriesDescription,
                "slices": [
                    {
                        "sop_instance_uid": image.SOPInstanceUID,
                        "points_lps": corner_points_lps(
                            image.ImagePositionPatient,
                            image.ImageOrientationPatient,
                            image.PixelSpacing,
                        ),
                    }
                    for image in images[:: len(images) // 2 - 1]
                ],
            },
            folder=artifacts / "ohif",
        )
        yield Seen(answer, images[:: len(images) // 2 - 1], segmentation)


def test_ohif_paints_every_segment_on_its_slice_in_its_colour(seen: Seen) -> None:
    compared = 0

    for image, slice_ in zip(seen.images, seen.answer["slices"], strict=True):
        agreement = compare_overlay([seen.segmentation], image, slice_)
        assert min(agreement.values()) > LEAST_OVERLAP, (
            image.InstanceNumber,
            agreement,
        )
        compared += len(agreement)

    assert compared >= 3


def test_the_images_are_grey_before_the_overlay_is_loaded(seen: Seen) -> None:
    colours = colours_of([seen.segmentation])

    for slice_ in seen.answer["slices"]:
        shown = shown_segments(Path(slice_["plain"]), colours)
        assert sum(map(np.count_nonzero, shown.values())) == 0


def test_the_segmentation_panel_lists_the_phrases(seen: Seen) -> None:
    labels = {
        item.SegmentNumber: str(item.SegmentLabel)
        for item in seen.segmentation.SegmentSequence
    }

    assert {one["number"]: one["label"] for one in seen.answer["segments"]} == labels
    assert any("liver" in label for label in labels.values())
    for label in labels.values():
        assert label in seen.answer["segmentation_panel"]


def test_the_measurement_panel_lists_the_phrases(seen: Seen) -> None:
    panel = seen.answer["measurement_panel"]

    for item in seen.segmentation.SegmentSequence:
        assert str(item.SegmentLabel) in panel


def test_the_viewer_complains_about_nothing(seen: Seen) -> None:
    assert seen.answer["complaints"] == []


def _ground(
    folder: Path, orthanc: Orthanc, paths: tuple[Path, ...]
) -> list[pydicom.Dataset]:
    """Send a study to a node whose destination is the PACS; return what it sent."""
    destination = DestinationSettings(
        name="pacs",
        ae_title=orthanc.ae_title,
        host="127.0.0.1",
        port=orthanc.dicom_port,
        profile="ohif",
    )
    with run_node(folder, destinations=[destination]) as node:
        storescu(
            paths,
            port=node.dicom_port,
            called=node.ae_title,
            options=["--propose-j2k-lossless"],
        )
        (document,) = node.wait_for_results(1, timeout_s=400)
        wanted = {one["sop_instance_uid"] for one in document["objects"]}

        def are_there() -> bool:
            found = orthanc.find("Instance", {})
            return wanted <= {one["MainDicomTags"]["SOPInstanceUID"] for one in found}

        wait_until(are_there, timeout_s=60, what=lambda: node.program.tail())
        return [pydicom.dcmread(path) for path in node.object_paths().values()]

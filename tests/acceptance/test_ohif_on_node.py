"""OHIF opened on the node itself shows images and results, with no PACS in between."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

from dicom_node.imaging import find_series
from dicom_node.objects import make_objects
from dicom_node.records import (
    BoundingBox,
    Code,
    Finding,
    ImageSeries,
    Phrase,
    PhraseResult,
    PhraseStatus,
    Region,
    StudyResult,
)
from tests.builders.canvas import corner_points_lps
from tests.builders.dicom_series import make_ct_series
from tests.builders.dicomweb_node import run_dicomweb
from tests.builders.ohif import OHIF_DIST, drive_ohif
from tests.builders.overlays import compare_overlay
from tests.builders.peers import cannot_run, require_program

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

LEAST_OVERLAP = 0.95
ROWS, COLUMNS = 125, 131
"""A frame of one bit a pixel ends within a byte."""


def test_ohif_on_the_node_paints_its_results_without_a_pacs(
    tmp_path: Path, artifacts: Path
) -> None:
    for program in ("chromium", "node"):
        require_program(program)
    if not (OHIF_DIST / "index.html").is_file():
        cannot_run("OHIF is not installed: run tests/viewers/install.sh")
    study = make_ct_series(tmp_path / "ct", slices=9, rows=ROWS, columns=COLUMNS)
    (series,), _ = find_series(study.instances)
    out_dir = tmp_path / "data" / "results" / "first"
    out_dir.mkdir(parents=True)
    objects = make_objects(_result(series), profile="ohif", out_dir=out_dir)
    files = [pydicom.dcmread(one.path) for one in objects]
    segmentations = [
        hd.seg.Segmentation.from_dataset(ds) for ds in files if ds.Modality == "SEG"
    ]
    images = [pydicom.dcmread(study.paths[index]) for index in (3, 5)]

    with run_dicomweb(tmp_path / "data", viewer_dir=OHIF_DIST) as node:
        node.receive(study.paths)
        node.finish(objects, result_dir=out_dir)
        answer = drive_ohif(
            {
                "url": f"{node.url}/viewer",
                "study": study.study_instance_uid,
                "seg": segmentations[0].SeriesDescription.partition(",")[0],
                "sr": files[-1].SeriesDescription,
                "slices": [
                    {
                        "sop_instance_uid": image.SOPInstanceUID,
                        "points_lps": corner_points_lps(
                            image.ImagePositionPatient,
                            image.ImageOrientationPatient,
                            image.PixelSpacing,
                        ),
                    }
                    for image in images
                ],
            },
            folder=artifacts / "ohif-on-node",
        )

    compared = 0
    for image, slice_ in zip(images, answer["slices"], strict=True):
        agreement = compare_overlay(segmentations, image, slice_)
        assert min(agreement.values()) > LEAST_OVERLAP, agreement
        compared += len(agreement)
    assert compared == 4
    labels = [one["label"] for one in answer["segments"]]
    assert labels == ["Cyst in the liver.", "Spleen is enlarged."]
    for label in labels:
        assert label in answer["measurement_panel"]
    assert answer["complaints"] == []


def _result(series: ImageSeries) -> StudyResult:
    """Return a result with a region in frames 2 to 6 for each of two phrases."""
    structure = Code("SCT", "49755003", "Morphologically abnormal structure")
    finding = Finding(structure, Code("SCT", "125147001", "Opacity"), structure)
    results = []
    for number, (text, left) in enumerate(
        (("Cyst in the liver.", 15), ("Spleen is enlarged.", 75))
    ):
        y, x = np.mgrid[-1:1:60j, -1:1:40j]
        mask = np.broadcast_to(x**2 + y**2 <= 1, (5, 60, 40)).copy()
        region = Region(
            series_instance_uid=series.series_instance_uid,
            mask=mask,
            mask_origin=(2, 30, left),
            boxes=tuple(
                BoundingBox(frame, (left, 30, left + 40, 90), 0.9)
                for frame in range(2, 7)
            ),
            score=0.9,
            uncertainty=0.1,
            tracking_id=text,
            tracking_uid=f"2.25.{2000 + number}",
        )
        phrase = Phrase(text, "argument", PhraseStatus.PRESENT, finding, text)
        results.append(PhraseResult(phrase, phrase.status, (region,), 0.9, 0.1))
    return StudyResult(
        study_instance_uid=series.study_instance_uid,
        content_version="0" * 64,
        series=(series,),
        reports=(),
        phrases=tuple(results),
        not_processed=(),
        model_name="stand-in",
        model_version="1",
        model_sha256="0" * 64,
        configuration_sha256="0" * 64,
        content_datetime=datetime(2026, 1, 1, 12, tzinfo=UTC),
    )

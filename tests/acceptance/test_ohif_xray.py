"""Regions on an X-ray, which has no frame of reference, are seen in OHIF."""

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
from tests.builders.dicom_series import make_dx_image
from tests.builders.ohif import OHIF_DIST, drive_ohif, serve_ohif
from tests.builders.orthanc import run_orthanc
from tests.builders.overlays import compare_overlay
from tests.builders.peers import cannot_run, require_program

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]

LEAST_OVERLAP = 0.95


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(640, 512), pytest.param(643, 511, id="frames that do not end on a byte")],
)
def test_ohif_paints_overlapping_regions_of_an_x_ray(
    hospital_network: None, tmp_path: Path, artifacts: Path, rows: int, columns: int
) -> None:
    for program in ("Orthanc", "chromium", "node"):
        require_program(program)
    if not (OHIF_DIST / "index.html").is_file():
        cannot_run("OHIF is not installed: run tests/viewers/install.sh")
    image = make_dx_image(tmp_path, rows=rows, columns=columns)
    (series,), _ = find_series(image.instances)
    objects = make_objects(
        _result(
            series,
            {
                "Opacity in the right lower zone.": (300, 60, 500, 260),
                "Enlarged heart.": (350, 180, 560, 420),
            },
        ),
        profile="ohif",
        out_dir=tmp_path,
    )

    with (
        run_orthanc(tmp_path / "orthanc") as orthanc,
        serve_ohif(pacs_http_port=orthanc.http_port) as url,
    ):
        for path in (*image.paths, *(one.path for one in objects)):
            orthanc.store(path)
        files = [pydicom.dcmread(one.path) for one in objects]
        segmentations = [
            hd.seg.Segmentation.from_dataset(ds) for ds in files if ds.Modality == "SEG"
        ]
        answer = drive_ohif(
            {
                "url": url,
                "study": image.study_instance_uid,
                # What the descriptions of all parts begin with.
                "seg": segmentations[0].SeriesDescription.partition(",")[0],
                "sr": files[-1].SeriesDescription,
                "slices": [
                    {
                        "sop_instance_uid": image.instances[0].sop_instance_uid,
                        "points_image": [[0, 0], [100, 0], [0, 100]],
                    }
                ],
            },
            folder=artifacts / f"ohif-xray-{rows}x{columns}",
        )

    agreement = compare_overlay(
        segmentations, pydicom.dcmread(image.paths[0]), answer["slices"][0]
    )
    assert len(agreement) == 2
    assert min(agreement.values()) > LEAST_OVERLAP, agreement
    labels = [one["label"] for one in answer["segments"]]
    assert labels == ["Opacity in the right lower zone.", "Enlarged heart."]
    # The panel unfolds the segmentation that was loaded last.
    assert labels[-1] in answer["segmentation_panel"]
    for label in labels:
        assert label in answer["measurement_panel"]
    assert answer["complaints"] == []


def _result(
    series: ImageSeries, boxes: dict[str, tuple[int, int, int, int]]
) -> StudyResult:
    """Return a result with an ellipse in each box (rows and columns from, to)."""
    structure = Code("SCT", "49755003", "Morphologically abnormal structure")
    finding = Finding(structure, Code("SCT", "125147001", "Opacity"), structure)
    results = []
    for number, (text, (top, left, bottom, right)) in enumerate(boxes.items()):
        y, x = np.mgrid[-1 : 1 : (bottom - top) * 1j, -1 : 1 : (right - left) * 1j]
        region = Region(
            series_instance_uid=series.series_instance_uid,
            mask=(x**2 + y**2 <= 1)[np.newaxis],
            mask_origin=(0, top, left),
            boxes=(BoundingBox(0, (left, top, right, bottom), 0.9),),
            score=0.9,
            uncertainty=0.1,
            tracking_id=text,
            tracking_uid=f"2.25.{1000 + number}",
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

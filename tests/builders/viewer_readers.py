"""Other projects' readers of our objects: dcmqi and the Cornerstone3D adapters."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK
from pydicom import dcmread

from dicom_node.records import FrameReference, ImageSeries
from tests.builders.peers import cannot_run, require_program

__all__ = [
    "Shown",
    "digest",
    "read_by_cornerstone",
    "read_by_dcmqi",
    "read_report_by_dcmqi",
]

_CORNERSTONE = Path(__file__).parents[1] / "viewers" / "cornerstone"


def digest(mask: npt.NDArray[np.bool_]) -> str:
    """Return the SHA-256 of a mask, one byte a voxel."""
    return hashlib.sha256(mask.astype(np.uint8).tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Shown:
    """What a viewer is given: a series, and SEGs and SRs of it."""

    series: ImageSeries
    segmentations: Sequence[Path]
    reports: Sequence[Path]


def read_by_cornerstone(
    shown: Sequence[Shown], work: Path
) -> list[dict[str, list[list[dict[str, Any]]]]]:
    """Read SEGs and SRs as OHIF does, one series after the other.

    Returns what ``read_objects.mjs`` prints for each: for each SEG its
    ``segmentations``, for each SR the annotations that hydrate, in ``reports``.
    """
    node = require_program("node")
    if not (_CORNERSTONE / "node_modules").is_dir():
        cannot_run("the viewers are not installed: run tests/viewers/install.sh")
    question = work / "request.json"
    question.write_text(json.dumps([_request(one) for one in shown]))
    done = subprocess.run(
        [node, _CORNERSTONE / "read_objects.mjs", question],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers: list[dict[str, list[list[dict[str, Any]]]]] = json.loads(done.stdout)
    return answers


def _request(shown: Shown) -> dict[str, object]:
    series = shown.series
    return {
        # Viewers keep a series in the order of Instance Number.
        "frames": [
            {
                "index": index,
                "path": str(frame.path),
                "frame": frame.frame_number,
                "rows": series.rows,
                "columns": series.columns,
                "sop_instance_uid": frame.sop_instance_uid,
                "series_instance_uid": series.series_instance_uid,
                "number_of_frames": frame.number_of_frames,
            }
            for index, frame in sorted(enumerate(series.frames), key=_viewing_order)
        ],
        "segmentations": [str(path) for path in shown.segmentations],
        "reports": [str(path) for path in shown.reports],
    }


def _viewing_order(item: tuple[int, FrameReference]) -> tuple[int, int]:
    header = dcmread(item[1].path, specific_tags=["InstanceNumber"])
    return int(header.InstanceNumber), item[1].frame_number


def read_by_dcmqi(
    path: Path, work: Path
) -> dict[str, tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]]:
    """Read a SEG as 3D Slicer does, by ``segimage2itkimage``.

    Returns
    -------
    dict
        Tracking UID to mask (slices, rows, columns) and the map from its indices
        to LPS millimetres.

    """
    work.mkdir()
    _run_dcmqi(
        "segimage2itkimage",
        ["--inputDICOM", path, "--outputDirectory", work, "--outputType", "nrrd"],
    )
    meta = json.loads((work / "meta.json").read_text())
    found = {}
    for group, attributes in enumerate(meta["segmentAttributes"], start=1):
        image = SimpleITK.ReadImage(str(work / f"{group}.nrrd"))
        labels = SimpleITK.GetArrayFromImage(image)
        direction = np.asarray(image.GetDirection()).reshape(3, 3)
        affine = np.eye(4)
        affine[:3, :3] = (direction * np.asarray(image.GetSpacing()))[:, ::-1]
        affine[:3, 3] = image.GetOrigin()
        for segment in attributes:
            mask = labels == int(segment["labelID"])
            found[segment["TrackingUniqueIdentifier"]] = (mask, affine)
    return found


def read_report_by_dcmqi(path: Path, work: Path) -> dict[str, Any]:
    """Read an SR as Slicer's reader of TID 1500 does."""
    out = work / "report.json"
    _run_dcmqi("tid1500reader", ["--inputDICOM", path, "--outputMetadata", out])
    answer: dict[str, Any] = json.loads(out.read_text())
    return answer


def _run_dcmqi(name: str, arguments: list[str | Path]) -> None:
    program = Path(sys.executable).with_name(name)
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-2000:]

"""The same studies twice, in two processes, in another order and time zone.

Run as a program it processes a folder of studies and writes what came out.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from pydicom import dcmread

from dicom_node.commands.study_files import gather_studies
from dicom_node.config import LimitSettings
from dicom_node.imaging import PixelReader
from dicom_node.pipeline import Rooms, process_study
from tests.builders.corner_grounder import BrightestBox
from tests.builders.dicom_series import make_ct_series
from tests.torture.outcome import Figure, Tell, at_least, at_most, seen

__all__ = ["prove_rerun"]

_ROOT = Path(__file__).parents[2]
_FINDINGS = ("The liver is enlarged.", "Small pleural effusion.", "There is a nodule.")
_PROFILES = ("ohif", "pacs")


def prove_rerun(count: int, work: Path, tell: Tell) -> tuple[Figure, ...]:
    """Process so many studies twice and compare UIDs and bytes."""
    studies = work / "studies"
    for number in range(count):
        make_ct_series(
            studies / f"{number:03d}",
            slices=3 + number % 3,
            rows=16 + number % 5,
            columns=16,
            name=f"study-{number}",
        )
    # Backwards the second time: each study at another moment, after other studies.
    started = [
        _start(studies, work / name, order, PYTHONHASHSEED=seed, TZ=zone)
        for name, order, seed, zone in (
            ("first", "forwards", "1", "UTC"),
            ("second", "backwards", "2", "Asia/Tokyo"),
        )
    ]
    codes = [one.wait() for one in started]
    assert not any(codes), f"a run ended with {codes}"
    tell(f"{count} studies processed twice")
    first, second = (
        json.loads((work / name / "made.json").read_text(encoding="utf-8"))
        for name in ("first", "second")
    )
    uids = sum(
        [one[0] for one in first[study]] != [one[0] for one in second[study]]
        for study in first
    )
    objects = sum(map(len, first.values()))
    return (
        seen("studies run again", count),
        at_least("studies that have results", sum(map(bool, first.values())), count),
        seen("objects", objects),
        at_most("studies with other UIDs", uids, 0),
        at_most(
            "studies with other bytes",
            sum(first[study] != second[study] for study in first),
            0,
        ),
    )


def _start(
    studies: Path, out: Path, order: str, **environment: str
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.torture.rerun_proof", studies, out, order],
        cwd=_ROOT,
        env={**os.environ, **environment},
    )


def _process(studies: Path, out: Path, order: str) -> None:
    made = {}
    numbered = list(enumerate(sorted(studies.iterdir())))
    if order == "backwards":
        numbered.reverse()
    with PixelReader(LimitSettings(), processes=1) as reader:
        for number, folder in numbered:
            target = out / folder.name
            target.mkdir(parents=True)
            done = process_study(
                gather_studies([folder]).studies[0],
                rooms=Rooms(reader, BrightestBox()),
                out_dir=target,
                profiles=_PROFILES,
                report_text=f"FINDINGS:\n{_FINDINGS[number % 3]} No ascites.\n",
            )
            made[folder.name] = [
                (
                    str(dcmread(one.path, stop_before_pixels=True).SOPInstanceUID),
                    hashlib.sha256(one.path.read_bytes()).hexdigest(),
                )
                for one in done.objects
            ]
    (out / "made.json").write_text(json.dumps(made), encoding="utf-8")


if __name__ == "__main__":
    _process(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

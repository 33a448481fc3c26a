"""`make demo`, as a stranger types it: a real CT, its report, and what comes back."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.builders.node import DICOM_NODE

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]


def test_the_demo_shows_where_the_phrases_are_and_leaves_what_returned(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    done = subprocess.run(
        [DICOM_NODE, "demo", "--out", out, "--no-stay"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "21 objects, all acknowledged" in done.stdout
    assert "results came back by C-STORE" in done.stdout
    drawn = re.findall(r"segment\s+(\d+)", done.stdout)
    seg, sr = (pydicom.dcmread(one) for one in sorted((out / "received").iterdir()))
    assert (seg.Modality, sr.Modality) == ("SEG", "SR")
    assert sorted(drawn) == [str(one.SegmentNumber) for one in seg.SegmentSequence]
    assert len(drawn) >= 5
    for number in range(1, len(drawn) + 1):
        frames = [
            at
            for at, one in enumerate(seg.PerFrameFunctionalGroupsSequence)
            if one.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
        ]
        assert seg.pixel_array[frames].any()
    # No effusion, no pneumothorax, no ascites: what is absent is not drawn.
    assert done.stdout.count("absent") == done.stdout.count("not drawn") >= 3
    picture = np.asarray(Image.open(out / "overlay.png").convert("RGB")).astype(int)
    assert (np.ptp(picture, axis=2) > 60).mean() > 0.01  # colour on grey

"""The benchmark of pixels works: all readers find the same voxels, in every codec."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.pixel_files import CODECS
from tests.bench.pixels import run
from tests.bench.report import Scale
from tests.builders.peers import require_program

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.slow,
    pytest.mark.peers,
    pytest.mark.timeout(300),
]


def test_every_reader_of_the_benchmark_finds_the_same_voxels(tmp_path: Path) -> None:
    require_program("dcmcjpeg")
    require_program("ojph_compress")

    # It fails where a reader finds other voxels than were encoded.
    report = run(Scale.QUICK, tmp_path, print)

    assert len(report.cases) == 2 + 2 * len(CODECS) + 2
    assert [len(case.contenders) for case in report.cases[:2]] == [4, 3]
    assert all(len(case.contenders) >= 2 for case in report.cases)

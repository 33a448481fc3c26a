"""The stages of a build on a Ray cluster of two workers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.tiny_builds import SETTINGS, contents, sources
from tests.builders.tiny_dataset import READER
from training.build.pipeline import build
from training.readers import READERS

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_two_workers_on_ray_write_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(READERS, "tiny", READER)
    data, meeting = tmp_path / "data", tmp_path / "meeting"
    meeting.mkdir()
    folders = (data, tmp_path / "ray", meeting)
    build(sources(data), tmp_path / "one", settings=SETTINGS, progress=False)

    ended = subprocess.run(
        [sys.executable, "-m", "tests.builders.ray_build", *map(str, folders)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )

    assert ended.returncode == 0, ended.stderr
    assert len(list(meeting.iterdir())) >= 2
    assert contents(tmp_path / "ray") == contents(tmp_path / "one")

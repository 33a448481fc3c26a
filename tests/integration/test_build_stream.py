"""A build is what the stream reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.config import MedGLIPConfig
from tests.builders.tiny_builds import SETTINGS, sources
from tests.builders.tiny_dataset import READER
from training.build.pipeline import build
from training.layout import RecordFile
from training.readers import READERS
from training.stream.stream import ShardStream


def test_every_sample_of_a_build_is_streamed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(READERS, "tiny", READER)
    build(
        sources(tmp_path / "data"), tmp_path / "out", settings=SETTINGS, progress=False
    )
    records = [one for one in RecordFile(tmp_path / "out") if one.split == "train"]

    stream = ShardStream(
        tmp_path / "out",
        config=MedGLIPConfig(),
        shape=(32, 48),
        batch=len(records),
        phrases=24,
        augment=False,
    )
    batch = next(stream)

    assert len(set(batch.sample_ids)) == len(records)
    assert stream.bad_samples == 0
    assert batch.masks.any()
    assert np.isfinite(batch.pixels.numpy()).all()

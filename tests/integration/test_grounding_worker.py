"""The real model package in the real worker process."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.config import ModelSettings
from dicom_node.errors import ModelLoadError
from dicom_node.grounding.worker import GroundingWorker
from dicom_node.imaging import CanonicalGrid, find_series
from model import GroundingModel, ImageStack
from tests.builders.dicom_series import make_ct_series
from tests.builders.tiny_model import make_grounding_model

PROMPTS = ["liver", "left kidney", "no such thing"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    make_grounding_model().network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def worker(checkpoint):
    with GroundingWorker(ModelSettings(checkpoint=checkpoint, device="cpu")) as warm:
        yield warm


@pytest.fixture
def sagittal(tmp_path):
    made = make_ct_series(
        tmp_path, slices=12, rows=20, columns=24, orientation=((0, 1, 0), (0, 0, -1))
    )
    (series,), _ = find_series(made.instances)
    return series, made.voxels.astype(np.float32)


def test_the_worker_answers_what_the_model_answers_in_this_process(
    worker, checkpoint, sagittal
):
    series, pixels = sagittal
    grid = CanonicalGrid.of(series)
    model = GroundingModel.from_pretrained(checkpoint, device="cpu")
    stack = ImageStack(
        pixels=np.ascontiguousarray(grid.apply(pixels)),
        spacing_mm=grid.spacing_mm,
        modality="CT",
        body_part="ABDOMEN",
        is_volume=True,
    )

    found = worker.ground(series, pixels, PROMPTS)

    assert worker.identity.sha256 == model.sha256
    expected = model.ground(stack, PROMPTS)
    assert any(theirs.mask.any() for theirs in expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.score == pytest.approx(theirs.score, abs=1e-4)
        assert mine.is_present is theirs.is_present
        mask, origin = grid.restore_mask(theirs.mask, theirs.mask_origin)
        assert mine.mask_origin == origin
        np.testing.assert_array_equal(mine.mask, mask)


def test_a_warm_worker_does_not_load_again(worker, sagittal):
    worker.ground(*sagittal, PROMPTS)
    pid = worker.pid
    told = []

    worker.ground(*sagittal, PROMPTS, progress=lambda *step: told.append(step))

    assert worker.pid == pid
    assert told[-1][0] == told[-1][1]
    assert told == sorted(told)


def test_a_folder_without_weights_is_no_model(tmp_path):
    settings = ModelSettings(checkpoint=tmp_path, device="cpu")

    with GroundingWorker(settings) as worker, pytest.raises(ModelLoadError) as failed:
        _ = worker.identity

    assert "model.safetensors" in str(failed.value)


def test_a_device_that_is_not_there_is_said(checkpoint):
    settings = ModelSettings(checkpoint=checkpoint, device="cuda:63")

    with GroundingWorker(settings) as worker, pytest.raises(ModelLoadError) as failed:
        _ = worker.identity

    assert "CUDA" in str(failed.value) or "cuda" in str(failed.value)

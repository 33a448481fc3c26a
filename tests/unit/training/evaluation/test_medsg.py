from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from training.errors import DatasetError
from training.evaluation.medsg import cases_of_medsg

_NAME = "Task8/AbdomenCT1K_CT_RightKidney_npy_imgs_casenum_00798.png"


def _question(**changes):
    reference = "<|object_ref_start|>RightKidney<|object_ref_end|>"
    return {
        "task": "referring",
        "images": [f"MedSG-Bench/{_NAME}"],
        "question": f"Please find the box of the area described by: {reference}.",
        "answer": [213, 142, 248, 178],
        **changes,
    }


def _task(tmp_path, *questions):
    path = tmp_path / _NAME
    path.parent.mkdir()
    grey = np.arange(336 * 336, dtype=np.uint32).reshape(336, 336) % 256
    Image.fromarray(grey.astype(np.uint8)).save(path)
    task = tmp_path / "Task8.json"
    task.write_text(json.dumps(questions))
    return task


def test_a_question_about_one_picture_is_a_case(tmp_path):
    task = _task(tmp_path, _question(images=["a.png", "b.png"]), _question())

    (case,) = cases_of_medsg(task)

    assert case.phrases == ("right kidney",)
    assert case.truths[0].boxes == ((0, (213.0, 142.0, 248.0, 178.0)),)
    assert case.name == "Task8/1"
    assert case.stack.modality == "CT"
    assert case.stack.pixels.min() == pytest.approx(-160, abs=10)
    assert case.stack.pixels.max() == pytest.approx(240, abs=10)


def test_a_task_that_compares_pictures_is_refused(tmp_path):
    task = _task(tmp_path, _question(images=["a.png", "b.png"]))

    with pytest.raises(DatasetError, match="compare several pictures"):
        list(cases_of_medsg(task))


@pytest.mark.parametrize(
    "change",
    [
        {"answer": [1, 2, 3]},
        {"question": "where?"},
        {"images": ["../elsewhere.png"]},
        {"images": None},
    ],
)
def test_a_question_of_another_layout_is_named(tmp_path, change):
    with pytest.raises(DatasetError):
        list(cases_of_medsg(_task(tmp_path, _question(**change))))


def test_a_file_that_is_no_task_is_refused(tmp_path):
    path = tmp_path / "Task8.json"
    path.write_text("{}")

    with pytest.raises(DatasetError, match="no list"):
        list(cases_of_medsg(path))

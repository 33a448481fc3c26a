from __future__ import annotations

import json

import numpy as np
import pytest

from model.engines.checkpoint import EngineError
from model.engines.pictures import PictureSettings

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SIZE = {"height": 8, "width": 8}
IMAGENET = {"size": SIZE, "image_mean": MEAN, "image_std": STD}
OMDET = {
    "size": SIZE,
    "do_rescale": False,
    "image_mean": [123.675, 116.28, 103.53],
    "image_std": [58.395, 57.12, 57.375],
}
BLACK = [-m / s for m, s in zip(MEAN, STD, strict=True)]
WHITE = [(1 - m) / s for m, s in zip(MEAN, STD, strict=True)]


def load(folder, raw, name="preprocessor_config.json"):
    (folder / name).write_text(json.dumps(raw))
    return PictureSettings.load(folder)


@pytest.mark.parametrize(
    ("raw", "black", "white"),
    [
        (IMAGENET, BLACK, WHITE),
        (OMDET, BLACK, WHITE),  # the same statistics, written for 0..255
        ({**IMAGENET, "rescale": False, "do_normalize": False}, [0] * 3, [255] * 3),
        ({"size": 8, "do_normalize": False}, [0] * 3, [1] * 3),
        (
            {**IMAGENET, "rescale_factor": 2 / 255, "do_normalize": False},
            [0] * 3,
            [2] * 3,
        ),
    ],
)
def test_black_and_white_land_where_the_checkpoint_says(tmp_path, raw, black, white):
    settings = load(tmp_path, raw)
    ends = np.zeros((2, 8, 8, 3), np.uint8)
    ends[1] = 255

    low, high = settings.prepare(ends).mean(dim=(2, 3)).tolist()

    assert low == pytest.approx(black, abs=1e-4)
    assert high == pytest.approx(white, abs=1e-4)


def test_the_picture_part_of_a_processor_is_read(tmp_path):
    raw = {"processor_class": "Sam3Processor", "image_processor": OMDET}

    assert load(tmp_path, raw, "processor_config.json").scale == 1.0


@pytest.mark.parametrize("missing", ["size", "image_mean", "image_std"])
def test_what_a_processor_leaves_out_is_not_guessed(tmp_path, missing):
    raw = {key: value for key, value in IMAGENET.items() if key != missing}

    with pytest.raises(EngineError, match=missing):
        load(tmp_path, raw)


def test_a_folder_that_does_not_say_how_to_scale_is_refused(tmp_path):
    with pytest.raises(EngineError, match="preprocessor_config"):
        PictureSettings.load(tmp_path)
    with pytest.raises(EngineError, match="preprocessor_config"):
        load(tmp_path, {"image_seq_length": 577}, "processor_config.json")

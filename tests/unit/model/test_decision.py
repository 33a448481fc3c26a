from __future__ import annotations

import numpy as np
import pytest

from model.config import MedGLIPConfig
from model.decision import contain_parts, presence_score
from model.records import Box, PhraseGrounding


def make_answer(
    phrase: str, *, origin=(0, 0, 0), shape=(0, 0, 0), score=0.8, uncertainty=0.3
) -> PhraseGrounding:
    mask = np.ones(shape, dtype=np.bool_)
    z, y, x = origin
    return PhraseGrounding(
        phrase=phrase,
        score=score,
        is_present=bool(mask.size),
        uncertainty=uncertainty,
        mask=mask,
        mask_origin=origin,
        boxes=tuple(
            Box(z + i, (x, y, x + shape[2], y + shape[1]), score)
            for i in range(shape[0])
        ),
    )


LEFT = make_answer("left lung", origin=(1, 2, 3), shape=(2, 4, 5), uncertainty=0.2)
RIGHT = make_answer("right lung", origin=(2, 2, 20), shape=(2, 3, 4), score=0.6)
NOTHING = make_answer("lungs", score=0.45)


def test_a_whole_without_a_region_takes_those_of_its_parts():
    found = contain_parts(NOTHING, [LEFT, RIGHT], score=0.9)

    assert found.is_present
    assert found.score == 0.9
    assert found.phrase == "lungs"
    assert found.mask_origin == (1, 2, 3)
    assert found.mask.shape == (3, 4, 21)
    assert found.mask.sum() == LEFT.mask.sum() + RIGHT.mask.sum()
    assert found.uncertainty == max(LEFT.uncertainty, RIGHT.uncertainty)
    assert {(box.slice_index, box.xyxy) for box in found.boxes} == {
        (1, (3.0, 2.0, 8.0, 6.0)),
        (2, (3.0, 2.0, 8.0, 6.0)),
        (2, (20.0, 2.0, 24.0, 5.0)),
        (3, (20.0, 2.0, 24.0, 5.0)),
    }
    assert {box.score for box in found.boxes} == {0.6}


def test_a_whole_with_a_region_keeps_it():
    assert contain_parts(LEFT, [RIGHT], score=0.9) is LEFT


@pytest.mark.parametrize("parts", [[], [make_answer("left lung")]])
def test_parts_that_are_not_there_lend_nothing(parts):
    assert contain_parts(NOTHING, parts, score=0.9) is NOTHING


@pytest.mark.parametrize(
    ("logit", "score"), [(-1e9, 0.0), (0.0, 0.5), (1e9, 1.0), (1.0, 0.8808)]
)
def test_the_presence_score_is_a_shifted_logistic(logit, score):
    config = MedGLIPConfig(presence_scale=2.0, presence_shift=0.0)

    assert presence_score(logit, config) == pytest.approx(score, abs=1e-4)

"""A model whose scores are no numbers is not believed."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from dicom_node.grounding.grounder import restore_answer

GRID: Any = SimpleNamespace(
    axes=(0, 1, 2),
    restore_mask=lambda mask, origin: (mask, tuple(origin)),
    restore_boxes=lambda boxes: boxes,
)


def answer(**changes: object) -> dict[str, object]:
    return {
        "prompt": "liver",
        "score": 0.9,
        "uncertainty": 0.1,
        "is_present": True,
        "mask_shape": [1, 1, 2],
        "mask_origin": [0, 0, 0],
        "mask_offset": 0,
        "has_probability": False,
        "boxes": [[0, [0.0, 0.0, 2.0, 1.0], 0.9]],
    } | changes


def test_an_answer_with_numbers_is_taken() -> None:
    found = restore_answer(answer(), b"\1\1", GRID, computed_on="cpu")

    assert found.score == 0.9
    assert found.boxes[0].score == 0.9


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["score", "uncertainty", "boxes"])
def test_a_score_that_is_no_number_is_refused(name: str, value: float) -> None:
    wrong = [[0, [0.0, 0.0, 2.0, 1.0], value]] if name == "boxes" else value

    with pytest.raises(ValueError, match="no number"):
        restore_answer(answer(**{name: wrong}), b"\1\1", GRID, computed_on="cpu")

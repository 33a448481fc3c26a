from __future__ import annotations

import pytest

from training.build.geometry_words import contradiction, is_oriented, side_of_boxes

SIZE = (100, 100)


@pytest.mark.parametrize(
    ("modality", "view", "is_volume", "expected"),
    [
        ("CR", "PA", False, True),
        ("DX", "ap", False, True),
        ("CR", "LATERAL", False, False),
        ("CR", None, False, False),
        ("US", "PA", False, False),
        ("MR", None, True, True),
    ],
)
def test_only_frontal_radiographs_and_volumes_show_the_side(
    modality: str, view: str | None, is_volume: bool, expected: bool
) -> None:
    found = is_oriented(modality=modality, view=view, is_volume=is_volume)

    assert found is expected


@pytest.mark.parametrize(
    ("box", "side"),
    [
        ((0, 0, 30, 9), "R"),
        ((60, 0, 90, 9), "L"),
        ((40, 0, 60, 9), None),
        ((46, 0, 49, 9), None),
    ],
)
def test_the_left_of_a_picture_is_the_right_of_the_patient(
    box: tuple[float, float, float, float], side: str | None
) -> None:
    assert side_of_boxes([box], width=100) == side
    assert side_of_boxes([], width=100) is None


@pytest.mark.parametrize(
    ("phrase", "box", "laterality", "expected"),
    [
        ("left lung", (0, 0, 30, 50), None, "laterality"),
        ("left lung", (60, 0, 90, 50), None, None),
        ("lung", (0, 0, 30, 50), "L", "laterality"),
        ("left atrium", (0, 0, 30, 50), None, None),
        ("upper zone opacity", (0, 70, 30, 90), None, "position"),
        ("upper zone opacity", (0, 10, 30, 40), None, None),
        ("right basal effusion", (0, 5, 30, 20), None, "position"),
        ("upper to lower zone opacity", (0, 70, 30, 90), None, None),
    ],
)
def test_words_are_held_against_the_picture(
    phrase: str,
    box: tuple[float, float, float, float],
    laterality: str | None,
    expected: str | None,
) -> None:
    found = contradiction(
        phrase, [box], size=SIZE, laterality=laterality, is_radiograph=True
    )

    assert (found or "").split(" ")[0] == (expected or "")


def test_upper_and_lower_cannot_be_seen_on_an_axial_slice() -> None:
    found = contradiction(
        "lower lobe", [(0, 0, 9, 9)], size=SIZE, laterality=None, is_radiograph=False
    )

    assert found is None

"""How the frames of a series are shared out among the processes that decode them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.imaging.pixels import _portions


def _series(frames_of_each: list[int]) -> Any:
    frames = [
        SimpleNamespace(
            sop_instance_uid=f"1.2.{number}", path=Path("file"), frame_number=frame + 1
        )
        for number, count in enumerate(frames_of_each)
        for frame in range(count)
    ]
    return SimpleNamespace(frames=frames)


@given(
    st.lists(st.integers(1, 40), max_size=30),
    st.integers(1, 9),
    st.integers(1, 1 << 25),
)
def test_every_frame_is_asked_for_once_and_goes_to_its_place(
    counts: list[int], processes: int, frame_bytes: int
) -> None:
    series = _series(counts)

    portions = list(_portions(series, frame_bytes, processes=processes))

    asked = [
        (place, image.sop_instance_uid, frame)
        for portion in portions
        for image in portion
        for frame, place in image.frames
    ]
    assert asked == [
        (place, one.sop_instance_uid, one.frame_number)
        for place, one in enumerate(series.frames)
    ]
    assert all(portions)


@pytest.mark.parametrize("counts", [[1] * 40, [40], [16, 1, 1, 22]])
def test_no_process_is_left_with_much_while_others_rest(counts: list[int]) -> None:
    portions = _portions(_series(counts), 1 << 20, processes=2)
    sizes = [sum(len(one.frames) for one in portion) for portion in portions]

    busy = [0, 0]
    for size in sizes:  # whoever is done takes the next
        busy[busy.index(min(busy))] += size

    assert max(busy) - min(busy) <= 1
    assert max(sizes) <= 8 + 8

"""Pieces of planes are those that scipy labels, in its order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from model import pieces
from model.pieces import find_pieces

_PLANES = hnp.arrays(
    np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9)
)


def _labelled(planes: NDArray[np.bool_]) -> list[tuple[int, int, list[int]]]:
    """Return plane, pixels and box of every piece, by labels."""
    found = []
    for index, plane in enumerate(planes):
        labels, _ = ndimage.label(plane, np.ones((3, 3)))
        sizes = np.bincount(labels.ravel())[1:].tolist()
        for size, (rows, columns) in zip(
            sizes, ndimage.find_objects(labels), strict=True
        ):
            box = [rows.start, columns.start, rows.stop, columns.stop]
            found.append((index, size, box))
    return found


def _found(planes: NDArray[np.bool_]) -> list[tuple[int, int, list[int]]]:
    one = find_pieces(planes)
    columns = (one.planes.tolist(), one.pixels.tolist(), one.boxes.tolist())
    return list(zip(*columns, strict=True))


@given(_PLANES)
def test_pieces_are_those_of_labelled_planes(planes: NDArray[np.bool_]) -> None:
    assert _found(planes) == _labelled(planes)


@given(_PLANES)
def test_a_view_with_steps_is_read_as_its_copy_is(planes: NDArray[np.bool_]) -> None:
    view = planes[::-1, ::2, ::2]

    assert _found(view) == _labelled(view.copy())


def test_planes_are_looked_at_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    planes = np.random.default_rng(3).random((7, 6, 5)) > 0.6
    whole = _found(planes)

    monkeypatch.setattr(pieces, "_AT_ONCE", 2 * 6 * 5)

    assert whole == _found(planes) == _labelled(planes)


def test_nothing_has_no_pieces() -> None:
    assert not len(find_pieces(np.zeros((0, 0, 0), dtype=np.bool_)).pixels)

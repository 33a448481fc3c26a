from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dicom_node.corrections import mask_of_runs, runs_of_mask
from dicom_node.errors import CorrectionError

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=20))


@given(MASKS)
def test_a_mask_comes_back_from_its_runs(mask: npt.NDArray[np.bool_]) -> None:
    runs = runs_of_mask(mask)

    rows, columns = mask.shape
    assert np.array_equal(mask_of_runs(runs, rows=rows, columns=columns), mask)
    assert sum(runs[1::2]) == mask.sum()


@given(
    st.lists(st.integers(-3, 40), max_size=8),
    st.integers(1, 6),
    st.integers(1, 6),
)
def test_runs_are_those_of_a_mask_or_refused(
    runs: list[int], rows: int, columns: int
) -> None:
    try:
        mask = mask_of_runs(runs, rows=rows, columns=columns)
    except CorrectionError:
        return

    assert runs_of_mask(mask) == runs


@pytest.mark.parametrize("runs", [[0], [0, 0], [-1, 2], [3, 2], [1, 1, 2, 1]])
def test_runs_that_do_not_fit_are_refused(runs: list[int]) -> None:
    with pytest.raises(CorrectionError):
        mask_of_runs(runs, rows=2, columns=2)

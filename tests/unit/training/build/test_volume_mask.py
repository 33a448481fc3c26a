from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from training.build.volume_mask import PackedMask

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 9))


@settings(deadline=None)
@given(SHAPES.flatmap(lambda shape: hnp.arrays(np.bool_, shape)))
def test_a_packed_mask_comes_back_plane_by_plane(mask: np.ndarray) -> None:
    packed = PackedMask.pack(mask)

    np.testing.assert_array_equal(packed.unpack(), mask)
    np.testing.assert_array_equal(packed.areas, mask.sum(axis=(1, 2)))
    assert packed.is_empty == (not mask.any())


def test_a_flat_mask_is_one_slice() -> None:
    mask = np.eye(3, dtype=bool)

    np.testing.assert_array_equal(PackedMask.pack(mask).plane(0), mask)


def test_only_the_occupied_block_is_kept() -> None:
    mask = np.zeros((50, 100, 100), bool)
    mask[10:12, 20:24, 30:38] = True

    assert PackedMask.pack(mask).bits.nbytes == 8

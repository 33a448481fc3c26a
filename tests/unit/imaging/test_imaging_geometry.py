from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.errors import GeometryError
from dicom_node.imaging.geometry import (
    grid_affine,
    is_plane,
    slice_normal,
    voxel_spacing_mm,
)
from tests.builders.places import to_patient

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SPACINGS_MM = st.tuples(*[st.floats(0.1, 10.0)] * 3)
ORIGINS_LPS = st.tuples(*[st.floats(-1e3, 1e3)] * 3)
ANGLES = st.tuples(*[st.floats(-np.pi, np.pi)] * 3)


def rotation(angles):
    a, b, c = angles
    about_x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    about_y = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    about_z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    return np.array(about_z) @ np.array(about_y) @ np.array(about_x)


@given(ANGLES, SPACINGS_MM, ORIGINS_LPS, st.integers(1, 30))
def test_the_affine_of_even_slices_puts_each_slice_at_its_position(
    angles, spacing, origin, count
):
    turned = rotation(angles)
    orientation = tuple(np.concatenate([turned[:, 0], turned[:, 1]]))
    normal = slice_normal(orientation)
    positions = np.asarray(origin) + np.outer(np.arange(count), normal * spacing[0])

    affine = grid_affine(
        positions,
        orientation,
        pixel_spacing_mm=spacing[1:],
        slice_distance_mm=spacing[0],
    )

    corners = np.column_stack([np.arange(count), np.zeros(count), np.zeros(count)])
    np.testing.assert_allclose(to_patient(affine, corners), positions, atol=1e-6)
    np.testing.assert_allclose(voxel_spacing_mm(affine), spacing)


def test_row_index_moves_along_the_column_direction():
    # PS3.3 C.7.6.2.1.1: the second direction is the one in which rows follow.
    affine = grid_affine(np.zeros((1, 3)), AXIAL, pixel_spacing_mm=(2.0, 3.0))

    moved = to_patient(affine, np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))

    np.testing.assert_array_equal(moved, [[0, 2, 0], [3, 0, 0]])


@pytest.mark.parametrize(
    ("positions", "reason"),
    [
        ([[0, 0, 0], [0, 0, 0]], "same place"),
        ([[0, 0, 0], [0, 0, 1], [0, 0, 3]], "unevenly"),
        ([[0, 0, 0], [0, 1, 1], [0, 2, 2]], "shifted"),
    ],
)
def test_slices_that_form_no_grid_are_refused(positions, reason):
    with pytest.raises(GeometryError, match=reason):
        grid_affine(np.array(positions, float), AXIAL, pixel_spacing_mm=(1.0, 1.0))


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (AXIAL, True),
        ((1.0, 0.0, 0.0, 1.0, 0.0, 0.0), False),
        ((0.0,) * 6, False),
        ((2.0, 0.0, 0.0, 0.0, 1.0, 0.0), False),
        ((float("nan"),) * 6, False),
    ],
)
def test_only_perpendicular_unit_vectors_span_a_plane(orientation, expected):
    assert is_plane(orientation) is expected

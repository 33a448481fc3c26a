"""Where voxels lie in the patient, by the definition of an affine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["to_patient"]


def to_patient(
    affine_lps: npt.NDArray[np.float64], points_ijk: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Map ``(frame, row, column)`` indices, shape ``(n, 3)``, to LPS millimetres."""
    turned: npt.NDArray[np.float64] = points_ijk @ affine_lps[:3, :3].T
    return turned + affine_lps[:3, 3]

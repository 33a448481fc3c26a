"""Pictures show the grey values and the proportions that the standard says."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from dicom_node.config import LimitSettings
from dicom_node.dicomweb.render import parse_options, render_frame
from dicom_node.errors import DicomwebError
from dicom_node.imaging import PixelReader
from dicom_node.records import StoredInstance
from tests.builders.dicom_series import make_dx_image


@pytest.fixture(scope="module")
def reader() -> Iterator[PixelReader]:
    with PixelReader(LimitSettings(), processes=1) as one:
        yield one


def _picture(
    instance: StoredInstance, reader: PixelReader, **options: str | None
) -> Image.Image:
    wanted: dict[str, str | None] = {"window": None, "viewport": None, "quality": None}
    wanted |= options
    made = render_frame(
        instance,
        1,
        reader=reader,
        options=parse_options(**wanted),
        media_type="image/png",
    )
    return Image.open(io.BytesIO(made))


def _image(folder: Path, **options: object) -> StoredInstance:
    (instance,) = make_dx_image(folder, **options).instances  # type: ignore[arg-type]
    return instance


def _grey(values: np.ndarray, function: str) -> np.ndarray:
    """Apply a window of 400 about 1200 (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    if function == "sigmoid":
        return 255 / (1 + np.exp(-4 * (values - 1200) / 400))
    if function == "linear":
        return np.clip((values - 1199.5) / 399 + 0.5, 0, 1) * 255
    return np.clip((values - 1200) / 400 + 0.5, 0, 1) * 255


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("function", ["linear", "linear-exact", "sigmoid"])
def test_a_window_is_applied_to_the_values_that_the_image_holds(
    photometric: str, function: str, reader: PixelReader, tmp_path: Path
) -> None:
    changes = {
        "WindowCenter": "1200",
        "WindowWidth": "400",
        "VOILUTFunction": function.upper().replace("-", "_"),
    }
    one = _image(tmp_path, photometric=photometric, changes=changes)

    asked = _picture(one, reader, window=f"1200,400,{function}")
    own = _picture(one, reader)

    grey = _grey(pydicom.dcmread(one.path).pixel_array.astype(float), function)
    expected = 255 - grey if photometric == "MONOCHROME1" else grey
    assert np.ptp(expected) > 100
    for picture in (asked, own):
        assert np.abs(np.asarray(picture) - expected).max() <= 0.51


@pytest.mark.parametrize(
    ("spacing_mm", "ratio", "size"),
    [
        ((0.15, 0.15), None, (48, 64)),
        ((0.3, 0.15), None, (48, 128)),
        ((0.15, 0.3), None, (96, 64)),
        (None, [2, 1], (48, 128)),
        (None, [5, 6], (58, 64)),
        (None, None, (48, 64)),
        (None, [0, 1], (48, 64)),  # no ratio
        ((0.15, 0.15), [2, 1], (48, 64)),  # the spacing says more
    ],
)
def test_a_picture_has_square_pixels(
    spacing_mm: tuple[float, float] | None,
    ratio: list[int] | None,
    size: tuple[int, int],
    reader: PixelReader,
    tmp_path: Path,
) -> None:
    changes = {} if ratio is None else {"PixelAspectRatio": ratio}
    one = _image(tmp_path, spacing_mm=spacing_mm, changes=changes)

    assert _picture(one, reader).size == size
    width, height = _picture(one, reader, viewport="480,640").size
    assert width / height == pytest.approx(size[0] / size[1], rel=0.02)
    assert width == 480 or height == 640


@pytest.mark.parametrize(
    "window", ["1200,0.5,linear", "1200,0,linear-exact", "1200,400", "x,1,sigmoid"]
)
def test_a_window_that_shows_nothing_is_refused(window: str) -> None:
    with pytest.raises(DicomwebError, match="window is not"):
        parse_options(window=window, viewport=None, quality=None)

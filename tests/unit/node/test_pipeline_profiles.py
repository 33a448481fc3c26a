"""Profiles that ask something of the model, through the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom import Dataset, dcmread

from dicom_node.commands.study_files import gather_studies
from dicom_node.config import LimitSettings
from dicom_node.grounding.grounder import GroundedPrompt
from dicom_node.imaging import PixelReader, Pixels
from dicom_node.pipeline import ProcessedStudy, Rooms, process_study
from dicom_node.records import ImageSeries
from tests.builders.corner_grounder import BrightestBox
from tests.builders.dicom_series import make_ct_series

REPORT = "FINDINGS:\nThe liver is enlarged. No ascites.\n"
SHARES = np.arange(200, 216, dtype=np.uint8).reshape(1, 4, 4)


class Probable(BrightestBox):
    """Answers with probabilities when it is asked for them."""

    def __init__(self) -> None:
        super().__init__()
        self.with_probabilities: list[bool] = []

    def ground(
        self,
        series: ImageSeries,
        pixels: Pixels,
        prompts: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
        with_probabilities: bool = False,
    ) -> tuple[GroundedPrompt, ...]:
        self.with_probabilities.append(with_probabilities)
        found = super().ground(series, pixels, prompts, progress=progress)
        if not with_probabilities:
            return found
        return tuple(replace(one, probability=SHARES) for one in found)


def _process(
    folder: Path, grounder: BrightestBox, profiles: tuple[str, ...]
) -> ProcessedStudy:
    make_ct_series(folder / "in", slices=3, rows=16, columns=16)
    ready = gather_studies([folder / "in"]).studies[0]
    with PixelReader(LimitSettings(), processes=1) as reader:
        return process_study(
            ready,
            rooms=Rooms(reader, grounder),
            out_dir=folder,
            profiles=profiles,
            report_text=REPORT,
        )


def _texts(item: Dataset, code: str) -> list[str]:
    found = []
    for child in item.get("ContentSequence", []):
        name = child.ConceptNameCodeSequence[0].CodeValue
        if child.ValueType == "TEXT" and name == code:
            found.append(str(child.TextValue))
        found += _texts(child, code)
    return found


def test_probabilities_of_the_model_reach_the_pixels(tmp_path: Path) -> None:
    grounder = Probable()

    processed = _process(tmp_path, grounder, ("default", "fractional"))

    (one,) = (
        one for one in processed.objects if one.segments and one.profile == "fractional"
    )
    segmentation = hd.seg.segread(one.path)
    (region,) = processed.result.phrases[0].regions
    frame, row, column = region.mask_origin
    uid = processed.result.series[0].frames[frame].sop_instance_uid
    pixels = segmentation.get_pixels_by_source_instance([uid], rescale_fractional=False)
    expected = np.zeros((16, 16), np.uint8)
    expected[row : row + 4, column : column + 4] = SHARES[0]
    assert np.array_equal(pixels[0, ..., 0], expected)
    assert grounder.with_probabilities == [True]


def test_probabilities_are_not_asked_for_without_need(tmp_path: Path) -> None:
    grounder = Probable()

    _process(tmp_path, grounder, ("default", "labelmap"))

    assert grounder.with_probabilities == [False]


def test_an_engine_without_probabilities_gives_a_report_that_says_so(
    tmp_path: Path,
) -> None:
    processed = _process(tmp_path, BrightestBox(), ("default", "fractional"))

    kinds = [(one.profile, dcmread(one.path).Modality) for one in processed.objects]
    assert kinds == [("default", "SEG"), ("default", "SR"), ("fractional", "SR")]
    report = dcmread(processed.objects[-1].path)
    assert _texts(report, "not-processed") == [
        "no segmentation: this engine gives no probabilities of pixels"
    ]
    assert any("liver" in text for text in _texts(report, "121106"))
    default = dcmread(processed.objects[1].path)
    assert _texts(default, "not-processed") == []

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from tests.builders.tiny_dataset import make_spec
from training.build.samples import samples_of
from training.build.settings import BuildSettings
from training.readers.source import Picture, SourceImage, SourceRegion
from training.records import ImageRecord

PICTURE = Picture((np.arange(600) % 251).astype(np.uint8).reshape(20, 30), None, False)


def _record(
    name: str = "one", how: BuildSettings | None = None, **said: Any
) -> ImageRecord:
    region = SourceRegion(label="mass", boxes_xyxy=((1, 1, 9, 9),))
    values = {"regions": (region,), "modality": "CR", **said}
    image = SourceImage(image_id=name, load=lambda: PICTURE, **values)
    (sample,) = samples_of(image, make_spec("tiny"), how or BuildSettings(), Counter())
    return sample.record


def test_series_of_a_study_without_a_patient_belong_together() -> None:
    first, second = _record("one", study_id="s"), _record("two", study_id="s")

    assert first.patient_key == second.patient_key
    assert first.patient_key != _record("one", study_id="t").patient_key


def test_a_patient_goes_before_the_study_and_a_study_before_the_image() -> None:
    keys = [
        _record("one", patient_id=patient, study_id=study).patient_key
        for patient, study in (("p", "s"), ("p", "t"), (None, "p"), (None, None))
    ]

    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert _record("two").patient_key != keys[3]


def test_a_report_is_stored_only_where_the_build_keeps_reports() -> None:
    text = "Small mass. No pneumothorax."

    plain = _record(report=text)
    kept = _record(report=text, how=BuildSettings(keep_reports=True))

    assert plain.report is None
    assert kept.report == text
    assert "pneumothorax" in plain.caption
    assert plain.regions == kept.regions

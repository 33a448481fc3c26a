from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.builders.judged_cases import make_case, square
from training.errors import DatasetError
from training.evaluation.cases import (
    PhraseTruth,
    boxes_of_mask,
    case_from_record,
    truths_of_slices,
)
from training.records import ImageRecord, PhraseRegion, VolumePlace
from training.rle import encode_rle


def _region(phrase: str, *, status="present", mask=None, bbox=(), **fields):
    return PhraseRegion(
        region_id="r",
        phrase=phrase,
        tokens_positive=((0, len(phrase)),),
        bbox=bbox,
        mask=None if mask is None else (encode_rle(mask),),
        status=status,
        **fields,
    )


def _record(*regions: PhraseRegion, **fields) -> ImageRecord:
    settings = {
        "image_id": "toys/1",
        "filename": "1.png",
        "sha256": "",
        "phash": "",
        "height": 32,
        "width": 32,
        "modality": "DX",
        "body_part": None,
        "view": None,
        "dataset": "toys",
        "licence": "MIT",
        "tier": "manual",
        "patient_key": "p1",
        "study_key": None,
        "split": "test",
        "cluster": None,
        "volume": None,
        "prior": None,
        "report": None,
        "label_space": None,
        "caption": "",
        "spacing_mm": (0.5, 0.25),
    }
    return ImageRecord(**{**settings, **fields}, regions=regions)


_BOX = (2.0, 4.0, 8.0, 9.0)


def test_a_record_becomes_a_case_with_present_and_absent_phrases():
    mask = square((4, 2, 9, 8))[0]
    record = _record(
        _region("nodule", mask=mask, bbox=(_BOX,), label_path=("chest", "lung nodule")),
        _region("effusion", status="absent"),
        label_space=("nodule", "mass"),
    )

    case = case_from_record(record, np.zeros((32, 32), np.uint16))

    assert case.phrases == ("nodule", "effusion", "mass")
    assert [truth.is_present for truth in case.truths] == [True, False, False]
    assert case.truths[0].category == "lung nodule"
    assert (case.truths[0].load_mask()[0] == mask).all()
    assert case.truths[0].boxes == ((0, _BOX),)
    assert case.stack.spacing_mm == (0.0, 0.5, 0.25)
    assert (case.patient, case.dataset) == ("p1", "toys")


@pytest.mark.parametrize("fields", [{"ignore": True}, {"status": "uncertain"}])
def test_what_is_not_decided_is_not_asked(fields):
    doubtful = _region("mass", bbox=(_BOX,), **fields)
    record = _record(doubtful, _region("nodule", bbox=(_BOX,)), label_space=("mass",))

    assert case_from_record(record, np.zeros((32, 32))).phrases == ("nodule",)


def test_one_piece_without_outline_makes_a_phrase_boxes_only():
    record = _record(
        _region("nodule", mask=square((4, 2, 9, 8))[0], bbox=(_BOX,)),
        _region("nodule", bbox=((10.0, 10.0, 12.0, 12.0),)),
    )

    (truth,) = case_from_record(record, np.zeros((32, 32))).truths

    assert truth.load_mask is None
    assert len(truth.boxes) == 2


def test_slices_of_a_volume_share_their_phrases():
    place = VolumePlace("s", 0, (3.0, 1.0, 1.0), 2)
    mask = square((4, 2, 9, 8))[0]
    low = _record(_region("liver", mask=mask, bbox=(_BOX,)), volume=place)
    high = _record(_region("liver", status="absent"), volume=place)

    (truth,) = truths_of_slices([low, high])

    assert truth.is_present
    assert truth.load_mask().sum(axis=(1, 2)).tolist() == [30, 0]


def test_a_picture_of_another_size_is_refused():
    with pytest.raises(DatasetError, match="its record says"):
        case_from_record(_record(), np.zeros((31, 32)))


def test_a_phrase_cannot_be_asked_twice():
    with pytest.raises(DatasetError, match="twice"):
        make_case(masks={"lung": square((1, 1, 4, 4))}, absent=["lung"])


def test_a_present_phrase_has_a_place():
    case = make_case(masks={})
    nowhere = PhraseTruth(phrase="lung", is_present=True)

    with pytest.raises(DatasetError, match="exactly if it has a place"):
        replace(case, truths=(nowhere,))


def test_a_mask_is_boxed_piece_by_piece():
    mask = square((1, 1, 4, 6), (10, 10, 12, 12), shape=(2, 32, 32))

    boxes = boxes_of_mask(mask)

    assert boxes[0] == (0, (1.0, 1.0, 6.0, 4.0))
    assert len(boxes) == 4

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.builders.judged_cases import square
from training.errors import DatasetError, RecordError
from training.evaluation.from_records import (
    case_from_record,
    cases_of_jsonl,
)
from training.layout import PictureInfo
from training.records import ImageRecord, PhraseRegion
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
        _region("8 mm nodule", mask=mask, bbox=(_BOX,), label="nodule"),
        _region("effusion", status="absent"),
        label_space=("nodule", "effusion", "mass"),
    )

    case = case_from_record(record, np.zeros((32, 32), np.uint16))

    assert case.phrases == ("8 mm nodule", "effusion", "mass")
    assert [truth.is_present for truth in case.truths] == [True, False, False]
    assert case.truths[0].category == "nodule"
    assert (case.truths[0].load_mask()[0] == mask).all()
    assert case.truths[0].boxes == ((0, _BOX),)
    assert case.stack.spacing_mm == (0.0, 0.5, 0.25)
    assert (case.patient, case.dataset) == ("p1", "toys")


@pytest.mark.parametrize(
    "fields", [{"ignore": True}, {"status": "uncertain"}, {"complete": False}]
)
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


def test_a_picture_of_another_size_is_refused():
    with pytest.raises(DatasetError, match="its record says"):
        case_from_record(_record(), np.zeros((31, 32)))


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _folder(tmp_path, record: ImageRecord, pixels: np.ndarray):
    (tmp_path / record.filename).write_bytes(_png(pixels))
    path = tmp_path / "records.jsonl"
    path.write_text(record.to_json() + "\n", encoding="utf-8")
    return path


def test_a_file_of_records_is_read_with_the_pictures_beside_it(tmp_path):
    pixels = np.arange(1024, dtype=np.uint16).reshape(32, 32)
    record = _record(_region("nodule", bbox=(_BOX,)))
    path = _folder(tmp_path, record, pixels)

    (case,) = cases_of_jsonl(path)

    assert (case.stack.pixels[0] == pixels).all()
    assert case.phrases == ("nodule",)
    assert list(cases_of_jsonl(path, split="train")) == []


def test_a_ct_beside_its_record_needs_to_know_its_units(tmp_path):
    record = replace(_record(_region("liver", bbox=(_BOX,))), modality="CT")
    pixels = np.full((32, 32), 32768 + 40, np.uint16)
    path = _folder(tmp_path, record, pixels)

    with pytest.raises(DatasetError, match=r"1\.picture\.json"):
        list(cases_of_jsonl(path))
    info = PictureInfo(1.0, -32768.0, "HU", 0.0, 1.0, (32, 32))
    (tmp_path / "1.picture.json").write_text(info.to_json())
    (case,) = cases_of_jsonl(path)

    assert (case.stack.pixels == 40).all()


def test_a_ct_without_hounsfield_units_is_laid_on_the_soft_tissue_window():
    info = PictureInfo(1.0, 0.0, "relative", 0.0, 200.0, (32, 32))
    record = replace(_record(_region("liver", bbox=(_BOX,))), modality="CT")

    case = case_from_record(record, np.full((32, 32), 100, np.uint8), info=info)

    assert case.stack.pixels == pytest.approx(np.full((1, 32, 32), 40.0))


@pytest.mark.parametrize("name", ["../1.png", "2.png"])
def test_a_picture_elsewhere_is_refused(tmp_path, name):
    path = tmp_path / "in" / "records.jsonl"
    path.parent.mkdir()
    (tmp_path / "1.png").write_bytes(_png(np.zeros((32, 32), np.uint8)))
    record = replace(_record(_region("nodule", bbox=(_BOX,))), filename=name)
    path.write_text(record.to_json() + "\n")

    with pytest.raises(DatasetError, match=r"outside|no picture"):
        list(cases_of_jsonl(path))


def test_a_bad_line_is_named_by_its_number(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text("\n" + json.dumps({"schema": "other"}) + "\n")

    with pytest.raises(RecordError, match="line 2"):
        list(cases_of_jsonl(path))

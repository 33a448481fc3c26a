from __future__ import annotations

import json

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.errors import RecordError
from training.records import ImageRecord, PhraseRegion, Rle, VolumePlace
from training.rle import decode_rle, encode_rle, rle_area

masks = arrays(
    np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.booleans()
)


@given(masks)
def test_a_mask_survives_its_run_lengths(mask: np.ndarray) -> None:
    rle = encode_rle(mask)

    assert np.array_equal(decode_rle(rle), mask)
    assert rle_area(rle) == mask.sum()


@given(masks)
def test_an_independent_codec_reads_and_writes_the_same_run_lengths(
    mask: np.ndarray,
) -> None:
    rle = encode_rle(mask)
    theirs = coco.encode(np.asfortranarray(mask, dtype=np.uint8))

    assert theirs["counts"].decode() == rle.counts
    other = coco.decode({"size": list(rle.size), "counts": rle.counts.encode()})
    assert np.array_equal(other.astype(bool), mask)


@pytest.mark.parametrize("counts", ["", "1", "zzz", "\x20", "o"])
def test_broken_run_lengths_are_refused(counts: str) -> None:
    with pytest.raises(ValueError, match="run"):
        decode_rle(Rle((5, 5), counts))


def make_record() -> ImageRecord:
    mask = np.zeros((6, 5), dtype=bool)
    mask[1:3, 2:4] = True
    return ImageRecord(
        image_id="demo/1",
        filename="demo/1.png",
        sha256="0" * 64,
        phash="f" * 16,
        height=6,
        width=5,
        modality="CR",
        body_part="chest",
        view="PA",
        dataset="demo",
        licence="CC0-1.0",
        tier="manual",
        patient_key="p",
        study_key=None,
        split="train",
        cluster="c",
        volume=VolumePlace("s", 3, (2.5, 0.7, 0.7), 9),
        prior=None,
        report=None,
        label_space=("effusion", "nodule"),
        caption="effusion. nodule.",
        regions=(
            PhraseRegion(
                region_id="demo/1:0",
                phrase="effusion",
                tokens_positive=((0, 8),),
                bbox=((2.0, 1.0, 4.0, 3.0),),
                mask=(encode_rle(mask),),
                codes={"type": ("41699000", "SCT", "Effusion")},
            ),
            PhraseRegion(
                region_id="demo/1:1",
                phrase="nodule",
                tokens_positive=((10, 16),),
                status="absent",
            ),
        ),
    )


def test_a_record_survives_its_line() -> None:
    record = make_record()

    assert ImageRecord.from_json(record.to_json()) == record


def test_an_absent_phrase_keeps_its_place_without_a_box() -> None:
    line = json.loads(make_record().to_json())

    assert line["grounding"]["regions"][1]["bbox"] == []


@pytest.mark.parametrize(
    "line",
    ["", "[]", "{}", '{"schema":"medglip-odvg/1"}', '{"schema":"other/1"}'],
)
def test_what_is_no_record_is_refused(line: str) -> None:
    with pytest.raises(RecordError):
        ImageRecord.from_json(line)

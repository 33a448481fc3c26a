from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dicom_node.errors import GroundingError
from dicom_node.grounding.grounder import GroundedPrompt
from dicom_node.records import (
    BoundingBox,
    Code,
    Finding,
    FrameReference,
    ImageSeries,
    Laterality,
    Phrase,
    PhraseStatus,
)
from dicom_node.regions import check_answer, crop_mask, make_phrase_results

LIVER = Code("SCT", "10200004", "Liver")
ORGAN = Code("SCT", "123037004", "Anatomical Structure")


def make_phrase(
    prompt="liver", *, source="sr:1.2", status=PhraseStatus.PRESENT, **values
):
    finding = values.pop("finding", Finding(ORGAN, LIVER, LIVER, LIVER))
    return Phrase(
        text=f"Mrs Doe's {prompt}",
        source=source,
        status=status,
        finding=finding,
        prompt=prompt,
        **values,
    )


def make_series(uid="1.5", *, frames=4, rows=10, columns=12, stack_number=1):
    return ImageSeries(
        study_instance_uid="1",
        series_instance_uid=uid,
        modality="CT",
        body_part=None,
        frames=tuple(
            FrameReference(f"1.{k}", "1.2", 1, Path("x")) for k in range(frames)
        ),
        rows=rows,
        columns=columns,
        is_colour=False,
        pixel_spacing_mm=(1.0, 1.0),
        affine_lps=np.eye(4),
        frame_of_reference_uid="3",
        stack_number=stack_number,
    )


def make_answer(prompt="liver", *, mask=None, origin=(1, 2, 3), **values):
    chosen = np.ones((2, 3, 4), bool) if mask is None else mask
    return GroundedPrompt(
        prompt=prompt,
        mask=chosen,
        mask_origin=origin,
        **{"score": 0.9, "is_present": True, "uncertainty": 0.1, "boxes": (), **values},
    )


def absent(prompt="liver", score=0.2):
    return make_answer(
        prompt, mask=np.zeros((0, 0, 0), bool), is_present=False, score=score
    )


def make_results(phrases, grounded, **values):
    return make_phrase_results(
        phrases,
        grounded,
        **{
            "study_instance_uid": "1",
            "content_version": "v1",
            "model_sha256": "m1",
            **values,
        },
    )


def test_a_phrase_that_is_found_has_a_region():
    (result,) = make_results([make_phrase()], [(make_series(), [make_answer()])])

    (region,) = result.regions
    assert result.status is PhraseStatus.PRESENT
    assert (result.score, result.uncertainty) == (0.9, 0.1)
    assert region.series_instance_uid == "1.5"
    assert region.mask_origin == (1, 2, 3)
    assert region.mask.shape == (2, 3, 4)
    assert [box.xyxy for box in region.boxes] == [(3, 2, 7, 5)] * 2
    assert [box.frame_index for box in region.boxes] == [1, 2]


def test_probabilities_are_cropped_with_their_mask():
    mask = np.zeros((2, 3, 4), bool)
    mask[1, 1:, 2] = True
    shares = np.arange(24, dtype=np.uint8).reshape(mask.shape)
    answer = make_answer(mask=mask, probability=shares)

    (result,) = make_results([make_phrase()], [(make_series(), [answer])])

    (region,) = result.regions
    assert region.mask_origin == (2, 3, 5)
    assert region.probability.tolist() == [[[18], [22]]]


@pytest.mark.parametrize(
    "probability", [np.zeros((2, 3, 5), np.uint8), np.zeros((2, 3, 4), np.float32)]
)
def test_probabilities_that_do_not_lie_on_their_mask_are_refused(probability):
    with pytest.raises(GroundingError, match="probabilities"):
        check_answer(make_series(), make_answer(probability=probability))


def test_what_the_report_negates_is_never_drawn():
    phrase = make_phrase(status=PhraseStatus.ABSENT)

    (result,) = make_results([phrase], [(make_series(), [make_answer()])])

    assert result.status is PhraseStatus.ABSENT
    assert result.regions == ()
    assert result.score is None


@pytest.mark.parametrize("status", [PhraseStatus.PRESENT, PhraseStatus.UNCERTAIN])
def test_what_the_report_states_keeps_its_status_when_it_is_not_found(status):
    phrase = make_phrase(status=status)

    (result,) = make_results([phrase], [(make_series(), [absent()])])

    assert result.status is status
    assert result.regions == ()
    assert result.score == 0.2


def test_a_vocabulary_phrase_that_is_not_found_is_absent():
    phrase = make_phrase(source="vocabulary")

    (result,) = make_results([phrase], [(make_series(), [absent()])])

    assert result.status is PhraseStatus.ABSENT
    assert result.score == 0.2


def test_a_vocabulary_phrase_that_one_series_shows_is_present():
    phrase = make_phrase(source="vocabulary")
    grounded = [(make_series("1.5"), [absent()]), (make_series("1.6"), [make_answer()])]

    (result,) = make_results([phrase], grounded)

    assert result.status is PhraseStatus.PRESENT
    assert [one.series_instance_uid for one in result.regions] == ["1.6"]


def test_a_phrase_that_was_not_asked_has_no_score():
    (result,) = make_results([make_phrase(source="vocabulary")], [])

    assert result.status is PhraseStatus.PRESENT
    assert (result.score, result.uncertainty, result.regions) == (None, None, ())


def test_each_series_that_shows_a_phrase_has_its_region_and_the_best_score_counts():
    grounded = [
        (make_series("1.5"), [make_answer(score=0.6, uncertainty=0.4)]),
        (make_series("1.6"), [make_answer(score=0.8, uncertainty=0.2)]),
        (make_series("1.6", stack_number=2), [make_answer(score=0.7, uncertainty=0.3)]),
    ]

    (result,) = make_results([make_phrase()], grounded)

    places = [(one.series_instance_uid, one.stack_number) for one in result.regions]
    assert places == [("1.5", 1), ("1.6", 1), ("1.6", 2)]
    assert [one.tracking_id for one in result.regions] == [
        "liver #1",
        "liver #2",
        "liver #3",
    ]
    assert len({one.tracking_uid for one in result.regions}) == 3
    assert (result.score, result.uncertainty) == (0.8, 0.2)


def test_disconnected_parts_are_one_region_with_a_box_each():
    mask = np.zeros((1, 6, 8), bool)
    mask[0, 1, 1] = mask[0, 4, 5:7] = True
    answer = make_answer(mask=mask, origin=(2, 3, 4))

    (result,) = make_results([make_phrase()], [(make_series(), [answer])])

    (region,) = result.regions
    assert [box.xyxy for box in region.boxes] == [(5, 4, 6, 5), (9, 7, 11, 8)]
    assert region.mask_origin == (2, 4, 5)
    assert region.mask.shape == (1, 4, 6)


def test_boxes_are_sorted_clipped_and_empty_ones_dropped():
    boxes = (
        BoundingBox(3, (1, 1, 2, 2), 0.5),
        BoundingBox(1, (-3, -1, 14, 20), 0.6),
        BoundingBox(1, (13, 1, 15, 2), 0.7),
        BoundingBox(9, (1, 1, 2, 2), 0.8),
    )

    (result,) = make_results(
        [make_phrase()], [(make_series(), [make_answer(boxes=boxes)])]
    )

    assert result.regions[0].boxes == (
        BoundingBox(1, (0, 0, 12, 10), 0.6),
        BoundingBox(3, (1, 1, 2, 2), 0.5),
    )


def test_an_answer_outside_its_series_is_an_error():
    check_answer(make_series(), make_answer())

    with pytest.raises(GroundingError, match="outside"):
        check_answer(make_series(), make_answer(origin=(3, 2, 3)))


def test_a_presence_without_a_place_is_a_score_without_a_region():
    answer = make_answer(mask=np.zeros((2, 2, 2), bool))

    (result,) = make_results([make_phrase()], [(make_series(), [answer])])

    assert result.status is PhraseStatus.PRESENT
    assert (result.regions, result.score) == ((), 0.9)


def test_the_same_phrase_twice_has_regions_of_its_own():
    results = make_results(
        [make_phrase(), make_phrase()], [(make_series(), [make_answer()])]
    )

    regions = [region for result in results for region in result.regions]
    assert [one.tracking_id for one in regions] == ["liver #1", "liver #2"]
    assert len({one.tracking_uid for one in regions}) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"study_instance_uid": "2"},
        {"content_version": "v2"},
        {"model_sha256": "m2"},
    ],
)
def test_tracking_uids_follow_from_study_version_and_model(change):
    def uid(**values):
        (result,) = make_results(
            [make_phrase()], [(make_series(), [make_answer()])], **values
        )
        return result.regions[0].tracking_uid

    assert uid() == uid()
    assert uid() != uid(**change)
    assert uid().startswith("2.25.")


def test_tracking_ids_name_the_code_and_the_side_and_no_dictated_word():
    kidney = Code("SCT", "64033007", "Kidney")
    finding = Finding(ORGAN, kidney, kidney, kidney)
    phrase = make_phrase("kidney", finding=finding, laterality=Laterality.LEFT)
    sided = replace(
        phrase, finding=replace(finding, finding=Code("SCT", "1", "Left kidney"))
    )
    grounded = [(make_series(), [make_answer("kidney")])]

    results = make_results([phrase, sided], grounded)

    ids = [region.tracking_id for result in results for region in result.regions]
    assert ids == ["left kidney #1", "left kidney #2"]


def test_tracking_ids_have_at_most_64_characters():
    long = Code("SCT", "1", "x" * 64)
    phrase = make_phrase(finding=Finding(ORGAN, long, long))

    (result,) = make_results([phrase], [(make_series(), [make_answer()])])

    tracking_id = result.regions[0].tracking_id
    assert len(tracking_id) == 64
    assert tracking_id.endswith(" #1")


@given(
    hnp.arrays(np.bool_, st.tuples(*[st.integers(1, 6)] * 3)),
    st.tuples(*[st.integers(0, 9)] * 3),
)
def test_cropping_keeps_every_voxel_in_its_place_and_nothing_around(mask, origin):
    cropped = crop_mask(mask, origin)

    if cropped is None:
        assert not mask.any()
        return
    tight, start = cropped
    np.testing.assert_array_equal(
        np.argwhere(tight) + start, np.argwhere(mask) + origin
    )
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = tight.any(axis=others)
        assert used[0]
        assert used[-1]

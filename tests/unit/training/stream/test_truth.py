from __future__ import annotations

import numpy as np
import pytest

from training.stream.picture import Place, PlacedPicture
from training.stream.truth import ask, truth_of, union


def _place(text, label=None, *, status="present", at=0):
    mask = np.zeros((1, 4, 8), dtype=np.bool_)
    mask[0, :2, at : at + 2] = status == "present"
    return Place(
        text=text,
        label=label or text,
        status=status,
        weight=1.0,
        is_outlined=True,
        boxes_xyxy=np.array([[at, 0, at + 2, 2]], dtype=np.float64),
        masks=mask,
    )


def _picture(*places, space=()):
    return PlacedPicture(
        pixels=np.zeros((7, 4, 8), dtype=np.float32),
        modality="CT",
        body_part=None,
        places=places,
        label_space=space,
        sample_id="s",
    )


LUNGS = ("left lung", "right lung")
NODULE = "spiculated nodule in the left upper lobe"


@pytest.mark.parametrize(
    ("asked", "picture", "answer"),
    [
        # a plain name
        (("liver", "liver"), _picture(_place("liver")), [0]),
        (("hepatic tissue", "liver"), _picture(_place("liver")), [0]),
        (("liver", "liver"), _picture(_place("liver"), _place("liver", at=4)), [0, 4]),
        (("liver", "liver"), _picture(_place("spleen")), "unknown"),
        (("liver", "liver"), _picture(_place("spleen"), space=("liver",)), "absent"),
        (("liver", "liver"), _picture(_place("liver", status="absent")), "absent"),
        (("liver", "liver"), _picture(_place("liver", status="unknown")), "unknown"),
        # words that the knowledge file does not have
        (("odd thing", "odd thing"), _picture(_place("odd thing")), [0]),
        (("odd thing", "odd thing"), _picture(space=("Odd things",)), "absent"),
        # sides
        (("left lung", "left lung"), _picture(_place("right lung")), "unknown"),
        (("left lung", "left lung"), _picture(space=LUNGS), "absent"),
        (("left lung", "left lung"), _picture(space=("lungs",)), "absent"),
        (
            ("left lung", "left lung"),
            _picture(_place("left lung"), _place("right lung", at=4)),
            [0],
        ),
        (
            ("lungs", "lungs"),
            _picture(_place("left lung"), _place("right lung", at=4)),
            [0, 4],
        ),
        (("lungs", "lungs"), _picture(_place("left lung")), "unknown"),
        (("lungs", "lungs"), _picture(_place("left lung"), space=LUNGS), [0]),
        (("lungs", "lungs"), _picture(space=LUNGS), "absent"),
        (("lungs", "lungs"), _picture(space=("left lung",)), "unknown"),
        (
            ("left pleural effusion", "pleural effusion"),
            _picture(_place("pleural effusion")),
            "unknown",
        ),
        (
            ("left pleural effusion", "pleural effusion"),
            _picture(_place("right pleural effusion"), space=("pleural effusion",)),
            "absent",
        ),
        (
            ("pleural effusion", "pleural effusion"),
            _picture(_place("right pleural effusion", "pleural effusion")),
            [0],
        ),
        # words of a report
        ((NODULE, "nodule"), _picture(_place(NODULE, "nodule")), [0]),
        (
            (NODULE, "nodule"),
            _picture(_place(NODULE, "nodule"), _place("nodule", at=4)),
            [0],
        ),
        ((NODULE, "nodule"), _picture(_place("nodule")), "unknown"),
        ((NODULE, "nodule"), _picture(space=("nodule",)), "absent"),
        (("nodule", "nodule"), _picture(_place(NODULE, "nodule")), [0]),
        (
            ("nodule", "nodule"),
            _picture(_place(NODULE, "nodule", status="absent")),
            "unknown",
        ),
    ],
)
def test_the_labels_of_a_picture_answer_a_phrase(asked, picture, answer):
    truth = truth_of(ask(*asked), picture)

    if isinstance(answer, str):
        assert not truth.places
        assert truth.known is (answer == "absent")
    else:
        assert truth.known
        columns = sorted({int(place.boxes_xyxy[0, 0]) for place in truth.places})
        assert columns == answer


def test_the_union_of_places_is_where_any_of_them_is():
    mask = union([_place("a"), _place("a", at=1)], (4, 8))

    assert mask.sum() == 6
    assert not union([], (4, 8)).any()

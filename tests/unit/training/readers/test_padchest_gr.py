from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders.picture_files import (
    by_id,
    read_all,
    registered,
    save_json,
    save_picture,
    save_text,
)
from training.errors import DatasetError

MASTER = "StudyID,ImageID,PatientID,split,label,label_group,PatientSex_DICOM\n"
ATELECTASIS = {
    "sentence_en": "Left basal atelectasis.",
    "sentence_es": "Atelectasia basal izquierda.",
    "abnormal": True,
    "boxes": [[0.55, 0.62, 0.83, 0.79]],
    "extra_boxes": [[0.5, 0.6, 0.8, 0.8], [0.1, 0.1, 0.2, 0.2]],
    "labels": ["atelectasis", "laminar atelectasis"],
    "locations": ["basal", "left"],
    "progression": "worsening",
}
NORMAL = {
    "sentence_en": "No pleural effusion.",
    "sentence_es": "Sin derrame pleural.",
    "abnormal": False,
}
SCOLIOSIS = {
    "sentence_en": "Scoliosis.",
    "sentence_es": "Escoliosis.",
    "abnormal": True,
    "boxes": [],
    "extra_boxes": [],
    "labels": ["scoliosis"],
    "locations": [],
    "progression": None,
}
PIXELS = (np.arange(20_000, dtype=np.uint16) * 3).reshape(100, 200)


def study(**values: object) -> dict[str, Any]:
    return {
        "StudyID": "S1",
        "ImageID": "I1.png",
        "findings": [ATELECTASIS, NORMAL, SCOLIOSIS],
        **values,
    }


def write(root: Path, *studies: object) -> Path:
    save_json(root / "grounded_reports_20240819.json", list(studies))
    rows = (
        "S1,I1.png,P1,train,atelectasis,atelectasis,F\n"
        "S1,I1.png,P1,train,scoliosis,scoliosis,F\n"
        "S2,I2.png,P2,validation,Normal,,M\n"
    )
    save_text(root / "master_table.csv", MASTER + rows)
    for name in ("I1.png", "I2.png"):
        save_picture(root / "Padchest_GR_files" / "PadChest_GR" / name, PIXELS)
    return root


def test_two_columns_of_boxes_are_two_readers(tmp_path: Path) -> None:
    (image,) = read_all(write(tmp_path, study()), registered("padchest-gr"))

    first, second = image.regions[:2]
    assert (first.reader, second.reader) == ("boxes", "extra_boxes")
    assert first.phrase == second.phrase == "Left basal atelectasis."
    # Shares of 200 columns and 100 rows.
    assert first.boxes_xyxy[0] == pytest.approx((110, 62, 166, 79))
    assert second.boxes_xyxy[1] == pytest.approx((20, 10, 40, 20))
    assert first.laterality == "L"
    assert first.attributes == {
        "location": "basal, left",
        "also": "laminar atelectasis",
    }
    assert first.progression == "worsening"


def test_a_normal_sentence_may_lack_keys_and_is_absent(tmp_path: Path) -> None:
    (image,) = read_all(write(tmp_path, study()), registered("padchest-gr"))

    normal = next(r for r in image.regions if r.phrase == "No pleural effusion.")
    assert normal.status == "absent"
    assert normal.boxes_xyxy == ()
    assert not normal.ignore
    assert normal.reader is None


def test_an_abnormal_sentence_that_nobody_drew_is_ignored(tmp_path: Path) -> None:
    (image,) = read_all(write(tmp_path, study()), registered("padchest-gr"))

    scoliosis = image.regions[-1]
    assert scoliosis.label == "scoliosis"
    assert scoliosis.status == "present"
    assert scoliosis.ignore


def test_the_master_table_names_patient_and_split(tmp_path: Path) -> None:
    other = study(StudyID="S2", ImageID="I2.png", findings=[NORMAL])

    images = by_id(read_all(write(tmp_path, study(), other), registered("padchest-gr")))

    assert (images["I1.png"].patient_id, images["I1.png"].split) == ("P1", "train")
    assert (images["I2.png"].patient_id, images["I2.png"].split) == ("P2", "val")
    assert images["I1.png"].study_id == "S1"
    assert images["I1.png"].report == (
        "Left basal atelectasis. No pleural effusion. Scoliosis."
    )


def test_sixteen_bit_pictures_are_kept(tmp_path: Path) -> None:
    (image,) = read_all(write(tmp_path, study()), registered("padchest-gr"))

    assert np.array_equal(image.load().pixels, PIXELS)


def test_the_spanish_sentences_can_be_asked_for(tmp_path: Path) -> None:
    (image,) = read_all(
        write(tmp_path, study()), registered("padchest-gr", language="es")
    )

    assert image.regions[0].phrase == "Atelectasia basal izquierda."


def test_a_prior_image_follows_the_first_that_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "PadChest_GR_progression_prior_studies"
    save_picture(folder / "I0.png", PIXELS)
    one = study(PreviousStudyID="S0", PreviousImageID="I0.png")
    two = study(StudyID="S2", ImageID="I2.png", PreviousImageID="I1.png")

    images = read_all(write(tmp_path, one, two), registered("padchest-gr"))

    assert [image.image_id for image in images] == ["I1.png", "I0.png", "I2.png"]
    assert [image.prior for image in images] == ["I0.png", None, "I1.png"]
    prior = images[1]
    assert prior.regions == ()
    assert (prior.patient_id, prior.split) == ("P1", "train")
    assert np.array_equal(prior.load().pixels, PIXELS)


def test_a_prior_image_that_is_not_there_is_not_named(tmp_path: Path) -> None:
    one = study(PreviousImageID="I0.png")

    (image,) = read_all(write(tmp_path, one), registered("padchest-gr"))

    assert image.prior is None


def test_the_view_comes_from_the_label_table(tmp_path: Path) -> None:
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
    save_text(tmp_path / name, ",ImageID,Projection\n0,I1.png,PA\n")

    (image,) = read_all(
        write(tmp_path, study()), registered("padchest-gr", projections=name)
    )

    assert image.view == "PA"


@pytest.mark.parametrize("told", [None, "", " ", ["worse"], {"kind": "worse"}])
def test_a_progression_that_is_no_text_is_not_kept(
    tmp_path: Path, told: object
) -> None:
    finding = {**ATELECTASIS, "progression": told}

    (image,) = read_all(
        write(tmp_path, study(findings=[finding])), registered("padchest-gr")
    )

    assert image.regions[0].progression is None


@pytest.mark.parametrize(
    ("locations", "side"),
    [
        (["right"], "R"),
        (["left", "right"], "B"),
        (["bilateral"], "B"),
        (["basal"], None),
    ],
)
def test_the_side_is_read_from_the_locations(
    tmp_path: Path, locations: list[str], side: str | None
) -> None:
    finding = {**ATELECTASIS, "locations": locations}

    (image,) = read_all(
        write(tmp_path, study(findings=[finding])), registered("padchest-gr")
    )

    assert image.regions[0].laterality == side


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": [[0.1, 0.2, 0.3]]}, r"findings\[0\]\.boxes\[0\]: not 4 numbers"),
        ({"boxes": [[0.3, 0.2, 0.1, 0.4]]}, r"boxes\[0\]: a box is empty"),
        ({"boxes": [[10, 20, 110, 120]]}, r"boxes\[0\]: a box reaches out"),
        ({"extra_boxes": [1]}, r"extra_boxes\[0\]: not an array"),
        ({"sentence_en": None}, r"findings\[0\]: no sentence_en"),
        ({"labels": "atelectasis"}, r"labels: not an array"),
    ],
)
def test_an_impossible_finding_is_named(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    root = write(tmp_path, study(findings=[{**ATELECTASIS, **change}]))

    with pytest.raises(
        DatasetError, match=r"grounded_reports_20240819\.json\[0\].*" + message
    ):
        read_all(root, registered("padchest-gr"))


@pytest.mark.parametrize(
    ("studies", "message"),
    [
        ([study(ImageID="I9.png")], r"\[0\]: the image is not in master_table\.csv"),
        ([study(), study()], r"\[1\]: the image has an entry already"),
        ([study(findings=None, ImageID=None)], r"\[0\]: no ImageID"),
    ],
)
def test_an_impossible_study_is_named(
    tmp_path: Path, studies: list[object], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read_all(write(tmp_path, *studies), registered("padchest-gr"))


def test_images_that_are_not_there_can_be_left_out(tmp_path: Path) -> None:
    root = write(tmp_path, study(), study(StudyID="S2", ImageID="I2.png"))
    (root / "Padchest_GR_files" / "PadChest_GR" / "I1.png").unlink()

    (image,) = read_all(root, registered("padchest-gr", missing_images="skip"))

    assert image.image_id == "I2.png"

from __future__ import annotations

import pytest
from pydicom import uid

from dicom_node.retrieve.archive import FoundInstance, FoundSeries, FoundStudy
from dicom_node.retrieve.plan import (
    earlier_studies,
    has_same_patient,
    is_comparable,
    is_wanted_class,
)
from dicom_node.store import KnownSeries, KnownStudy

HERE = KnownStudy(
    study_instance_uid="1.2.3",
    patient_id="P1",
    issuer_of_patient_id="HOSPITAL",
    study_date="20260101",
    series=(KnownSeries("1.2.3.1", "CT", "CHEST"), KnownSeries("1.2.3.2", "SR", "")),
    sop_instance_uids=frozenset(),
)


def earlier(number: int = 1, **changes: object) -> FoundStudy:
    values: dict[str, object] = {
        "study_instance_uid": f"1.9.{number}",
        "patient_id": "P1",
        "study_date": "20250101",
        "modalities": ("CT",),
    }
    return FoundStudy(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("patient_id", "issuer", "is_same"),
    [
        ("P1", "", True),
        ("", "", True),
        ("P1", "HOSPITAL", True),
        ("P1", "ELSEWHERE", False),
        ("P2", "", False),
        ("p1", "", False),
    ],
)
def test_a_patient_is_the_same_where_nothing_differs(
    patient_id: str, issuer: str, is_same: bool
) -> None:
    found = FoundStudy("1.2.3", patient_id=patient_id, issuer_of_patient_id=issuer)

    assert has_same_patient(found, HERE) is is_same


@pytest.mark.parametrize(
    "changes",
    [
        {"patient_id": "p1"},
        {"patient_id": ""},
        {"issuer_of_patient_id": "ELSEWHERE"},
        {"study_date": "20260101"},
        {"study_date": ""},
        {"modalities": ("MR",)},
        {"study_instance_uid": "1.2.3"},
    ],
)
def test_a_study_that_is_not_surely_an_earlier_one_is_no_prior(
    changes: dict[str, object],
) -> None:
    assert earlier_studies([earlier(**changes)], known=HERE) == ()


def test_priors_come_newest_first_whatever_the_archive_says_first() -> None:
    found = [
        earlier(1, study_date="20240101"),
        earlier(2, study_time="0800"),
        earlier(3, study_time="0900"),
        earlier(4, modalities=()),
    ]

    uids = [one.study_instance_uid for one in earlier_studies(found, known=HERE)]

    assert uids == ["1.9.3", "1.9.2", "1.9.4", "1.9.1"]


@pytest.mark.parametrize(
    ("modality", "body_part", "is_like"),
    [
        ("CT", "CHEST", True),
        ("CT", "chest", True),
        ("CT", "", True),
        ("CT", "HEAD", False),
        ("MR", "CHEST", False),
        ("SR", "", False),
    ],
)
def test_a_prior_is_compared_by_modality_and_body_part(
    modality: str, body_part: str, is_like: bool
) -> None:
    found = [FoundSeries("1.9.1.1", modality, body_part)]

    assert is_comparable(found, known=HERE) is is_like


@pytest.mark.parametrize(
    ("sop_class", "modality", "is_image", "is_report"),
    [
        (uid.CTImageStorage, "CT", True, False),
        (uid.BasicTextSRStorage, "SR", False, True),
        (uid.EncapsulatedPDFStorage, "OT", False, True),
        (uid.XRayRadiationDoseSRStorage, "SR", True, False),
        ("1.2.3.4.5", "CT", False, False),
        ("", "CT", True, False),
        ("", "SR", False, True),
    ],
)
def test_images_and_reports_are_told_apart_by_their_class(
    sop_class: str, modality: str, is_image: bool, is_report: bool
) -> None:
    one = FoundInstance("1.2.3", sop_class)

    assert is_wanted_class(one, modality=modality, images=True) is is_image
    assert is_wanted_class(one, modality=modality, images=False) is is_report

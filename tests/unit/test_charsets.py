from __future__ import annotations

import pytest
from pydicom import Dataset
from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicom_node.charsets import decode_text
from dicom_node.dicomweb.model import dataset_to_json
from dicom_node.objects.study_module import copy_study_modules
from tests.torture.charset_cases import CASES, CharsetCase

KNOWN = [case for case in CASES if case.text is not None]


def dataset(case: CharsetCase) -> Dataset:
    ds = Dataset()
    for keyword, vr, value in (
        ("SpecificCharacterSet", "CS", case.label),
        ("PatientName", "PN", case.value),
    ):
        if value is not None:
            tag = Tag(keyword)
            ds[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return ds


@pytest.mark.parametrize("case", KNOWN, ids=lambda case: case.name)
def test_a_name_is_decoded_without_its_escape_sequences(case: CharsetCase) -> None:
    label = (case.label or b"").decode().split("\\")

    text = decode_text(case.value, convert_encodings(label), set(b"^="))

    assert text == case.text


@pytest.mark.parametrize("case", KNOWN, ids=lambda case: case.name)
def test_a_name_in_json_has_no_escape_sequences(case: CharsetCase) -> None:
    document = dataset_to_json(dataset(case), bulk_uri=lambda path: path)

    groups = document["00100010"]["Value"][0].values()
    assert "=".join(groups) == case.text


@pytest.mark.parametrize("case", KNOWN, ids=lambda case: case.name)
def test_a_name_is_copied_without_its_escape_sequences(case: CharsetCase) -> None:
    copy = Dataset()

    copy_study_modules(dataset(case), copy, ())

    assert str(copy.PatientName) == case.text

from __future__ import annotations

import pytest
from pydicom import Dataset
from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicom_node.charsets import decode_text, is_mislabelled_utf8
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


@pytest.mark.parametrize(
    ("label", "value", "expected"),
    [
        ("ISO_IR 100", "Łuk^Žan".encode(), True),
        ("", "Łuk^Žan".encode(), True),
        ("ISO_IR 126", "Łuk^Žan".encode(), True),
        ("ISO_IR 192", "Łuk^Žan".encode(), False),
        ("GB18030", "王^小东".encode("gb18030"), False),
        ("ISO_IR 100", "Jérôme".encode("latin_1"), False),
        # Each byte is a letter of the label, too: nobody can know.
        ("ISO_IR 100", "Jérôme".encode(), False),
        # A typographic apostrophe of Windows: the label lies, but this is no UTF-8.
        ("ISO_IR 100", b"O\x92Brien", False),
        ("", "Jérôme".encode("latin_1"), False),
        ("ISO_IR 100", b"Otto", False),
    ],
)
def test_utf_8_is_told_from_what_its_label_says(
    label: str, value: bytes, *, expected: bool
) -> None:
    encodings = convert_encodings([label])

    is_utf8 = is_mislabelled_utf8([b"CT", value], encodings)

    assert is_utf8 is expected
    if expected:
        assert decode_text(value, encodings, set(b"^=")) == value.decode()


def test_text_that_is_no_utf_8_keeps_the_label_of_all() -> None:
    values = ["Łuk^Žan".encode(), "Jérôme".encode("latin_1")]

    assert not is_mislabelled_utf8(values, ["latin_1"])

"""A false label is corrected where all text is UTF-8, and nobody is renamed."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from dicom_node.objects.sources import read_header
from tests.builders.dicom_series import make_ct_series

TRUE, FALSE = b"ISO_IR 192", b"ISO_IR 100"


def write(folder: Path, ds: Dataset, *replaced: tuple[bytes, bytes]) -> Path:
    """Write a CT image with more elements, UTF-8 that is said to be Latin-1."""
    (one,) = make_ct_series(folder, slices=1, rows=4, columns=4).instances
    image = dcmread(one.path)
    image.SpecificCharacterSet = TRUE.decode()
    image.update(ds)
    image.save_as(one.path)
    data = one.path.read_bytes()
    for old, new in ((TRUE, FALSE), *replaced):
        assert old in data
        data = data.replace(old, new)
    one.path.write_bytes(data)
    return one.path


def described(meaning: str, *, is_undefined_length: bool = False) -> Dataset:
    ds, code = Dataset(), Dataset()
    code.CodeMeaning = meaning
    ds.StudyDescription = "\u00dcbersicht"
    ds.ProcedureCodeSequence = [code]
    ds["ProcedureCodeSequence"].is_undefined_length = is_undefined_length
    return ds


@pytest.mark.parametrize("is_undefined_length", [False, True])
def test_items_are_read_by_the_label_that_is_true(
    tmp_path: Path, is_undefined_length: bool
) -> None:
    ds = described("Sch\u00e4del", is_undefined_length=is_undefined_length)

    found = read_header(write(tmp_path, ds))

    assert found.SpecificCharacterSet == TRUE.decode()
    assert found.StudyDescription == "\u00dcbersicht"
    assert found.ProcedureCodeSequence[0].CodeMeaning == "Sch\u00e4del"


def test_a_label_that_is_true_of_an_item_stays(tmp_path: Path) -> None:
    latin = ("Sch\u00e4del".encode(), "Sch\u00e4del ".encode("latin-1"))

    found = read_header(write(tmp_path, described("Sch\u00e4del"), latin))

    assert found.SpecificCharacterSet == FALSE.decode()
    assert found.ProcedureCodeSequence[0].CodeMeaning == "Sch\u00e4del"


def test_a_number_that_others_read_by_the_label_is_not_changed(tmp_path: Path) -> None:
    ds = described("skull")
    ds.PatientID = "\u00e97"

    path = write(tmp_path, ds)

    assert read_header(path).PatientID == dcmread(path).PatientID

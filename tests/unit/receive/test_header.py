"""What identifies an instance, from files and from data sets."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from conformance.profile import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node import header
from dicom_node.errors import CannotUnderstandError
from dicom_node.header import is_uid, read_header
from dicom_node.identity import MODEL_NAME
from dicom_node.instance_file import file_meta, instance_sha256
from tests.builders.raw_peer import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    encode_data_set,
    make_instance,
)


def make_file(ds: Dataset, transfer_syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Encode a file whose meta information names instance 1.2.3.4."""
    meta = file_meta(
        sop_class_uid=CT_IMAGE_STORAGE,
        sop_instance_uid="1.2.3.4",
        transfer_syntax_uid=transfer_syntax,
    )
    return meta + encode_data_set(ds, transfer_syntax)


def equipment(
    *,
    model: str = MODEL_NAME,
    value: str = "109102",
    scheme: str = "DCM",
) -> Dataset:
    """Make an item of Contributing Equipment Sequence."""
    purpose = Dataset()
    purpose.CodeValue = value
    purpose.CodingSchemeDesignator = scheme
    purpose.CodeMeaning = "Processing Equipment"
    item = Dataset()
    item.Manufacturer = "X"
    item.ManufacturerModelName = model
    item.PurposeOfReferenceCodeSequence = Sequence([purpose])
    return item


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
def test_a_file_tells_what_it_is(syntax: str) -> None:
    header = read_header(make_file(make_instance(), syntax))

    assert header.sop_class_uid == CT_IMAGE_STORAGE
    assert header.sop_instance_uid == "1.2.3.4"
    assert header.transfer_syntax_uid == syntax
    assert header.study_instance_uid == "1.2.3"
    assert header.series_instance_uid == "1.2.3.1"
    assert not header.is_own_result


@pytest.mark.parametrize(
    ("is_implicit", "is_little", "syntax"),
    [
        (False, True, EXPLICIT_LITTLE),
        (True, True, IMPLICIT_LITTLE),
        (False, False, "1.2.840.10008.1.2.2"),
    ],
)
def test_a_bare_data_set_tells_what_it_is(
    is_implicit: bool, is_little: bool, syntax: str
) -> None:
    file = io.BytesIO()
    make_instance().save_as(file, implicit_vr=is_implicit, little_endian=is_little)

    header = read_header(file.getvalue())

    assert header.sop_instance_uid == make_instance().SOPInstanceUID
    assert header.transfer_syntax_uid == syntax
    assert header.data_set_offset == 0


def test_a_file_without_preamble_tells_what_it_is() -> None:
    data = make_file(make_instance(), IMPLICIT_LITTLE)

    header = read_header(data[132:])

    assert header.sop_instance_uid == "1.2.3.4"
    assert header.transfer_syntax_uid == IMPLICIT_LITTLE
    assert header.data_set_offset == read_header(data).data_set_offset - 132


def test_our_meta_information_is_read_by_pydicom() -> None:
    ds = pydicom.dcmread(io.BytesIO(make_file(make_instance())))

    assert ds.preamble == bytes(128)
    assert ds.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert ds.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert ds.file_meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert ds.SOPInstanceUID == "1.2.3.4"


def test_uids_that_the_data_set_lacks_are_those_of_the_file() -> None:
    ds = make_instance(SOPClassUID="", SOPInstanceUID=None)

    header = read_header(make_file(ds))

    assert header.sop_class_uid == CT_IMAGE_STORAGE
    assert header.sop_instance_uid == "1.2.3.4"


@pytest.mark.parametrize("value", ["", None])
def test_instances_without_study_and_series_come_together(value: str | None) -> None:
    uids = {"StudyInstanceUID": value, "SeriesInstanceUID": value}
    first = read_header(make_file(make_instance("1.2.1", **uids)))
    second = read_header(make_file(make_instance("1.2.2", **uids)))
    other_series = read_header(make_file(make_instance(SeriesNumber="2", **uids)))
    other_study = read_header(make_file(make_instance(StudyDate="20200101", **uids)))

    assert is_uid(first.study_instance_uid)
    assert is_uid(first.series_instance_uid)
    assert first.study_instance_uid == second.study_instance_uid
    assert first.series_instance_uid == second.series_instance_uid
    assert first.study_instance_uid == other_series.study_instance_uid
    assert first.series_instance_uid != other_series.series_instance_uid
    assert first.study_instance_uid != other_study.study_instance_uid


def test_a_derived_uid_is_the_same_in_every_encoding() -> None:
    ds = make_instance(StudyInstanceUID="", SpecificCharacterSet="ISO_IR 192")
    ds.PatientID = "Müller-7"
    other = make_instance(StudyInstanceUID="", SpecificCharacterSet="ISO_IR 100")
    other.PatientID = "Müller-7"

    uids = {
        read_header(make_file(one, syntax)).study_instance_uid
        for one in (ds, other)
        for syntax in (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    }

    assert len(uids) == 1


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
def test_our_own_results_are_known_by_their_equipment(syntax: str) -> None:
    others = [
        equipment(model="Scanner 3000"),
        equipment(value="109101"),
        equipment(scheme="99X"),
    ]
    theirs = make_instance(ContributingEquipmentSequence=Sequence(others))
    ours = make_instance(ContributingEquipmentSequence=Sequence([*others, equipment()]))
    inside = make_instance(ReferencedSeriesSequence=Sequence([ours]))

    assert not read_header(make_file(theirs, syntax)).is_own_result
    assert read_header(make_file(ours, syntax)).is_own_result
    assert not read_header(make_file(inside, syntax)).is_own_result


@pytest.mark.parametrize(
    "uid", ["../../x", "/etc/passwd", "1.2.\n3", "CON", "1.2\0.3", "1." * 33, "1..2"]
)
@pytest.mark.parametrize("element", [0x00080018, 0x0020000D, 0x0020000E])
def test_what_is_no_uid_is_refused_and_not_quoted(element: int, uid: str) -> None:
    ds = make_instance()
    ds[element]._value = uid  # past pydicom's own check

    with pytest.raises(CannotUnderstandError, match="is not a UID") as caught:
        read_header(make_file(ds))

    assert uid not in str(caught.value)
    assert "ZZCANARY" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"DICM",
        bytes(128) + b"DICM",
        b"PK\3\4" + bytes(500),
        make_file(make_instance(), "1.2.840.10008.1.2.1.99"),
        make_file(make_instance())[:-5],
    ],
)
def test_what_is_no_dicom_file_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)

    with pytest.raises(CannotUnderstandError):
        read_header(data)
    with pytest.raises(CannotUnderstandError):
        read_header(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotUnderstandError, match="cannot be read"):
        read_header(tmp_path / "none.dcm")


def test_the_hash_leaves_out_who_wrote_the_file(tmp_path: Path) -> None:
    ours, theirs, other = (tmp_path / name for name in ("ours", "theirs", "other"))
    ours.write_bytes(make_file(make_instance()))
    ds = pydicom.dcmread(ours)
    ds.file_meta.ImplementationVersionName = "SOMEBODY_ELSE"
    ds.preamble = b"x" * 128
    ds.save_as(theirs)
    other.write_bytes(make_file(make_instance(PatientID="other")))

    hashes = [instance_sha256(one, read_header(one)) for one in (ours, theirs, other)]

    assert hashes[0] == hashes[1] != hashes[2]
    assert theirs.read_bytes() != ours.read_bytes()


def test_what_is_too_long_for_a_uid_is_not_kept() -> None:
    before = header._is_uid.cache_info().currsize
    for number in range(50):
        assert not is_uid(f"1.{number}." + "1" * 65_000)

    assert header._is_uid.cache_info().currsize == before

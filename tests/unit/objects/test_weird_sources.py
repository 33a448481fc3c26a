"""Sources that break the rules still give valid results, or a clear error."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
from pydicom import Dataset, config, dcmread
from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import Tag

from conformance.validators import judge_file
from dicom_node.errors import ObjectError
from dicom_node.objects import make_objects
from dicom_node.records import ResultObject, StudyResult
from dicom_node.verify import verify_objects
from tests.builders.result_cases import SERIES, result_of
from tests.builders.study_results import make_result, one_region_each


def _quietly(keyword: str, vr: str, value: object) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        ds[Tag(keyword)] = DataElement(
            Tag(keyword), vr, value, validation_mode=config.IGNORE
        )

    return change


def _raw(keyword: str, vr: str, value: bytes) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        tag = Tag(keyword)
        ds[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)

    return change


def _without(*keywords: str) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for keyword in keywords:
            if keyword in ds:
                del ds[keyword]

    return change


_UTF_8 = "Łuk^Žan ".encode()


def _latin_without_a_character_set(ds: Dataset) -> None:
    del ds.SpecificCharacterSet
    _raw("PatientName", "PN", b"M\xfcller^J\xf6rg ")(ds)


def _label(ds: Dataset, label: str) -> None:
    """Declare a character set, and let what comes as bytes be written as bytes."""
    _quietly("SpecificCharacterSet", "CS", label)(ds)
    implicit, little = ds.original_encoding
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.set_original_encoding(implicit, little, convert_encodings(label))


def _utf_8_as(label: str) -> Callable[[Dataset], None]:
    """Write text as UTF-8 that has, by the label, control characters or no letters."""

    def change(ds: Dataset) -> None:
        _label(ds, label)
        _raw("PatientName", "PN", _UTF_8)(ds)
        _raw("StudyDescription", "LO", "Łódź ".encode())(ds)

    return change


def _windows_as(label: str) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        _label(ds, label)
        _raw("StudyDescription", "LO", b"Patient\x92s head")(ds)

    return change


def _rewrite(result: StudyResult, change: Callable[[Dataset], None]) -> None:
    """Change the files of a result on disk after it was described."""
    for path in {frame.path for frame in result.series[0].frames}:
        ds = dcmread(path)
        change(ds)
        ds.save_as(path)


def _made(result: StudyResult, folder: Path) -> tuple[ResultObject, ...]:
    out = folder / "out"
    out.mkdir()
    objects = make_objects(result, profile="default", out_dir=out)
    verify_objects(objects, result.series)
    return objects


WEIRD: dict[str, Callable[[Dataset], None]] = {
    "no patient at all": _without(
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex"
    ),
    "no study at all": _without(
        "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"
    ),
    "no series and no study UID": _without("StudyInstanceUID", "SeriesInstanceUID"),
    "a sex of its own": _quietly("PatientSex", "CS", "male"),
    "a date of its own": _quietly("StudyDate", "DA", "2026-01-01"),
    "a day that no calendar has": _quietly("StudyDate", "DA", "20260231"),
    "a time of its own": _quietly("StudyTime", "TM", "noon"),
    "a date as text": _quietly("StudyDate", "LO", "20260101"),
    "a name as unknown bytes": _quietly("PatientName", "UN", b"Phantom^Otto"),
    "an age of its own": _quietly("PatientAge", "AS", "old"),
    "a long identifier": _quietly("PatientID", "LO", "9" * 80),
    "a slice thickness of its own": _raw("SliceThickness", "DS", b"thin"),
    "no character set and Latin letters": _latin_without_a_character_set,
    "an instance number of its own": _raw("InstanceNumber", "IS", b"last"),
    "an orientation that is none": _raw("ImageOrientationPatient", "DS", b"1\\0"),
    "UTF-8 with the label of Latin letters": _utf_8_as("ISO_IR 100"),
    "UTF-8 with the label of Greek letters": _utf_8_as("ISO_IR 126"),
    "text of Windows with the label of Latin letters": _windows_as("ISO_IR 100"),
    "an unknown character set": _quietly("SpecificCharacterSet", "CS", "KLINGON"),
    "a procedure code without a meaning": lambda ds: setattr(
        ds, "ProcedureCodeSequence", [_item(CodeValue="1", CodingSchemeDesignator="X")]
    ),
    "a sequence where text belongs": _quietly("StudyDescription", "SQ", []),
}


def _items(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence", []):
        yield item
        yield from _items(item)


def _item(**values: str) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", WEIRD)
def test_a_weird_source_still_gives_valid_objects(name: str, tmp_path: Path) -> None:
    result = result_of("axial", tmp_path / "source", ("left kidney",))
    _rewrite(result, WEIRD[name])

    objects = _made(result, tmp_path)

    for one in objects:
        ds = dcmread(one.path)
        assert result.study_instance_uid == ds.StudyInstanceUID


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_patient_identifier_is_copied_whatever_it_is(tmp_path: Path) -> None:
    result = result_of("axial", tmp_path / "source", ("left kidney",))
    _rewrite(result, WEIRD["a long identifier"])

    objects = _made(result, tmp_path)

    assert {dcmread(one.path).PatientID for one in objects} == {"9" * 80}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("label", ["", "ISO_IR 100", "ISO_IR 126", "KLINGON"])
def test_a_name_in_utf_8_keeps_its_bytes_and_gets_the_label_that_fits(
    label: str, tmp_path: Path
) -> None:
    result = result_of("one slice", tmp_path / "source", ("left kidney",))
    _rewrite(result, _utf_8_as(label))

    for one in _made(result, tmp_path):
        ds = dcmread(one.path)
        name = ds.get_item("PatientName")
        assert isinstance(name, RawDataElement)
        assert (ds.SpecificCharacterSet, name.value) == ("ISO_IR 192", _UTF_8)
        assert ds.StudyDescription == "Łódź"
        assert judge_file(one.path).violations == ()


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({}, "Not stated by the source"),
        ({"DeidentificationMethod": ""}, "Not stated by the source"),
        ({"DeidentificationMethodCodeSequence": []}, "Not stated by the source"),
        ({"DeidentificationMethod": "by hand"}, "by hand"),
        (
            {
                "DeidentificationMethodCodeSequence": [
                    _item(
                        CodeValue="113100",
                        CodingSchemeDesignator="DCM",
                        CodeMeaning="Basic Application Confidentiality Profile",
                    )
                ]
            },
            None,
        ),
    ],
)
def test_a_removed_identity_comes_with_a_method(
    stated: dict[str, object], expected: str | None, tmp_path: Path
) -> None:
    result = result_of("one slice", tmp_path / "source", ("left kidney",))

    def change(ds: Dataset) -> None:
        ds.PatientIdentityRemoved = "YES"
        for keyword, value in stated.items():
            setattr(ds, keyword, value)

    _rewrite(result, change)

    for one in _made(result, tmp_path):
        ds = dcmread(one.path)
        assert ds.PatientIdentityRemoved == "YES"
        assert ds.get("DeidentificationMethod") == expected
        codes = ds.get("DeidentificationMethodCodeSequence", [])
        assert [item.CodeValue for item in codes] == ([] if expected else ["113100"])
        assert judge_file(one.path).violations == ()


def test_what_is_no_answer_to_whether_the_identity_was_removed_is_left_out(
    tmp_path: Path,
) -> None:
    result = result_of("one slice", tmp_path / "source", ("left kidney",))
    _rewrite(result, _quietly("PatientIdentityRemoved", "CS", "MAYBE"))

    for one in _made(result, tmp_path):
        assert "PatientIdentityRemoved" not in dcmread(one.path)


@pytest.mark.parametrize(
    ("declared", "patient", "phrase", "expected"),
    [
        ("ISO_IR 100", "Müller^Jörg", "links Niere", "ISO_IR 100"),
        ("ISO_IR 100", "Müller^Jörg", "Pleuraerguß rechts", "ISO_IR 100"),
        ("ISO_IR 100", "Müller^Jörg", "右胸水", "ISO_IR 192"),
        (None, "Phantom^Otto", "left kidney", None),
        (None, "Phantom^Otto", "rein à gauche", "ISO_IR 192"),
        ("ISO_IR 192", "山田^太郎", "右胸水", "ISO_IR 192"),
        ("ISO_IR 144", "Иван", "левая почка", "ISO_IR 144"),
        (
            ["", "ISO 2022 IR 87"],
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
            "left kidney",
            ["", "ISO 2022 IR 87"],
        ),
        # Sets of several bytes have no place of their own in front.
        ("ISO 2022 IR 149", "김^희중", "left kidney", "ISO_IR 192"),
    ],
)
def test_names_and_phrases_survive_in_the_source_s_character_set_or_in_utf_8(
    declared: str | list[str] | None,
    patient: str,
    phrase: str,
    expected: str | list[str] | None,
    tmp_path: Path,
) -> None:
    result = result_of("one slice", tmp_path / "source", (phrase,))

    def change(ds: Dataset) -> None:
        if declared is None:
            del ds.SpecificCharacterSet
        else:
            ds.SpecificCharacterSet = declared
        ds.PatientName = patient

    _rewrite(result, change)

    segmentation, report = (dcmread(one.path) for one in _made(result, tmp_path))

    assert segmentation.get("SpecificCharacterSet") == expected
    assert str(segmentation.PatientName) == str(report.PatientName) == patient
    assert segmentation.SegmentSequence[0].SegmentLabel == phrase
    texts = [item.TextValue for item in _items(report) if "TextValue" in item]
    assert phrase in texts


def test_a_source_that_is_gone_is_a_clear_error(tmp_path: Path) -> None:
    result = result_of("axial", tmp_path / "source")
    result.series[0].frames[2].path.unlink()

    with pytest.raises(ObjectError, match="cannot be read again"):
        _made(result, tmp_path)


def test_a_mask_that_leaves_its_series_is_a_clear_error(tmp_path: Path) -> None:
    series = SERIES["axial"](tmp_path / "source")
    (found,) = one_region_each(series, ["left kidney"])
    moved = replace(found.regions[0], mask_origin=(0, 0, series.columns))
    result = make_result([series], [replace(found, regions=(moved,))])

    with pytest.raises(ObjectError, match="a mask ends at"):
        _made(result, tmp_path)


@pytest.mark.parametrize("error", [KeyError("x"), OSError("disk full")])
def test_nothing_is_left_behind_when_the_report_cannot_be_made(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = result_of("axial", tmp_path / "source")
    out = tmp_path / "out"
    out.mkdir()
    (out / "theirs.txt").touch()

    def fail(*_: object) -> None:
        assert (out / "seg-1.dcm").is_file()
        raise error

    monkeypatch.setattr("dicom_node.objects.sr.make_report", fail)

    with pytest.raises((ObjectError, OSError)):
        make_objects(result, out_dir=out)

    assert [path.name for path in out.iterdir()] == ["theirs.txt"]


def test_no_half_a_file_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = result_of("axial", tmp_path / "source")
    out = tmp_path / "out"
    out.mkdir()

    def save_half(ds: Dataset, file: BinaryIO, **_: object) -> None:
        file.write(bytes(100))
        raise OSError("disk full")

    monkeypatch.setattr(Dataset, "save_as", save_half)

    with pytest.raises(OSError, match="disk full"):
        make_objects(result, out_dir=out)

    assert list(out.iterdir()) == []


def test_a_source_without_uids_is_a_clear_error(tmp_path: Path) -> None:
    result = result_of("radiograph", tmp_path / "source")
    (series,) = result.series
    frames = (replace(series.frames[0], sop_class_uid=""),)

    with pytest.raises(ObjectError, match="no SOP Class or Instance UID"):
        _made(replace(result, series=(replace(series, frames=frames),)), tmp_path)


def test_an_unknown_profile_is_a_clear_error(tmp_path: Path) -> None:
    result = result_of("radiograph", tmp_path / "source")

    with pytest.raises(ObjectError, match="no profile 'pdf'"):
        make_objects(result, profile="pdf", out_dir=tmp_path)


def test_a_result_without_any_instance_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ObjectError, match="names no source instance"):
        make_objects(make_result([], []), out_dir=tmp_path)

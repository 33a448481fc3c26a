from __future__ import annotations

import io
import json
import math
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.dicomweb.metadata import MetadataCache
from dicom_node.dicomweb.model import dataset_to_json, describe
from dicom_node.store import CatalogueInstance

SYNTAXES = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
}

TEXT = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\\^="
    ),
    min_size=1,
    max_size=12,
).filter(lambda text: text.strip() == text)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "PatientName": st.tuples(TEXT, TEXT).map("^".join),
    "StudyDescription": TEXT,
    "OtherPatientNames": st.lists(TEXT, min_size=2, max_size=3),
    "InstanceNumber": st.integers(-(2**31), 2**31 - 1),
    "PixelSpacing": st.lists(
        st.floats(0.001, 900).map(lambda number: f"{number:.6g}"),
        min_size=2,
        max_size=2,
    ),
    "Rows": st.integers(0, 65535),
    "SmallestImagePixelValue": st.integers(0, 65535),
    "ReferencedSamplePositions": st.lists(
        st.integers(0, 2**32 - 1), min_size=1, max_size=3
    ),
    "DiffusionBValue": st.floats(allow_nan=False, allow_infinity=False),
    "FrameIncrementPointer": st.just(0x00181063),
    "ImageComments": TEXT,
    "ICCProfile": st.binary(min_size=2, max_size=64).filter(
        lambda one: len(one) % 2 == 0
    ),
    "SOPInstanceUID": st.just("1.2.840.1"),
    "StudyDate": st.just("20260101"),
}


def encode(ds: Dataset, syntax: str) -> Dataset:
    """Write a data set and read it back unconverted."""
    uid = SYNTAXES[syntax]
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = uid
    whole = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.file_meta = meta
        pydicom.dcmwrite(whole, ds)
    whole.seek(0)
    return pydicom.dcmread(whole, force=True)


def to_json(ds: Dataset) -> dict[str, Any]:
    found = dataset_to_json(ds, bulk_uri=lambda place: f"bulk/{place}")
    text: dict[str, Any] = json.loads(json.dumps(found))
    return text


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.fixed_dictionaries({}, optional=VALUES),
    st.fixed_dictionaries({}, optional=VALUES),
    st.sampled_from(sorted(SYNTAXES)),
)
def test_pydicom_reads_back_what_was_encoded(
    values: dict[str, Any], inner: dict[str, Any], syntax: str
) -> None:
    ds, item = Dataset(), Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    for target, given_values in ((ds, values), (item, inner)):
        for keyword, value in given_values.items():
            setattr(target, keyword, value)
    ds.ReferencedImageSequence = [item]

    found = Dataset.from_json(to_json(encode(ds, syntax)))

    assert found == ds


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small.dcm",
        "rtplan.dcm",
        "test-SR.dcm",
        "MR_small_bigendian.dcm",
    ],
)
def test_pydicom_says_the_same_of_real_files(name: str) -> None:
    path = Path(str(get_testdata_file(name)))
    ds = pydicom.dcmread(path, stop_before_pixels=True)

    found = to_json(pydicom.dcmread(path, stop_before_pixels=True))
    expected = json.loads(
        json.dumps(
            ds.to_json_dict(1024, lambda element: "x", suppress_invalid_tags=True)
        )
    )

    for tag, one in expected.items():
        if tag == "00080005" or tag[4:] == "0000" or one["vr"] in {"OB", "OW", "UN"}:
            continue
        assert _plain(found[tag]) == _plain(one), tag


@pytest.mark.parametrize(
    "name", ["chrH31", "chrX2", "chrGreek", "chrRuss", "chrKoreanMulti"]
)
def test_names_in_every_character_set_come_as_unicode(name: str) -> None:
    path = get_testdata_file(f"{name}.dcm", download=False)
    if path is None:
        files = list((Path(pydicom.__file__).parent / "data").rglob(f"{name}.dcm"))
        path = str(files[0])
    expected = pydicom.dcmread(path).PatientName

    found = to_json(pydicom.dcmread(path))

    (groups,) = found["00100010"]["Value"]
    assert groups["Alphabetic"] == expected.alphabetic
    assert groups.get("Ideographic", "") == expected.ideographic
    assert groups.get("Phonetic", "") == expected.phonetic
    assert found["00080005"]["Value"] == ["ISO_IR 192"]


def test_empty_values_have_no_value_and_stand_as_null_among_others() -> None:
    ds = Dataset()
    ds.PatientID = ""
    ds.ImageType = ["ORIGINAL", "", "AXIAL"]
    ds.ReferencedImageSequence = []

    found = to_json(encode(ds, "explicit"))

    assert found["00100020"] == {"vr": "LO"}
    assert found["00080008"]["Value"] == ["ORIGINAL", None, "AXIAL"]
    assert found["00081140"] == {"vr": "SQ"}


def test_numbers_that_json_lacks_are_strings() -> None:
    ds = Dataset()
    ds.DiffusionBValue = math.inf

    assert to_json(encode(ds, "explicit"))["00189087"]["Value"] == ["inf"]


def test_values_that_break_their_vr_are_passed_on() -> None:
    ds = encode(Dataset(), "explicit")
    for tag, vr, value in (
        (0x00200013, "IS", b"seven "),
        (0x00280030, "DS", b"a\\1.5 "),
        (0x00100010, "PN", b"\xff\xfe"),
    ):
        ds[tag] = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag(tag), vr, len(value), value, 0, False, True
        )

    found = to_json(ds)

    assert found["00200013"]["Value"] == ["seven"]
    assert found["00280030"]["Value"] == ["a", 1.5]
    assert found["00100010"]["Value"][0]["Alphabetic"]


def test_large_binary_values_are_told_by_their_place() -> None:
    ds, item = Dataset(), Dataset()
    item.ICCProfile = bytes(2000)
    ds.OpticalPathSequence = [Dataset(), item]
    ds.EncapsulatedDocument = b"ab"

    found = to_json(encode(ds, "explicit"))

    (_, second) = found["00480105"]["Value"]
    assert second["00282000"]["BulkDataURI"] == "bulk/00480105/1/00282000"
    assert found["00420011"]["InlineBinary"] == "YWI="


def test_attributes_of_a_search_are_written_by_their_vr() -> None:
    found = describe(
        {
            "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
            "SeriesNumber": "3",
            "ModalitiesInStudy": ("CT", "SEG"),
            "StudyDate": None,
        }
    )

    assert found["00100010"]["Value"] == [
        {
            "Alphabetic": "Yamada^Tarou",
            "Ideographic": "山田^太郎",
            "Phonetic": "やまだ^たろう",
        }
    ]
    assert found["00200011"]["Value"] == [3]
    assert found["00080061"]["Value"] == ["CT", "SEG"]
    assert found["00080020"] == {"vr": "DA"}
    assert list(found) == sorted(found)


def test_metadata_is_made_once_and_carries_the_address_it_is_asked_under(
    tmp_path: Path,
) -> None:
    source = Path(str(get_testdata_file("CT_small.dcm")))
    (tmp_path / "one.dcm").write_bytes(source.read_bytes())
    instance = CatalogueInstance(
        1, "1.2", "1.2.3", "1.2.3.4", "1.2.840", "1.2.840.10008.1.2.1",
        Path("one.dcm"), "ab" * 32, is_result=False,
    )  # fmt: skip
    cache = MetadataCache(tmp_path)

    first = cache.read_json(instance, url="http://a/one")
    (tmp_path / "one.dcm").unlink()
    second = cache.read_json(instance, url="https://b/two")

    assert first["7FE00010"]["BulkDataURI"] == "http://a/one/bulkdata/7FE00010"
    assert second["7FE00010"]["BulkDataURI"] == "https://b/two/bulkdata/7FE00010"
    assert second["0020000D"]["Value"] == ["1.2"]
    assert json.dumps(second).replace("https://b/two", "http://a/one") == json.dumps(
        first
    )


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    source = Path(str(get_testdata_file("CT_small.dcm")))
    (tmp_path / "one.dcm").write_bytes(source.read_bytes())
    instance = CatalogueInstance(
        1, "1.2", "1.2.3", "1.2.3.4", "1.2.840", "1.2.840.10008.1.2.1",
        Path("one.dcm"), "ab" * 32, is_result=False,
    )  # fmt: skip
    cache = MetadataCache(tmp_path)
    expected = cache.read(instance, url="u")
    (kept,) = (tmp_path / "cache").rglob("*.z")
    kept.write_bytes(b"damaged")

    assert cache.read(instance, url="u") == expected


def _plain(one: dict[str, Any]) -> Any:
    if one["vr"] == "SQ":
        return [
            {
                tag: _plain(inner)
                for tag, inner in item.items()
                if inner["vr"] not in {"OB", "OW", "UN"}
            }
            for item in one.get("Value", [])
        ]
    values = one.get("Value", [])
    return [None if value in ("", {}) else value for value in values] or []

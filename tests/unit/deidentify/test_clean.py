"""Nothing that names somebody survives, and what refers to each other still does."""

from __future__ import annotations

import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import dictionary_VR as vr_of
from pydicom.datadict import keyword_dict, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian

from conformance.judges import find_dciodvfy
from dicom_node.deidentify import Options, Pseudonyms, deidentify_file, what_leaves
from dicom_node.deidentify.clean import clean_data_set
from dicom_node.deidentify.table import Action, action_for
from dicom_node.errors import DeidentificationError
from dicom_node.imaging.dataset import quiet_reading
from tests.builders.dicom_series import make_ct_series, make_dx_image
from tests.builders.peers import require_program

PSEUDONYMS = Pseudonyms(b"k" * 32, "remote")
CANARY = "Zyxwvut"
NUMBER = "90817263"
UID = "1.2.276.0.7230010.3.90817263"
DATE = "19730609"

IDENTITY = {
    "PatientName": f"{CANARY}^Qponml",
    "PatientID": NUMBER,
    "PatientBirthDate": DATE,
    "StudyDate": DATE,
    "SeriesDate": DATE,
    "AcquisitionDate": DATE,
    "AccessionNumber": f"A{NUMBER}",
    "InstitutionName": "Kjihgfed Hospital",
}
TRACES = (CANARY, "Qponml", NUMBER, "Kjihgfed")

_STRINGS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT", "UR", "UI", "AS"}
_BYTES = {"OB", "UN"}
_MOMENTS = {"DA", "DT"}
KEYWORDS = sorted(
    keyword
    for keyword, tag in keyword_dict.items()
    if vr_of(tag) in _STRINGS | _BYTES | _MOMENTS | {"SQ", "DS", "IS", "TM"}
    and tag >> 16 > 4
    and keyword
    not in {*IDENTITY, "PixelData", "SpecificCharacterSet", "TransferSyntaxUID"}
    # They decide what the rest is, or whether it leaves at all.
    and keyword not in {"SOPClassUID", "EncapsulatedDocument", "ConversionType"}
    and keyword not in {"BurnedInAnnotation", "RecognizableVisualFeatures", "Modality"}
)


def value_for(keyword: str) -> object:
    vr = vr_of(tag_for_keyword(keyword) or 0)
    if vr in _BYTES:
        return f"{CANARY} {NUMBER}".encode()
    if vr == "UI":
        return UID
    if vr in _MOMENTS:
        return DATE
    if vr in {"DS", "IS", "TM", "AS"}:
        return CANARY  # text where a number belongs
    return f"x {CANARY} {NUMBER}"[:16] if vr in {"AE", "CS", "SH"} else f"x {CANARY}"


def raw(keyword: str, value: object, vr: str) -> RawDataElement:
    data = value if isinstance(value, bytes) else str(value).encode()
    data += b" " * (len(data) % 2)
    tag = Tag(tag_for_keyword(keyword) or 0)
    return RawDataElement(tag, vr, len(data), data, 0, False, True)


def plant(ds: Dataset, keyword: str, depth: int, *, as_unknown: bool) -> None:
    """Put a canary into an element, so many items deep."""
    target = ds
    for _ in range(depth):
        if "ReferencedImageSequence" not in target:
            item = Dataset()
            target.ReferencedImageSequence = [item]
        target = target.ReferencedImageSequence[0]
    vr = vr_of(tag_for_keyword(keyword) or 0)
    if vr == "SQ":
        item = Dataset()
        item.add(raw("PatientComments", f"x {CANARY}", "LT"))
        item.add(raw("CodeMeaning", f"x {CANARY}", "LO"))
        target.add(DataElement(tag_for_keyword(keyword) or 0, "SQ", [item]))
    else:
        target.add(raw(keyword, value_for(keyword), "UN" if as_unknown else vr))


def traces(data: bytes) -> list[str]:
    folded = data.lower()
    wanted = [*TRACES, UID, DATE]
    return [
        one
        for one in wanted
        if one.lower().encode() in folded or one.lower().encode("utf-16-le") in folded
    ]


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ct")
    changes = dict(IDENTITY)
    return make_ct_series(folder, slices=1, changes=changes).paths[0]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    planted=st.lists(
        st.tuples(st.sampled_from(KEYWORDS), st.integers(0, 3), st.booleans()),
        min_size=5,
        max_size=40,
    )
)
def test_nothing_that_names_somebody_survives_at_any_depth(
    ct: Path, planted: list[tuple[str, int, bool]]
) -> None:
    ds = dcmread(ct)
    for keyword, depth, as_unknown in planted:
        plant(ds, keyword, depth, as_unknown=as_unknown)
    block = ds.private_block(0x0029, CANARY, create=True)
    block.add_new(1, "LO", CANARY)
    block.add_new(2, "UN", CANARY.encode())
    source, target = ct.with_name("planted.dcm"), ct.with_name("cleaned.dcm")
    with quiet_reading():
        ds.save_as(source)
    assert len(traces(source.read_bytes())) >= 5

    deidentify_file(source, target, PSEUDONYMS)

    assert traces(target.read_bytes()) == []
    with quiet_reading():
        originals = {str(e.value) for e in dcmread(ct).iterall() if e.VR == "UI"}
        kept = {str(e.value) for e in dcmread(target).iterall() if e.VR == "UI"}
    assert all(one.startswith("1.2.840.10008.") for one in originals & kept)


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
def test_the_same_file_twice_gives_the_same_bytes(
    ct: Path, tmp_path: Path, syntax: str | None
) -> None:
    ds = dcmread(ct)
    if syntax is not None:
        ds.file_meta.TransferSyntaxUID = syntax
    source = tmp_path / "source.dcm"
    ds.save_as(source, implicit_vr=syntax is not None, little_endian=True)

    for name in ("a", "b"):
        deidentify_file(source, tmp_path / name, Pseudonyms(b"k" * 32, "remote"))

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_two_receivers_get_other_pseudonyms_and_the_same_pixels(
    ct: Path, tmp_path: Path
) -> None:
    ours = deidentify_file(ct, tmp_path / "a", PSEUDONYMS)
    theirs = deidentify_file(ct, tmp_path / "b", Pseudonyms(b"k" * 32, "other"))

    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "PatientID", "StudyDate"):
        assert ours[keyword].value != theirs[keyword].value
    assert ours.PixelData == theirs.PixelData == dcmread(ct).PixelData


def test_dates_of_a_patient_keep_their_distance(ct: Path) -> None:
    first, second = dcmread(ct), dcmread(ct)
    second.StudyDate, second.AcquisitionDateTime = "19730709", "19730709101112.5+0100"

    cleaned = [clean_data_set(one, PSEUDONYMS) for one in (first, second)]

    days = [DataElement(0x00080020, "DA", one.StudyDate).value for one in cleaned]
    assert _day(days[1]) - _day(days[0]) == 30
    # Where Timezone Offset From UTC is removed, no moment may tell it either.
    assert str(cleaned[1].AcquisitionDateTime).endswith("101112.5")
    assert str(cleaned[1].AcquisitionDateTime).startswith(days[1])


def _day(text: str) -> int:
    from datetime import datetime

    return datetime.strptime(text, "%Y%m%d").toordinal()  # noqa: DTZ007


def test_a_copy_of_a_copy_holds_as_much_and_names_as_little(
    ct: Path, tmp_path: Path
) -> None:
    once = deidentify_file(ct, tmp_path / "a.dcm", PSEUDONYMS)
    twice = deidentify_file(tmp_path / "a.dcm", tmp_path / "b.dcm", PSEUDONYMS)

    assert sorted(once.keys()) == sorted(twice.keys())
    assert once.PixelData == twice.PixelData
    assert once.DeidentificationMethod == twice.DeidentificationMethod


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"BodyPartExamined": "HEAD"}, "a face can be made from slices of the head"),
        ({"StudyDescription": "MR brain"}, "a face can be made from slices"),
        ({"RecognizableVisualFeatures": "YES"}, "it may show a face"),
        ({"BurnedInAnnotation": "YES"}, "text is burned into its pixels"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "may be burned in"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "encapsulated documents"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1"}, "may be burned into"),
        ({"SOPClassUID": "1.2.276.0.1"}, "private or unknown"),
        (
            {"ImageType": ["ORIGINAL", "PRIMARY", "OTHER", "CT_SOM5 PROT"]},
            "may be burn",
        ),
        ({"ImageType": ["DERIVED", "SECONDARY", "OTHER"]}, "may be burned in"),
        *(
            ({"SeriesDescription": f"x {word} 1.0"}, "slices of the head")
            for word in (
                *("NECK", "Hals", "NNH", "CCT", "PNS", "Maxilla", "Dental", "MPRAGE"),
                *("CAROTID", "c-spine", "HNO", "Stroke", "mastoid", "cMRT"),
            )
        ),
        ({"OverlayBitPosition": 12}, "an overlay lies in unused bits"),
    ],
)
def test_what_nobody_can_clean_does_not_leave(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    overlay = changes.pop("OverlayBitPosition", None)
    source = make_ct_series(tmp_path, slices=1, changes=changes).paths[0]
    ds = dcmread(source)
    if overlay:
        ds.add_new(0x60000102, "US", overlay)
    ds.save_as(source)

    with pytest.raises(DeidentificationError, match=reason):
        deidentify_file(source, tmp_path / "out.dcm", PSEUDONYMS)

    assert not (tmp_path / "out.dcm").exists()


@pytest.mark.parametrize(
    ("scheme", "value", "meaning"),
    [
        ("SCT", "69536005", "Head"),
        ("SCT", "12738006", "x"),
        ("SRT", "T-D1100", "x"),
        ("99OURS", "1", "Kopf"),
    ],
)
def test_a_head_that_functional_groups_name_does_not_leave(
    ct: Path, tmp_path: Path, scheme: str, value: str, meaning: str
) -> None:
    region, anatomy, groups = Dataset(), Dataset(), Dataset()
    region.CodeValue, region.CodingSchemeDesignator = value, scheme
    region.CodeMeaning = meaning
    anatomy.AnatomicRegionSequence = [region]
    groups.FrameAnatomySequence = [anatomy]
    ds = dcmread(ct)
    ds.SharedFunctionalGroupsSequence = [groups]
    ds.save_as(tmp_path / "in.dcm")

    with pytest.raises(DeidentificationError, match="slices of the head"):
        deidentify_file(tmp_path / "in.dcm", tmp_path / "out.dcm", PSEUDONYMS)


def test_slices_of_the_chest_and_pages_without_text_leave(tmp_path: Path) -> None:
    pages: tuple[dict[str, object], ...] = (
        {"SeriesDescription": "Thorax 1.0 B30f", "BodyPartExamined": "CHEST"},
        {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]},
        {
            "ImageType": ["DERIVED", "SECONDARY", "OTHER"],
            "BurnedInAnnotation": "NO",
        },
    )
    for number, changes in enumerate(pages):
        folder = tmp_path / str(number)
        source = make_ct_series(folder, slices=1, changes=changes).paths[0]

        assert deidentify_file(source, folder / "out.dcm", PSEUDONYMS).PixelData


def test_what_the_operator_allows_leaves(tmp_path: Path) -> None:
    changes = {"BodyPartExamined": "HEAD", "PatientSex": "F", "PatientAge": "052Y"}
    source = make_ct_series(tmp_path, slices=1, changes=changes).paths[0]
    options = Options(retain_patient_characteristics=True, allow_faces=True)

    copy = deidentify_file(source, tmp_path / "o.dcm", PSEUDONYMS, options=options)

    assert (copy.PatientSex, copy.PatientAge) == ("F", "052Y")
    codes = [one.CodeValue for one in copy.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113103", "113104", "113105", "113107", "113108"]


def test_references_at_any_depth_lead_to_the_copies(ct: Path, tmp_path: Path) -> None:
    """As in SEG, SR, RT Structure Set and presentation state."""
    image = dcmread(ct)
    reference = Dataset()
    reference.ReferencedSOPClassUID = image.SOPClassUID
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    series = Dataset()
    series.SeriesInstanceUID = image.SeriesInstanceUID
    series.ReferencedSOPSequence = series.ReferencedImageSequence = [reference]
    series.ContourImageSequence = [reference]
    study = Dataset()
    study.StudyInstanceUID = image.StudyInstanceUID
    study.ReferencedSeriesSequence = study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = image.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    item = Dataset()
    item.ValueType = "TEXT"
    item.TextValue = "what somebody dictated"
    item.ReferencedSOPSequence = [reference]
    ds = dcmread(ct)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "2.25.5"
    ds.ReferencedFrameOfReferenceSequence = [frame]
    ds.CurrentRequestedProcedureEvidenceSequence = [study]
    ds.ReferencedSeriesSequence = [series]
    ds.SourceImageSequence = [reference]
    ds.ContentSequence = [item]
    ds.save_as(tmp_path / "refers.dcm")

    copy = deidentify_file(ct, tmp_path / "image.dcm", PSEUDONYMS)
    refers = deidentify_file(tmp_path / "refers.dcm", tmp_path / "o.dcm", PSEUDONYMS)

    for keyword, count in (
        ("ReferencedSOPInstanceUID", 10),
        ("SeriesInstanceUID", 4),
        ("StudyInstanceUID", 3),
        ("FrameOfReferenceUID", 2),
    ):
        target = copy.SOPInstanceUID if "SOP" in keyword else copy[keyword].value
        found = [one.value for one in refers.iterall() if one.keyword == keyword]
        assert len(found) >= count
        assert set(found) == {target}
    assert refers.ContentSequence[0].TextValue == "REMOVED"


@pytest.mark.parametrize(
    ("keyword", "vr"),
    [
        ("SmallestImagePixelValue", "LO"),
        ("SliceThickness", "LT"),
        ("DiffusionBValue", "PN"),
        ("ImagePositionPatient", "UT"),
    ],
)
def test_an_element_of_another_kind_than_its_tag_promises_does_not_leave(
    ct: Path, tmp_path: Path, keyword: str, vr: str
) -> None:
    ds = dcmread(ct)
    ds.add(raw(keyword, "Ihgfed^Cba", vr))
    ds.SequenceName = "for Ihgfed" if vr == "PN" else "fl3d"
    ds.save_as(tmp_path / "in.dcm")

    copy = deidentify_file(tmp_path / "in.dcm", tmp_path / "out.dcm", PSEUDONYMS)

    assert keyword not in copy
    assert b"Ihgfed" not in (tmp_path / "out.dcm").read_bytes()


def test_curves_overlays_and_private_groups_are_removed() -> None:
    for number in (0x50000010, 0x50200005, 0x60003000, 0x60020010, 0x00090010):
        assert action_for(Tag(number), "LO") is Action.REMOVE


def test_codes_of_a_hospital_say_nothing_and_published_ones_stay(ct: Path) -> None:
    ds = dcmread(ct)
    ds.AnatomicRegionSequence = [Dataset(), Dataset()]
    for item, scheme in zip(ds.AnatomicRegionSequence, ("SCT", "99OURS"), strict=True):
        item.CodeValue = "39607008"
        item.CodingSchemeDesignator = scheme
        item.CodeMeaning = "Lung"

    public, private = clean_data_set(ds, PSEUDONYMS).AnatomicRegionSequence

    assert (public.CodeValue, public.CodeMeaning) == (
        "39607008",
        "Lung structure",
    )
    assert private.CodeMeaning == "REMOVED"
    assert private.CodeValue not in {"39607008", ""}


def test_a_code_says_what_its_scheme_publishes_and_no_more(ct: Path) -> None:
    ds = dcmread(ct)
    ds.AnatomicRegionSequence = [Dataset() for _ in range(4)]
    bare, meant, unknown, again = ds.AnatomicRegionSequence
    for item in (bare, again):
        item.CodeValue, item.CodingSchemeDesignator = "MRN0815", "99STMARY"
    meant.CodeValue, meant.CodingSchemeDesignator = "39607008", "SCT"
    meant.CodeMeaning = "of Mr Ihgfed"
    unknown.CodeValue, unknown.CodingSchemeDesignator = "0000", "SCT"
    unknown.CodeMeaning = "of Mr Ihgfed"

    copy = clean_data_set(ds, PSEUDONYMS)

    for text in ("MRN0815", "STMARY", "Ihgfed"):
        assert text not in str(copy)
    first, lung, nothing, last = copy.AnatomicRegionSequence
    assert first == last
    assert lung.CodeMeaning == "Lung structure"
    assert nothing.CodeMeaning == "REMOVED"


def test_names_of_two_letters_are_found_and_terms_that_look_so_stay(ct: Path) -> None:
    ds = dcmread(ct)
    ds.PatientName = "Hu^Li^^Mr"
    ds.SequenceName, ds.RescaleType = "scan of Li", "HU"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "HU LI"]

    copy = clean_data_set(ds, PSEUDONYMS)

    assert copy.SequenceName == "REMOVED"
    assert copy.RescaleType == "HU"
    assert copy.Modality == "CT"
    assert list(copy.ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL", "REMOVED"]


@pytest.mark.peers
def test_dcmtk_finds_no_trace_and_dciodvfy_no_new_error(
    ct: Path, tmp_path: Path
) -> None:
    dcmdump, dciodvfy = require_program("dcmdump"), find_dciodvfy()
    assert dciodvfy is not None
    dx = make_dx_image(tmp_path / "dx").paths[0]
    for source in (ct, dx):
        target = tmp_path / source.name
        deidentify_file(source, target, PSEUDONYMS)
        text = subprocess.run(
            [dcmdump, "+L", "-Un", target], capture_output=True, text=True, check=True
        ).stdout
        assert not [one for one in (*TRACES, DATE) if one in text]
        errors = [
            {
                line
                for line in subprocess.run(
                    [dciodvfy, path], capture_output=True, text=True, check=False
                ).stderr.splitlines()
                if line.startswith("Error")
            }
            for path in (source, target)
        ]
        assert errors[1] <= errors[0]


def test_what_leaves_is_listed_with_its_values(ct: Path) -> None:
    listed = what_leaves(ct, PSEUDONYMS)

    assert listed["Modality"] == "CT"
    assert listed["PixelData"].endswith("bytes")
    assert listed["DeidentificationMethodCodeSequence.CodeValue"]
    assert not any(one in value for value in listed.values() for one in TRACES)


@given(st.text(string.printable, max_size=30))
def test_pseudonymous_uids_are_uids_of_their_own(original: str) -> None:
    uid = PSEUDONYMS.uid(original)

    assert len(uid) <= 64
    assert uid.startswith("2.25.")
    assert uid != Pseudonyms(b"k" * 32, "remote", "again").uid(original)

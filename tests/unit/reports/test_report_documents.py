"""Reports in structured report documents: written, judged, read, and refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from highdicom.sr import TextContentItem, ValueTypeValues
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset

from dicom_node.errors import ReportError
from dicom_node.identity import MODEL_NAME
from dicom_node.records import StoredInstance
from dicom_node.reports import extract_phrases, find_reports, make_report_document
from dicom_node.reports.sections import section_kind
from dicom_node.reports.sr import SR_SOP_CLASSES, report_text
from dicom_node.reports.words import read_table
from tests.builders.reports import (
    make_basic_text_sr,
    make_content_item,
    store_document,
)

_FINDINGS = ("LN", "59776-5", "Findings")
_FINDING = ("DCM", "121071", "Finding")
_SECTIONS = {
    "History": "Hepatomegaly?",
    "Findings": "The liver is enlarged. No ascites.",
    "Impression": "Hepatomegaly.",
}


def _document(*content: Dataset) -> Dataset:
    ds = make_basic_text_sr({"Findings": "x"})
    ds.ContentSequence = list(content)
    return ds


def _read(ds: Dataset, folder: Path) -> str:
    reports, left_out = find_reports([store_document(ds, folder)])
    assert not left_out
    return reports[0].text


def test_a_document_passes_the_outside_judge(tmp_path: Path) -> None:
    sections = {**_SECTIONS, "Technique": "CT.", "Comparison": "None.", "Odd": "Y."}
    stored = store_document(make_basic_text_sr(sections), tmp_path)

    judge = Path(sys.executable).with_name("dciodvfy")
    result = subprocess.run(
        [judge, stored.path], capture_output=True, text=True, check=False
    )

    assert "BasicTextSR" in result.stderr
    assert "Error" not in result.stderr


def test_an_independent_reader_finds_the_sections(tmp_path: Path) -> None:
    stored = store_document(make_basic_text_sr(_SECTIONS), tmp_path)

    ds = pydicom.dcmread(stored.path)
    texts = {
        item.ConceptNameCodeSequence[0].CodeMeaning: TextContentItem.from_dataset(
            item.ContentSequence[0]
        ).value
        for item in ds.ContentSequence
        if item.ValueType == ValueTypeValues.CONTAINER.value
    }

    assert texts == {
        "History": "Hepatomegaly?",
        **{title: text for title, text in _SECTIONS.items() if title != "History"},
    }
    assert ds.ContentTemplateSequence[0].TemplateIdentifier == "2000"


def test_a_document_is_read_back_with_the_spans_of_its_phrases(tmp_path: Path) -> None:
    stored = store_document(make_basic_text_sr(_SECTIONS), tmp_path)

    (report,), left_out = find_reports([stored])
    phrases = extract_phrases(report)

    assert not left_out
    assert report.source == f"sr:{stored.sop_instance_uid}"
    assert report.sop_class_uid == uid.BasicTextSRStorage
    assert report.series_instance_uid == stored.series_instance_uid
    assert [(one.section, one.text, one.status.value) for one in phrases] == [
        ("findings", "The liver is enlarged", "present"),
        ("findings", "ascites", "absent"),
        ("impression", "Hepatomegaly", "present"),
    ]
    for one in phrases:
        assert report.text[one.start : one.end] == one.text


def test_the_same_report_is_the_same_document() -> None:
    first, second = make_basic_text_sr(_SECTIONS), make_basic_text_sr(_SECTIONS)
    other = make_basic_text_sr({**_SECTIONS, "Impression": "Normal."})

    assert first == second
    assert first.SOPInstanceUID != other.SOPInstanceUID
    assert first.SeriesInstanceUID == other.SeriesInstanceUID


def test_a_document_needs_text_and_a_study() -> None:
    image = Dataset()
    image.StudyInstanceUID = "1.2.3"

    with pytest.raises(ReportError, match="section"):
        make_report_document([("Findings", " ")], template=image)
    with pytest.raises(ReportError, match="Study Instance UID"):
        make_report_document([("Findings", "x")], template=Dataset())


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Findings", "Impression", "History", "Liver", "Odd"]),
            st.text(
                st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1
            ).filter(lambda text: text.strip() != ""),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_every_section_reaches_the_flat_text(sections: list[tuple[str, str]]) -> None:
    text = report_text(make_basic_text_sr(sections))

    position = 0
    for _, words in sections:
        position = text.index(words.strip(), position) + len(words.strip())


@pytest.mark.parametrize("row", list(read_table("sr_headings.csv")), ids=str)
def test_the_title_of_every_coded_section_is_known_to_the_section_rules(
    row: dict[str, str],
) -> None:
    assert section_kind(row["title"]) is not None


@pytest.mark.parametrize(
    ("concept", "section"),
    [
        (("DCM", "121070", "Findings"), "findings"),
        (("LN", "59776-5", "Findings"), "findings"),
        (("LN", "18782-3", "whatever it is called"), "findings"),
        (("DCM", "121072", "Impressions"), "impression"),
        (("LN", "19005-8", "Impressions"), "impression"),
        (("DCM", "121076", "Conclusions"), "impression"),
        (("99SITE", "7", "Impression"), "impression"),
        (("99SITE", "8", "OBSERVATIONS"), "findings"),
    ],
)
def test_a_section_is_known_by_its_code_or_its_words(
    concept: tuple[str, str, str], section: str, tmp_path: Path
) -> None:
    text = make_content_item("TEXT", ("99SITE", "1", "Text"), text="Hepatomegaly.")
    ds = _document(make_content_item("CONTAINER", concept, children=[text]))

    (report,), _ = find_reports([store_document(ds, tmp_path)])
    (phrase,) = extract_phrases(report)

    assert (phrase.section, phrase.text) == (section, "Hepatomegaly")


def test_what_is_said_under_history_is_not_a_finding(tmp_path: Path) -> None:
    history = make_content_item(
        "CONTAINER",
        ("LN", "11329-0", "History"),
        children=[make_content_item("TEXT", _FINDING, text="Splenomegaly.")],
    )
    unknown = make_content_item(
        "CONTAINER",
        ("99SITE", "3", "Abdomen"),
        children=[make_content_item("TEXT", ("99SITE", "4", "T"), text="Ascites.")],
    )

    (report,), _ = find_reports([store_document(_document(history, unknown), tmp_path)])

    assert [one.text for one in extract_phrases(report)] == ["Ascites"]


def test_texts_codes_and_numbers_are_statements_and_context_is_not(
    tmp_path: Path,
) -> None:
    size = make_content_item(
        "NUM",
        ("SCT", "103355008", "Width"),
        relationship="HAS PROPERTIES",
        number=("12", "mm"),
    )
    section = make_content_item(
        "CONTAINER",
        _FINDINGS,
        children=[
            make_content_item(
                "CODE", _FINDING, code=("SCT", "36118008", "Pneumothorax")
            ),
            make_content_item("TEXT", _FINDING, text="A nodule.", children=[size]),
            make_content_item(
                "TEXT",
                ("DCM", "121008", "Person Observer"),
                relationship="HAS OBS CONTEXT",
                text="Dr. Secret",
            ),
        ],
    )

    text = _read(_document(section), tmp_path)

    assert text == "FINDINGS:\nPneumothorax.\n\nA nodule.\n\nWidth: 12 mm.\n\n"


def test_elements_without_headings_open_their_sections(tmp_path: Path) -> None:
    ds = _document(
        make_content_item("TEXT", _FINDING, text="Ascites."),
        make_content_item("TEXT", ("DCM", "121069", "Previous Finding"), text="Mass."),
        make_content_item("TEXT", ("DCM", "121073", "Impression"), text="Stone."),
    )

    (report,), _ = find_reports([store_document(ds, tmp_path)])

    assert [(one.section, one.text) for one in extract_phrases(report)] == [
        ("findings", "Ascites"),
        ("impression", "Stone"),
    ]


@pytest.mark.parametrize("sop_class", sorted(SR_SOP_CLASSES))
def test_every_report_class_is_read(sop_class: str, tmp_path: Path) -> None:
    ds = make_basic_text_sr(_SECTIONS)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class

    reports, _ = find_reports([store_document(ds, tmp_path)])

    assert reports[0].sop_class_uid == sop_class


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Läsion Größe"),
        ("ISO_IR 192", "病変 lésion"),
        (["", "ISO 2022 IR 87"], "病変"),
        ("ISO_IR 144", "печень"),
    ],
)
def test_character_sets_are_decoded(
    charset: str | list[str], name: str, tmp_path: Path
) -> None:
    ds = make_basic_text_sr({"Findings": f"Hepatomegaly. {name}."})
    ds.SpecificCharacterSet = charset

    assert name in _read(ds, tmp_path)


@pytest.mark.parametrize("charset", ["ISO_IR 192", "ISO_IR 87", "NONSENSE", "", "\\"])
def test_a_wrong_character_set_does_not_lose_the_report(
    charset: str, tmp_path: Path
) -> None:
    stored = store_document(
        make_basic_text_sr({"Findings": "Hepatomegaly. Länge."}), tmp_path
    )
    data = stored.path.read_bytes()
    data = data.replace("Länge.".encode(), "Länge. ".encode("latin-1"))
    # (0008,0005) CS, 10 bytes in the document that was written
    data = data.replace(b"ISO_IR 192", charset.encode().ljust(10))
    stored.path.write_bytes(data)

    (report,), left_out = find_reports([stored])

    assert not left_out
    assert extract_phrases(report)[0].text == "Hepatomegaly"


def test_our_own_results_and_measurement_reports_are_no_reports(
    tmp_path: Path,
) -> None:
    own = make_basic_text_sr(_SECTIONS)
    equipment = Dataset()
    equipment.ManufacturerModelName = MODEL_NAME
    purpose = Dataset()
    purpose.CodeValue = "109102"
    purpose.CodingSchemeDesignator = "DCM"
    purpose.CodeMeaning = "Processing Equipment"
    equipment.PurposeOfReferenceCodeSequence = [purpose]
    own.ContributingEquipmentSequence = [equipment]
    measured = make_basic_text_sr({"Findings": "Other."})
    measured.ConceptNameCodeSequence[0].CodingSchemeDesignator = "DCM"
    measured.ConceptNameCodeSequence[0].CodeValue = "126000"

    found = find_reports([store_document(one, tmp_path) for one in (own, measured)])

    assert found == ((), ())


def test_other_objects_are_passed_over_unread(tmp_path: Path) -> None:
    image = StoredInstance(
        sop_instance_uid="1.2",
        sop_class_uid=uid.CTImageStorage,
        transfer_syntax_uid=uid.ExplicitVRLittleEndian,
        series_instance_uid="1.3",
        path=tmp_path / "absent.dcm",
        sha256="",
    )

    assert find_reports([image]) == ((), ())


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "cannot be read"),
        (lambda data: data[:400], "cannot be read"),
        (lambda data: b"%PDF" + data, "cannot be read"),
    ],
)
def test_a_damaged_document_is_left_out_with_its_reason(
    damage: object, reason: str, tmp_path: Path
) -> None:
    stored = store_document(make_basic_text_sr(_SECTIONS), tmp_path)
    stored.path.write_bytes(damage(stored.path.read_bytes()))  # type: ignore[operator]

    reports, (left_out,) = find_reports([stored])

    assert not reports
    assert left_out.series_instance_uid == stored.series_instance_uid
    assert reason in left_out.reason
    assert "Hepatomegaly" not in left_out.reason


def test_a_missing_file_is_left_out_with_its_reason(tmp_path: Path) -> None:
    stored = store_document(make_basic_text_sr(_SECTIONS), tmp_path)
    stored.path.unlink()

    _, (left_out,) = find_reports([stored])

    assert "cannot be read" in left_out.reason


def test_a_document_without_text_or_in_another_language_is_left_out(
    tmp_path: Path,
) -> None:
    silent = _document(make_content_item("CONTAINER", _FINDINGS))
    empty = make_basic_text_sr(_SECTIONS)
    del empty.ContentSequence
    german = make_basic_text_sr({"Findings": "Leber vergrößert."})
    german.ContentSequence[0].ConceptCodeSequence[0].CodeValue = "de-AT"
    for number, ds in enumerate((silent, empty, german)):
        ds.SOPInstanceUID = f"1.2.{number}"
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID

    reports, left_out = find_reports(
        [store_document(ds, tmp_path) for ds in (silent, empty, german)]
    )

    assert not reports
    assert [one.reason for one in left_out] == [
        "the report document holds no report text",
        "the report document has no content",
        "the report document is not in English",
    ]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_bytes_that_were_changed_never_crash_the_reader(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sr")
    stored = store_document(make_basic_text_sr(_SECTIONS), folder)
    changed = bytearray(stored.path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(132, len(changed) - 1))
        changed[position] = data.draw(st.integers(0, 255))
    stored.path.write_bytes(changed)

    reports, _ = find_reports([stored])

    for report in reports:
        for one in extract_phrases(report):
            assert report.text[one.start : one.end] == one.text


def test_control_characters_and_line_ends_are_made_plain(tmp_path: Path) -> None:
    ds = make_basic_text_sr({"Findings": "Hepatomegaly.\r\nNo\x0cascites.\x01"})

    text = _read(ds, tmp_path)

    assert text == "FINDINGS:\nHepatomegaly.\nNo\nascites.\n\n"

"""What SEG and SR carry, for every kind of result."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread

from conformance.created import CREATED
from conformance.profile import IMPLEMENTATION_CLASS_UID
from dicom_node.identity import MODEL_NAME, derive_uid
from dicom_node.objects import make_objects
from dicom_node.objects.common import display_colour, laterality_code, long_string
from dicom_node.objects.profiles import PROFILES, ObjectSet
from dicom_node.objects.sources import decimal_string
from dicom_node.objects.sr_content import key_boxes
from dicom_node.records import (
    BoundingBox,
    Laterality,
    NotProcessed,
    PhraseResult,
    PhraseStatus,
    StoredInstance,
)
from dicom_node.verify import verify_objects
from tests.builders.result_cases import SERIES, full_result, result_of
from tests.builders.study_results import (
    make_phrase,
    make_region,
    make_result,
    one_region_each,
)

BINARY = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"

SEG_AND_SR = [
    name for name, one in PROFILES.items() if one.objects is ObjectSet.SEG_AND_SR
]


def _items(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence", []):
        yield item
        yield from _items(item)


def _name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def _values(item: Dataset) -> dict[str, object]:
    """Name the children of an item: texts, meanings of codes, numbers, UIDs."""
    found: dict[str, object] = {}
    for child in item.get("ContentSequence", []):
        value: object = child.get("TextValue") or child.get("UID")
        if child.ValueType == "CODE":
            value = str(child.ConceptCodeSequence[0].CodeMeaning)
        if child.ValueType == "NUM":
            value = float(child.MeasuredValueSequence[0].NumericValue)
        if child.ValueType == "COMPOSITE":
            value = child.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        found[_name(child)] = value
    return found


def _evaluations(report: Dataset) -> list[tuple[str, str, dict[str, object]]]:
    (container,) = (
        item
        for item in report.ContentSequence
        if _name(item) == "Qualitative Evaluations"
    )
    return [
        (
            _name(item),
            item.get("TextValue") or str(item.ConceptCodeSequence[0].CodeMeaning),
            _values(item),
        )
        for item in container.ContentSequence
    ]


@pytest.mark.parametrize("profile", SEG_AND_SR)
def test_the_same_result_gives_the_same_bytes_in_another_process(
    profile: str, tmp_path: Path
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    result = full_result(tmp_path / "source")
    program = (
        "import sys; from pathlib import Path;"
        "from tests.builders.result_cases import full_result;"
        "from dicom_node.objects import make_objects;"
        "folder = Path(sys.argv[1]);"
        "make_objects(full_result(folder / 'source'), profile=sys.argv[2],"
        " out_dir=folder / 'there')"
    )

    objects = make_objects(result, profile=profile, out_dir=tmp_path / "here")
    subprocess.run(
        [sys.executable, "-c", program, tmp_path, profile],
        check=True,
        cwd=Path(__file__).parents[3],
        env={"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "PATH": ""},
        timeout=120,
    )

    for one in objects:
        there = (tmp_path / "there" / one.path.name).read_bytes()
        assert hashlib.sha256(there).hexdigest() == one.sha256


def test_uids_change_with_what_the_result_is_made_of(tmp_path: Path) -> None:
    result = result_of("radiograph", tmp_path / "source", ("left kidney",))
    changes: list[dict[str, str]] = [
        {},
        {"content_version": "version-2"},
        {"model_sha256": "ee" * 32},
        {"configuration_sha256": "ee" * 32},
    ]

    made = [
        make_objects(replace(result, **change), profile=profile, out_dir=tmp_path)  # type: ignore[arg-type]
        for change in changes
        for profile in SEG_AND_SR
    ]

    uids = [one.reference.sop_instance_uid for objects in made for one in objects]
    assert len(set(uids)) == len(uids) == len(changes) * len(SEG_AND_SR) * 2


def test_every_object_says_who_made_it_and_that_it_is_not_for_diagnosis(
    tmp_path: Path,
) -> None:
    result = full_result(tmp_path / "source")
    source = dcmread(result.series[0].frames[0].path)

    objects = make_objects(result, out_dir=tmp_path)

    numbers = set()
    for one in objects:
        ds = dcmread(one.path)
        node, model = ds.ContributingEquipmentSequence
        assert node.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert node.ManufacturerModelName == MODEL_NAME
        assert node.DeviceUID == derive_uid("device", result.model_sha256)
        assert (model.ManufacturerModelName, model.SoftwareVersions) == (
            result.model_name,
            result.model_version,
        )
        assert ds.SeriesDescription.startswith("AI - not for diagnostic use")
        assert ds.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
        assert (ds.ContentDate, ds.ContentTime) == ("20260101", "123015")
        for keyword in ("PatientName", "PatientID", "StudyDate", "AccessionNumber"):
            assert ds[keyword].value == source[keyword].value
        numbers.add(int(ds.SeriesNumber))
    assert numbers == {9000, 9001, 9002}


def test_a_segment_says_what_where_how_and_in_which_colour(tmp_path: Path) -> None:
    result = full_result(tmp_path / "source")

    effusion, kidney = (
        dcmread(one.path).SegmentSequence[0]
        for one in make_objects(result, out_dir=tmp_path)[:-1]
    )

    assert effusion.SegmentLabel == "Small effusion on the right"
    assert effusion.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Effusion"
    region = effusion.AnatomicRegionSequence[0]
    assert region.CodeMeaning == "Pleural cavity"
    assert region.AnatomicRegionModifierSequence[0].CodeMeaning == "Right"
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    side = kind.SegmentedPropertyTypeModifierCodeSequence[0]
    assert (kind.CodeMeaning, side.CodeMeaning) == ("Kidney", "Left")
    for item in (effusion, kidney):
        algorithm = item.SegmentationAlgorithmIdentificationSequence[0]
        assert item.SegmentAlgorithmType == "AUTOMATIC"
        assert algorithm.AlgorithmName == item.SegmentAlgorithmName == result.model_name
        assert algorithm.AlgorithmVersion == result.model_version
        assert result.model_sha256 in algorithm.AlgorithmParameters
    assert list(effusion.RecommendedDisplayCIELabValue) != list(
        kidney.RecommendedDisplayCIELabValue
    )


def test_a_report_says_what_became_of_every_phrase_and_series(tmp_path: Path) -> None:
    result = full_result(tmp_path / "source")
    report = dcmread(make_objects(result, out_dir=tmp_path)[-1].path)

    effusion, kidney, pneumothorax, mass, left_out = _evaluations(report)

    assert effusion == (
        "Pleural effusion",
        "Present",
        {
            "Laterality": "Right",
            "Comment": "Small effusion on the right",
            "Finding Site": "Pleural cavity",
            "Localization in the images": "Localized",
            "Certainty of the localization": 87.5,
            "Predictive uncertainty of the model": 0.125,
            "Source": "Structured report, preliminary",
            "Source report": "2.25.77",
        },
    )
    assert kidney[2]["Localization in the images"] == "Localized"
    assert pneumothorax[1] == "Absent"
    assert str(pneumothorax[2]["Localization in the images"]).startswith("Not asked")
    assert (mass[1], mass[2]["Localization in the images"]) == (
        "Uncertain",
        "Not localized",
    )
    assert mass[2]["Source"] == "HL7 report, corrected"
    assert "Source report" not in mass[2]
    assert "Source" not in kidney[2]
    assert left_out == (
        "Series not processed",
        "the pixels cannot be decoded",
        {"Series Instance UID": "2.25.99"},
    )


def test_a_report_names_its_evidence_and_what_it_supersedes(tmp_path: Path) -> None:
    result = full_result(tmp_path / "source")
    objects = make_objects(result, out_dir=tmp_path)
    segmentation, report = dcmread(objects[0].path), dcmread(objects[-1].path)

    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    named = {
        sop.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }
    frames = {frame.sop_instance_uid for one in result.series for frame in one.frames}
    segs = {one.reference.sop_instance_uid for one in objects[:-1]}
    assert named == frames | segs | {"2.25.77"}
    assert "PertinentOtherEvidenceSequence" not in report
    (predecessor,) = report.PredecessorDocumentsSequence
    (series,) = predecessor.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "2.25.82"
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.81"
    assert segmentation.RelatedSeriesSequence[0].SeriesInstanceUID == "2.25.84"


def test_both_links_of_a_region_share_its_tracking_uid(tmp_path: Path) -> None:
    result = full_result(tmp_path / "source")
    objects = make_objects(result, out_dir=tmp_path)
    report = hd.sr.srread(objects[-1].path)
    region = result.phrases[0].regions[0]

    (planar,) = report.content.get_planar_roi_measurement_groups(
        tracking_uid=region.tracking_uid
    )
    (volumetric,) = report.content.get_volumetric_roi_measurement_groups(
        tracking_uid=region.tracking_uid
    )

    segment = volumetric.referenced_segment.referenced_sop_instance_uid
    assert segment == objects[0].reference.sop_instance_uid
    (box,) = key_boxes(region)
    x0, y0, x1, y1 = box.xyxy
    assert planar.roi.value.tolist() == [
        [x0, y0],
        [x1, y0],
        [x1, y1],
        [x0, y1],
        [x0, y0],
    ]
    for group in (planar, volumetric):
        assert group.tracking_identifier == region.tracking_id
        assert group.finding_type.meaning == "Pleural effusion"
        (site,) = group.finding_sites
        assert (site.value.meaning, site.laterality.meaning) == (
            "Pleural cavity",
            "Right",
        )


@pytest.mark.parametrize("profile", SEG_AND_SR)
def test_nothing_found_is_a_report_without_a_segmentation(
    profile: str, tmp_path: Path
) -> None:
    series = SERIES["radiograph"](tmp_path / "source")
    phrase = PhraseResult(make_phrase("mass"), PhraseStatus.PRESENT, score=0.1)
    result = make_result([series], [phrase])

    objects = make_objects(result, profile=profile, out_dir=tmp_path)

    verify_objects(objects, result.series)
    (report,) = (dcmread(one.path) for one in objects)
    texts = [text for _, text, _ in _evaluations(report)]
    assert texts == ["Present", "No region is drawn: 1 phrases were looked at."]


def test_a_study_without_any_readable_series_still_gets_a_report(
    tmp_path: Path,
) -> None:
    series = SERIES["radiograph"](tmp_path / "source")
    frame = series.frames[0]
    instance = StoredInstance(
        frame.sop_instance_uid,
        frame.sop_class_uid,
        "1.2.840.10008.1.2.1",
        series.series_instance_uid,
        frame.path,
        "",
    )
    result = make_result(
        [],
        [],
        study_instance_uid=series.study_instance_uid,
        instances=(instance,),
        not_processed=(NotProcessed(series.series_instance_uid, "no pixels"),),
    )

    objects = make_objects(result, out_dir=tmp_path)

    verify_objects(objects, ())
    (report,) = (dcmread(one.path) for one in objects)
    assert ("Series not processed", "no pixels") in {
        (name, text) for name, text, _ in _evaluations(report)
    }


def test_thirty_phrases_keep_their_order_and_have_thirty_colours(
    tmp_path: Path,
) -> None:
    series = SERIES["axial"](tmp_path / "source")
    mask = np.zeros((len(series.frames), series.rows, series.columns), bool)
    phrases = []
    for n in range(30):
        own = mask.copy()
        own[2, n // 8, 4 * (n % 8)] = True
        region = make_region(series, own, str(n))
        phrases.append(
            PhraseResult(make_phrase(f"p{n}"), PhraseStatus.PRESENT, (region,), 0.5)
        )
    result = make_result([series], phrases)

    objects = make_objects(result, out_dir=tmp_path)

    verify_objects(objects, result.series)
    segments = dcmread(objects[0].path).SegmentSequence
    assert [item.SegmentLabel for item in segments] == [f"p{n}" for n in range(30)]
    colours = {tuple(item.RecommendedDisplayCIELabValue) for item in segments}
    assert len(colours) == 30


@pytest.mark.parametrize(
    ("name", "profile", "classes"),
    [
        ("axial", "default", [BINARY]),
        ("axial", "labelmap", [LABEL_MAP, LABEL_MAP, LABEL_MAP]),
        ("odd radiograph", "default", [BINARY, BINARY, BINARY]),
        ("odd volume", "default", [LABEL_MAP, LABEL_MAP, LABEL_MAP]),
    ],
)
def test_regions_share_an_instance_where_viewers_read_it_right(
    name: str, profile: str, classes: list[str], tmp_path: Path
) -> None:
    series = SERIES[name](tmp_path / "source")
    (one,) = one_region_each(series, ["kidney"])
    phrases = [
        replace(
            one,
            regions=(replace(one.regions[0], tracking_uid=f"2.25.{n + 50}"),),
        )
        for n in range(3)
    ]
    result = make_result([series], phrases)

    objects = make_objects(result, profile=profile, out_dir=tmp_path)

    verify_objects(objects, result.series)
    assert [one.reference.sop_class_uid for one in objects[:-1]] == classes
    made = {one.reference.series_instance_uid for one in objects}
    assert len(made) == len(objects)


def test_a_label_map_has_no_background_segment(tmp_path: Path) -> None:
    result = result_of("axial", tmp_path / "source", ("left kidney",))

    objects = make_objects(result, profile="labelmap", out_dir=tmp_path)

    ds = dcmread(objects[0].path)
    assert [item.SegmentNumber for item in ds.SegmentSequence] == [1]
    assert ds.PixelPaddingValue == 0


def test_lossy_compression_of_the_source_is_told(tmp_path: Path) -> None:
    result = result_of("radiograph", tmp_path / "source", ("left kidney",))
    path = result.series[0].frames[0].path
    source = dcmread(path)
    source.LossyImageCompression = "01"
    source.LossyImageCompressionRatio = "12.5"
    source.LossyImageCompressionMethod = "ISO_15444_1"
    source.save_as(path)

    objects = make_objects(result, out_dir=tmp_path)

    verify_objects(objects, result.series)
    ds = dcmread(objects[0].path)
    assert ds.LossyImageCompression == "01"
    assert float(ds.LossyImageCompressionRatio) == 12.5
    assert ds.LossyImageCompressionMethod == "ISO_15444_1"


@pytest.mark.parametrize("profile", SEG_AND_SR)
def test_the_table_of_created_attributes_is_what_is_created(
    profile: str, tmp_path: Path
) -> None:
    result = full_result(tmp_path / "source")

    for one in make_objects(result, profile=profile, out_dir=tmp_path):
        ds = dcmread(one.path)
        table = {row.keyword: row for row in CREATED[one.reference.sop_class_uid]}
        present = {element.keyword for element in ds}
        assert present - set(table) == set()
        always = {word for word, row in table.items() if row.presence == "ALWAYS"}
        assert always - present == set()
        for keyword, row in table.items():
            if row.value is not None and keyword in present:
                value = ds[keyword].value
                text = value if isinstance(value, str) else str(value)
                assert text == row.value, keyword


def test_boxes_are_those_of_the_largest_frame_and_at_most_four() -> None:
    mask = np.zeros((2, 4, 8), bool)
    mask[0, 0, 0] = True
    mask[1, :, 2:5] = True
    series = "2.25.2"
    region_boxes = tuple(
        BoundingBox(6, (float(n), 0.0, n + 1.0, 1.0), n / 10) for n in range(6)
    )
    from dicom_node.records import Region

    region = Region(series, mask, (5, 1, 1), region_boxes, 0.5, 0.1, "a", "2.25.1")

    assert [box.score for box in key_boxes(region)] == [0.5, 0.4, 0.3, 0.2]
    assert key_boxes(replace(region, boxes=()))[0] == BoundingBox(6, (3, 1, 6, 5), 0.5)


def test_sides_are_coded_by_cid_244() -> None:
    sides = {side: laterality_code(side) for side in Laterality}

    assert {side: (code.value, code.meaning) for side, code in sides.items()} == {
        Laterality.LEFT: ("7771000", "Left"),
        Laterality.RIGHT: ("24028007", "Right"),
        Laterality.BILATERAL: ("51440002", "Bilateral"),
    }
    assert {code.scheme_designator for code in sides.values()} == {"SCT"}


@given(st.text(max_size=200))
def test_a_long_string_is_a_valid_value_of_its_vr(text: str) -> None:
    cut = long_string(text)

    assert len(cut) <= 64
    assert "\\" not in cut
    assert cut == cut.strip()
    assert not any(ord(letter) < 32 or ord(letter) == 127 for letter in cut)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_decimal_string_fits_and_keeps_its_value(value: float) -> None:
    text = decimal_string(value)

    assert len(text) <= 16
    assert float(text) == pytest.approx(value, rel=1e-8)


def test_neighbouring_colours_are_far_apart() -> None:
    colours = [np.array(display_colour(n).lab) for n in range(8)]

    nearest = min(
        float(np.linalg.norm(a - b))
        for i, a in enumerate(colours)
        for b in colours[i + 1 :]
    )

    assert nearest > 20.0

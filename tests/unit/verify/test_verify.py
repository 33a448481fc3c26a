"""Each rule, broken once on purpose, is named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset, config, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.tag import Tag

from conformance.validators import judge_file
from dicom_node.errors import InvalidObjectError
from dicom_node.objects import make_objects
from dicom_node.records import ResultObject, StudyResult
from dicom_node.verify import verify_objects
from tests.builders.result_cases import full_result

Change = Callable[[Dataset], None]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return full_result(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def objects(
    result: StudyResult, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ResultObject, ...]:
    """Two SEGs (of a CT and of a radiograph), then the report."""
    return make_objects(result, out_dir=tmp_path_factory.mktemp("objects"))


def _items(ds: Dataset, value_type: str) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence", []):
        if item.ValueType == value_type:
            yield item
        yield from _items(item, value_type)


def _concept(ds: Dataset, code: str) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence", []):
        names = item.get("ConceptNameCodeSequence")
        if names and names[0].get("CodeValue") == code:
            yield item
        yield from _concept(item, code)


def _set(keyword: str, value: object) -> Change:
    def change(ds: Dataset) -> None:
        tag = Tag(keyword)
        vr = dictionary_VR(tag)
        ds[tag] = DataElement(tag, vr, value, validation_mode=config.IGNORE)

    return change


def _delete(*keywords: str) -> Change:
    def change(ds: Dataset) -> None:
        for keyword in keywords:
            del ds[keyword]

    return change


def _in(path: Callable[[Dataset], Dataset], change: Change) -> Change:
    return lambda ds: change(path(ds))


def _segment(ds: Dataset) -> Dataset:
    item: Dataset = ds.SegmentSequence[0]
    return item


def _frame(ds: Dataset) -> Dataset:
    item: Dataset = ds.PerFrameFunctionalGroupsSequence[0]
    return item


def _source(ds: Dataset) -> Dataset:
    item: Dataset = _frame(ds).DerivationImageSequence[0].SourceImageSequence[0]
    return item


def _first(value_type: str) -> Callable[[Dataset], Dataset]:
    return lambda ds: next(_items(ds, value_type))


def _named(code: str) -> Callable[[Dataset], Dataset]:
    return lambda ds: next(_concept(ds, code))


def _group(ds: Dataset) -> Dataset:
    return next(_concept(ds, "125007"))


def _drop_child(code: str) -> Change:
    def change(ds: Dataset) -> None:
        group = _group(ds)
        group.ContentSequence = [
            item
            for item in group.ContentSequence
            if item.ConceptNameCodeSequence[0].CodeValue != code
        ]

    return change


def _every_group(keep: Callable[[Dataset], bool]) -> Change:
    def change(ds: Dataset) -> None:
        measurements = next(_concept(ds, "126010"))
        measurements.ContentSequence = [
            item for item in measurements.ContentSequence if keep(item)
        ]

    return change


def _empty_frame(ds: Dataset) -> None:
    size = ds.Rows * ds.Columns // 8
    ds.PixelData = bytes(size) + ds.PixelData[size:]


def _graphic(ds: Dataset, data: list[float]) -> None:
    next(_items(ds, "SCOORD")).GraphicData = data


SEGMENTATION: dict[str, tuple[str, Change]] = {
    "no rows": ("type-1", _delete("Rows")),
    "no accession number": ("type-2", _delete("AccessionNumber")),
    "an identity that nobody says how it was removed": (
        "type-1c",
        _set("PatientIdentityRemoved", "YES"),
    ),
    "another modality": ("modality", _set("Modality", "CT")),
    "a short UID of letters": ("uid", _set("SeriesInstanceUID", "2.25.x")),
    "too long a label": ("vr", _in(_segment, _set("SegmentLabel", "x" * 65))),
    "a code without a meaning": (
        "code",
        _in(
            lambda ds: _segment(ds).SegmentedPropertyTypeCodeSequence[0],
            _set("CodeMeaning", ""),
        ),
    ),
    "a scheme that nobody knows": (
        "coding-scheme",
        _in(
            lambda ds: _segment(ds).SegmentedPropertyTypeCodeSequence[0],
            _set("CodingSchemeDesignator", "99NOBODY"),
        ),
    ),
    "a name out of its place": ("no-phi", _set("ContentCreatorName", "Doe^Jane")),
    "a patient in a segment": ("no-phi", _in(_segment, _set("PatientID", "1"))),
    "a private attribute": (
        "no-private",
        lambda ds: ds.private_block(0x0011, "X", create=True).add_new(1, "LO", "x"),
    ),
    "no character set": (
        "character-set",
        lambda ds: (
            _delete("SpecificCharacterSet")(ds),
            _in(_segment, _set("SegmentDescription", "µ"))(ds),
        )[0],
    ),
    "no warning": ("warning", _set("SeriesDescription", "regions")),
    "a low series number": ("series-number", _set("SeriesNumber", 5)),
    "no equipment": ("equipment", _delete("ContributingEquipmentSequence")),
    "no device UID": (
        "type-1",
        _in(lambda ds: ds.ContributingEquipmentSequence[0], _delete("DeviceUID")),
    ),
    "an unknown type": ("segmentation-type", _set("SegmentationType", "OTHER")),
    "another SOP class": (
        "segmentation-type",
        _set("SOPClassUID", "1.2.840.10008.5.1.4.1.1.66.7"),
    ),
    "too few pixels": ("pixels", lambda ds: setattr(ds, "PixelData", b"\0\0")),
    "eight bits": ("pixels", _set("BitsAllocated", 8)),
    "segments from 2": ("segment-numbers", _in(_segment, _set("SegmentNumber", 2))),
    "a segment without a colour": (
        "type-1",
        _in(_segment, _delete("RecommendedDisplayCIELabValue")),
    ),
    "half a tracking": ("tracking", _in(_segment, _delete("TrackingUID"))),
    "a frame without a source": (
        "frame-source",
        _in(_frame, _delete("DerivationImageSequence")),
    ),
    "a source that is not named": (
        "frame-source",
        _in(_source, _set("ReferencedSOPInstanceUID", "2.25.5")),
    ),
    "a source without a class": (
        "type-1",
        _in(_source, _set("ReferencedSOPClassUID", "")),
    ),
    "a dimension too many": (
        "dimensions",
        _in(
            lambda ds: _frame(ds).FrameContentSequence[0],
            _set("DimensionIndexValues", [1, 1, 1]),
        ),
    ),
    "two frames at one index": (
        "dimensions",
        lambda ds: setattr(
            ds.PerFrameFunctionalGroupsSequence[1].FrameContentSequence[0],
            "DimensionIndexValues",
            _frame(ds).FrameContentSequence[0].DimensionIndexValues,
        ),
    ),
    "another organization": (
        "dimensions",
        _in(
            lambda ds: ds.DimensionIndexSequence[0],
            _set("DimensionOrganizationUID", "2.25.5"),
        ),
    ),
    "one frame too many": ("frames", lambda ds: setattr(ds, "NumberOfFrames", 99)),
    "a frame of no segment": (
        "frame-segment",
        _in(
            lambda ds: _frame(ds).SegmentIdentificationSequence[0],
            _set("ReferencedSegmentNumber", 7),
        ),
    ),
    "a position without an orientation": (
        "place",
        _in(
            lambda ds: ds.SharedFunctionalGroupsSequence[0],
            _delete("PlaneOrientationSequence"),
        ),
    ),
    "no position indicator": ("type-2", _delete("PositionReferenceIndicator")),
    "an empty frame": ("empty-frame", _empty_frame),
}

REPORT: dict[str, tuple[str, Change]] = {
    "no completion flag": ("type-1", _delete("CompletionFlag")),
    "no performed procedures": ("type-2", _delete("PerformedProcedureCodeSequence")),
    "another title": (
        "root",
        _in(lambda ds: ds.ConceptNameCodeSequence[0], _set("CodeValue", "1")),
    ),
    "another template": (
        "template",
        _in(lambda ds: ds.ContentTemplateSequence[0], _set("TemplateIdentifier", "1")),
    ),
    "an unknown value type": (
        "value-type",
        _in(_first("TEXT"), _set("ValueType", "X")),
    ),
    "text that contains": (
        "relationship",
        _in(
            lambda ds: next(
                one for one in _items(ds, "CODE") if "ContentSequence" in one
            ).ContentSequence[0],
            _set("RelationshipType", "CONTAINS"),
        ),
    ),
    "text without text": ("type-1", _in(_first("TEXT"), _set("TextValue", ""))),
    "an item without a name": (
        "concept-name",
        _in(_first("TEXT"), _delete("ConceptNameCodeSequence")),
    ),
    "a number without a unit": (
        "type-1",
        _in(
            lambda ds: next(_items(ds, "NUM")).MeasuredValueSequence[0],
            _delete("MeasurementUnitsCodeSequence"),
        ),
    ),
    "coordinates of no image": (
        "coordinates",
        _in(_first("SCOORD"), _delete("ContentSequence")),
    ),
    "half a point": ("coordinates", lambda ds: _graphic(ds, [1.0, 2.0, 3.0])),
    "a line of one point": ("coordinates", lambda ds: _graphic(ds, [1.0, 2.0])),
    "what is no evidence": (
        "evidence",
        _in(
            lambda ds: next(_items(ds, "COMPOSITE")).ReferencedSOPSequence[0],
            _set("ReferencedSOPInstanceUID", "2.25.5"),
        ),
    ),
    "a group that tracks nothing": ("tracking", _drop_child("112040")),
    "a final report": ("status", _set("PreliminaryFlag", "FINAL")),
    "a verified report": ("status", _set("VerificationFlag", "VERIFIED")),
    "no observer": (
        "observer",
        lambda ds: setattr(
            ds,
            "ContentSequence",
            [
                item
                for item in ds.ContentSequence
                if item.ConceptNameCodeSequence[0].CodeValue != "121012"
            ],
        ),
    ),
    "a group without its phrase": ("comment", _drop_child("121106")),
    "no group with coordinates": (
        "both-links",
        _every_group(lambda item: not any(_items(item, "SCOORD"))),
    ),
    "no group with a segment": (
        "both-links",
        _every_group(lambda item: not any(_concept(item, "121191"))),
    ),
}

TOGETHER: dict[str, tuple[str, int, Change]] = {
    "another study": ("one-study", 0, _set("StudyInstanceUID", "2.25.5")),
    "a source image that is not there": (
        "source-exists",
        0,
        lambda ds: (
            _set("ReferencedSOPInstanceUID", "2.25.5")(_source(ds)),
            _set("ReferencedSOPInstanceUID", "2.25.5")(
                ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
            ),
            [
                _set("ReferencedSOPInstanceUID", "2.25.5")(source)
                for frame in ds.PerFrameFunctionalGroupsSequence
                for source in frame.DerivationImageSequence[0].SourceImageSequence
            ],
        )[0],
    ),
    "a source of another class": (
        "source-class",
        0,
        _in(_source, _set("ReferencedSOPClassUID", "1.2.840.10008.5.1.4.1.1.4")),
    ),
    "a source of another series": (
        "source-series",
        0,
        _in(
            lambda ds: ds.ReferencedSeriesSequence[0],
            _set("SeriesInstanceUID", "2.25.5"),
        ),
    ),
    "a frame that is not there": (
        "source-frame",
        0,
        lambda ds: setattr(_source(ds), "ReferencedFrameNumber", 5),
    ),
    "a box outside the image": (
        "box-inside",
        2,
        lambda ds: _graphic(ds, [0.0, 0.0, 999.0, 0.0, 999.0, 9.0, 0.0, 0.0]),
    ),
    "a segment that is not there": (
        "segment-exists",
        2,
        _in(
            lambda ds: next(_concept(ds, "121191")).ReferencedSOPSequence[0],
            _set("ReferencedSegmentNumber", 9),
        ),
    ),
    "another tracking UID": (
        "tracking-uid",
        0,
        _in(_segment, _set("TrackingUID", "2.25.5")),
    ),
    "another tracking identifier": (
        "tracking-id",
        0,
        _in(_segment, _set("TrackingID", "other")),
    ),
}


def _broken(
    objects: tuple[ResultObject, ...], index: int, change: Change, folder: Path
) -> tuple[ResultObject, ...]:
    """Change one object; its record says what the file then is."""
    one = objects[index]
    ds = dcmread(one.path)
    change(ds)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    path = folder / one.path.name
    ds.save_as(path)
    reference = replace(
        one.reference,
        sop_class_uid=ds.SOPClassUID,
        series_instance_uid=ds.SeriesInstanceUID,
        study_instance_uid=ds.StudyInstanceUID,
    )
    segments = {
        item.get("TrackingUID"): item.SegmentNumber
        for item in ds.get("SegmentSequence", [])
    }
    changed = replace(
        one,
        path=path,
        reference=reference,
        segments=segments,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    return (*objects[:index], changed, *objects[index + 1 :])


def _rules(error: InvalidObjectError) -> set[str]:
    return {violation.rule for violation in error.facts["violations"]}  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("index", "rule", "change"),
    [
        *(
            pytest.param(0, rule, change, id=f"SEG with {name}")
            for name, (rule, change) in SEGMENTATION.items()
        ),
        *(
            pytest.param(2, rule, change, id=f"SR with {name}")
            for name, (rule, change) in REPORT.items()
        ),
        *(
            pytest.param(index, rule, change, id=f"result with {name}")
            for name, (rule, index, change) in TOGETHER.items()
        ),
    ],
)
def test_a_broken_rule_is_named(
    index: int,
    rule: str,
    change: Change,
    objects: tuple[ResultObject, ...],
    result: StudyResult,
    tmp_path: Path,
) -> None:
    broken = _broken(objects, index, change, tmp_path)

    with pytest.raises(InvalidObjectError) as caught:
        verify_objects(broken, result.series)

    assert rule in _rules(caught.value)
    assert rule in str(caught.value)


def test_unbroken_objects_pass(
    objects: tuple[ResultObject, ...], result: StudyResult
) -> None:
    verify_objects(objects, result.series)


@pytest.mark.parametrize(
    ("rule", "choose"),
    [
        ("segment-exists", lambda objects: objects[1:]),
        ("one-report", lambda objects: objects[:-1]),
        ("unique-uid", lambda objects: (objects[0], *objects)),
    ],
)
def test_a_missing_or_doubled_object_is_named(
    rule: str,
    choose: Callable[[tuple[ResultObject, ...]], tuple[ResultObject, ...]],
    objects: tuple[ResultObject, ...],
    result: StudyResult,
) -> None:
    with pytest.raises(InvalidObjectError) as caught:
        verify_objects(choose(objects), result.series)

    assert rule in _rules(caught.value)


def test_a_segment_that_no_group_refers_to_is_named(
    objects: tuple[ResultObject, ...], result: StudyResult, tmp_path: Path
) -> None:
    uid = next(iter(objects[0].segments))
    change = _every_group(
        lambda item: all(one.get("UID") != uid for one in item.ContentSequence)
    )

    with pytest.raises(InvalidObjectError) as caught:
        verify_objects(_broken(objects, 2, change, tmp_path), result.series)

    assert _rules(caught.value) == {"segment-reported"}


def test_another_size_than_the_source_is_named(
    objects: tuple[ResultObject, ...], result: StudyResult
) -> None:
    ct, dx = result.series
    larger = replace(ct, rows=ct.rows + 1)

    with pytest.raises(InvalidObjectError) as caught:
        verify_objects(objects, (larger, dx))

    assert _rules(caught.value) == {"source-grid"}


def test_a_file_that_changed_since_is_named(
    objects: tuple[ResultObject, ...], result: StudyResult
) -> None:
    stale = (replace(objects[0], sha256="00" * 32), *objects[1:])

    with pytest.raises(InvalidObjectError) as caught:
        verify_objects(stale, result.series)

    assert _rules(caught.value) == {"record"}


def test_a_file_that_is_no_dicom_file_is_judged_so(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("not DICOM")

    judgement = judge_file(path)

    assert not judgement.is_valid
    assert [one.rule for one in judgement.violations] == ["readable"]


def test_images_are_judged_by_the_outside_judge_alone(result: StudyResult) -> None:
    judgement = judge_file(result.series[0].frames[0].path)

    assert judgement.is_valid, judgement.violations
    assert judgement.judges == ("rules", "dciodvfy")

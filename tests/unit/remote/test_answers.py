"""What a remote model returns is put back to the images here, or told and left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import RLELossless

from dicom_node.config import LimitSettings
from dicom_node.deidentify import Options, Pseudonyms
from dicom_node.imaging import PixelReader, find_series
from dicom_node.objects.segment_frames import frames_of
from dicom_node.pipeline import Rooms, process_study
from dicom_node.records import Report, StudyReady
from dicom_node.remote import drawing
from dicom_node.remote.asking import make_questions
from dicom_node.remote.hearing import Said, hear, items_of
from dicom_node.remote.leaving import Leaving, prepare
from dicom_node.remote.reading import Sent, missing_objects, read_answers
from dicom_node.reports import collect_phrases, extract_phrases
from dicom_node.reports.lexicon import concepts
from tests.builders.corner_grounder import IDENTITY, BrightestBox
from tests.builders.dicom_series import make_ct_series, stored_instance

REPORT = (
    "Findings: Dr Zyxwvut saw a large right pleural effusion. Cyst in the left kidney. "
    "No pneumothorax."
)
CHANGES: dict[str, object] = {
    "PatientName": "Zyxwvut^Anna",
    "PatientID": "90817263",
    "StudyDescription": "Zyxwvut, abdomen",
}
PSEUDONYMS = Pseudonyms(b"k" * 32, "far", "once")


class Journey:
    """A study that left, was interpreted elsewhere, and came back."""

    def __init__(self, folder: Path) -> None:
        ct = make_ct_series(folder / "ct", slices=4, changes=dict(CHANGES))
        self.instances = ct.instances
        self.series, _ = find_series(ct.instances)
        report = Report(text=REPORT, source="file")
        self.phrases = collect_phrases([report], (), self.series)
        self.questions, self.unsaid = make_questions(self.phrases)
        self.leaving = prepare(
            self.series,
            self.questions,
            folder=folder / "out",
            study_instance_uid=ct.study_instance_uid,
            pseudonyms=PSEUDONYMS,
            options=Options(),
        )
        self.returned = interpret_elsewhere(self.leaving, folder / "far")
        self.sent = Sent(
            remote="far",
            series=self.series,
            questions=self.questions,
            pseudonyms=PSEUDONYMS,
            patient_id=PSEUDONYMS.patient("90817263"),
            other_uids=frozenset(
                str(dcmread(one).SOPInstanceUID) for one in files_of(self.leaving)
            ),
        )


def files_of(leaving: Leaving) -> list[Path]:
    assert leaving.report is not None
    return [leaving.report, *leaving.images]


def interpret_elsewhere(leaving: Leaving, folder: Path) -> list[Path]:
    """Be the other node: it has nothing but the files that left."""
    folder.mkdir()
    instances = tuple(stored_instance(dcmread(one), one) for one in files_of(leaving))
    ready = StudyReady(
        study_instance_uid=str(dcmread(instances[0].path).StudyInstanceUID),
        content_version="v1",
        instances=instances,
    )
    with PixelReader(LimitSettings()) as reader:
        done = process_study(ready, rooms=Rooms(reader, BrightestBox()), out_dir=folder)
    return [one.path for one in done.objects]


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    return Journey(tmp_path_factory.mktemp("journey"))


def test_phrases_leave_in_words_of_the_lexicon_and_nothing_else(
    journey: Journey,
) -> None:
    assert [one.text for one in journey.questions] == [
        "right pleural effusion",
        "left cyst in the kidney",
    ]
    data = b"".join(path.read_bytes() for path in files_of(journey.leaving))
    for trace in (b"Zyxwvut", b"90817263", b"large", b"saw", b"neumothorax"):
        assert trace not in data


def test_every_concept_of_the_lexicon_can_be_said_on_each_side() -> None:
    texts = [one.meaning for one in concepts().values()][::7]
    for text in texts:
        for phrase in extract_phrases(Report(text=f"Left {text}.", source="x")):
            questions, unsaid = make_questions([phrase])
            heard = extract_phrases(Report(text=questions[0].text, source="x"))
            assert not unsaid
            assert heard[0].finding.finding == phrase.finding.finding


def test_the_words_of_a_report_leave_only_where_that_is_set(journey: Journey) -> None:
    questions, _ = make_questions(journey.phrases, sends_text=True)

    assert "large right pleural effusion" in {one.text for one in questions}


def test_masks_come_back_to_the_original_frames(journey: Journey) -> None:
    answer = read_answers(journey.sent, journey.returned)

    (series,) = journey.series
    found = answer.ground(
        series, np.zeros(0, np.float32), [one.prompt for one in journey.questions]
    )
    assert [one.is_present for one in found] == [True, True]
    assert found[0].mask_origin == (1, 2, 3)
    assert found[0].mask.shape == (1, 4, 4)
    assert found[0].mask.all()
    assert found[0].score == pytest.approx(0.9)
    assert found[0].uncertainty == pytest.approx(0.2)
    assert (answer.identity.name, answer.identity.version) == IDENTITY_NAME
    assert answer.told == ()


IDENTITY_NAME = (IDENTITY.name, IDENTITY.version)


def changed(
    journey: Journey, tmp_path: Path, change: Callable[[Dataset], None]
) -> list[Path]:
    """Return the answer with its segmentation changed and no report."""
    seg = next(one for one in journey.returned if one.name.startswith("seg"))
    ds = dcmread(seg)
    change(ds)
    path = tmp_path / "changed.dcm"
    ds.save_as(path)
    return [path]


def name_somebody_else(ds: Dataset) -> None:
    ds.PatientID = "somebody else"


def refer_elsewhere(ds: Dataset) -> None:
    item = ds.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    item.SourceImageSequence[0].ReferencedSOPInstanceUID = "2.25.99"


def be_a_picture(ds: Dataset) -> None:
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID


def be_larger(ds: Dataset) -> None:
    ds.Rows, ds.Columns = ds.Columns, ds.Rows


def have_too_many_segments(ds: Dataset) -> None:
    for number in range(3, 300):
        item = deepcopy(ds.SegmentSequence[0])
        item.SegmentNumber = number
        ds.SegmentSequence.append(item)


def have_wide_samples(ds: Dataset) -> None:
    ds.BitsAllocated = 32


def lose_pixels(ds: Dataset) -> None:
    del ds.PixelData


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (name_somebody_else, "names another patient"),
        (refer_elsewhere, "refers to what was not sent"),
        (be_a_picture, "neither a segmentation nor a structured report"),
        (be_larger, "not the size of its images"),
        (have_too_many_segments, "more segments than"),
        (have_wide_samples, "have not a segmentation's bits"),
        (lose_pixels, "unreadable"),
    ],
)
def test_an_object_that_lies_is_told_and_not_used(
    journey: Journey,
    tmp_path: Path,
    change: Callable[[Dataset], None],
    reason: str,
) -> None:
    answer = read_answers(journey.sent, changed(journey, tmp_path, change))

    assert not any(one.is_present for one in answer.found.values())
    assert [one for one in answer.told if reason in one.reason]


def test_an_object_that_fails_late_leaves_nothing_behind(
    journey: Journey, tmp_path: Path
) -> None:
    """Its first frames are in order, its last one lies nowhere."""

    def lose_the_last(ds: Dataset) -> None:
        group = ds.PerFrameFunctionalGroupsSequence[-1]
        del group.DerivationImageSequence
        group.PlanePositionSequence[0].ImagePositionPatient = [900, 900, 900]

    answer = read_answers(journey.sent, changed(journey, tmp_path, lose_the_last))

    assert [one for one in answer.told if "lies on no image" in one.reason]
    assert not any(one.is_present for one in answer.found.values())


def test_an_object_for_which_memory_lacks_is_told(
    journey: Journey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_ds: Dataset) -> Iterator[npt.NDArray[np.uint8]]:
        raise MemoryError

    monkeypatch.setattr(drawing, "frames_of", fail)

    answer = read_answers(journey.sent, changed(journey, tmp_path, lambda _ds: None))

    assert [one for one in answer.told if "unreadable" in one.reason]


def test_a_frame_is_decoded_when_it_is_asked_for(journey: Journey) -> None:
    """A stranger's SEG of thousands of frames is never in memory as a whole."""
    seg = next(one for one in journey.returned if one.name.startswith("seg"))
    ds = dcmread(seg)
    size = ds.Rows * ds.Columns
    ds.SegmentationType, ds.BitsAllocated, ds.BitsStored = "LABELMAP", 8, 8
    ds.HighBit, ds.NumberOfFrames = 7, 2
    ds.PixelData = bytes(size) + b"\1" * size
    ds.compress(RLELossless, generate_instance_uid=False)
    whole = [one.copy() for one in frames_of(ds)]
    first, _ = generate_frames(ds.PixelData, number_of_frames=2)
    ds.PixelData = encapsulate([first, b"damaged."])

    frames = frames_of(ds)

    assert np.array_equal(next(frames), whole[0])
    assert whole[1].all()
    with pytest.raises(Exception, match="RLE"):
        next(frames)


def test_a_report_that_fails_late_has_said_nothing(journey: Journey) -> None:
    report = next(one for one in journey.returned if one.name.startswith("sr"))
    ds = dcmread(report)
    measured = [item for item in items_of(ds) if "MeasuredValueSequence" in item]
    broken = Dataset()
    broken.NumericValue = ["1", "2"]
    measured[-1].MeasuredValueSequence = [broken]
    said = Said()

    with pytest.raises(TypeError):
        hear(ds, said)

    assert said.by_segment == {}
    assert said.by_words == {}


def test_a_report_with_two_classes_in_one_reference_lacks_nothing_and_is_told(
    journey: Journey, tmp_path: Path
) -> None:
    report = next(one for one in journey.returned if one.name.startswith("sr"))
    ds = dcmread(report)
    for item in items_of(ds):
        if "ReferencedSOPClassUID" in item:
            item.ReferencedSOPClassUID = ["1.2.3", "1.2.4"]
    ds.save_as(tmp_path / "two.dcm")
    ds.SOPClassUID = ["1.2.3", "1.2.4"]
    ds.save_as(tmp_path / "twice.dcm", enforce_file_format=False)
    paths = [tmp_path / "two.dcm", tmp_path / "twice.dcm"]

    assert missing_objects(paths, frozenset()) == frozenset()
    assert read_answers(journey.sent, paths).told


def test_segments_without_words_are_matched_by_their_codes(
    journey: Journey, tmp_path: Path
) -> None:
    def forget_words(ds: Dataset) -> None:
        for item in ds.SegmentSequence:
            item.SegmentLabel = "x"
            del item.SegmentDescription

    answer = read_answers(journey.sent, changed(journey, tmp_path, forget_words))

    assert all(one.is_present for one in answer.found.values())
    assert {one.uncertainty for one in answer.found.values()} == {1.0}


def test_segments_that_nobody_asked_for_are_told(
    journey: Journey, tmp_path: Path
) -> None:
    def be_something_else(ds: Dataset) -> None:
        item = ds.SegmentSequence[0]
        item.SegmentLabel = item.SegmentDescription = "spaceship"
        item.SegmentedPropertyTypeCodeSequence[0].CodeValue = "0"

    answer = read_answers(journey.sent, changed(journey, tmp_path, be_something_else))

    assert [one for one in answer.told if one.reason.startswith("1 segments")]
    assert sum(one.is_present for one in answer.found.values()) == 1


def test_frames_without_a_source_are_found_by_their_place(
    journey: Journey, tmp_path: Path
) -> None:
    def forget_sources(ds: Dataset) -> None:
        for group in ds.PerFrameFunctionalGroupsSequence:
            del group.DerivationImageSequence

    answer = read_answers(journey.sent, changed(journey, tmp_path, forget_sources))

    assert {one.mask_origin for one in answer.found.values()} == {(1, 2, 3)}


def test_an_answer_without_its_segmentation_is_known_to_lack_it(
    journey: Journey,
) -> None:
    here = frozenset(str(dcmread(one).SOPInstanceUID) for one in journey.returned)
    segs = {
        str(dcmread(one).SOPInstanceUID)
        for one in journey.returned
        if one.name.startswith("seg")
    }

    assert missing_objects(journey.returned, here) == frozenset()
    assert missing_objects(journey.returned, here - segs) == segs


def test_a_series_that_may_not_leave_is_not_processed(tmp_path: Path) -> None:
    head = make_ct_series(tmp_path / "ct", slices=2, body_part="HEAD")
    series, _ = find_series(head.instances)

    leaving = prepare(
        series,
        (),
        folder=tmp_path / "out",
        study_instance_uid=head.study_instance_uid,
        pseudonyms=PSEUDONYMS,
        options=Options(),
    )

    assert leaving.report is None
    assert list((tmp_path / "out").iterdir()) == []
    assert "slices of the head" in leaving.refused[head.series_instance_uid]

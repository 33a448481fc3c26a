"""Profile ``pacs``: presentation states, pictures, key objects and the PDF."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from conformance.created import CREATED
from dicom_node.errors import ObjectError, PixelDecodingError
from dicom_node.objects import make_objects
from dicom_node.objects.common import display_colour
from dicom_node.records import (
    ImageSeries,
    NotProcessed,
    ObjectReference,
    PhraseResult,
    PhraseStatus,
    ResultObject,
    StudyResult,
)
from dicom_node.verify import verify_objects
from tests.builders.archive_objects import (
    drawn_masks,
    make_archive,
    of_kind,
    text_of_pdf,
)
from tests.builders.dicom_series import make_ct_series, make_dx_image
from tests.builders.result_cases import SERIES, TEXTS, full_result, result_of
from tests.builders.study_results import (
    blob,
    image_series,
    make_phrase,
    make_region,
    make_result,
    mask_of,
    one_region_each,
)

SMALL = [name for name in SERIES if name not in {"odd volume", "odd radiograph"}]
Made = Callable[[str], tuple[StudyResult, tuple[ResultObject, ...]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Make the objects of each source once."""

    @cache
    def make(name: str) -> tuple[StudyResult, tuple[ResultObject, ...]]:
        folder = tmp_path_factory.mktemp("archive")
        source = folder / "source"
        result = full_result(source) if name == "all" else result_of(name, source)
        return result, make_archive(result, folder / "out")

    return make


def _archive(
    series: ImageSeries, folder: Path, **changes: object
) -> tuple[StudyResult, tuple[ResultObject, ...]]:
    result = make_result([series], one_region_each(series, ["kidney"]), **changes)
    return result, make_archive(result, folder / "out")


@pytest.mark.parametrize("name", [*SMALL, "all"])
def test_every_rule_is_kept(name: str, made: Made) -> None:
    result, objects = made(name)

    verify_objects(objects, result.series)

    kinds = {one.path.name.split("-")[0].split(".")[0] for one in objects}
    assert kinds == {"pr", "sc", "ko", "pdf"}


@pytest.mark.parametrize("name", SMALL)
def test_outlines_filled_are_the_masks(name: str, made: Made) -> None:
    result, objects = made(name)
    (series,) = result.series

    drawn = drawn_masks(of_kind(objects, "pr"), (series.rows, series.columns))

    expected = {}
    for phrase in result.phrases:
        for region in phrase.regions:
            mask = mask_of(region, series)
            for index in np.flatnonzero(mask.any(axis=(1, 2))).tolist():
                frame = series.frames[index]
                place = (frame.sop_instance_uid, frame.frame_number)
                expected[region.tracking_uid, *place] = mask[index]
    assert drawn.keys() == expected.keys()
    assert all((drawn[key] == expected[key]).all() for key in expected)


def test_phrases_are_text_in_layers_of_their_colours(made: Made) -> None:
    _, objects = made("axial")
    (ds,) = of_kind(objects, "pr")

    layers = {one.GraphicLayer: one for one in ds.GraphicLayerSequence}
    texts: dict[str, set[str]] = {}
    for item in ds.GraphicAnnotationSequence:
        (text,) = item.TextObjectSequence
        texts.setdefault(item.GraphicLayer, set()).add(text.UnformattedTextValue)

    assert texts == {f"PHRASE_{k + 1}": {text} for k, text in enumerate(TEXTS)}
    for index, text in enumerate(TEXTS):
        layer = layers[f"PHRASE_{index + 1}"]
        assert layer.GraphicLayerDescription == text
        colour = list(layer.GraphicLayerRecommendedDisplayCIELabValue)
        assert colour == list(display_colour(index).value)


@pytest.mark.parametrize("name", ["axial", "enhanced", "photograph", "all"])
def test_the_same_input_gives_the_same_bytes(
    name: str, made: Made, tmp_path: Path
) -> None:
    result, objects = made(name)

    again = make_archive(result, tmp_path)

    assert [one.sha256 for one in again] == [one.sha256 for one in objects]
    assert [one.reference for one in again] == [one.reference for one in objects]


def test_another_process_makes_the_same_bytes(tmp_path: Path) -> None:
    objects = make_archive(full_result(tmp_path / "source"), tmp_path / "here")
    program = (
        "import sys; from pathlib import Path;"
        "from tests.builders.archive_objects import make_archive;"
        "from tests.builders.result_cases import full_result;"
        "folder = Path(sys.argv[1]);"
        "make_archive(full_result(folder / 'source'), folder / 'there')"
    )

    subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        check=True,
        cwd=Path(__file__).parents[3],
        env={"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "PATH": ""},
        timeout=120,
    )

    for one in objects:
        there = (tmp_path / "there" / one.path.name).read_bytes()
        assert hashlib.sha256(there).hexdigest() == one.sha256, one.path.name


def test_nothing_found_is_said_in_words(tmp_path: Path) -> None:
    series = SERIES["axial"](tmp_path)
    absent = make_phrase("No pneumothorax", status=PhraseStatus.ABSENT)
    missed = make_phrase("kidney")
    result = make_result(
        [series],
        (
            PhraseResult(absent, PhraseStatus.ABSENT),
            PhraseResult(missed, PhraseStatus.PRESENT, score=0.25, uncertainty=0.5),
        ),
        not_processed=(NotProcessed("2.25.99", "the pixels cannot be decoded"),),
    )

    objects = make_archive(result, tmp_path / "out")

    verify_objects(objects, result.series)
    assert [one.path.name for one in objects] == ["sc-1.dcm", "pdf.dcm"]
    text = text_of_pdf(of_kind(objects, "pdf")[0])
    assert "No region is drawn" in text
    assert "No pneumothorax" in text
    assert "absent, not drawn" in text
    assert "not located" in text
    assert "Series 2.25.99: the pixels cannot be decoded" in text


def test_a_study_without_series_and_phrases_gets_a_document(tmp_path: Path) -> None:
    instances = make_ct_series(tmp_path, slices=1).instances
    result = make_result([], (), instances=instances)

    objects = make_archive(result, tmp_path / "out")

    verify_objects(objects, ())
    assert "there was no phrase to look for" in text_of_pdf(of_kind(objects, "pdf")[0])


def test_the_pdf_holds_what_the_result_holds(made: Made) -> None:
    _, objects = made("all")
    (ds,) = of_kind(objects, "pdf")

    text = text_of_pdf(ds)

    assert text.startswith("AI - not for diagnostic use")
    for expected in (
        "Small effusion on the right",
        "left kidney",
        "No pneumothorax",
        "Possible mass",
        "Report: sr:2.25.77",
        "synthetic-model 1.2.3",
        "series 1: 4-8",
        "88 %",
        "0.125",
        "Kidney (64033007, SCT)",
        "Series 2.25.99: the pixels cannot be decoded",
    ):
        assert expected in text
    assert len({one.ReferencedSOPInstanceUID for one in ds.SourceInstanceSequence}) == 9


LETTERS = (
    "Müller, Ménière: ≥ 5 mm",
    "Ελληνικά: ηπατομεγαλία",
    "Печень увеличена",
    "肝脏肿大。无腹水",
    "左の腎臓です",
    "간 비대",
    "a < b & c > d </para>",
)


def test_letters_of_many_languages_are_in_every_object(tmp_path: Path) -> None:
    series = SERIES["axial"](tmp_path)
    texts = (*LETTERS, "emoji \N{GRINNING FACE} here", "word " * 900, "x" * 400)
    result = make_result([series], one_region_each(series, texts))

    objects = make_archive(result, tmp_path / "out")

    verify_objects(objects, result.series)
    text = text_of_pdf(of_kind(objects, "pdf")[0])
    assert [one for one in LETTERS if one not in text] == []
    assert "emoji [U+1F600] here" in text
    assert text.count("word") == 900
    assert text.count("x" * 10) >= 30
    assert "can be copied from here as text" in text
    (presentation,) = of_kind(objects, "pr")
    drawn = {
        item.TextObjectSequence[0].UnformattedTextValue
        for item in presentation.GraphicAnnotationSequence
    }
    assert set(LETTERS) <= drawn
    assert presentation.SpecificCharacterSet == "ISO_IR 192"


def test_key_objects_name_frames_states_and_pictures(made: Made) -> None:
    _, objects = made("all")
    (ds,) = of_kind(objects, "ko")
    captures = of_kind(objects, "sc")
    states = {one.SOPInstanceUID for one in of_kind(objects, "pr")}

    items = [one for one in ds.ContentSequence if one.ValueType == "IMAGE"]
    (text,) = [one for one in ds.ContentSequence if one.ValueType == "TEXT"][-1:]

    chosen = [one.ReferencedSOPSequence[0] for one in items]
    assert [one.ReferencedSOPInstanceUID for one in chosen[:2]] == [
        captures[0].SourceImageSequence[0].ReferencedSOPInstanceUID,
        captures[1].SourceImageSequence[0].ReferencedSOPInstanceUID,
    ]
    named = {
        one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in chosen[:2]
    }
    assert named == states
    assert [one.ReferencedSOPInstanceUID for one in chosen[2:]] == [
        one.SOPInstanceUID for one in captures
    ]
    assert text.TextValue.startswith("AI - not for diagnostic use")
    assert "Small effusion on the right" in text.TextValue
    assert "left kidney" in text.TextValue


def test_pictures_mark_the_mask_in_the_colour_of_its_phrase(made: Made) -> None:
    result, objects = made("radiograph")
    picture = of_kind(objects, "sc")[0]
    (series,) = result.series
    side = 512

    pixels = picture.pixel_array.astype(int)

    shape = (side, round(side * series.columns / series.rows))
    seen = pixels[: shape[0], : shape[1]]
    for index, phrase in enumerate(result.phrases):
        mask = mask_of(phrase.regions[0], series)[0]
        others = np.any(
            [
                mask_of(o.regions[0], series)[0]
                for o in result.phrases
                if o is not phrase
            ],
            axis=0,
        )
        colour = np.array(display_colour(index).to_rgb(), int)
        is_colour = (np.abs(seen - colour).max(axis=2) <= 1).nonzero()
        rows = is_colour[0] * series.rows // shape[0]
        columns = is_colour[1] * series.columns // shape[1]
        assert mask[rows, columns].all()  # the colour is on the mask and nowhere else
        marked = np.zeros_like(mask)
        marked[rows, columns] = True
        assert marked[mask & ~others].mean() > 0.9


def test_at_most_twelve_key_frames_are_painted_and_the_rest_is_counted(
    tmp_path: Path,
) -> None:
    series = image_series(make_ct_series(tmp_path, slices=15).instances)
    phrases = []
    for index in range(15):
        mask = np.zeros((15, series.rows, series.columns), bool)
        mask[index, 4:9, 6 : 8 + index] = True
        region = make_region(series, mask, f"{index}")
        phrases.append(
            PhraseResult(make_phrase(f"p{index}"), PhraseStatus.PRESENT, (region,), 0.5)
        )
    result = make_result([series], phrases)

    objects = make_archive(result, tmp_path / "out")

    keys = [one for one in of_kind(objects, "sc") if "SourceImageSequence" in one]
    assert len(keys) == 12
    assert "3 more key frames are not shown" in text_of_pdf(of_kind(objects, "pdf")[0])
    (selection,) = of_kind(objects, "ko")
    texts = [one.TextValue for one in selection.ContentSequence if "TextValue" in one]
    assert "3 more key frames are not selected." in texts[-1]


def _change(series: ImageSeries, change: Callable[[int, Dataset], None]) -> None:
    for number, path in enumerate({one.path: None for one in series.frames}):
        ds = dcmread(path)
        change(number, ds)
        ds.save_as(path)


def test_frames_with_other_rescales_have_states_of_their_own(tmp_path: Path) -> None:
    series = SERIES["axial"](tmp_path)
    _change(series, lambda k, ds: setattr(ds, "RescaleSlope", 1 + k % 2))

    result, objects = _archive(series, tmp_path)

    verify_objects(objects, result.series)
    states = of_kind(objects, "pr")
    assert sorted(float(one.RescaleSlope) for one in states) == [1, 2]
    assert len({one.SeriesInstanceUID for one in states}) == 2
    assert [one.SeriesNumber for one in states] == [9003, 9004]


def test_windows_are_those_of_their_images(tmp_path: Path) -> None:
    series = SERIES["axial"](tmp_path)

    def change(number: int, ds: Dataset) -> None:
        ds.WindowCenter, ds.WindowWidth = (
            [[50, 300], [40, 400]][number % 2],
            [350, 1500],
        )

    _change(series, change)
    _, objects = _archive(series, tmp_path)
    (state,) = of_kind(objects, "pr")

    centers = {
        image.ReferencedSOPInstanceUID: float(item.WindowCenter)
        for item in state.SoftcopyVOILUTSequence
        for image in item.ReferencedImageSequence
    }
    expected = {
        one.sop_instance_uid: [50, 40][k % 2] for k, one in enumerate(series.frames)
    }
    assert centers == {uid: expected[uid] for uid in centers}
    assert set(centers.values()) == {50, 40}


def test_a_radiograph_without_window_gets_one_that_fits(tmp_path: Path) -> None:
    series = SERIES["radiograph"](tmp_path)

    def change(number: int, ds: Dataset) -> None:
        del ds.WindowCenter, ds.WindowWidth

    _change(series, change)
    _, objects = _archive(series, tmp_path)
    (state,) = of_kind(objects, "pr")

    (item,) = state.SoftcopyVOILUTSequence
    pixels = dcmread(series.frames[0].path).pixel_array
    low, high = np.percentile(pixels, (1, 99.5))
    assert float(item.WindowWidth) == pytest.approx(high - low + 1)
    assert float(item.WindowCenter) == pytest.approx((low + high) / 2 + 0.5)


def test_a_negative_is_shown_as_one(tmp_path: Path) -> None:
    series = image_series(make_dx_image(tmp_path, photometric="MONOCHROME1").instances)

    def change(number: int, ds: Dataset) -> None:
        del ds.WindowCenter, ds.WindowWidth

    _change(series, change)
    result, objects = _archive(series, tmp_path)

    verify_objects(objects, result.series)
    (state,) = of_kind(objects, "pr")
    assert state.PresentationLUTShape == "INVERSE"
    pixels = dcmread(series.frames[0].path).pixel_array
    (item,) = state.SoftcopyVOILUTSequence
    low, high = np.percentile(pixels, (0.5, 99))
    assert float(item.WindowWidth) == pytest.approx(high - low + 1)
    assert float(item.WindowCenter) == pytest.approx((low + high) / 2 + 0.5)


def test_pixels_that_are_not_square_are_shown_in_their_proportions(
    tmp_path: Path,
) -> None:
    images = make_dx_image(
        tmp_path / "source", spacing_mm=None, changes={"PixelAspectRatio": [5, 6]}
    )
    series = image_series(images.instances)
    result = make_result([series], one_region_each(series, TEXTS[:1]))

    objects = make_archive(result, tmp_path / "made")

    (state,), (picture, *_) = of_kind(objects, "pr"), of_kind(objects, "sc")
    (area,) = state.DisplayedAreaSelectionSequence
    assert area.PresentationPixelAspectRatio == [5, 6]
    # 64 rows of five sixths: nearly square.
    assert (picture.Rows, picture.Columns - 430) == (512, round(512 * 48 / 64 * 6 / 5))


def test_a_lookup_table_of_the_source_is_kept(tmp_path: Path) -> None:
    series = SERIES["radiograph"](tmp_path)
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [256, 0, 8])
    table.add_new("LUTData", "OW", bytes(range(256)) * 2)

    def change(number: int, ds: Dataset) -> None:
        del ds.WindowCenter, ds.WindowWidth
        ds.VOILUTSequence = [table]

    _change(series, change)
    result, objects = _archive(series, tmp_path)

    verify_objects(objects, result.series)
    (state,) = of_kind(objects, "pr")
    (copy,) = state.SoftcopyVOILUTSequence[0].VOILUTSequence
    assert list(copy.LUTDescriptor) == [256, 0, 8]
    assert copy.LUTData == table.LUTData


def test_colour_images_have_colour_states(made: Made) -> None:
    _, objects = made("photograph")
    (state,) = of_kind(objects, "pr")

    assert state.SOPClassUID.name == "Color Softcopy Presentation State Storage"
    assert state.ICCProfile[12:24] == b"scnrRGB XYZ "
    assert "SoftcopyVOILUTSequence" not in state


def test_lossy_sources_make_lossy_pictures(tmp_path: Path) -> None:
    series = SERIES["radiograph"](tmp_path)

    def change(number: int, ds: Dataset) -> None:
        ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", "12.5"
        ds.LossyImageCompressionMethod = "ISO_10918_1"

    _change(series, change)
    _, objects = _archive(series, tmp_path)
    picture, page = of_kind(objects, "sc")

    assert picture.LossyImageCompression == "01"
    assert picture.LossyImageCompressionMethod == "ISO_10918_1"
    assert page.LossyImageCompression == "00"


def test_an_outline_beyond_one_element_is_cut(tmp_path: Path) -> None:
    series = image_series(make_dx_image(tmp_path, rows=6, columns=5000).instances)
    comb = np.zeros((1, 6, 5000), bool)
    comb[0, 1] = True
    comb[0, 2:5, ::2] = True  # 2500 teeth of four corners each
    region = make_region(series, comb, "comb")
    phrase = PhraseResult(make_phrase("k"), PhraseStatus.PRESENT, (region,), 0.5)
    result = make_result([series], (phrase,))

    objects = make_archive(result, tmp_path / "out")

    verify_objects(objects, result.series)
    (state,) = of_kind(objects, "pr")
    graphics = state.GraphicAnnotationSequence[0].GraphicObjectSequence
    assert max(int(one.NumberOfGraphicPoints) for one in graphics) == 8000
    (drawn,) = drawn_masks([state], (6, 5000)).values()
    assert (drawn == comb[0]).all()


def test_what_is_superseded_is_named_by_kind(made: Made, tmp_path: Path) -> None:
    result, objects = made("axial")
    earlier = tuple(
        ObjectReference(
            one.reference.sop_class_uid, f"2.25.{k}", f"2.25.10{k}", "2.25.1"
        )
        for k, one in enumerate(objects)
    )

    later = make_archive(replace(result, predecessors=earlier), tmp_path)

    verify_objects(later, result.series)
    by_class = {one.sop_class_uid: one for one in earlier}
    for one in later:
        ds = dcmread(one.path)
        expected = {
            old.series_instance_uid
            for old in earlier
            if old.sop_class_uid == one.reference.sop_class_uid
        }
        if ds.Modality in {"PR", "OT"}:
            related = {item.SeriesInstanceUID for item in ds.RelatedSeriesSequence}
            assert related == expected
        if ds.Modality == "DOC":
            (study,) = ds.PredecessorDocumentsSequence
            (named,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
            old = by_class[ds.SOPClassUID]
            assert named.ReferencedSOPInstanceUID == old.sop_instance_uid


@pytest.mark.parametrize("name", ["all", "photograph"])
def test_the_tables_of_the_statement_are_what_is_created(name: str, made: Made) -> None:
    _, objects = made(name)

    for one in objects:
        ds = dcmread(one.path)
        table = {row.keyword: row for row in CREATED[one.reference.sop_class_uid]}
        present = {element.keyword for element in ds}
        assert present - set(table) == set()
        always = {word for word, row in table.items() if row.presence == "ALWAYS"}
        assert always - present == set()
        for keyword, row in table.items():
            if row.value is not None and keyword in present:
                assert str(ds[keyword].value) == row.value, keyword
            if row.presence == "EMPTY":
                assert ds[keyword].is_empty


def test_pictures_need_somebody_to_read_pixels(made: Made, tmp_path: Path) -> None:
    result, _ = made("axial")

    with pytest.raises(ObjectError, match="no pixel reader"):
        make_objects(result, profile="pacs", out_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_frame_that_cannot_be_read_leaves_nothing_behind(tmp_path: Path) -> None:
    series = SERIES["radiograph"](tmp_path)
    result = make_result([series], one_region_each(series, TEXTS))
    ds = dcmread(series.frames[0].path)
    ds.PixelData = ds.PixelData[:100]
    ds.save_as(series.frames[0].path)
    out = tmp_path / "out"

    with pytest.raises(PixelDecodingError):
        make_archive(result, out)
    assert list(out.iterdir()) == []


def test_a_mask_that_leaves_its_series_is_refused(tmp_path: Path) -> None:
    series = SERIES["radiograph"](tmp_path)
    region = make_region(series, blob(series, 1), "k")
    far = replace(region, mask_origin=(0, series.rows - 1, 0))
    phrase = PhraseResult(make_phrase("k"), PhraseStatus.PRESENT, (far,), 0.5)

    with pytest.raises(ObjectError, match="leaves its series"):
        make_archive(make_result([series], (phrase,)), tmp_path / "out")


def test_other_profiles_read_no_pixels(tmp_path: Path) -> None:
    class Nobody:
        def read(self, series: ImageSeries) -> np.ndarray:
            raise AssertionError("pixels were read")

    result = result_of("axial", tmp_path / "source")

    objects = make_objects(result, out_dir=tmp_path, reader=Nobody())

    assert [one.path.name for one in objects] == ["seg-1.dcm", "sr.dcm"]

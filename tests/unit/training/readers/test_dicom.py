"""DICOM's own labels come back as they were written, by us and by others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from highdicom import sr
from pydicom import dcmread
from pydicom.sr.codedict import codes

from dicom_node.imaging import CanonicalGrid
from dicom_node.objects import make_objects
from dicom_node.records import ImageSeries, PhraseResult, PhraseStatus
from tests.builders.dicom_series import make_ct_series, make_dx_image, pattern_hu
from tests.builders.reports import make_basic_text_sr, store_document
from tests.builders.result_cases import SERIES, full_result, result_of
from tests.builders.study_results import (
    EFFUSION,
    image_series,
    make_phrase,
    make_result,
    mask_of,
    one_region_each,
)
from tests.builders.volume_files import make_spec
from training.errors import DatasetError
from training.readers import SourceImage, SourceRegion, find_reader

SPEC = make_spec("dicom")
KIDNEY = codes.SCT.Kidney


def read(root: Path, **layout: Any) -> list[SourceImage]:
    return list(find_reader("dicom")(root, make_spec("dicom", layout=layout)))


def load(region: SourceRegion) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    assert region.mask is not None
    return region.mask()


def write_objects(result: Any, folder: Path, profile: str = "default") -> None:
    folder.mkdir(parents=True)
    make_objects(result, profile=profile, out_dir=folder)


@pytest.mark.parametrize(
    ("name", "profile"),
    [(name, "default") for name in SERIES]
    + [(name, "labelmap") for name in ("oblique", "cine", "odd radiograph")]
    + [(name, "ohif") for name in ("sagittal", "radiograph", "one slice")],
)
def test_our_own_results_come_back_with_masks_and_words(
    name: str, profile: str, tmp_path: Path
) -> None:
    result = result_of(name, tmp_path / "images", ("left kidney", "Small effusion"))
    write_objects(result, tmp_path / "results", profile)
    series = result.series[0]
    grid = CanonicalGrid.of(series)

    images = read(tmp_path)

    expected = {
        one.phrase.text: mask_of(one.regions[0], series) for one in result.phrases
    }
    if name in {"radiograph", "odd radiograph", "cine", "odd cine", "photograph"} or (
        name == "radiograph without spacing"
    ):
        _check_frames(images, expected)
        return
    (image,) = images
    assert image.load().is_volume
    assert {region.phrase for region in image.regions} == set(expected)
    for region in image.regions:
        turned = grid.apply(expected[str(region.phrase)])
        np.testing.assert_array_equal(load(region), turned)
        assert region.label == "kidney"
        assert region.codes["type"] == ("64033007", "SCT", "Kidney")
        assert region.tier == "pseudo"


def _check_frames(images: list[SourceImage], expected: dict[str, Any]) -> None:
    found = {text: np.zeros_like(mask) for text, mask in expected.items()}
    for image in images:
        _, _, number = image.image_id.partition("/")
        frame = int(number) - 1 if number else 0
        picture = image.load()
        assert not picture.is_volume
        for region in image.regions:
            mask = load(region)
            assert mask.shape == picture.pixels.shape[:2]
            found[str(region.phrase)][frame] = mask
    for text, mask in expected.items():
        np.testing.assert_array_equal(found[text], mask)


def test_a_volume_is_loaded_in_canonical_axes(tmp_path: Path) -> None:
    result = result_of("sagittal", tmp_path / "images", ("left kidney",))
    write_objects(result, tmp_path / "results")
    series = result.series[0]

    (image,) = read(tmp_path)

    picture = image.load()
    expected = CanonicalGrid.of(series).apply(pattern_hu((8, 24, 32)))
    np.testing.assert_array_equal(picture.pixels, expected)
    assert picture.spacing_mm == pytest.approx((0.8, 0.7, 5.0))
    assert (image.modality, image.body_part) == ("CT", "abdomen")
    assert image.study_id == series.study_instance_uid


def test_reports_say_what_is_absent_and_what_is_doubtful(tmp_path: Path) -> None:
    series = SERIES["axial"](tmp_path / "images")
    doubtful = one_region_each(series, ["possible mass"], status=PhraseStatus.UNCERTAIN)
    absent = make_phrase("effusion", finding=EFFUSION, status=PhraseStatus.ABSENT)
    phrases = (
        *(replace(one, status=PhraseStatus.UNCERTAIN) for one in doubtful),
        PhraseResult(absent, PhraseStatus.ABSENT),
    )
    write_objects(make_result([series], phrases), tmp_path / "results")

    (image,) = read(tmp_path)

    assert [(one.phrase, one.status) for one in image.regions] == [
        ("possible mass", "uncertain"),
        ("effusion", "absent"),
    ]
    assert image.regions[1].mask is None
    assert image.regions[1].codes["type"][2] == "Pleural effusion"


def test_every_kind_of_result_can_be_read(tmp_path: Path) -> None:
    write_objects(full_result(tmp_path / "images"), tmp_path / "results")

    volume, picture = sorted(read(tmp_path), key=lambda one: one.modality)

    assert volume.load().is_volume
    assert not picture.load().is_volume
    phrases = {(one.phrase, one.status) for one in (*volume.regions, *picture.regions)}
    assert ("Small effusion on the right", "present") in phrases
    assert ("left kidney", "present") in phrases
    assert ("No pneumothorax", "absent") in phrases
    (effusion,) = (one for one in volume.regions if one.status == "present")
    assert effusion.laterality == "R"
    assert effusion.codes["site"][2] == "Pleural cavity"


def foreign_segmentation(
    folder: Path,
    masks: np.ndarray[Any, Any],
    *,
    kind: str = "BINARY",
    algorithm: str = "MANUAL",
    shape: tuple[int, int, int] = (8, 24, 32),
    reverse: bool = False,
) -> tuple[ImageSeries, Path]:
    """Write a SEG as highdicom does, without our node."""
    slices, rows, columns = shape
    written = make_ct_series(
        folder / "images", slices=slices, rows=rows, columns=columns, reverse=reverse
    )
    sources = [dcmread(path) for path in written.paths]
    automatic = algorithm != "MANUAL"
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"Reader's name for {number}",
            segmented_property_category=sr.CodedConcept(
                "123037004", "SCT", "Anatomical Structure"
            ),
            segmented_property_type=KIDNEY,
            algorithm_type=algorithm,
            algorithm_identification=hd.AlgorithmIdentificationSequence(
                "model", codes.cid7162.ArtificialIntelligence, "1"
            )
            if automatic
            else None,
        )
        for number in range(1, masks.shape[-1] + 1)
    ]
    for number, side in enumerate((codes.SCT.Left, codes.SCT.Right)[: len(segments)]):
        item = segments[number].SegmentedPropertyTypeCodeSequence[0]
        item.SegmentedPropertyTypeModifierCodeSequence = [
            sr.CodedConcept.from_code(side)
        ]
    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=masks,
        segmentation_type=kind,
        segment_descriptions=segments,
        series_instance_uid="2.25.11",
        series_number=5,
        sop_instance_uid="2.25.12",
        instance_number=1,
        manufacturer="Somebody",
        manufacturer_model_name="Something",
        software_versions="1",
        device_serial_number="1",
        max_fractional_value=200,
        fractional_type="PROBABILITY",
    )
    path = folder / "labels.dcm"
    segmentation.save_as(path)
    return image_series(written.instances), path


def two_masks(shape: tuple[int, int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    drawn = np.random.default_rng(4).random((*shape, 2)) < 0.2
    drawn[..., 1] &= ~drawn[..., 0]
    drawn[2] = False
    return drawn.astype(np.uint8)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
@pytest.mark.parametrize("shape", [(8, 24, 32), (5, 13, 11)])
@pytest.mark.parametrize("reverse", [False, True])
def test_segmentations_of_others_agree_with_highdicom(
    kind: str, shape: tuple[int, int, int], reverse: bool, tmp_path: Path
) -> None:
    masks = two_masks(shape)
    pixels = masks if kind != "FRACTIONAL" else masks * np.float32(0.7) + 0.2
    _, path = foreign_segmentation(
        tmp_path, pixels, kind=kind, shape=shape, reverse=reverse
    )

    (image,) = read(tmp_path)

    segmentation = hd.seg.segread(path)
    order = [
        str(dcmread(one).SOPInstanceUID)
        for one in sorted((tmp_path / "images").iterdir())
    ]
    theirs = segmentation.get_pixels_by_source_instance(
        order, combine_segments=False, rescale_fractional=True,
        assert_missing_frames_are_empty=True,
    )[:: -1 if reverse else 1]  # fmt: skip
    assert len(image.regions) == 2
    for number, region in enumerate(image.regions):
        np.testing.assert_array_equal(load(region), theirs[..., number] >= 0.5)
        expected = masks[:: -1 if reverse else 1, ..., number]
        np.testing.assert_array_equal(load(region), expected == 1)


@pytest.mark.parametrize(
    ("algorithm", "tier"),
    [("MANUAL", "manual"), ("SEMIAUTOMATIC", "manual"), ("AUTOMATIC", "pseudo")],
)
def test_who_drew_a_segment_decides_its_tier(
    algorithm: str, tier: str, tmp_path: Path
) -> None:
    foreign_segmentation(tmp_path, two_masks((8, 24, 32)), algorithm=algorithm)

    (image,) = read(tmp_path)

    assert {region.tier for region in image.regions} == {tier}


def test_codes_name_segments_and_their_sides(tmp_path: Path) -> None:
    foreign_segmentation(tmp_path, two_masks((8, 24, 32)))

    (image,) = read(tmp_path)
    (verbatim,) = read(tmp_path, phrase="label")

    assert [(one.label, one.phrase) for one in image.regions] == [
        ("left kidney", None),
        ("right kidney", None),
    ]
    assert [one.laterality for one in image.regions] == ["L", "R"]
    assert [one.phrase for one in verbatim.regions] == [
        "Reader's name for 1",
        "Reader's name for 2",
    ]
    assert image.label_space is None


def test_a_segmentation_of_a_part_is_pasted_in_its_place(tmp_path: Path) -> None:
    masks = two_masks((8, 24, 32))
    _, path = foreign_segmentation(tmp_path, masks)
    ds = dcmread(path)
    shared = ds.SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.8, 0.7]
    whole = hd.seg.segread(path).pixel_array
    ds.Rows, ds.Columns = 16, 24
    ds.PixelData = np.packbits(
        whole[:, 3:19, 5:29].ravel(), bitorder="little"
    ).tobytes()
    for group in ds.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0]
        x, y, z = (float(v) for v in position.ImagePositionPatient)
        position.ImagePositionPatient = [x + 5 * 0.7, y + 3 * 0.8, z]
    ds.save_as(path)

    (image,) = read(tmp_path)

    expected = np.zeros_like(masks[..., 0])
    expected[:, 3:19, 5:29] = masks[:, 3:19, 5:29, 0]
    np.testing.assert_array_equal(load(image.regions[0]), expected == 1)


@pytest.mark.parametrize("offset", [0.3, 0.5])
def test_a_segmentation_on_another_grid_is_refused(
    offset: float, tmp_path: Path
) -> None:
    _, path = foreign_segmentation(tmp_path, two_masks((8, 24, 32)))
    ds = dcmread(path)
    for group in ds.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0]
        x, y, z = (float(v) for v in position.ImagePositionPatient)
        position.ImagePositionPatient = [x + offset * 0.7, y, z]
    ds.save_as(path)

    with pytest.raises(DatasetError, match=r"labels\.dcm: frame 1 lies on none"):
        read(tmp_path)


def test_labels_without_their_images_are_named(tmp_path: Path) -> None:
    _, path = foreign_segmentation(tmp_path, two_masks((8, 24, 32)))
    for image in (tmp_path / "images").iterdir():
        image.unlink()

    with pytest.raises(DatasetError, match=rf"{path.name}: the images"):
        read(tmp_path)
    assert read(tmp_path, broken_labels="skip") == []


def test_studies_are_told_apart_by_references_and_keep_their_reports(
    tmp_path: Path,
) -> None:
    first = result_of("axial", tmp_path / "mixed" / "a", ("left kidney",))
    write_objects(first, tmp_path / "mixed" / "results")
    other = make_ct_series(tmp_path / "mixed", study_uid="2.25.900", name="other")
    series = image_series(other.instances)
    second = make_result([series], one_region_each(series, ["right kidney"]))
    write_objects(second, tmp_path / "mixed" / "b")
    document = make_basic_text_sr(
        {"Findings": "The right kidney is small."}, study_uid="2.25.900"
    )
    store_document(document, tmp_path / "mixed")

    images = {one.study_id: one for one in read(tmp_path)}

    assert set(images) == {"2.25.900", first.study_instance_uid}
    newer = images["2.25.900"]
    assert [one.phrase for one in newer.regions] == ["right kidney"]
    assert newer.report is not None
    assert "The right kidney is small." in newer.report
    assert images[first.study_instance_uid].report is None


def test_files_that_are_no_dicom_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no DICOM"):
        read(tmp_path)
    _, path = foreign_segmentation(tmp_path, two_masks((8, 24, 32)))
    (tmp_path / "LICENSE").write_text("CC BY 4.0")
    assert len(read(tmp_path)) == 1
    ds = dcmread(path)
    del ds.SegmentSequence
    ds.save_as(path)
    with pytest.raises(DatasetError, match=r"labels\.dcm: is no segmentation"):
        read(tmp_path)
    path.write_bytes(b"nonsense" * 40)
    with pytest.raises(DatasetError, match=r"labels\.dcm"):
        read(tmp_path)


def test_broken_pixels_are_named_when_they_are_loaded(tmp_path: Path) -> None:
    _, path = foreign_segmentation(tmp_path, two_masks((8, 24, 32)))
    (image,) = read(tmp_path)
    ds = dcmread(path)
    ds.PixelData = ds.PixelData[:4]
    ds.save_as(path)
    source = tmp_path / "images" / "ct_0003.dcm"
    source.write_bytes(source.read_bytes()[:-300])

    with pytest.raises(DatasetError, match=r"labels\.dcm: cannot be decoded"):
        load(image.regions[0])
    with pytest.raises(DatasetError, match=r"ct_0003\.dcm: cannot be decoded"):
        image.load()


def test_unlabelled_images_are_read_when_asked_for(tmp_path: Path) -> None:
    make_ct_series(tmp_path / "ct")
    make_dx_image(tmp_path / "dx")

    assert read(tmp_path) == []
    assert len(read(tmp_path, unlabelled=True)) == 2

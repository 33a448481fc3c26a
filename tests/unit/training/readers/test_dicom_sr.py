"""Measurement reports of others become regions on the frames that they draw on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from highdicom import sr
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

from dicom_node.imaging import CanonicalGrid
from tests.builders.dicom_series import SyntheticSeries, make_ct_series, make_dx_image
from tests.builders.study_results import image_series
from tests.builders.volume_files import make_spec
from training.errors import DatasetError
from training.readers import SourceImage, SourceRegion, find_reader
from training.readers.dicom_series import hashed_uid

PRONE = ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
NODULE = sr.CodedConcept("27925004", "SCT", "Nodule")
LUNG = sr.CodedConcept("39607008", "SCT", "Lung")
TRIANGLE = np.array([[4.0, 3.0], [20.0, 3.0], [20.0, 15.0], [4.0, 3.0]])
"""Column and row of corners; the first pixel's corner is (0, 0)."""


def read(root: Path) -> list[SourceImage]:
    return list(find_reader("dicom")(root, make_spec("dicom")))


def load(region: SourceRegion) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    assert region.mask is not None
    return region.mask()


def group(
    number: int, **places: Any
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=f"2.25.4{number}", identifier="n"
        ),
        finding_type=NODULE,
        finding_sites=[sr.FindingSite(LUNG, laterality=codes.SCT.Left)],
        **places,
    )


def write_report(
    path: Path, evidence: Sequence[Dataset], groups: Sequence[sr.ContentItem]
) -> None:
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid="2.25.31"
        ),
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=groups,
    )
    document = sr.Comprehensive3DSR(
        evidence=evidence,
        content=report[0],
        series_instance_uid="2.25.32",
        series_number=9,
        sop_instance_uid="2.25.33",
        instance_number=1,
        manufacturer="Somebody",
    )
    document.save_as(path)


def drawn(
    images: SyntheticSeries, index: int, graphic: str, points: np.ndarray[Any, Any]
) -> sr.ImageRegion:
    source = dcmread(images.paths[index])
    return sr.ImageRegion(
        graphic_type=sr.GraphicTypeValues[graphic],
        graphic_data=points,
        source_image=sr.SourceImageForRegion.from_source_image(source),
    )


def test_an_outline_is_a_mask_on_its_frame_alone(tmp_path: Path) -> None:
    images = make_ct_series(tmp_path / "ct")
    region = drawn(images, 2, "POLYLINE", TRIANGLE)
    sources = [dcmread(path) for path in images.paths]
    write_report(tmp_path / "sr.dcm", sources, [group(1, referenced_region=region)])

    (image,) = read(tmp_path)

    picture = image.load()
    assert not picture.is_volume
    np.testing.assert_array_equal(picture.pixels, images.voxels[2])
    assert image.image_id == hashed_uid(
        make_spec("dicom").id, sources[2].SOPInstanceUID
    )
    assert sources[2].SOPInstanceUID not in image.image_id
    (found,) = image.regions
    assert found.boxes_xyxy == ((4.0, 3.0, 20.0, 15.0),)
    area = 16 * 12 / 2
    assert abs(int(load(found).sum()) - area) < 16
    rows, columns = np.nonzero(load(found))
    assert ((columns + 0.5 - 4) * 12 >= (rows + 0.5 - 3) * 16 - 1e-9).all()


def test_words_and_codes_of_a_group_are_kept(tmp_path: Path) -> None:
    images = make_ct_series(tmp_path / "ct")
    region = drawn(images, 2, "POLYLINE", TRIANGLE)
    sources = [dcmread(path) for path in images.paths]
    one = group(1, referenced_region=region)
    one[0].ContentSequence.append(
        sr.TextContentItem(
            codes.DCM.Comment,
            "6 mm nodule in the left upper lobe",
            sr.RelationshipTypeValues.CONTAINS,
        )
    )
    write_report(tmp_path / "sr.dcm", sources, [one])

    (image,) = read(tmp_path)

    (found,) = image.regions
    assert found.phrase == "6 mm nodule in the left upper lobe"
    assert (found.label, found.laterality) == ("nodule", "L")
    assert found.codes == {
        "type": ("27925004", "SCT", "Nodule"),
        "site": ("39607008", "SCT", "Lung"),
    }
    assert found.tier is None


@pytest.mark.parametrize(
    ("graphic", "points", "box"),
    [
        ("CIRCLE", [[10, 8], [15, 8]], (5, 3, 15, 13)),
        ("ELLIPSE", [[4, 8], [16, 8], [10, 5], [10, 11]], (4, 5, 16, 11)),
        ("POLYLINE", [[2, 3], [9, 3], [9, 8], [2, 8], [2, 3]], (2, 3, 9, 8)),
    ],
)
def test_shapes_round_a_finding_are_boxes(
    graphic: str,
    points: list[list[float]],
    box: tuple[float, ...],
    tmp_path: Path,
) -> None:
    images = make_ct_series(tmp_path / "ct")
    region = drawn(images, 3, graphic, np.array(points, float))
    sources = [dcmread(path) for path in images.paths]
    write_report(tmp_path / "sr.dcm", sources, [group(1, referenced_region=region)])

    (image,) = read(tmp_path)

    (found,) = image.regions
    assert found.mask is None
    assert found.boxes_xyxy[0] == pytest.approx(box, abs=0.05)


def test_boxes_and_outlines_turn_with_their_frame(tmp_path: Path) -> None:
    images = make_ct_series(tmp_path / "ct", orientation=PRONE)
    series = image_series(images.instances)
    sources = [dcmread(path) for path in images.paths]
    region = drawn(images, 2, "POLYLINE", TRIANGLE)
    write_report(tmp_path / "sr.dcm", sources, [group(1, referenced_region=region)])

    (image,) = read(tmp_path)

    (found,) = image.regions
    turned = CanonicalGrid.of(series).apply(images.voxels)[2]
    np.testing.assert_array_equal(image.load().pixels, turned)
    assert found.boxes_xyxy == ((12.0, 9.0, 28.0, 21.0),)
    rows, columns = np.nonzero(load(found))
    assert (columns.min(), columns.max() + 1) == (12, 27)
    assert rows.max() + 1 == 21


def test_outlines_in_the_patient_find_their_frame(tmp_path: Path) -> None:
    images = make_ct_series(tmp_path / "ct")
    sources = [dcmread(path) for path in images.paths]
    assert images.affine_lps is not None
    corners = np.column_stack([np.full(4, 5.0), TRIANGLE[:, ::-1] - 0.5, np.ones(4)])
    lps = (images.affine_lps @ corners.T)[:3].T
    region = sr.ImageRegion3D(
        graphic_type=sr.GraphicTypeValues3D.POLYGON,
        graphic_data=lps,
        frame_of_reference_uid=str(images.frame_of_reference_uid),
    )
    both = [
        group(1, referenced_region=region),
        group(2, referenced_region=drawn(images, 5, "POLYLINE", TRIANGLE)),
    ]
    write_report(tmp_path / "sr.dcm", sources, both)

    (image,) = read(tmp_path)

    assert image.image_id == hashed_uid(
        make_spec("dicom").id, sources[5].SOPInstanceUID
    )
    assert sources[5].SOPInstanceUID not in image.image_id
    first, second = image.regions
    assert first.boxes_xyxy[0] == pytest.approx(second.boxes_xyxy[0], abs=1e-3)
    assert np.count_nonzero(load(first) ^ load(second)) <= 2


def test_points_and_lines_are_no_regions(tmp_path: Path) -> None:
    images = make_ct_series(tmp_path / "ct")
    sources = [dcmread(path) for path in images.paths]
    line = np.array([[3.0, 4.0], [9.0, 8.0]])
    places = [
        drawn(images, 1, "POINT", line[:1]),
        drawn(images, 1, "POLYLINE", line),
    ]
    groups = [group(n, referenced_region=one) for n, one in enumerate(places)]
    write_report(tmp_path / "sr.dcm", sources, groups)

    assert read(tmp_path) == []


def test_a_segment_that_a_report_names_has_its_words(tmp_path: Path) -> None:
    images = make_ct_series(tmp_path / "ct")
    sources = [dcmread(path) for path in images.paths]
    mask = np.zeros((8, 24, 32), np.uint8)
    mask[3:5, 6:12, 9:20] = 1
    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=mask,
        segmentation_type="BINARY",
        segment_descriptions=[
            hd.seg.SegmentDescription(
                segment_number=1,
                segment_label="x",
                segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
                segmented_property_type=NODULE,
                algorithm_type="MANUAL",
            )
        ],
        series_instance_uid="2.25.11",
        series_number=5,
        sop_instance_uid="2.25.12",
        instance_number=1,
        manufacturer="Somebody",
        manufacturer_model_name="Something",
        software_versions="1",
        device_serial_number="1",
    )
    segmentation.save_as(tmp_path / "seg.dcm")
    named = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid="2.25.55", identifier="n"),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=1,
            source_series=sr.SourceSeriesForSegmentation(images.series_instance_uid),
        ),
        finding_type=NODULE,
        finding_sites=[sr.FindingSite(LUNG, laterality=codes.SCT.Right)],
    )
    named[0].ContentSequence.append(
        sr.TextContentItem(
            codes.DCM.Comment, "the largest one", sr.RelationshipTypeValues.CONTAINS
        )
    )
    write_report(tmp_path / "sr.dcm", [*sources, segmentation], [named])

    (image,) = read(tmp_path)

    (found,) = image.regions
    assert found.phrase == "the largest one"
    assert found.laterality == "R"
    assert found.codes["site"] == ("39607008", "SCT", "Lung")
    assert found.tier == "manual"
    np.testing.assert_array_equal(load(found), mask == 1)


def test_a_drawing_on_a_radiograph_keeps_its_pixels(tmp_path: Path) -> None:
    images = make_dx_image(tmp_path / "dx")
    region = drawn(images, 0, "POLYLINE", TRIANGLE)
    source = dcmread(images.paths[0])
    write_report(tmp_path / "sr.dcm", [source], [group(1, referenced_region=region)])

    (image,) = read(tmp_path)

    (found,) = image.regions
    assert found.boxes_xyxy == ((4.0, 3.0, 20.0, 15.0),)
    assert load(found).shape == image.load().pixels.shape


def test_a_drawing_on_an_image_that_is_not_there_is_refused(tmp_path: Path) -> None:
    images = make_ct_series(tmp_path / "ct")
    sources = [dcmread(path) for path in images.paths]
    region = drawn(images, 2, "POLYLINE", TRIANGLE)
    write_report(tmp_path / "sr.dcm", sources, [group(1, referenced_region=region)])
    images.paths[2].unlink()

    with pytest.raises(DatasetError, match=r"sr\.dcm: draws on an image"):
        read(tmp_path)


def test_coordinates_that_are_no_points_are_named(tmp_path: Path) -> None:
    images = make_ct_series(tmp_path / "ct")
    sources = [dcmread(path) for path in images.paths]
    region = drawn(images, 2, "CIRCLE", np.array([[3.0, 4.0], [9.0, 8.0]]))
    write_report(tmp_path / "sr.dcm", sources, [group(1, referenced_region=region)])
    ds = dcmread(tmp_path / "sr.dcm")
    (item,) = (one for one in ds.iterall() if one.keyword == "GraphicData")
    item.value = [1.0, 2.0, 3.0]
    ds.save_as(tmp_path / "sr.dcm")

    with pytest.raises(DatasetError, match=r"sr\.dcm: CIRCLE with 3 numbers"):
        read(tmp_path)

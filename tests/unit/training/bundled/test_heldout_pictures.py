from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pydicom
import pytest
from PIL import Image

from training.bundled import heldout_pictures
from training.bundled.heldout_pictures import (
    HELD_OUT_PICTURES,
    load_chest_radiograph,
    load_fundus,
)
from training.phrases import load_lexicon

CONCEPTS = {concept.name for concept in load_lexicon().concepts}
REFERENCES = {"rg1.json": (1955, 1841), "retina.json": (1411, 1411)}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_lies_inside_its_picture_and_names_its_reader(name):
    file = resources.files("training.bundled") / "reference" / name
    reference = json.loads(file.read_text(encoding="utf-8"))
    rows, columns = REFERENCES[name]

    assert (reference["rows"], reference["columns"]) == (rows, columns)
    assert "one reader" in reference["drawn_by"]
    assert set(reference["polygons_xy"]) <= CONCEPTS
    for polygons in reference["polygons_xy"].values():
        for polygon in polygons:
            points = np.array(polygon)
            assert len(points) >= 3
            assert (points >= 0).all()
            assert (points <= (columns, rows)).all()


@pytest.fixture
def packages(monkeypatch, tmp_path):
    """Offer pictures of the right size in place of the packages."""
    stored = np.zeros((1955, 1841), dtype=np.uint16)
    stored[:, :600] = 20000
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.Rows, ds.Columns = "CR", *stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME1"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 15, 14
    ds.PixelRepresentation, ds.PixelData = 0, stored.tobytes()
    ds.save_as(tmp_path / "RG1_UNCR.dcm", enforce_file_format=True)
    Image.new("RGB", (1411, 1411), (200, 80, 40)).save(tmp_path / "retina.jpg")
    monkeypatch.setattr(heldout_pictures, "fetch_package", lambda *_: tmp_path)
    return tmp_path


def test_the_radiograph_is_bright_where_it_stores_little(packages):
    held_out = load_chest_radiograph(packages)

    pixels = held_out.stack.pixels
    assert pixels.shape == (1, 1955, 1841)
    assert pixels[0, 0, 0] < pixels[0, 0, -1]
    assert held_out.modality == "CR"
    assert not held_out.stack.is_volume


def test_the_radiographs_outlines_have_sides_and_leave_the_heart_out(packages):
    masks = load_chest_radiograph(packages).masks
    left, right, heart = (masks[n][0] for n in ("left lung", "right lung", "heart"))

    assert np.nonzero(left)[1].mean() > np.nonzero(right)[1].mean()
    assert not (left & right).any()
    assert (heart & (left | right)).sum() < 0.03 * heart.sum()
    assert np.array_equal(masks["lungs"][0], left | right)
    assert (masks["lung mass"] & masks["lungs"]).sum() > 0.9 * masks["lung mass"].sum()


def test_the_fundus_is_in_colour_and_its_disc_lies_within_the_retina(packages):
    held_out = load_fundus(packages)

    assert held_out.stack.pixels.shape == (1, 1411, 1411, 3)
    retina = held_out.masks["retina"]
    assert not (held_out.masks["optic disc"] & ~retina).any()
    assert not (held_out.masks["macula"] & held_out.masks["optic disc"]).any()


def test_a_picture_of_another_size_is_refused(packages):
    Image.new("RGB", (700, 700)).save(packages / "retina.jpg")

    with pytest.raises(ValueError, match="drawn for 1411 x 1411"):
        load_fundus(packages)


@pytest.mark.parametrize("name", ["chest_radiograph", "fundus"])
def test_what_is_asked_has_words_and_is_not_both_there_and_absent(packages, name):
    held_out = HELD_OUT_PICTURES[name](packages)

    assert set(held_out.masks) <= CONCEPTS
    assert set(held_out.absent) <= CONCEPTS
    assert not set(held_out.masks) & set(held_out.absent)
    assert held_out.incomplete <= set(held_out.masks)
    assert held_out.independent
    assert held_out.n == 1

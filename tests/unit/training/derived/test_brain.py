from __future__ import annotations

import nibabel
import numpy as np
import pytest

from tests.builders.tiny_model import TINY
from tests.builders.toy_head import make_head
from training.derived.brain import BRAIN_STRUCTURES, load_icbm_brain, load_mni_head
from training.derived.brain_source import BrainSource, swap_halves
from training.derived.source import known_concepts
from training.derived.volumes import STRUCTURES
from training.phrases import load_lexicon

LEFT, RIGHT = (BRAIN_STRUCTURES.index(f"brain_half_{s}") for s in ("left", "right"))


def draw(source: BrainSource, seed: int):
    return source.draw(np.random.default_rng(seed), config=TINY, shape=(80, 96))


def columns_of(labels, structure: int):
    return np.nonzero((labels == structure + 1).any(axis=0))[1]


@pytest.mark.parametrize("seed", range(20))
def test_the_left_half_is_on_the_right_in_mirrored_heads_too(seed):
    labels = draw(BrainSource(make_head()), seed).labels

    left, right = columns_of(labels, LEFT), columns_of(labels, RIGHT)
    if min(len(left), len(right)) > 20:
        assert left.mean() > right.mean()


def test_swapping_halves_twice_changes_nothing():
    codes = make_head().codes

    swapped = swap_halves(codes)

    assert np.array_equal(swap_halves(swapped), codes)
    assert np.array_equal(swapped >> LEFT & 1, codes >> RIGHT & 1)
    others = ~np.uint8(1 << LEFT | 1 << RIGHT)
    assert np.array_equal(swapped & others, codes & others)


def test_equal_generators_draw_equal_slices():
    source = BrainSource(make_head())

    first, second = draw(source, 2), draw(source, 2)

    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.labels, second.labels)
    assert first.image.shape == (len(TINY.slice_offsets_mm), 80, 96)
    assert np.isfinite(first.image).all()


def test_contrast_is_a_matter_of_chance():
    source = BrainSource(make_head())
    brighter = set()
    for seed in range(40):
        picture = draw(source, seed)
        middle = picture.image[len(picture.image) // 2]
        grey, white = ((picture.labels == v).any(axis=0) for v in (2, 3))
        if picture.modality == "MR" and grey.sum() > 50 and white.sum() > 50:
            brighter.add(bool(middle[grey].mean() > middle[white].mean()))

    assert brighter == {True, False}


def test_a_head_in_hounsfield_units_has_a_skull():
    source = BrainSource(make_head())
    cts = [p for p in (draw(source, seed) for seed in range(60)) if p.modality == "CT"]

    assert cts
    levels = []
    for picture in cts:
        middle = picture.image[len(picture.image) // 2]
        white = (picture.labels == 3).any(axis=0)
        if white.sum() > 200:
            levels.append(np.median(middle[white]))
            assert middle.max() > 200
            assert middle.min() < -700
    assert np.median(levels) == pytest.approx(30, abs=10)


def test_a_brain_without_scalp_is_never_a_ct():
    source = BrainSource(make_head(has_scalp=False))

    assert {draw(source, seed).modality for seed in range(30)} == {"MR"}


def test_a_head_knows_its_brain_and_that_it_has_no_kidney():
    source, lexicon = BrainSource(make_head()), load_lexicon()
    found = known_concepts(source, lexicon)
    known = {c.name: k for c, k in zip(lexicon.concepts, found, strict=True)}

    for name in ("brain", "grey matter", "lateral ventricles", "left kidney", "polyp"):
        assert known[name], name
    for name in ("cerebellum", "skull", "cervical spine", "spinal cord", "eyes"):
        assert not known[name], name
    assert set(source.structures) <= set(STRUCTURES)


def write(path, values, *, zoom):
    affine = np.diag([zoom, zoom, zoom, 1.0])
    affine[0, 3] = -zoom * (values.shape[0] - 1) / 2  # x is zero in the middle
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def ball(shape, radius):
    axes = [np.arange(n) - (n - 1) / 2 for n in shape]
    return np.sqrt(sum(g**2 for g in np.meshgrid(*axes, indexing="ij"))) < radius


def test_the_icbm_maps_become_tissue_halves_and_ventricles(tmp_path):
    shape = (80, 84, 88)
    brain, core, hole = (ball(shape, r) for r in (38, 28, 8))
    grey, white = brain & ~core, core & ~hole
    name = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
    t1 = (grey * 120 + white * 200 + (hole & brain) * 60).astype(np.uint8)
    for kind, values in (("t1", t1), ("gm", grey * 255), ("wm", white * 255)):
        write(tmp_path / name.format(kind), values.astype(np.uint8), zoom=1.0)

    atlas = load_icbm_brain(tmp_path)

    assert not atlas.has_scalp
    parts = {
        name: atlas.codes >> bit & 1 > 0 for bit, name in enumerate(BRAIN_STRUCTURES)
    }
    volumes = {name: float(part.sum()) * 8 for name, part in parts.items()}
    assert volumes["grey_matter"] == pytest.approx(grey.sum(), rel=0.1)
    assert volumes["white_matter"] == pytest.approx(white.sum(), rel=0.1)
    assert volumes["brain_ventricles"] == pytest.approx(hole.sum(), rel=0.3)
    left, right = parts["brain_half_left"], parts["brain_half_right"]
    assert not (left & right).any()
    assert left.sum() == pytest.approx(right.sum(), rel=0.02)
    assert np.nonzero(left)[2].min() > np.nonzero(right)[2].max()
    assert atlas.maps.sum(axis=0).max() <= 1 + 1e-5


def test_the_mni_head_is_split_by_brightness(tmp_path):
    shape = (60, 60, 60)
    head, skull, brain, core = (ball(shape, r) for r in (28, 25, 21, 14))
    t1 = np.select([core, brain, skull, head], [8000, 5500, 800, 9500], 0)
    t1[ball(shape, 9)] = 2000
    write(tmp_path / "MNI152_T1_2mm.nii.gz", t1.astype(np.int16), zoom=2.0)
    mask = brain.astype(np.float32)
    write(tmp_path / "MNI152_T1_2mm_brain_mask.nii.gz", mask, zoom=2.0)

    atlas = load_mni_head(tmp_path)

    assert atlas.has_scalp
    fluid, grey, white, bone, _, fat = atlas.maps
    assert white[30, 30, 20] > 0.7
    assert grey[30, 30, 47] > 0.6
    assert fluid[30, 30, 30] > 0.7
    assert bone[30, 30, 53] > 0.6
    assert fat[30, 30, 56] > 0.6
    assert not atlas.maps[:, 0, 0, 0].any()

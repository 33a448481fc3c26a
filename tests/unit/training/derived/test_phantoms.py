from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders.tiny_model import TINY
from training.derived.builders import PHANTOMS
from training.derived.elsewhere import PLACES, absent_from
from training.derived.frame import lay
from training.derived.phantoms import blob, luminance
from training.derived.phantoms_cells import NucleiPainter
from training.derived.source import known_concepts
from training.derived.volumes import STRUCTURES
from training.phrases import load_lexicon

LEXICON = load_lexicon()
SHAPE = (80, 96)


def make_nuclei() -> NucleiPainter:
    nuclei = np.zeros((200, 200), dtype=np.int32)
    for number, (row, column) in enumerate(np.ndindex(8, 8), start=1):
        top, left = 25 * row + 5, 25 * column + 5
        nuclei[top : top + 12, left : left + 12] = number
    return NucleiPainter((nuclei > 0) * np.float32(0.8), nuclei)


PAINTERS = {name: source.paint for name, source in PHANTOMS.items()}
PAINTERS["cells"] = make_nuclei()


@pytest.mark.parametrize("name", sorted(PAINTERS))
def test_a_painter_fills_its_canvas_and_marks_within_it(name):
    for seed in range(6):
        painted = PAINTERS[name](np.random.default_rng(seed), SHAPE)
        picture = painted.picture
        assert picture.shape[:2] == SHAPE
        assert picture.dtype == np.float32
        assert 0 <= picture.min() < picture.max() <= 1
        for structure, mask in painted.masks.items():
            assert structure in STRUCTURES
            assert mask.shape == SHAPE
            assert mask.dtype == np.bool_


@pytest.mark.parametrize("name", sorted(PAINTERS))
def test_equal_generators_paint_equal_pictures(name):
    first, second = (
        PAINTERS[name](np.random.default_rng(9), SHAPE).picture for _ in "ab"
    )

    assert np.array_equal(first, second)


@pytest.mark.parametrize("source", PHANTOMS.values(), ids=lambda s: s.name)
def test_a_phantom_draws_for_the_network_and_counts_less(source):
    picture = source.draw(np.random.default_rng(0), config=TINY, shape=(64, 80))

    assert picture.image.shape == (1, 64, 80)
    assert picture.labels.shape == (len(source.structures), 64, 80)
    for value, plane in enumerate(picture.labels, start=1):
        assert set(np.unique(plane)) <= {0, value}
    assert picture.weight < 1
    assert source.tier == "synthetic"


@pytest.mark.parametrize("name", ["endoscopy", "mammogram", "skin", "ultrasound"])
def test_a_lesion_is_there_sometimes(name):
    source = PHANTOMS[name]
    there = [
        source.draw(np.random.default_rng(s), config=TINY, shape=(64, 80)).labels.any()
        for s in range(20)
    ]

    assert 0 < sum(there) < 20


@pytest.mark.parametrize("seed", range(6))
def test_the_disc_is_bright_and_holds_the_cup(seed):
    painted = PAINTERS["fundus"](np.random.default_rng(seed), SHAPE)
    grey = luminance(painted.picture)
    disc, cup = painted.masks["optic_disc"], painted.masks["optic_cup"]
    rest = painted.masks["retina"] & ~disc

    assert grey[disc].mean() > grey[rest].mean()
    assert cup.any()
    assert not (cup & ~disc).any()
    assert not (painted.masks["retinal_vessels"] & ~painted.masks["retina"]).any()


def test_a_cyst_is_darker_than_its_surroundings():
    darker = []
    for seed in range(30):
        painted = PAINTERS["ultrasound"](np.random.default_rng(seed), SHAPE)
        cyst = painted.masks["cyst"]
        seen = painted.picture > 0
        if cyst.sum() > 60:
            rest = seen & ~cyst & ~painted.masks["solid_mass"]
            darker.append(painted.picture[cyst].mean() < painted.picture[rest].mean())

    assert len(darker) > 5
    assert all(darker)


@pytest.mark.parametrize(
    ("name", "elsewhere", "unclear"),
    [
        ("fundus", ("liver", "left lung", "brain", "polyp", "knee"), ("eyes",)),
        ("skin", ("liver", "optic disc", "hot spot"), ()),
        ("endoscopy", ("brain", "optic disc", "cell nucleus"), ("colon",)),
        ("ultrasound", ("brain", "optic disc", "polyp"), ("liver", "thyroid")),
        ("mammogram", ("liver", "brain", "skin lesion"), ("breast", "cyst")),
    ],
)
def test_what_cannot_be_on_a_picture_is_known_to_be_absent(name, elsewhere, unclear):
    found = known_concepts(PHANTOMS[name], LEXICON)
    known = {c.name: k for c, k in zip(LEXICON.concepts, found, strict=True)}

    assert all(known[concept] for concept in elsewhere)
    assert not any(known[concept] for concept in unclear)


def test_places_do_not_share_structures():
    names = sorted(PLACES)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            assert not PLACES[first] & PLACES[second]
    assert all(members <= set(STRUCTURES) for members in PLACES.values())


def test_nothing_of_a_place_is_absent_from_it():
    assert not absent_from(*PLACES)
    assert "liver" in absent_from("eye")
    assert not absent_from("eye", "torso") & (PLACES["eye"] | PLACES["torso"])
    with pytest.raises(KeyError):
        absent_from("elbow")


def test_a_round_blob_has_the_area_of_a_circle():
    distance = blob(
        np.random.default_rng(0), (80, 80), centre=(40.0, 40.0), radius=20, wobble=0.0
    )

    assert (distance < 1).sum() == pytest.approx(np.pi * 400, rel=0.02)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    top=st.integers(-6, 6),
    left=st.integers(-6, 6),
)
def test_laying_a_picture_puts_every_pixel_where_it_belongs(size, top, left):
    part = np.arange(1, size[0] * size[1] + 1).reshape(size)
    whole = np.zeros((8, 9), dtype=np.int64)

    lay(part, whole, top=top, left=left)

    for row, column in np.ndindex(*whole.shape):
        y, x = row - top, column - left
        inside = 0 <= y < size[0] and 0 <= x < size[1]
        assert whole[row, column] == (part[y, x] if inside else 0)

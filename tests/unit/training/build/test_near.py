from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.builders.tiny_dataset import texture
from training.build.near import (
    Fingerprint,
    correlation,
    fingerprint_of,
    is_flat,
    near_pairs,
)
from training.layout import PictureInfo

INFO = PictureInfo(1.0, 0.0, "relative", 0.0, 255.0, (48, 64))


def _print(pixels: np.ndarray) -> Fingerprint:
    return fingerprint_of(pixels, INFO)


def test_a_shrunk_and_noisy_copy_is_recognised() -> None:
    pixels = texture(1, (96, 128))
    small = np.asarray(Image.fromarray(pixels).resize((90, 70)))
    noise = np.random.default_rng(0).integers(-3, 4, small.shape)
    copy = np.clip(small.astype(int) + noise, 0, 255).astype(np.uint8)

    one, other = _print(pixels), _print(copy)

    assert (one.bits ^ other.bits).bit_count() <= 4
    assert correlation(one.thumbnail, other.thumbnail) > 0.97


def test_other_pictures_are_not_recognised() -> None:
    prints = [_print(texture(seed)) for seed in range(12)]

    for number, one in enumerate(prints):
        for other in prints[number + 1 :]:
            assert (one.bits ^ other.bits).bit_count() > 4
            assert correlation(one.thumbnail, other.thumbnail) < 0.9


def test_what_shows_nothing_resembles_nothing() -> None:
    empty = _print(np.zeros((48, 64), np.uint8)).thumbnail

    assert is_flat(empty)
    assert correlation(empty, empty) == 0.0


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 7 << 30, 2**64 - 1]), st.integers(0, 2**64 - 1)),
        max_size=12,
    ),
    st.integers(0, 6),
)
def test_all_near_pairs_are_found_and_no_others(
    drawn: list[tuple[int, int]], bits: int
) -> None:
    # Sparse noise on few bases, so that many pairs are near.
    rng = np.random.default_rng(len(drawn))
    values = [
        base
        ^ (noise & int(rng.choice([0, 0xF, 0xF0F, 2**64 - 1], p=[0.3, 0.3, 0.3, 0.1])))
        for base, noise in drawn
    ]
    hashes = np.array(values, np.uint64)
    groups = np.arange(len(values)) % 2
    owners = np.arange(len(values)) // 2

    found = set(
        map(frozenset, near_pairs(hashes, bits=bits, groups=groups, owners=owners))
    )

    expected = {
        frozenset((i, j))
        for i in range(len(values))
        for j in range(i)
        if (values[i] ^ values[j]).bit_count() <= bits
        and groups[i] == groups[j]
        and owners[i] != owners[j]
    }
    assert found == expected

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders.tiny_dataset import texture
from training.build.blocks import ROW, SPLITS
from training.build.clusters import (
    DUPLICATE,
    LEAK,
    Clusters,
    assert_disjoint,
    find_clusters,
)
from training.build.near import fingerprint_of, is_flat
from training.build.settings import BuildSettings
from training.errors import DatasetError
from training.layout import PictureInfo

INFO = PictureInfo(1.0, 0.0, "relative", 0.0, 255.0, (48, 64))


def _row(
    patient: str,
    picture: int,
    *,
    split: str | None = None,
    says: str = "a",
    modality: str = "CR",
) -> Any:
    """Return a row; picture 0 shows nothing."""
    pixels = texture(picture) if picture else np.zeros((48, 64), np.uint8)
    seen = fingerprint_of(pixels, INFO)
    row = np.zeros((), ROW)
    row["patient"], row["pixels"] = patient.encode(), str(picture).encode()
    row["says"], row["modality"] = says.encode(), modality.encode()
    row["bits"], row["thumbnail"] = seen.bits, seen.thumbnail
    row["flat"] = is_flat(seen.thumbnail)
    row["split"] = SPLITS.index(split) if split else -1
    return row[()]


def _find(*rows: Any, **settings: Any) -> Clusters:
    table = np.array(list(rows), ROW)
    return find_clusters(
        table,
        settings=BuildSettings(**settings),
        thumbnail=lambda sample: table["thumbnail"][sample],
    )


def test_equal_pictures_join_patients() -> None:
    found = _find(_row("a", 1), _row("a", 2), _row("b", 2, says="b"), _row("c", 3))

    assert found.cluster[0] == found.cluster[1] == found.cluster[2]
    assert found.cluster[3] != found.cluster[0]
    assert found.links == {"equal pictures": 1, "similar pictures": 0}


def test_similar_pictures_join_patients_of_one_modality() -> None:
    similar = _row("b", 1)
    similar["pixels"] = b"other bytes"
    foreign = _row("c", 1, modality="US")
    foreign["pixels"] = b"still others"

    found = _find(_row("a", 1), similar, foreign)

    assert found.cluster[0] == found.cluster[1]
    assert found.cluster[2] != found.cluster[0]
    assert found.links["similar pictures"] == 1


def test_pictures_that_show_nothing_join_nobody() -> None:
    found = _find(_row("a", 0), _row("b", 0))

    assert found.cluster[0] != found.cluster[1]
    assert (found.split >= 0).all()


def test_joining_is_transitive() -> None:
    found = _find(_row("a", 1), _row("b", 1), _row("b", 2), _row("c", 2), _row("c", 3))

    assert len(set(found.cluster.tolist())) == 1


def test_a_test_image_takes_its_cluster_out_of_every_training_set() -> None:
    found = _find(
        _row("a", 1, split="test"),
        _row("b", 1, split="train", says="b"),
        _row("b", 2),
        _row("b", 3, split="val"),
        _row("z", 4, split="train"),
    )

    assert [SPLITS[one] if one >= 0 else None for one in found.split] == [
        "test",
        None,
        "test",
        None,
        "train",
    ]
    assert found.reasons == {1: LEAK, 3: LEAK}


def test_the_same_picture_with_the_same_labels_is_kept_once() -> None:
    found = _find(_row("a", 1), _row("b", 1), _row("c", 1, says="b"))

    assert (found.split >= 0).tolist() == [True, False, True]
    assert found.reasons == {1: DUPLICATE}


def test_the_copy_in_the_test_set_is_the_one_that_is_kept() -> None:
    found = _find(_row("a", 1, split="train"), _row("b", 1, split="test"))

    assert found.split.tolist() == [-1, SPLITS.index("test")]
    assert found.reasons == {0: LEAK}


def test_splits_without_official_ones_have_their_shares() -> None:
    rows = [_row(f"p{number}", 0) for number in range(2000)]

    found = _find(*rows, val_percent=20, test_percent=10)

    shares = [(found.split == number).mean() for number in range(3)]
    np.testing.assert_allclose(shares, [0.7, 0.2, 0.1], atol=0.03)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"),
            st.integers(1, 5),
            st.sampled_from([None, "train", "val", "test"]),
        ),
        min_size=1,
        max_size=12,
    ),
    st.randoms(),
)
def test_no_cluster_lies_in_two_splits_whatever_the_order(
    drawn: list[tuple[str, int, str | None]], shuffle: Any
) -> None:
    rows = [_row(name, picture, split=split) for name, picture, split in drawn]
    order = list(range(len(rows)))
    shuffle.shuffle(order)

    found = _find(*rows)
    again = _find(*(rows[one] for one in order))

    assert_disjoint(found.cluster, found.split)
    for place, one in enumerate(order):
        name = found.names[found.cluster[one]]
        assert again.names[again.cluster[place]] == name
    for one, (_, _, split) in enumerate(drawn):
        if found.split[one] >= 0 and split is not None:
            assert SPLITS[found.split[one]] == split


def test_a_cluster_in_two_splits_is_an_error() -> None:
    with pytest.raises(DatasetError, match="two splits"):
        assert_disjoint(np.array([0, 0, 1]), np.array([0, 2, 2], np.int8))

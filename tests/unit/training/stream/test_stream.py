from __future__ import annotations

import logging
import pickle
from collections import Counter
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import MedGLIPConfig
from tests.builders.shard_folder import make_record, make_region, write_build
from training.errors import ConfigError, DatasetError
from training.stream import ShardStream

NAMES = ("left lung", "nodule", "cyst", "mass", "effusion")
RECORDS = [
    make_record(
        [make_region(NAMES[n % 5], (4, 4, 20, 20)), make_region(NAMES[(n + 1) % 5])]
    )
    for n in range(23)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_build(tmp_path_factory.mktemp("stream") / "b", RECORDS)


def _stream(folder, **changes):
    given = {
        "config": MedGLIPConfig(),
        "shape": (48, 64),
        "batch": 2,
        "phrases": 4,
        "seed": 5,
    }
    return ShardStream(folder, **{**given, **changes})


def _take(stream, count):
    return list(islice(stream, count))


def _ids(batches):
    return [key for batch in batches for key in batch.sample_ids]


def _same(one, two):
    assert one.sample_ids == two.sample_ids
    assert one.phrases == two.phrases
    for name in ("pixels", "masks", "known", "outlined", "weight", "parent", "concept"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    return True


def test_an_epoch_shows_every_sample_once(folder):
    keys = _ids(_take(_stream(folder), 23))

    assert Counter(keys) == dict.fromkeys(set(keys), 2)
    assert len(set(keys[:23])) == 23
    assert len(set(keys[23:])) == 23
    assert keys[:23] != keys[23:]


def test_a_picture_is_only_mirrored_where_somebody_asks_for_it(folder):
    said = {
        name: {p for batch in _take(_stream(folder, **more), 23) for p in batch.phrases}
        for name, more in {"as it is": {}, "mirrored": {"mirror": 1.0}}.items()
    }

    assert "left lung" in said["as it is"]
    assert "right lung" not in said["as it is"]
    assert "left lung" not in said["mirrored"]
    assert "right lung" in said["mirrored"]


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.booleans())
def test_a_stream_killed_anywhere_goes_on_as_if_nothing_had_been(folder, cuts, even):
    changes = {"balance": 0.5} if even else {}
    whole = _take(_stream(folder, **changes), sum(cuts) + 2)
    state, parts = _stream(folder, **changes).state_dict(), []

    for count in [*cuts, 2]:
        stream = _stream(folder, **changes)
        stream.load_state_dict(state)
        parts += _take(stream, count)
        state = stream.state_dict()

    assert all(map(_same, parts, whole))
    assert len(parts) == len(whole)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing_even_when_killed_in_the_middle(folder, workers):
    whole = _take(_stream(folder), 9)
    stream = _stream(folder, workers=workers)

    before = _take(stream, 4)
    state = stream.state_dict()
    del stream  # its workers had already drawn what comes next
    again = _stream(folder, workers=workers)
    again.load_state_dict(state)

    assert all(map(_same, before + _take(again, 5), whole))


def test_a_process_that_shares_no_memory_draws_the_same(folder):
    for changes in ({}, {"balance": 0.5}):
        stream = _stream(folder, **changes)

        copy = pickle.loads(pickle.dumps(stream._drawer))

        assert _same(copy.draw(3).batch, _take(stream, 4)[3])


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 3))
def test_processes_share_batches_out_without_overlap(folder, world, later, cut):
    alone = _ids(_take(_stream(folder), cut * world + 2 * later))

    parts = [_stream(folder, rank=rank, world=world) for rank in range(world)]
    rounds = [[next(part) for part in parts] for _ in range(cut)]
    state = parts[-1].state_dict()
    again = [_stream(folder, rank=rank, world=later) for rank in range(later)]
    for part in again:
        part.load_state_dict(state)
    rounds += [[next(part) for part in again] for _ in range(2)]

    assert _ids(batch for one in rounds for batch in one) == alone


def test_a_state_of_other_data_or_of_another_order_is_refused(folder, tmp_path):
    state = _stream(folder).state_dict()
    other = write_build(tmp_path / "b", RECORDS[:9])

    for stream in (
        _stream(other),
        _stream(folder, seed=6),
        _stream(folder, batch=3),
        _stream(folder, balance=0.5),
    ):
        with pytest.raises(ConfigError):
            stream.load_state_dict(state)


def test_a_balanced_stream_shows_rare_labels_more_often(tmp_path):
    rare = [make_record([make_region("cyst", (4, 4, 20, 20))])]
    common = [make_record([make_region("mass", (4, 4, 20, 20))]) for _ in range(15)]
    folder = write_build(tmp_path / "b", rare + common, shard_samples=16)

    evenly = Counter(_ids(_take(_stream(folder, balance=0.0), 16)))
    replay = Counter(
        _ids(_take(_stream(folder, balance=1.0, shares={"*/cyst": 0.25}), 16))
    )

    assert evenly["000000"] == 16
    assert replay["000000"] == 8


def test_augmentation_is_off_when_asked_and_drawn_anew_each_epoch(folder):
    plain = _take(_stream(folder, augment=False, batch=23), 2)
    drawn = _take(_stream(folder, batch=23), 2)

    def pixels(batches):
        first = batches[0].pixels[batches[0].sample_ids.index("000007")]
        return first, batches[1].pixels[batches[1].sample_ids.index("000007")]

    assert torch.equal(*pixels(plain))
    assert not torch.equal(*pixels(drawn))


def _spoil(folder, line):
    path = folder / "shards" / "shard-000000.tar"
    data = path.read_bytes()
    at = data.index(b"\x89PNG", data.index(f"{line:06d}.png".encode()))
    path.write_bytes(data[:at] + b"spoiled!" + data[at + 8 :])


def test_a_damaged_sample_is_told_or_left_out_and_counted(tmp_path, caplog):
    folder = write_build(tmp_path / "b", RECORDS[:4])
    _spoil(folder, 2)

    with pytest.raises(DatasetError, match="line 2"):
        _take(_stream(folder), 2)
    stream = _stream(folder, skip_bad=True)
    with caplog.at_level(logging.WARNING):
        keys = _ids(_take(stream, 4))

    assert Counter(keys) == {"000000": 2, "000001": 2, "000003": 2}
    assert stream.bad_samples == stream.state_dict()["bad_samples"] == 2
    assert caplog.messages == ["bad_sample_skipped line=2"] * 2


def test_a_batch_without_any_readable_sample_stops_the_run(tmp_path):
    folder = write_build(tmp_path / "b", RECORDS[:2])
    for line in (0, 1):
        _spoil(folder, line)

    with pytest.raises(DatasetError, match="no readable sample"):
        next(_stream(folder, skip_bad=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 0},
        {"phrases": 0},
        {"rank": 2, "world": 2},
        {"workers": -1},
        {"weights": {"*": 1.0}},
        {"split": "test"},
    ],
)
def test_settings_that_make_no_sense_are_refused(folder, changes):
    with pytest.raises((ConfigError, DatasetError)):
        _stream(folder, **changes)

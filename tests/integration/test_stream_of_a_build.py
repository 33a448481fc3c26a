"""Stream what the build wrote."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from model.config import MedGLIPConfig
from model.grid import choose_grid
from tests.builders.tiny_builds import SETTINGS, sources
from tests.builders.tiny_dataset import READER
from training.build.pipeline import build
from training.layout import iterate_shard, read_shards
from training.readers import READERS
from training.records import ImageRecord
from training.rle import decode_rle
from training.stream import ShardStream

SHAPE = (144, 144)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(READERS, "tiny", READER)
        build(sources(out / "data"), out / "out", settings=SETTINGS, progress=False)
    return out / "out"


@pytest.fixture(scope="module")
def records(built: Path) -> dict[str, ImageRecord]:
    return {
        sample["__key__"].decode(): ImageRecord.from_json(sample["json"])
        for shard in read_shards(built)
        if shard.split == "train"
        for sample in iterate_shard(built / "shards" / shard.name)
    }


def _stream(built: Path, **changes: object) -> ShardStream:
    settings: dict[str, object] = {"shape": SHAPE, "batch": 1, "phrases": 40}
    return ShardStream(built, config=MedGLIPConfig(), **{**settings, **changes})


def test_an_epoch_is_every_training_sample(built, records):
    stream = _stream(built, batch=2, balance=None)

    keys = [key for batch in islice(stream, len(records)) for key in batch.sample_ids]

    assert len(records) >= 10
    assert sorted(keys) == sorted([*records, *records])


def test_what_the_records_say_is_what_the_batches_ask_and_answer(built, records):
    asked = 0
    for batch in islice(_stream(built, augment=False), len(records)):
        record = records[batch.sample_ids[0]]
        stated = {region.phrase: region for region in record.regions}
        for column, phrase in enumerate(batch.phrases):
            region = stated.get(phrase)
            if region is None or not batch.known[0, column]:
                continue
            asked += 1
            mask = batch.masks[0, column].numpy()
            assert mask.any() == bool(region.bbox)
            assert batch.outlined[0, column] or region.mask is None
            if region.bbox and sum(phrase in r.phrase for r in record.regions) == 1:
                np.testing.assert_allclose(
                    _centre(mask), _expected(record, phrase), atol=4
                )

    assert asked > len(records)


def _centre(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return rows.mean() + 0.5, columns.mean() + 0.5


def _expected(record: ImageRecord, phrase: str) -> tuple[float, float]:
    """Return where the middle of a phrase lies on the field, from the record alone."""
    whole = np.zeros((record.height, record.width), dtype=np.bool_)
    for region in record.regions:
        if region.phrase != phrase:
            continue
        for mask in region.mask or ():
            whole |= decode_rle(mask)
        for left, top, right, bottom in () if region.mask else region.bbox:
            whole[round(top) : round(bottom), round(left) : round(right)] = True
    spacing = None if record.spacing_mm is None else (0.0, *record.spacing_mm)
    grid = choose_grid((1, *whole.shape), spacing, is_volume=False, pixel_mm=3.0)
    row, column = _centre(whole)
    return (
        row * grid.rows / whole.shape[0] + (SHAPE[0] - grid.rows) / 2,
        column * grid.columns / whole.shape[1] + (SHAPE[1] - grid.columns) / 2,
    )


def test_neighbours_of_ct_slices_reach_the_channels(built, records):
    for batch in islice(_stream(built, augment=False), len(records)):
        soft = batch.pixels[0, :5]
        if records[batch.sample_ids[0]].volume is not None:
            assert not (soft[0] == soft[2]).all()
        else:
            assert (soft[0] == soft[2]).all()


def test_balanced_streams_draw_every_label(built, records):
    labels = {
        region.label or region.phrase
        for record in records.values()
        for region in record.regions
        if region.bbox and not region.ignore
    }

    seen = set()
    for batch in islice(_stream(built, balance=0.0, batch=4), 3 * len(labels)):
        for key in batch.sample_ids:
            seen |= {r.label or r.phrase for r in records[key].regions if r.bbox}

    assert labels <= seen

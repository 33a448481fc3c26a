from __future__ import annotations

import json

import pytest
from PIL import Image

from training.errors import ConfigError
from training.layout import RecordFile, iterate_shard, read_shards
from training.records import ImageRecord
from training.rle import decode_rle
from training.stream.scale import measure_scale
from training.stream.scale_report import summary
from training.stream.synthetic import PooledStore, write_synthetic

pytestmark = pytest.mark.slow


def test_twenty_thousand_regions_are_written_streamed_and_reported(tmp_path):
    found = measure_scale(20_000, tmp_path, seconds=0.5, side=96, workers=(0, 1))

    assert found["images"] == 4000
    assert found["write_s"] > 0
    assert found["write_cpu_s"] > 0
    assert found["pass"]["each_once"]
    assert len(found["pass"]["rss_mib"]) == 11
    assert [one["workers"] for one in found["stream"]] == [0, 1]
    assert all(one["samples_per_s"] > 0 for one in found["stream"])
    assert found["limit"] in found["stages_ms"]
    assert found["groups"] > 50
    assert json.loads((tmp_path / "scale.json").read_text("utf-8")) == found
    with Image.open(tmp_path / "scale.png") as plot:
        assert plot.width > 500
    assert not (tmp_path / "synthetic").exists()
    assert len(list(summary(found))) >= 5


def test_a_synthetic_set_is_a_build_like_any_other(tmp_path):
    folder = tmp_path / "b"
    images = write_synthetic(folder, regions=100, side=64, pool=8)

    records, store = RecordFile(folder), PooledStore(folder)
    (first, *rest) = read_shards(folder)
    samples = list(iterate_shard(folder / "shards" / first.name))

    assert images == len(records) == first.samples + sum(s.samples for s in rest) == 20
    assert [s["json"] for s in samples] == [records.line(n) for n in range(8)]
    assert len({records[n].image_id for n in range(20)}) == 20
    for line in (3, 11, 19):
        members = store.members(line)
        record = ImageRecord.from_json(members["json"])
        assert members["png"] == samples[line % 8]["png"]
        assert len(record.regions) == 5
        for region in record.regions:
            assert region.mask is not None
            (mask,), (box,) = region.mask, region.bbox
            inside = decode_rle(mask)
            left, top, right, bottom = map(int, box)
            assert inside[top:bottom, left:right].sum() == inside.sum() > 0


def test_a_set_too_small_or_in_the_way_is_refused(tmp_path):
    (tmp_path / "synthetic").mkdir()

    for regions in (10, 1000):
        with pytest.raises(ConfigError):
            measure_scale(regions, tmp_path)

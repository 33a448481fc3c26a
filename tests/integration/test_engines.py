"""Every engine through the whole node: study and phrases in, valid objects out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import highdicom
import numpy as np
import pytest

from conformance.validators import judge_file
from dicom_node.cli import main
from tests.builders.dicom_series import make_ct_series
from tests.builders.tiny_engines import ARCHITECTURES, write_checkpoint

ENGINES = {
    "florence2": "grounded-generation",
    "llava": "grounded-generation",
    "sam3": "sam3",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_engine_answers_with_a_valid_seg_and_sr(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    make_ct_series(Path("in"), slices=4)
    write_checkpoint(name, Path("tiny") / name)
    engine = ENGINES.get(name, "zero-shot-detection")
    Path("node.toml").write_text(
        f"[model]\nengine = '{engine}'\ncheckpoint = 'tiny/{name}'\n"
        "device = 'cpu'\npresence_threshold = 1e-6\n"
    )
    command = "dicom-node ground in -p liver -p aorta -c node.toml --out out"
    monkeypatch.setattr(sys, "argv", command.split())

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code in (0, None)
    document = json.loads(Path("out/result.json").read_text())
    assert {one["status"] for one in document["phrases"]} == {"present"}
    kinds = set()
    for one in document["objects"]:
        judgement = judge_file(Path("out", one["path"]))
        assert [str(v) for v in judgement.violations] == []
        kinds.add(judgement.sop_class_uid)
    assert len(kinds) == 2  # a SEG and an SR
    (seg,) = Path("out").glob("seg*.dcm")
    segmentation = highdicom.seg.segread(seg)
    assert segmentation.number_of_segments >= 1
    assert np.any(segmentation.pixel_array)

"""Each benchmark runs on tiny files of its true layout and lays the tables together."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.records import Box, ImageStack, PhraseGrounding
from tests.builders.judged_cases import ScriptedModel, answer_with, nothing
from tests.builders.picture_files import (
    save_dicom,
    save_json,
    save_picture,
    save_text,
)
from tests.builders.volume_files import volume, write_nifti
from training.errors import ConfigError
from training.evaluation.command import add_evaluate_arguments, evaluate_command
from training.evaluation.report import Report

_PICTURE = np.zeros((80, 100), np.uint8)
_PICTURE[20:60, 10:60] = 200
_BOX = (10.0, 20.0, 60.0, 60.0)  # of the bright part


def _find_bright(stack: ImageStack, phrase: str) -> PhraseGrounding:
    """Mark the bright part of a picture; deny pneumothorax and what says "no"."""
    if "pneumothorax" in phrase or phrase.lower().startswith("no "):
        return nothing(phrase)
    return answer_with(phrase, stack.pixels > stack.pixels.mean())


def _evaluate(tmp_path: Path, *words: str, script=_find_bright) -> tuple[Report, str]:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    parser = argparse.ArgumentParser()
    add_evaluate_arguments(parser)
    out = tmp_path / "out"
    options = parser.parse_args([str(checkpoint), *words, "--out", str(out), "--quiet"])
    report = evaluate_command(
        options, load=lambda folder, device: (ScriptedModel(script), None)
    )
    return report, (out / "report.md").read_text(encoding="utf-8")


def _ms_cxr(root: Path) -> None:
    header = "dicom_id,category_name,label_text,path,x,y,w,h,image_width,image_height"
    path = "files/p10/p1000000{n}/s5000000{n}/image{n}.jpg"
    rows = [
        f"image{n},Pneumonia,right basal pneumonia,{path.format(n=n)},"
        f"10,20,50,40,100,80,{split}"
        for n, split in enumerate(("train", "test", "test"))
    ]
    save_text(
        root / "MS_CXR_Local_Alignment_v1.1.0.csv",
        "\n".join([f"{header},split", *rows]) + "\n",
    )
    for n in range(3):
        save_picture(root / path.format(n=n), _PICTURE)


def _chestxray8(root: Path) -> None:
    save_text(
        root / "BBox_List_2017.csv",
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00000001_000.png,Cardiomegaly,10,20,50,40,,,\n"
        "00000002_000.png,Nodule,10,20,10,10,,,\n",
    )
    save_text(
        root / "Data_Entry_2017_v2020.csv",
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
        "00000001_000.png,Cardiomegaly,0,1,58,M,PA,100,80,0.143,0.143,\n"
        "00000002_000.png,Nodule,1,2,81,F,AP,100,80,0.168,0.168,\n",
    )
    save_text(root / "train_val_list.txt", "")
    save_text(root / "test_list.txt", "00000001_000.png\n00000002_000.png\n")
    for n in (1, 2):
        save_picture(root / "images" / f"0000000{n}_000.png", _PICTURE)


def _vindr(root: Path) -> None:
    image = "0" * 31 + "1"
    save_text(
        root / "annotations" / "annotations_train.csv",
        "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n"
        f"{'0' * 31}2,R1,No finding,,,,\n",
    )
    save_text(
        root / "annotations" / "annotations_test.csv",
        "image_id,class_name,x_min,y_min,x_max,y_max\n"
        f"{image},Cardiomegaly,10,20,60,60\n",
    )
    save_dicom(root / "test" / f"{image}.dicom", _PICTURE.astype(np.uint16))
    save_dicom(root / "train" / f"{'0' * 31}2.dicom")


def _padchest_gr(root: Path) -> None:
    finding = {
        "sentence_en": "Left basal atelectasis.",
        "sentence_es": "Atelectasia basal izquierda.",
        "abnormal": True,
        "boxes": [[0.1, 0.25, 0.6, 0.75]],
        "extra_boxes": [],
        "labels": ["atelectasis"],
        "locations": ["basal", "left"],
        "progression": None,
    }
    normal = {
        "sentence_en": "No pleural effusion.",
        "sentence_es": "Sin derrame pleural.",
        "abnormal": False,
    }
    study = {"StudyID": "S1", "ImageID": "I1.png", "findings": [finding, normal]}
    save_json(root / "grounded_reports_20240819.json", [study])
    save_text(
        root / "master_table.csv",
        "StudyID,ImageID,PatientID,split,label,label_group,PatientSex_DICOM\n"
        "S1,I1.png,P1,test,atelectasis,atelectasis,F\n",
    )
    save_picture(
        root / "Padchest_GR_files" / "PadChest_GR" / "I1.png",
        _PICTURE.astype(np.uint16) * 200,
    )


def _rexgroundingct(root: Path) -> None:
    name = "valid_7_a_1.nii.gz"
    scan = {
        "name": name,
        "findings": {"0": "consolidation of the left lower lobe"},
        "categories": {"0": "2d"},
    }
    (root / "segmentations").mkdir(parents=True)
    save_json(root / "dataset.json", {"train": [], "val": [], "test": [scan]})
    pixels = volume(1)
    mask = (pixels > pixels.mean()).astype(np.uint8)
    write_nifti(root / "images" / name, pixels)
    write_nifti(root / "segmentations" / name, mask, channels="first")


def _medsg_bench(root: Path) -> None:
    root.mkdir()
    Image.fromarray(_PICTURE).save(root / "US_BreastCancer_1.png")
    question = {
        "task": "referring",
        "images": ["US_BreastCancer_1.png"],
        "question": "<|object_ref_start|>BreastCancer<|object_ref_end|>",
        "answer": [10, 20, 60, 60],
    }
    (root / "Task8.json").write_text(json.dumps([question]))


@pytest.mark.parametrize(
    ("preset", "write", "file", "expected"),
    [
        ("ms-cxr", _ms_cxr, "", {"Acc@0.5": (1, 2), "Box mIoU": (1, 2)}),
        ("chestxray8", _chestxray8, "", {"Acc@0.5": (0.5, 2), "Box mIoU": (0.525, 2)}),
        (
            "vindr-cxr",
            _vindr,
            "",
            {"Box mAP50": (1, 1), "No-target accuracy": (1 / 20, 20)},
        ),
        (
            "padchest-gr",
            _padchest_gr,
            "",
            {"Box mIoU": (1, 1), "No-target accuracy": (1, 1), "Pr@(F1=1)": (1, 2)},
        ),
        (
            "rexgroundingct",
            _rexgroundingct,
            "",
            {"Dice": (1, 1), "HIT": (1, 1), "Instance F1": (1, 1)},
        ),
        ("medsg-bench", _medsg_bench, "Task8.json", {"Box mIoU": (1, 1)}),
    ],
)
def test_a_benchmark_runs_on_files_of_its_layout(
    tmp_path: Path,
    preset: str,
    write: Callable[[Path], None],
    file: str,
    expected: dict[str, tuple[float, int]],
) -> None:
    root = tmp_path / "data"
    write(root)

    report, text = _evaluate(tmp_path, str(root / file), "--preset", preset)

    found = {metric.name: (metric.value, metric.n) for metric in report.metrics}
    for name, (value, n) in expected.items():
        assert found[name] == (pytest.approx(value, abs=0.01), n), name
    assert "**scripted 1**" in text
    assert text.index("| system |") < text.index("## Metrics")


def test_figures_of_others_stand_beside_ours_with_their_source(tmp_path: Path) -> None:
    _ms_cxr(tmp_path / "data")

    _, text = _evaluate(tmp_path, str(tmp_path / "data"), "--preset", "ms-cxr")

    assert "| MedRPG | 0.699 | 0.594 | figure in the MedRPG repository" in text
    assert "| AGP, fine-tuned | - | 0.612 |" in text
    assert "| **scripted 1** | 1.000 (1.000 to 1.000) |" in text
    assert "this run: 2 cases, 2 patients, 2 phrases" in text


def test_without_published_figures_none_is_shown(tmp_path: Path) -> None:
    _padchest_gr(tmp_path / "data")

    _, text = _evaluate(tmp_path, str(tmp_path / "data"), "--preset", "padchest-gr")

    assert "No published figure could be verified, so none is shown." in text


def test_without_the_data_one_is_told_what_to_get(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="PhysioNet") as caught:
        _evaluate(tmp_path, str(tmp_path / "data"), "--preset", "ms-cxr")

    assert "LicenseRef-PhysioNet-Credentialed-1.5.0" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_another_split_can_be_asked_for(tmp_path: Path) -> None:
    _ms_cxr(tmp_path / "data")

    report, _ = _evaluate(
        tmp_path, str(tmp_path / "data"), "--preset", "ms-cxr", "--split", "train"
    )

    assert report.cases == ("ms-cxr/image0",)


def test_a_wrong_box_lowers_the_table(tmp_path: Path) -> None:
    _ms_cxr(tmp_path / "data")

    def shifted(stack: ImageStack, phrase: str) -> PhraseGrounding:
        left, top, right, bottom = _BOX
        answer = nothing(phrase)
        box = Box(0, (left + 25, top, right + 25, bottom), 0.9)
        return PhraseGrounding(
            phrase, 0.9, True, 0.1, answer.mask, answer.mask_origin, (box,)
        )

    report, _ = _evaluate(
        tmp_path, str(tmp_path / "data"), "--preset", "ms-cxr", script=shifted
    )

    assert report.value("Box mIoU") == pytest.approx(1 / 3)
    assert report.value("Acc@0.5") == 0

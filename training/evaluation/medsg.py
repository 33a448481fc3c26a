"""Read the single-image questions of MedSG-Bench.

A task file is a JSON list of questions::

    {"task": "referring", "images": ["Task8/a.png"],
     "question": "... <|object_ref_start|>LeftLung<|object_ref_end|> ...",
     "answer": [x1, y1, x2, y2]}

with corner boxes in pixels of the picture, which is 336 x 336 but for ``multi_view``.
Questions about several pictures compare them with each other and are left out, because
a phrase is grounded in one picture here.

References
----------
J. Yue et al., MedSG-Bench: a benchmark for medical image sequences grounding, arXiv
2505.11852.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from model.records import ImageStack
from training.errors import DatasetError
from training.evaluation.cases import EvaluationCase, PhraseTruth
from training.evaluation.from_records import soft_tissue_likeness
from training.layout import decode_picture

__all__ = ["cases_of_medsg"]

_REFERENCE = re.compile(r"<\|object_ref_start\|>(.+?)<\|object_ref_end\|>", re.DOTALL)
_JOINED = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
"""Where "LeftLung" gets its space."""

_PREFIX = "MedSG-Bench/"
"""Paths in the release may begin with the repository's folder."""


def cases_of_medsg(path: Path) -> Iterator[EvaluationCase]:
    """Yield the questions of a task file that are about one picture.

    Parameters
    ----------
    path
        JSON file of a task; pictures are found beside it or below its folder's parent.

    Raises
    ------
    training.errors.DatasetError
        The file is no task, a picture is missing, or no question is about one picture.
    """
    try:
        questions = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is no task of MedSG-Bench: {error}") from error
    if not isinstance(questions, list):
        raise DatasetError(f"{path} is no list of questions")
    asked = 0
    for number, question in enumerate(questions):
        try:
            images = question["images"]
        except (KeyError, TypeError) as error:
            raise DatasetError(f"{path.name}: question {number} is none") from error
        if isinstance(images, list) and len(images) == 1:
            asked += 1
            yield _case(path, number, question)
    if not asked:
        raise DatasetError(
            f"{path.name}: all {len(questions)} questions compare several pictures; "
            "only single-image tasks can be evaluated"
        )


def _case(path: Path, number: int, question: dict[str, Any]) -> EvaluationCase:
    try:
        (reference,) = _REFERENCE.findall(question["question"])
        left, top, right, bottom = (float(edge) for edge in question["answer"])
        task = str(question["task"])
        name = str(question["images"][0])
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{path.name}: question {number} has not one reference and one box"
        ) from error
    pixels = decode_picture(_picture(path.parent, name).read_bytes())
    modality = _modality(name)
    if modality == "CT" and pixels.ndim == 2:
        # Eight bits of an unknown window: no Hounsfield units can be had back.
        grey = pixels.astype(np.float32)
        low, high = (float(value) for value in np.percentile(grey, (1.0, 99.5)))
        pixels = soft_tissue_likeness(grey, low, high)
    phrase = _JOINED.sub(" ", reference.replace("_", " ")).strip()
    return EvaluationCase(
        name=f"{path.stem}/{number}",
        patient=name,
        stack=ImageStack(pixels[None], None, modality, None, False),
        truths=(
            PhraseTruth(
                phrase=phrase.lower(),
                is_present=True,
                boxes=((0, (left, top, right, bottom)),),
            ),
        ),
        dataset=f"medsg-bench {task}",
        note="the release names no patients: intervals are over pictures",
    )


def _picture(folder: Path, name: str) -> Path:
    """Find a picture beside the task file, with or without the release's prefix."""
    names = (name, name.removeprefix(_PREFIX))
    for root in (folder, folder.parent):
        for each in names:
            path = root / each
            if path.is_file() and path.resolve().is_relative_to(root.resolve()):
                return path
    raise DatasetError(f"there is no picture {name} beside or above {folder}")


_MODALITIES = {
    "CT": "CT",
    "MRI": "MR",
    "MR": "MR",
    "XRAY": "DX",
    "US": "US",
    "FUNDUS": "OP",
    "DERMOSCOPY": "XC",
    "ENDOSCOPY": "ES",
    "OCT": "OPT",
}
"""Words in file names to DICOM Modality."""


def _modality(name: str) -> str:
    words = re.split(r"[^A-Za-z0-9]+", name.upper())
    return next((_MODALITIES[word] for word in words if word in _MODALITIES), "OT")

"""Make cases of a public dataset as it lies on disk: whole pictures, whole volumes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from model.records import ImageStack
from training.build.findings import Finding, gather_findings
from training.build.normalise import check_picture
from training.build.samples import patient_key_of
from training.build.settings import BuildSettings
from training.errors import ConfigError, DatasetError
from training.evaluation.cases import EvaluationCase, Mask, PhraseTruth, boxes_of_mask
from training.readers import find_reader
from training.readers.source import Picture, SourceImage
from training.registry import DatasetSpec

__all__ = ["case_from_source", "cases_of_dataset"]


def cases_of_dataset(
    root: Path, spec: DatasetSpec, *, split: str | None = None
) -> Iterator[EvaluationCase]:
    """Yield the images of a dataset that have a decided phrase.

    Parameters
    ----------
    root
        Folder of the dataset.
    split
        Only images of the dataset's own split: train, val or test; None: all.

    Raises
    ------
    training.errors.ConfigError
        There is no such folder.
    training.errors.DatasetError
        Its files contradict their layout, or nothing is in the split.
    """
    if not root.is_dir():
        raise ConfigError(f"{spec.id}: there is no folder {root}")
    found = False
    for image in find_reader(spec.reader)(root, spec):
        if split is not None and image.split != split:
            continue
        case = case_from_source(image, spec)
        if case.truths:
            found = True
            yield case
    if not found:
        where = "" if split is None else f" in its split {split!r}"
        raise DatasetError(f"{spec.id}: there is nothing to evaluate{where} in {root}")


def case_from_source(image: SourceImage, spec: DatasetSpec) -> EvaluationCase:
    """Make a case from one image; what several readers drew is fused as in a build.

    Verbatim words are asked as they are, labels by the phrase that they mean. Not asked
    are phrases that are uncertain, ignored or only partly outlined.
    """
    picture = check_picture(image.load())
    found = gather_findings(
        image, picture, spec=spec, settings=BuildSettings(), drops=Counter()
    )
    groups: dict[str, list[Finding]] = {}
    for finding in found:
        groups.setdefault(finding.verbatim or finding.label, []).append(finding)
    truths = [
        _truth(phrase, group, picture)
        for phrase, group in groups.items()
        if all(_is_decided(finding, picture) for finding in group)
    ]
    space = spec.label_space if image.label_space is None else image.label_space
    named = {finding.label for finding in found} | set(groups)
    truths += [
        PhraseTruth(phrase=label, is_present=False)
        for label in dict.fromkeys(space or ())
        if label not in named
    ]
    place = f"{spec.id}/{image.image_id}"
    return EvaluationCase(
        name=place,
        patient=patient_key_of(image, spec.id),
        stack=_stack(picture, image, spec),
        truths=tuple(truths),
        dataset=spec.id,
        note="" if spec.tier == "manual" else f"labels are {spec.tier}",
    )


def _is_decided(finding: Finding, picture: Picture) -> bool:
    """Say whether an answer can be judged; a box in a volume names no slice."""
    if finding.ignore or finding.status == "uncertain":
        return False
    if picture.is_volume and finding.boxes:
        return False
    placed = bool(finding.boxes or finding.masks)
    return finding.status == "absent" or (finding.complete and placed)


def _truth(phrase: str, findings: list[Finding], picture: Picture) -> PhraseTruth:
    drawn = [finding for finding in findings if finding.status == "present"]
    label = findings[0].label
    if not drawn:
        return PhraseTruth(phrase=phrase, is_present=False, label=label)
    boxes = tuple((0, box) for finding in drawn for box in finding.boxes)
    masks = [mask for finding in drawn for mask in finding.masks]
    shape = (
        picture.pixels.shape if picture.is_volume else (1, *picture.pixels.shape[:2])
    )

    def load() -> Mask:
        whole = np.zeros(shape, dtype=np.bool_)
        for mask in masks:
            for index in np.flatnonzero(mask.areas):
                whole[index] |= mask.plane(int(index))
        return whole

    # Boxes drawn beside outlines are places of their own, without an outline.
    if masks and boxes:
        boxes += boxes_of_mask(load())
    return PhraseTruth(
        phrase=phrase,
        is_present=True,
        label=label,
        load_mask=load if masks and not boxes else None,
        boxes=boxes,
    )


def _stack(picture: Picture, image: SourceImage, spec: DatasetSpec) -> ImageStack:
    pixels = picture.pixels
    spacing = picture.spacing_mm
    if not picture.is_volume:
        pixels = pixels[None]
        spacing = None if spacing is None else (0.0, spacing[1], spacing[2])
    return ImageStack(
        pixels=pixels,
        spacing_mm=spacing,
        modality=image.modality,
        body_part=image.body_part or spec.body_part,
        is_volume=picture.is_volume,
    )

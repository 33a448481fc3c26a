"""Read the nnU-Net family: MSD, nnU-Net v1 and v2, AMOS.

::

    dataset.json
    imagesTr/case_0000.nii.gz       one file a channel (nnU-Net), or
    imagesTr/case.nii.gz            one file, its channels a fourth axis (MSD)
    labelsTr/case.nii.gz            a label map

``labels`` maps names to values in version 2, where a value may be a list (a region)
and ``ignore`` is no label, and values to names before.

References
----------
Isensee et al., nnU-Net. Nature Methods 18 (2021); ``documentation/dataset_format.md``.
Antonelli et al., The Medical Segmentation Decathlon. Nature Communications 13 (2022).
Ji et al., AMOS: a large-scale abdominal multi-organ benchmark. NeurIPS (2022).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pydantic import Field

from training.errors import DatasetError
from training.readers.jsonfile import Node, read_json
from training.readers.label_maps import label_mask, side_of
from training.readers.layout import Layout
from training.readers.nnunet_cases import NnUNetCase, find_cases
from training.readers.source import SourceImage, SourceRegion
from training.readers.volumes import load_picture, open_volume
from training.registry import DatasetSpec

__all__ = ["NnUNetLayout", "read_nnunet"]

_IGNORE = "ignore"
"""nnU-Net v2's name for voxels that nobody labelled."""

_MODALITIES = {
    "CT": r"ct|cect|ncct|cbct",
    "PT": r"pet|pt|suv",
    "US": r"us|ultrasound",
    "MR": r"(ce)?mri?|t1.*|t2.*|flair|adc|dwi|pd|dce|cine|lge|bssfp|swi",
}
"""DICOM Modality to what channels are called."""


class NnUNetLayout(Layout):
    """Options of the reader."""

    modality_from_number: dict[int, str] = Field(default_factory=dict)
    """First case number to the modality from there on. AMOS declares CT and holds MR
    from 500 on."""
    not_looked_for: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Modality to labels that its annotators did not draw"""
    composites: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Labels to those that they are made of. One of a label's own name replaces it:
    MSD cuts a tumour out of its organ"""
    patient: str | None = None
    """Regular expression whose first group, in a case's name, is the patient; None:
    every case is one"""
    exhaustive: bool = True
    """Whether every label was looked for in every case"""


def read_nnunet(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield every channel of every labelled case below `root`.

    Raises
    ------
    DatasetError
        ``dataset.json`` is missing, contradicts itself, or names what is not there.
    """
    layout = NnUNetLayout.of(spec)
    description = read_json(root / "dataset.json")
    values = _label_values(description)
    for label, parts in layout.composites.items():
        missing = [part for part in parts if part not in values]
        if missing:
            description.member("labels").fail(
                f"{label} is made of no label {missing[0]}"
            )
    made = {
        label: tuple(sorted({value for part in parts for value in values[part]}))
        for label, parts in layout.composites.items()
    }
    values = {**values, **made}
    names = _channel_names(description)
    for case in find_cases(root, description):
        for index, (path, channel) in enumerate(case.checked(len(names))):
            modality = _modality(names[index], case.name, spec=spec, layout=layout)
            yield _image(
                case,
                (path, channel),
                spec=spec,
                layout=layout,
                values=values,
                modality=modality,
                name=names[index] if len(names) > 1 else None,
            )


def _image(
    case: NnUNetCase,
    source: tuple[Path, int | None],
    *,
    spec: DatasetSpec,
    layout: NnUNetLayout,
    values: dict[str, tuple[int, ...]],
    modality: str,
    name: str | None,
) -> SourceImage:
    image = open_volume(source[0])
    labels = open_volume(case.labels)
    known = {value for group in values.values() for value in group}
    left_out = layout.not_looked_for.get(modality, ())
    regions = tuple(
        SourceRegion(
            label=label,
            mask=label_mask(labels, group, image=image, known=known),
            laterality=side_of(label),
            ignore=label == _IGNORE,
        )
        for label, group in values.items()
        if label not in left_out
    )
    looked_for = [region.label for region in regions if not region.ignore]
    patient = case.name
    if layout.patient is not None:
        match = re.search(layout.patient, case.name)
        if match is None:
            raise DatasetError(
                f"{case.name}: names no patient as {layout.patient} says"
            )
        patient = match[1]
    return SourceImage(
        image_id=case.name if name is None else f"{case.name}/{name}",
        load=partial(load_picture, image, channel=source[1]),
        regions=regions,
        modality=modality,
        body_part=spec.body_part,
        view=name,
        patient_id=patient,
        study_id=case.name,
        split=case.split,
        label_space=tuple(map(spec.phrase_of, looked_for))
        if layout.exhaustive
        else None,
    )


def _label_values(description: Node) -> dict[str, tuple[int, ...]]:
    """Return every label but the background with its values, in the file's order."""
    found: dict[str, tuple[int, ...]] = {}
    group: tuple[int, ...]
    for key, node in description.member("labels").members():
        if key.isdecimal() and isinstance(node.value, str):
            name, group = node.text(), (int(key),)  # MSD, nnU-Net v1
        elif isinstance(node.value, list):
            name, group = key, tuple(item.integer() for item in node.items())
        else:
            name, group = key, (node.integer(),)
        if name in found:
            node.fail("a label is named twice")
        if group not in {(0,), ()} and name.lower() != "background":
            found[name] = group
    return found


def _channel_names(description: Node) -> list[str]:
    key = "channel_names" if "channel_names" in description else "modality"
    numbered = {
        int(number): node.text()
        for number, node in description.member(key).members()
        if number.isdecimal()
    }
    if sorted(numbered) != list(range(len(numbered))) or not numbered:
        description.member(key).fail("channels are not counted from 0")
    return [numbered[index] for index in range(len(numbered))]


def _modality(
    channel: str, case: str, *, spec: DatasetSpec, layout: NnUNetLayout
) -> str:
    if layout.modality_from_number:
        digits = re.findall(r"\d+", case)
        if not digits:
            raise DatasetError(f"{case}: has no number, which tells its modality")
        starts = [n for n in layout.modality_from_number if n <= int(digits[-1])]
        if starts:
            return layout.modality_from_number[max(starts)]
    word = re.sub(r"[^a-z0-9]", "", channel.lower())
    for modality, pattern in _MODALITIES.items():
        if re.fullmatch(pattern, word):
            return modality
    return spec.modality

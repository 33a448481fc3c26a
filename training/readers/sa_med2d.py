"""Read SA-Med2D-20M: slices and photographs with one mask file per instance.

References
----------
Ye et al., SA-Med2D-20M Dataset: Segment Anything in 2D Medical Imaging with 20 Million
masks, arXiv 2311.11969.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.readers.images import mask_loader, picture_loader
from training.readers.json_stream import stream_members
from training.readers.jsonfile import Node, read_json
from training.readers.layout import ImageLayout, modality_of
from training.readers.source import SourceImage, SourceRegion
from training.registry import DatasetSpec

__all__ = ["read_sa_med2d"]

_MERGED = "union_"
"""Classes that unite others: a mask of them names nothing."""


class _Layout(ImageLayout):
    index: str = "SAMed2D_v1.json"
    classes: str = "SAMed2D_v1_class_mapping_id.json"
    modalities: dict[str, str]
    """See `training.readers.layout.modality_of`"""
    datasets: tuple[str, ...] | None = None
    """Read only these of the datasets inside; None: all"""


@dataclass(frozen=True, slots=True)
class _Name:
    """What ``{modality}--{dataset}--{case}--{axis}_{slice}`` says."""

    modality: str
    dataset: str
    case: str

    @classmethod
    def of(cls, stem: str, node: Node) -> _Name:
        words = stem.split("--")
        if len(words) < 4 or not all(words):
            node.fail("the image's name is not modality--dataset--case--slice")
        return cls(words[0], words[1], "--".join(words[2:-1]))


def read_sa_med2d(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield the images of the index, which is streamed: it names 4 million.

    Each instance is a region. Which classes a source looked for is not
    told, so nothing is known to be absent. The case is the patient.

    Raises
    ------
    DatasetError
        See `training.readers.source.Reader`.
    """
    layout = _Layout.of(spec)
    classes = _read_classes(root / layout.classes)
    for image, masks in stream_members(root / layout.index):
        stem = Path(image).stem
        name = _Name.of(stem, masks)
        if layout.datasets is not None and name.dataset not in layout.datasets:
            continue
        path = layout.find(root / image, masks.place)
        if path is None:
            continue
        labels = classes.get(name.dataset)
        if labels is None:
            masks.fail(f"its dataset is not in {layout.classes}")
        modality = modality_of(name.modality, layout.modalities)
        if modality is None:
            masks.fail("the modality in its name is not in the layout's modalities")
        yield SourceImage(
            image_id=stem,
            load=picture_loader(path),
            regions=_regions(masks, image=path, root=root, labels=labels),
            modality=modality,
            patient_id=f"{name.dataset}--{name.case}",
        )


def _regions(
    masks: Node, *, image: Path, root: Path, labels: dict[str, str]
) -> tuple[SourceRegion, ...]:
    regions = []
    for node in masks.items():
        file = node.text()
        prefix, _, ending = Path(file).stem.rpartition("--")
        number, _, instance = ending.partition("_")
        if prefix != image.stem or not instance:
            node.fail("the mask's name is not the image's and --class_instance")
        label = labels.get(number)
        if label is None:
            node.fail("its class is not in the class mapping")
        if not label.startswith(_MERGED):
            mask = mask_loader(root / file, image=image)
            regions.append(SourceRegion(label=label, mask=mask))
    return tuple(regions)


def _read_classes(path: Path) -> dict[str, dict[str, str]]:
    """Return dataset to class number to class name; the file maps name to number."""
    datasets: dict[str, dict[str, str]] = {}
    for dataset, node in read_json(path).members():
        labels: dict[str, str] = {}
        for name, number in node.members():
            text = number.identifier()
            if text in labels:
                number.fail("two classes share a number")
            labels[text] = name
        datasets[dataset] = labels
    return datasets

"""Read BiomedParseData: 1024 x 1024 pictures, one mask and its sentences each.

References
----------
Zhao et al., A foundation model for joint segmentation, detection and recognition of
biomedical objects across nine modalities, Nature Methods 2024.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from training.errors import DatasetError
from training.readers.images import mask_loader, picture_loader
from training.readers.jsonfile import Node, read_json
from training.readers.layout import ImageLayout, modality_of, official_split
from training.readers.source import SourceImage, SourceRegion
from training.registry import DatasetSpec

__all__ = ["read_biomedparse"]


class _Layout(ImageLayout):
    parts: tuple[str, ...] = ("train", "test")
    """Each with ``<part>/``, ``<part>_mask/`` and ``<part>.json``"""
    modalities: dict[str, str]
    """See `training.readers.layout.modality_of`"""
    sites: dict[str, str] = Field(default_factory=dict)
    """Site in file names to body part, where they differ"""


def read_biomedparse(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield the pictures of one dataset folder, or of all dataset folders below.

    File names say what is shown: ``[IMAGE]_[MODALITY]_[SITE].png``, of a mask with
    ``_[TARGET]``, where ``+`` stands for a space. Each sentence of a mask is a region
    of its own. No patient is named, and the pictures were resized to a square, so
    neither shape nor size can be trusted.

    Raises
    ------
    DatasetError
        See `training.readers.source.Reader`.
    """
    layout = _Layout.of(spec)
    found = [
        (part, file)
        for part in layout.parts
        for file in sorted({*root.glob(f"{part}.json"), *root.glob(f"*/{part}.json")})
    ]
    if not found:
        raise DatasetError(f"{spec.id}: no {layout.parts[0]}.json here or one below")
    for part, file in sorted(found, key=lambda pair: (pair[1].parent, pair[0])):
        tree = read_json(file)
        annotations: dict[str, list[Node]] = {}
        for node in tree.items("annotations"):
            key = node.member("image_id").identifier()
            annotations.setdefault(key, []).append(node)
        for image in tree.items("images"):
            nodes = annotations.pop(image.member("id").identifier(), [])
            picture = _picture(
                image, nodes=nodes, folder=file.parent, part=part, layout=layout
            )
            if picture is not None:
                yield picture
        if annotations:
            raise DatasetError(
                f"{file.name}: {len(annotations)} annotated images are not listed"
            )


def _picture(
    image: Node, *, nodes: list[Node], folder: Path, part: str, layout: _Layout
) -> SourceImage | None:
    name = image.member("file_name").text()
    path = layout.find(folder / part / name, image.place)
    if path is None:
        return None
    words = Path(name).stem.rsplit("_", 2)
    if len(words) != 3:
        image.fail("its name is not [IMAGE]_[MODALITY]_[SITE]")
    modality = modality_of(words[1], layout.modalities)
    if modality is None:
        image.fail("the modality in its name is not in the layout's modalities")
    site = words[2].replace("+", " ")
    return SourceImage(
        image_id=f"{folder.name}/{part}/{Path(name).stem}",
        load=picture_loader(path),
        regions=tuple(
            region
            for node in nodes
            for region in _regions(node, image=path, masks=folder / f"{part}_mask")
        ),
        modality=modality,
        body_part=layout.sites.get(site, site),
        split=official_split(part),
    )


def _regions(node: Node, *, image: Path, masks: Path) -> Iterator[SourceRegion]:
    name = node.member("mask_file").text()
    stem = Path(name).stem
    if not stem.startswith(f"{image.stem}_"):
        node.fail("the name of its mask does not begin with that of its image")
    target = stem.removeprefix(f"{image.stem}_").replace("+", " ")
    mask = mask_loader(masks / name, image=image)
    sentences = [item.member("sent").text() for item in node.items("sentences")]
    for sentence in dict.fromkeys(sentences) or (None,):
        yield SourceRegion(label=target, phrase=sentence, mask=mask)

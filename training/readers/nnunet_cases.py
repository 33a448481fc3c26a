"""Find the cases of a dataset of the nnU-Net family: listed, or by their names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from training.errors import DatasetError
from training.readers.jsonfile import Node
from training.readers.layout import Split
from training.readers.volume_files import VOLUME_ENDINGS, case_name
from training.readers.volumes import open_volume

__all__ = ["NnUNetCase", "find_cases"]

_LISTS: dict[str, Split] = {"training": "train", "validation": "val", "test": "test"}
"""Lists of cases in ``dataset.json``. Unlabelled cases, as those to test on mostly
are, have no label and are passed over."""

_CHANNEL = re.compile(r"_(\d{4})$")
"""How a file that holds one channel ends, before its ending."""


@dataclass(frozen=True)
class NnUNetCase:
    """One labelled case."""

    name: str
    channels: tuple[tuple[Path, int | None], ...]
    """File, and the channel in it; None: it has no such axis"""
    labels: Path
    split: Split | None

    def checked(self, count: int) -> tuple[tuple[Path, int | None], ...]:
        """Return the channels if there are `count`, in their order.

        Raises
        ------
        DatasetError
            There are more or fewer, or a file of one is missing.
        """
        if len(self.channels) != count:
            raise DatasetError(
                f"{self.name}: has {len(self.channels)} channels, dataset.json names "
                f"{count}"
            )
        for index, (path, channel) in enumerate(self.channels):
            number = _CHANNEL.search(case_name(path))
            if channel is None and number and count > 1 and int(number[1]) != index:
                raise DatasetError(f"{path.name}: channel {index} was expected")
        return self.channels


def find_cases(root: Path, description: Node) -> Iterator[NnUNetCase]:
    """Yield the labelled cases that ``dataset.json`` lists, or that lie below `root`.

    Raises
    ------
    DatasetError
        A list is broken, or there are not as many cases as ``numTraining`` says.
    """
    if "dataset" in description:
        # nnU-Net v2 may list its cases with files that lie anywhere.
        for name, node in description.member("dataset").members():
            paths = [root / item.text() for item in node.items("images")]
            labels = root / node.member("label").text()
            yield NnUNetCase(name, tuple((path, None) for path in paths), labels, None)
    elif "training" in description:
        yield from _listed_cases(root, description)
    else:
        yield from _found_cases(root, description)


def _listed_cases(root: Path, description: Node) -> Iterator[NnUNetCase]:
    """Yield what the lists name.

    Where only the training list has labels it is no split: all cases are in it, and
    the build draws one.
    """
    cases = list(_cases_of_lists(root, description))
    is_split = any(case.split != "train" for case in cases)
    for case in cases:
        yield case if is_split else replace(case, split=None)


def _cases_of_lists(root: Path, description: Node) -> Iterator[NnUNetCase]:
    for key, split in _LISTS.items():
        for item in description.items(key):
            if not isinstance(item.value, dict) or "label" not in item:
                continue
            image, label = item.member("image"), item.member("label")
            path = _inside(root, image.text(), image)
            labels = _inside(root, label.text(), label)
            yield NnUNetCase(case_name(path), _files(path), labels, split)


def _found_cases(root: Path, description: Node) -> Iterator[NnUNetCase]:
    """Pair the files of ``imagesTr`` and ``labelsTr`` by their names."""
    ending = description.member("file_ending").text()
    if ending not in VOLUME_ENDINGS:
        description.member("file_ending").fail("a volume does not end so")
    folder = root / "imagesTr"
    paths = sorted((root / "labelsTr").glob(f"[!.]*{ending}"))
    expected = description.member("numTraining").integer()
    if len(paths) != expected:
        raise DatasetError(
            f"{root.name}/labelsTr: holds {len(paths)} cases, dataset.json says "
            f"{expected}"
        )
    for path in paths:
        name = case_name(path)
        channels = sorted(folder.glob(f"{_literal(name)}_[0-9][0-9][0-9][0-9]{ending}"))
        yield NnUNetCase(name, tuple((one, None) for one in channels), path, None)


def _files(path: Path) -> tuple[tuple[Path, int | None], ...]:
    """Return the channels of a listed image: its own, or those of numbered files.

    nnU-Net v1 lists ``case.nii.gz`` and stores ``case_0000.nii.gz``.
    """
    if path.is_file():
        count = open_volume(path).channels
        if count is None:
            return ((path, None),)
        return tuple((path, channel) for channel in range(count))
    pattern = f"{_literal(case_name(path))}_[0-9][0-9][0-9][0-9].*"
    return tuple((one, None) for one in sorted(path.parent.glob(pattern)))


def _inside(root: Path, name: str, node: Node) -> Path:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        node.fail("a file outside the dataset")
    return root / relative


def _literal(name: str) -> str:
    """Escape what means something in a pattern of file names."""
    return re.sub(r"([*?\[])", r"[\1]", name)

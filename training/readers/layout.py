"""Check the options that a specification gives to its reader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from training.errors import DatasetError
from training.registry import DatasetSpec

__all__ = ["ImageLayout", "Layout", "Split", "modality_of", "official_split"]

Split = Literal["train", "val", "test"]

_SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "testa": "test",
    "testb": "test",
}


class Layout(BaseModel):
    """Options of one reader; every reader extends it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(cls, spec: DatasetSpec) -> Self:
        """Read the options of a specification.

        Raises
        ------
        DatasetError
            An option is unknown, missing or of the wrong kind; the message names it.
        """
        try:
            return cls.model_validate(spec.layout)
        except ValidationError as error:
            first = error.errors()[0]
            option = ".".join(str(part) for part in first["loc"])
            raise DatasetError(
                f"{spec.id}: layout option {option or '?'}: {first['msg']}"
            ) from error


class ImageLayout(Layout):
    """Options of readers whose annotations name the images."""

    missing_images: Literal["error", "skip"] = "error"
    """What an annotated image that is not there means. Large sets are often kept in
    part; skipping them is said, never guessed."""

    def find(self, path: Path, where: str) -> Path | None:
        """Return `path` if there is such a file, else None.

        Parameters
        ----------
        path
            The image.
        where
            File and line that name it, for the message.

        Raises
        ------
        DatasetError
            It is missing, and missing images are errors.
        """
        if path.is_file():
            return path
        if self.missing_images == "skip":
            return None
        raise DatasetError(f"{where}: the image {path.name} is not there")


def modality_of(word: str, table: Mapping[str, str]) -> str | None:
    """Return the DICOM Modality of a word in a file name; None: not in the table.

    Parameters
    ----------
    word
        Such as ``mr_t1`` or ``MRI-FLAIR``.
    table
        How such words begin, in lower case, to their modality. The longest beginning
        counts: ``mra`` may mean another than ``mr``.
    """
    fitting = [start for start in table if word.casefold().startswith(start)]
    return table[max(fitting, key=len)] if fitting else None


def official_split(text: str | None, where: str = "layout") -> Split | None:
    """Return the split that a dataset's word means; None where it names none.

    Parameters
    ----------
    text
        Such as ``train``, ``validate`` or ``testA``.
    where
        File and line that say so, for the message.

    Raises
    ------
    DatasetError
        The word is none that datasets use.
    """
    if text is None or not text.strip():
        return None
    split = _SPLITS.get(text.strip().casefold())
    if split is None:
        raise DatasetError(f"{where}: no split is called like this")
    return split

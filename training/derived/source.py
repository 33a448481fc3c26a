"""Say what a source of labelled pictures hands to the stream that words them.

A source knows pixels and labels. Which phrases are asked, in which words, and which
of them are known to be absent is the stream's work and the same for all sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.config import MedGLIPConfig
from training.phrases import Lexicon

__all__ = ["LabelledPicture", "SliceSource", "concept_table", "known_concepts"]


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledPicture:
    """One drawn picture, or one slice with its neighbours, and its labels."""

    image: NDArray[np.float32]
    """(offsets, rows, columns) in modality units (HU for CT), one plane per
    ``config.slice_offsets_mm`` and the labelled one in the middle; or (1, rows,
    columns): a picture without neighbours. Colour comes as its luminance, as in
    serving. Rows and columns are `shape`; what lies outside the picture is filled
    with its darkest value. Canonical orientation: columns grow towards the patient's
    left."""
    labels: NDArray[np.uint8]
    """(planes, rows, columns): value v means ``source.structures[v - 1]``, 0 nothing.
    One plane for a label map; several where structures lie over each other, as in a
    projection: a pixel belongs to what any plane says"""
    modality: str
    """DICOM Modality (0008,0060)"""
    body_part: str | None = None
    """DICOM Body Part Examined (0018,0015)"""
    is_outlined: bool = True
    """The labels are true to the pixel; False: they are filled boxes"""
    weight: float = 1.0
    """How much the labels count; 1 for manual ones"""


class SliceSource(Protocol):
    """Draws labelled pictures of one kind, each from a generator alone."""

    @property
    def name(self) -> str:
        """Short name for logs and sample identifiers; never a patient's."""
        ...

    @property
    def structures(self) -> tuple[str, ...]:
        """At most 255 structure names; a label value is the position plus one."""
        ...

    @property
    def label_space(self) -> frozenset[str]:
        """Return the structures whose missing label means: not on the picture.

        Holds those that annotators looked for, and those that cannot be there (the
        brain in a pelvic CT), whether or not :attr:`structures` names them.
        """
        ...

    @property
    def unknown(self) -> frozenset[str]:
        """Names of concepts about which the labels say nothing, whatever members."""
        ...

    def draw(
        self,
        rng: np.random.Generator,
        *,
        config: MedGLIPConfig,
        shape: tuple[int, int],
    ) -> LabelledPicture:
        """Draw one picture of `shape` (rows, columns) on the model's pixel grid.

        All chance comes from `rng`; two calls with equal generators are equal.
        """
        ...


def concept_table(source: SliceSource, lexicon: Lexicon) -> NDArray[np.bool_]:
    """Return (concepts, structures + 1): True where a label belongs to a concept."""
    value = {name: i + 1 for i, name in enumerate(source.structures)}
    table = np.zeros((len(lexicon.concepts), len(value) + 1), dtype=np.bool_)
    for row, concept in enumerate(lexicon.concepts):
        for member in concept.members:
            if member in value:
                table[row, value[member]] = True
    return table


def known_concepts(source: Any, lexicon: Lexicon) -> NDArray[np.bool_]:
    """Return (concepts,): True where a source can tell where a concept is, or isn't.

    A concept of kind ``absent`` (another body region, no members) is known to be
    absent everywhere, unless the source says that it is unknown.

    Parameters
    ----------
    source
        Anything with ``label_space`` and ``unknown``.
    """
    return np.array(
        [
            concept.name not in source.unknown
            and (
                concept.kind == "absent"
                or any(member in source.label_space for member in concept.members)
            )
            for concept in lexicon.concepts
        ],
        dtype=np.bool_,
    )

"""Put what is held out into the cases that every evaluation asks."""

from __future__ import annotations

from pathlib import Path

from training.bundled.heldout import HeldOut
from training.bundled.heldout_pictures import HELD_OUT_PICTURES, HeldOutPicture
from training.evaluation.cases import EvaluationCase, case_from_masks
from training.phrases import Lexicon

__all__ = ["ct_case", "picture_case", "picture_cases"]

_CT_NOTE = (
    "one series of 20 slices from another person than those of the training; labels "
    "are the output of another model"
)


def ct_case(held_out: HeldOut, lexicon: Lexicon) -> EvaluationCase:
    """Ask for every structure of the held-out CT, and for what is not on it."""
    present, absent = held_out.judged(lexicon)
    return case_from_masks(
        "ct_upper_abdomen",
        held_out.stack,
        masks={c.names[0]: held_out.region(c, lexicon) for c in present},
        absent=[concept.names[0] for concept in absent],
        labels={c.names[0]: c.name for c in (*present, *absent)},
        dataset="held-out CT",
        note=_CT_NOTE,
    )


def picture_cases(cache: Path, lexicon: Lexicon) -> list[EvaluationCase]:
    """Load the held-out pictures of other modalities; fetches their packages."""
    return [picture_case(load(cache), lexicon) for load in HELD_OUT_PICTURES.values()]


def picture_case(picture: HeldOutPicture, lexicon: Lexicon) -> EvaluationCase:
    """Ask for everything that was drawn whole, and for what is not on the picture."""
    names = {concept.name: concept.names[0] for concept in lexicon.concepts}
    drawn = {
        names.get(concept, concept): mask
        for concept, mask in picture.masks.items()
        if concept not in picture.incomplete
    }
    person = "" if picture.independent else "; the person is in the training data, too"
    return case_from_masks(
        picture.name,
        picture.stack,
        masks=drawn,
        absent=[names.get(concept, concept) for concept in picture.absent],
        dataset=f"held-out {picture.modality}",
        note=f"{picture.name}: {picture.labels_from}{person}",
    )

"""Hold what a judged phrase reached."""

from __future__ import annotations

from dataclasses import dataclass

from training.evaluation.cases import Mask, TruthBox
from training.evaluation.metrics import Finding

__all__ = ["Judgement", "PhraseRow"]

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class PhraseRow:
    """What one phrase of one case reached; None where a measure does not apply."""

    case: str
    patient: str
    dataset: str
    modality: str
    phrase: str
    category: str
    is_present: bool
    says_present: bool
    score: float
    uncertainty: float
    volume_ml: float | None = None
    """Of the true region, where the spacing is known"""
    dice: float | None = None
    """Of present outlined phrases"""
    iou: float | None = None
    nsd: float | None = None
    pieces_paired: int | None = None
    pieces_predicted: int | None = None
    pieces_true: int | None = None
    top_iou: float | None = None
    """Of present phrases"""
    set_iou: float | None = None
    hit_rank: int | None = None
    """Rank of the first box at IoU 0.5; None: no box hits, or the phrase is absent"""
    is_exact: bool
    places_entailed: bool | None = None
    """Of phrases with predicted boxes: these lie within the true ones"""
    truth_entailed: bool | None = None
    """Of present phrases: the true boxes lie within the predicted ones"""
    points_inside: bool | None = None
    cnr: float | None = None

    @property
    def error(self) -> float | None:
        """Return one minus Dice, or minus top-box IoU; None of an absent phrase."""
        overlap = self.top_iou if self.dice is None else self.dice
        return None if overlap is None else 1 - overlap

    @property
    def is_placed(self) -> bool:
        """Say whether the place is right at IoU 0.5: of masks, else of the top box."""
        overlap = self.top_iou if self.iou is None else self.iou
        return overlap is not None and overlap >= 0.5


@dataclass(frozen=True, eq=False)
class Judgement:
    """A row, and the regions that average precision is computed from."""

    row: PhraseRow
    found: tuple[Finding, ...]
    truth: tuple[Finding, ...]
    sizes: dict[str, Size]
    """Picture to (rows, columns)"""
    found_mask: Mask
    """On the stack's grid; empty where nothing was marked"""
    truth_mask: Mask | None
    """None: only boxes are known, or the phrase is absent"""
    truth_boxes: tuple[TruthBox, ...]

"""Write the model card: every number comes from the evaluation, none is typed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.config import MedGLIPConfig
from training.bundled.development import CALIBRATION_FILE
from training.bundled.evaluate import EVALUATION_FILE
from training.bundled.inputs import INPUTS, shares
from training.config import TrainingConfig
from training.phrases import load_lexicon

__all__ = ["render_card", "write_card"]


def write_card(folder: Path) -> None:
    """Write ``README.md`` into a checkpoint folder from the files beside it."""
    evaluation = json.loads((folder / EVALUATION_FILE).read_text(encoding="utf-8"))
    calibration = json.loads((folder / CALIBRATION_FILE).read_text(encoding="utf-8"))
    training = TrainingConfig.load_beside(folder)
    text = render_card(evaluation, calibration, MedGLIPConfig.load(folder), training)
    (folder / "README.md").write_text(text, encoding="utf-8")


def render_card(
    evaluation: dict[str, Any],
    calibration: dict[str, float],
    model: MedGLIPConfig,
    training: TrainingConfig,
) -> str:
    """Return the card as Markdown."""
    return "\n\n".join(
        [
            _head(evaluation, model),
            _data(training),
            _reached(evaluation),
            _pictures(evaluation),
            _absences(evaluation),
            _branches(evaluation, calibration, model),
            _limits(),
        ]
    )


def _head(evaluation: dict[str, Any], model: MedGLIPConfig) -> str:
    concepts = [c for c in load_lexicon().concepts if c.kind != "absent"]
    size = evaluation["parameters"] / 1e6
    return f"""# {model.name}, version {model.version}

Grounds phrases of radiology reports as regions: anatomy on CT and MR of the trunk,
chest radiographs and brain MR; painted pictures stand in for the other modalities.
Research software, **not for diagnostic use**.

- Network: {size:.2f} M trained parameters on a frozen text encoder (all-MiniLM-L6-v2,
  from the Python package `{model.text_package}`, verified by SHA-256).
- Knows {len(concepts)} concepts (organs, vessels, bones, muscles, levels, groups) by
  names, synonyms, findings that imply an organ ("hepatomegaly") and report sentences. A
  phrase is grounded to the anatomical site it speaks of: "calcified plaque in the
  aorta" marks the aorta, not the plaque; no finding is detected or excluded.
- Identity: SHA-256 over weights and configuration
  `{evaluation["model"]["sha256"]}`.
- Licence: Apache-2.0.

![The six judged phrases on one slice of the held-out CT](overlay.png)"""


def _data(training: TrainingConfig) -> str:
    rows = [
        {"source": f"`{name}`", **asdict(INPUTS[name]), "share": f"{share:.1%}"}
        for name, share in sorted(shares(training).items(), key=lambda item: -item[1])
        if share
    ]
    columns = ("source", "modality", "shows", "labels", "tier", "share", "licence")
    stages = "; ".join(f"{s.name}: {s.steps} steps" for s in training.plan)
    return f"""## What it was trained on

{_table(rows, columns)}

*pseudo*: labels are the output of another model; *fused*: of a model and of ours;
*derived*: computed from other labels; *synthetic*: painted together with the picture.
Three people in all, and two averaged heads. The rest is augmentation: size and shape,
short series, contrast phases, collapsed veins, remodelled bone, stomach and bowel
content, arms and couch, noise. Batches of {training.batch}; {stages}; seed
{training.seed}, one CPU core. `make checkpoint` runs the recipe. {training.note}

Structures that a source does not label are never used as "absent" there."""


def _reached(evaluation: dict[str, Any]) -> str:
    six, unseen = evaluation["mean_dice_six"], evaluation["mean_dice_unseen_wording"]
    usual = evaluation["mean_dice_unseen_wording_usual"]
    every = evaluation["mean_dice_all"]
    return f"""## What it reaches on CT

`example_ct_dicom` (20 slices of 2 mm, contrast, arms beside the body, another patient,
JPEG 2000 DICOM) took no part in training, and no weight or threshold was fitted to it;
that its results had been looked at when one rule was written is said above. It is one
series, with labels that are model output too: read these numbers as one observation.

Mean Dice of the six phrases below: **{six:.3f}**.

{_table(evaluation["six"], ("phrase", "dice", "score", "uncertainty"))}

All labelled structures by their preferred name, mean Dice **{every:.3f}**:

{
        _table(
            evaluation["structures"],
            ("phrase", "volume_ml", "dice", "score", "is_present", "uncertainty"),
        )
    }

### Wording

{_table(evaluation["wordings"], ("phrase", "concept", "trained_wording", "dice"))}

Over all {len(evaluation["unseen_wordings"])} wordings that training never saw the mean
Dice is {unseen:.3f}; the preferred names of the same structures reach {usual:.3f}."""


def _pictures(evaluation: dict[str, Any]) -> str:
    columns = ("case", "modality", "phrase", "dice", "score", "is_present")
    there = [row for row in evaluation["pictures"] if row["there"]]
    wrong = [r for r in evaluation["pictures"] if r["is_present"] and not r["there"]]
    asked = sum(not row["there"] for row in evaluation["pictures"])
    listed = ", ".join(f"{r['phrase']} ({r['case']})" for r in wrong) or "none"
    notes = "\n".join(f"- {note}" for note in evaluation["corpus"]["notes"])
    return f"""## What it reaches on other pictures

One picture or series each, so each row is one observation.

{_table(there, columns)}

Of {asked} phrases that are not on these pictures, {len(wrong)} were called present:
{listed}.

{notes}

Ultrasound, endoscopy, dermoscopy, mammography, PET and microscopy have no real picture
here: nothing is known about them beyond the painted ones."""


def _absences(evaluation: dict[str, Any]) -> str:
    wrong = [
        row
        for row in (*evaluation["absent"], *evaluation["absent_unseen"])
        if row["is_present"]
    ]
    missed = [row for row in evaluation["structures"] if not row["is_present"]]
    listed = ", ".join(f'"{row["phrase"]}"' for row in wrong) or "none"
    lost = ", ".join(f'"{row["phrase"]}"' for row in missed) or "none"
    return f"""## What is not there

Phrases for structures outside the picture, for other body regions and for no anatomy
at all, {len(evaluation["absent"])} in trained and {len(evaluation["absent_unseen"])} in
unseen wording.

| measure | value |
| --- | --- |
| AUROC of the presence score (present against absent) | \
{evaluation["presence_auroc"]:.3f} |
| present phrases found present | {evaluation["presence_sensitivity"]:.1%} |
| absent phrases found absent, trained wording | \
{evaluation["absence_specificity"]:.1%} |
| absent phrases found absent, unseen wording | \
{evaluation["absence_specificity_unseen"]:.1%} |

Wrongly called present: {listed}.

Wrongly called absent: {lost}."""


def _branches(
    evaluation: dict[str, Any], calibration: dict[str, float], model: MedGLIPConfig
) -> str:
    correlation = evaluation["uncertainty_error_correlation"]
    columns = ("branch", "core_weight", "mean_dice_six", "mean_dice_all")
    ablation = _table(evaluation["branches"], columns)
    formula = f"sigmoid({model.presence_scale} x evidence + {model.presence_shift})"
    prefix = "dice_core_weight_"
    shares = ", ".join(
        f"{name.removeprefix(prefix)}: {value:.3f}"
        for name, value in sorted(calibration.items())
        if name.startswith(prefix)
    )
    return f"""## Branches and thresholds

{ablation}

The share of the detection core in the mask is {model.core_weight}: above zero only if
its gain on development stacks exceeds two standard errors (mean Dice there by share:
{shares}). The presence score is {formula}. Both were set on
{calibration["stacks"]:.0f} development stacks and pictures, newly deformed copies of
the *training* data ({calibration["present_pairs"]:.0f} present and
{calibration["absent_pairs"]:.0f} absent phrases), because there is no spare patient.
Scores on a new patient are therefore less certain than they look. A phrase is present
from {model.presence_threshold} on; masks are cut at {model.mask_threshold}; islands
under {model.min_region_mm3:.0f} mm3 or 2 % of the largest are dropped.

Uncertainty of a phrase that is present is one minus presence score x expected Dice x
agreement of the hypotheses, read through an isotonic table as the probability that the
region misses the true one at IoU 0.5 ({calibration["placed_pairs"]:.0f} development
answers, {calibration["misplaced_share"]:.1%} of them misplaced). Its rank correlation
with the error (one minus Dice) on the held-out CT is {correlation:.2f}. Of a phrase
that is absent it is the presence score: how nearly it was called present."""


def _limits() -> str:
    return """## Limits

- Three people, most labels made by another model. Read the numbers as single
  observations.
- Findings are placed at the anatomy they speak of. The few lesions it knows (masses,
  cysts, polyps, skin lesions) it has only seen painted. Negation is not read: "no
  lesion in the liver" marks the liver.
- Words it has no concept for ("free air", "dilated bile ducts") may be placed on a
  neighbouring organ, and with confidence: absence was trained on other body regions,
  on structures outside the picture and on a few sentences about nothing.
- Vertebral levels and neighbours just outside a short series are guessed.
- Needs canonical orientation (see `ImageStack`); rotated pictures fail.
- A phrase's answer does not depend on the company it is asked in, but for one rule: a
  whole is never less present than a part of it that is asked beside it.
- Structures under about 1 cm (adrenal glands, single ribs) are unreliable."""


def _table(rows: Sequence[dict[str, Any]], columns: tuple[str, ...]) -> str:
    lines = ["| " + " | ".join(name.replace("_", " ") for name in columns) + " |"]
    lines.append("|" + " --- |" * len(columns))
    lines.extend(
        "| " + " | ".join(_cell(row[name]) for name in columns) + " |" for row in rows
    )
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)

"""Write the report page from the results that lie beside it; no number is typed.

The folder holds ``ablation.json``, ``scale.json``, ``throughput.json`` and what
``python -m training evaluate`` wrote into ``held-out/``; the checkpoint holds the rest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.bundled.evaluate import EVALUATION_FILE
from training.evaluation.ablation import load_ablation, render_ablation
from training.evaluation.tables import table
from training.stream.scale_report import draw_plot, summary

__all__ = ["PAGE_FILE", "render_page", "write_page"]

PAGE_FILE = "README.md"
"""Name of the page in its folder, so that a forge shows it."""


def write_page(folder: Path, checkpoint: Path) -> Path:
    """Write the page and its plots.

    Raises
    ------
    FileNotFoundError
        A result is missing; the name says which command makes it.
    """
    scale = json.loads((folder / "scale.json").read_text(encoding="utf-8"))
    draw_plot(scale, folder / "scale.png")
    path = folder / PAGE_FILE
    path.write_text(render_page(folder, checkpoint), encoding="utf-8")
    return path


def render_page(folder: Path, checkpoint: Path) -> str:
    """Return the page as Markdown."""
    results = json.loads((checkpoint / EVALUATION_FILE).read_text(encoding="utf-8"))
    scale = json.loads((folder / "scale.json").read_text(encoding="utf-8"))
    throughput = json.loads((folder / "throughput.json").read_text(encoding="utf-8"))
    parts = [
        _HEAD,
        _reached(results),
        _ABLATION,
        render_ablation(load_ablation(folder / "ablation.json")).strip(),
        "## Streaming at the paper's scale",
        "\n".join(f"- {line}" for line in summary(scale)),
        "![Records and samples a second, and memory](scale.png)",
        "## Training throughput",
        _throughput(throughput),
        _REPEAT,
    ]
    return "\n\n".join(parts) + "\n"


_HEAD = """# What was measured

Every table here is written by `python -m training page` from JSON beside it. Numbers
on images are single observations: one series or picture each, labels mostly made by
another model. They say what the code and the shipped checkpoint do, and nothing about a
clinic. Public benchmarks (`python -m training evaluate --preset`) have no row here,
because their data are not.

The held-out images taught no weight and no threshold, but they were looked at while the
code was written, and two changes followed such a look (the model card says which)."""

_ABLATION = """## What each option is worth

Switches of the network and of its training, on and off, same seeds, same budget (one
that `python -m training ablate` knows and that has no row was not measured), on the
synthetic task of the tests (noise pictures with shapes; a phrase per shape; phrases
that are absent). It shows whether an option does its work, not what it is worth on
patients: for that there are too few. Gains within two standard errors are called
none."""

_SPEED = """Ours beside transformers' MM-Grounding-DINO with its own loss, on the same
batches of the synthetic task, taking turns, medians. *Ours* learns masks, presence,
words and denoising besides boxes; *boxes alone* leaves those out. The stock loss is
wrong for prompts that differ between pictures, so its speed buys little."""

_REPEAT = """## Repeat it

```sh
make checkpoint                                              # hours on one core
python -m training evaluate model/checkpoints/medglip-tiny held-out \\
    --out docs/evaluation/held-out --corruptions 3
python -m training ablate docs/evaluation/ablation.json      # an hour on one core
python -m training scale --regions 5300000 --out scale       # then scale/scale.json
python -m training throughput docs/evaluation/throughput.json
python -m training page docs/evaluation
```"""


def _reached(results: dict[str, Any]) -> str:
    rows = [["CT", row["phrase"], row["dice"]] for row in results["six"]]
    rows.append(["CT", "mean of these", results["mean_dice_six"]])
    rows.append(["CT", "mean of all labelled", results["mean_dice_all"]])
    rows += [
        [f"{row['modality']} {row['case']}", row["phrase"], row["dice"]]
        for row in results["pictures"]
        if row["there"]
    ]
    return "\n\n".join(
        [
            "## What the shipped checkpoint reaches",
            table(["picture", "phrase", "Dice"], rows),
            f"AUROC of presence on the CT: {results['presence_auroc']:.3f}. Every "
            "phrase, every metric with its definition and interval, corruptions and "
            "worst cases: [held-out/report.md](held-out/report.md). What it was "
            "trained on: [model card](../../model/checkpoints/medglip-tiny/README.md).",
        ]
    )


def _throughput(found: list[dict[str, Any]]) -> str:
    rows = [
        [
            f"{one['device']}, {one['threads']} threads",
            way["precision"] + (", compiled" if way["compiled"] else ""),
            name,
            f"{speed:.1f}",
            f"{speed / way['pictures_per_second']['stock']:.2f}",
        ]
        for one in found
        for way in one["ways"]
        for name, speed in way["pictures_per_second"].items()
    ]
    head = ["machine", "precision", "training", "pictures a second", "of stock"]
    return "\n\n".join([_SPEED, table(head, rows)])

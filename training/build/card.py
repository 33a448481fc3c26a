"""Write the data card: what is in a build, what was left out, and how it looks."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.build.pictures import bars, contact_sheet
from training.layout import CARD_FILE, RecordFile
from training.records import ImageRecord

__all__ = ["Statistics", "count_records", "write_card"]

_SHOWN = 6
"""Pictures on a contact sheet."""
_LABELS = 40
"""Labels in the table and the plot, the most frequent first."""


@dataclass
class Statistics:
    """Counts over all records."""

    pictures: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(dataset, modality, split)"""
    patients: defaultdict[str, set[str]] = field(
        default_factory=lambda: defaultdict(set)
    )
    """Split to pseudonyms"""
    status: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)
    """outlined, boxed, without a place: of present regions"""
    labels: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    boxes: int = 0
    examples: defaultdict[str, list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Dataset to lines with something to show"""


def count_records(records: RecordFile) -> Statistics:
    """Read all records once; memory grows with labels and patients only."""
    counts = Statistics()
    for number, record in enumerate(records):
        split = record.split or ""
        counts.pictures[record.dataset, record.modality, split] += 1
        counts.patients[split].add(record.patient_key)
        _count_regions(record, counts)
        examples = counts.examples[record.dataset]
        if len(examples) < _SHOWN and any(region.bbox for region in record.regions):
            examples.append(number)
    return counts


def _count_regions(record: ImageRecord, counts: Statistics) -> None:
    for region in record.regions:
        status = "ignored" if region.ignore else region.status
        counts.status[status] += 1
        if status in ("present", "uncertain"):
            kind = "boxes only" if region.mask is None else "outlined"
            counts.places[kind] += 1
            counts.labels[region.label or region.phrase] += 1
            counts.sources[region.source] += 1
            counts.boxes += len(region.bbox)


def write_card(folder: Path, told: dict[str, Any]) -> None:
    """Write ``card.md`` and its pictures.

    Parameters
    ----------
    folder
        A build with records and shards.
    told
        What ``build.json`` says.
    """
    records = RecordFile(folder)
    counts = count_records(records)
    pictures = folder / "card"
    pictures.mkdir(exist_ok=True)
    for old in pictures.glob("*.png"):
        old.unlink()
    top = counts.labels.most_common(_LABELS)
    if top:
        bars(top, pictures / "labels.png")
    sheets = []
    for dataset, lines in sorted(counts.examples.items()):
        if lines:
            contact_sheet(folder, lines, pictures / f"{dataset}.png")
            sheets.append(dataset)
    text = "\n".join(_card(told, counts, top, sheets)) + "\n"
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


def _card(
    told: dict[str, Any],
    counts: Statistics,
    top: list[tuple[str, int]],
    sheets: list[str],
) -> list[str]:
    total = sum(counts.pictures.values())
    regions = sum(counts.status.values())
    free = "yes" if told["is_free"] else "no, see the licences"
    lines = ["# Data card", ""]
    lines += [
        f"- Pictures: {total}",
        f"- Regions: {regions}, with {counts.boxes} boxes",
        f"- Clusters of patients: {told['clusters']}",
        f"- Free for any use, on any terms: {free}",
        "",
        "## Datasets",
        "",
        "| dataset | licence | labels are | images | without a sample | pictures "
        "| regions |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {one['licence']['id']} | {one['tier']} | {one['images']} "
        f"| {one['images_without_sample']} | {one['samples']} | {one['regions']} |"
        for name, one in told["datasets"].items()
    ]
    lines += ["", "## Splits", "", "| dataset | modality | train | val | test |"]
    lines.append("|---|---|---|---|---|")
    for dataset, modality in sorted({key[:2] for key in counts.pictures}):
        row = [
            str(counts.pictures[dataset, modality, split])
            for split in ("train", "val", "test")
        ]
        lines.append(f"| {dataset} | {modality} | {' | '.join(row)} |")
    people = [str(len(counts.patients[split])) for split in ("train", "val", "test")]
    lines.append(f"| patients, as far as they are known | | {' | '.join(people)} |")
    lines += ["", *_joined(told), "", "## Regions", ""]
    lines += _table("status", counts.status)
    lines += _table("place", counts.places)
    lines += _table("origin", counts.sources)
    lines += ["## Labels", ""]
    if top:
        lines += ["![Most frequent labels](card/labels.png)", ""]
        lines += _table("label", Counter(dict(top)))
    lines += ["## What was left out", "", *_left_out(told), "", "## Pictures", ""]
    for dataset in sheets:
        lines += [f"![Pictures of {dataset} with their regions](card/{dataset}.png)"]
        lines.append("")
    lines.append("Whom to name: [ATTRIBUTION.md](ATTRIBUTION.md)")
    return lines


def _joined(told: dict[str, Any]) -> list[str]:
    joined = told["joined_patients"]
    text = [
        f"Patients joined because pictures are equal: {joined['equal pictures']}; "
        f"because they are similar: {joined['similar pictures']}."
    ]
    unknown = [
        name for name, one in told["datasets"].items() if one["patients_unknown"]
    ]
    if unknown:
        text.append(
            "These datasets name no patients, so that only duplicates keep their "
            f"splits apart: {', '.join(unknown)}."
        )
    return text


def _table(title: str, counts: Counter[str]) -> list[str]:
    rows = [f"| {name} | {number} |" for name, number in counts.most_common()]
    return [f"| {title} | regions |", "|---|---|", *rows, ""]


def _left_out(told: dict[str, Any]) -> list[str]:
    rows = [
        f"| {name} | {reason} | {number} |"
        for name, one in told["datasets"].items()
        for kind in ("dropped", "samples_dropped")
        for reason, number in one[kind].items()
    ]
    if not rows:
        return ["Nothing."]
    return ["| dataset | reason | number |", "|---|---|---|", *rows]

"""The table of ``docs/reliability.md``, from the figures that were recorded."""

from __future__ import annotations

import json
from pathlib import Path

from tests.torture.outcome import Figure, Outcome, Scale
from tests.torture.rows import ROWS, Row

__all__ = ["PAGE", "RECORDS", "render_table", "write_table"]

_ROOT = Path(__file__).parents[2]
PAGE = _ROOT / "docs" / "reliability.md"
RECORDS = _ROOT / "docs" / "reliability"
"""One JSON file for each test: the figures of its last recorded run."""

_BEGIN = "<!-- table: python -m tests.torture table -->\n"
_END = "<!-- end of table -->\n"


def write_table() -> Path:
    """Put the table of the recorded figures into the page; return the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    PAGE.write_text(f"{before}{_BEGIN}{render_table()}{_END}{after}", encoding="utf-8")
    return PAGE


def render_table() -> str:
    """Return the tables as Markdown: what came of each test, then every figure."""
    summary = [
        "| | test | figures asked | **fall short** |",
        "|---|---|---|---|",
        *(_verdict(row) for row in ROWS),
    ]
    lines = [
        "| | test | what it does | reached here | beside it | repeat |",
        "|---|---|---|---|---|---|",
        *(_line(row) for row in ROWS),
    ]
    return "\n".join([*summary, "", *lines]) + "\n"


def _verdict(row: Row) -> str:
    path = RECORDS / f"{row.name}.json"
    if not path.exists():
        return f"| {row.number} | {row.title} | not measured | |"
    outcome = Outcome.read(json.loads(path.read_text(encoding="utf-8")))
    asked = sum(one.holds is not None for one in outcome.figures)
    short = "<br>".join(str(one) for one in outcome.short_of) or "none"
    return f"| {row.number} | {row.title} | {asked} | {short} |"


def _line(row: Row) -> str:
    path = RECORDS / f"{row.name}.json"
    command = f"python -m tests.torture run {row.number}"
    if not path.exists():
        cells = ["not measured", ""]
    else:
        document = json.loads(path.read_text(encoding="utf-8"))
        outcome = Outcome.read(document)
        reached = [_cell(outcome.figures), *outcome.notes]
        if document["scale"] != Scale.FULL:
            command = f"{command} --scale {document['scale']}"
        if document["scale"] == Scale.SHORT:
            reached.append("**short form only**")
        reached.append(f"{document['commit']}, {document['seconds']} s")
        anchors = [f"{name}: {_cell(of)}" for name, of in outcome.anchors.items()]
        cells = ["<br>".join(reached), "<br>".join(anchors) or "none measured"]
    parts = [str(row.number), row.title, row.does, *cells, f"`{command}`"]
    return "| " + " | ".join(part.replace("|", "\\|") for part in parts) + " |"


def _cell(figures: tuple[Figure, ...]) -> str:
    return "<br>".join(map(str, figures))

"""Write Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["cell", "table"]


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table; see `cell` for how values are written."""
    lines = [_line(head), "|" + " --- |" * len(head)]
    lines += [_line(row) for row in rows]
    return "\n".join(lines)


def cell(value: Any) -> str:
    """Write a value: numbers with three digits, truth as yes and no, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}" if math.isfinite(value) else "-"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _line(values: Sequence[Any]) -> str:
    return "| " + " | ".join(cell(value) for value in values) + " |"

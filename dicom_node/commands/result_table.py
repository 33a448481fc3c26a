"""What a result says, as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

__all__ = ["result_table"]


def result_table(document: Mapping[str, Any]) -> Table:
    """Make a table of the phrases of a ``result.json`` document."""
    table = Table(title="What the report says, and where it is")
    for heading in ("phrase", "status", "code", "where", "score"):
        table.add_column(heading, overflow="fold")
    for phrase in document["phrases"]:
        code = phrase["code"]
        score = phrase["score"]
        table.add_row(
            phrase["text"],
            phrase["status"],
            f"{code['value']} {code['scheme']} {code['meaning']}",
            _where(phrase),
            "" if score is None else f"{score:.2f}",
        )
    return table


def _where(phrase: Mapping[str, Any]) -> str:
    if not phrase["regions"]:
        return "not drawn" if phrase["status"] == "absent" else "not found"
    images = {(one["sop_instance_uid"], one["frame"]) for one in phrase["regions"]}
    seg = phrase["regions"][0]["seg"]
    where = f"{len(images)} slice{'s' if len(images) > 1 else ''}"
    return where if seg is None else f"{where}, segment {seg['segment_number']}"

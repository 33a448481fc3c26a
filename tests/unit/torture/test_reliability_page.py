"""The table of reliability.md is what the recorded figures say."""

from __future__ import annotations

import json

from tests.torture.outcome import Outcome, at_most
from tests.torture.rows import ROWS
from tests.torture.table import PAGE, RECORDS, render_table


def test_the_page_holds_the_table_of_the_recorded_figures() -> None:
    assert render_table() in PAGE.read_text(encoding="utf-8"), (
        "run: python -m tests.torture table"
    )


def test_every_record_belongs_to_a_row_and_can_be_read() -> None:
    names = {f"{row.name}.json" for row in ROWS}

    for path in RECORDS.glob("*.json"):
        assert path.name in names
        assert Outcome.read(json.loads(path.read_text(encoding="utf-8"))).figures


def test_every_row_has_a_program() -> None:
    assert all(callable(row.load()) for row in ROWS)


def test_a_figure_beyond_its_limit_is_told_as_falling_short() -> None:
    figure = at_most("lost", 1, 0)

    assert figure.holds is False
    assert "falls short" in str(figure)

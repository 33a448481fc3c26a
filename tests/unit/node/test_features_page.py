from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "features.md"
LINK = re.compile(r'\]\(\.\./(?P<path>tests/[^ )]+) "(?P<test>test_\w+)"\)')
ROW = re.compile(r"^\| \d+ \|(?P<cells>.*)\|$", re.MULTILINE)


def test_every_test_that_the_feature_table_names_is_there():
    links = list(LINK.finditer(PAGE.read_text(encoding="utf-8")))

    missing = [
        found["test"]
        for found in links
        if f"def {found['test']}(" not in (ROOT / found["path"]).read_text("utf-8")
    ]
    assert len(links) > 50
    assert missing == []


def test_every_yes_of_the_feature_table_is_shown_by_a_test():
    rows = [
        [cell.strip() for cell in found["cells"].split("|")]
        for found in ROW.finditer(PAGE.read_text(encoding="utf-8"))
    ]

    assert len(rows) == 69
    unshown = [
        cells[0] for cells in rows if cells[6] == "yes" and not LINK.search(cells[7])
    ]
    assert unshown == []
    assert {cells[6] for cells in rows} <= {"yes", "part", "no"}

"""Every link of a document to another leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\]\(([^)\s]+)")
_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(rf"{_BLOCK.pattern}|`[^`\n]*`", _BLOCK.flags)
_DOCUMENTS = sorted(
    [*_ROOT.glob("*.md"), *(_ROOT / "docs").rglob("*.md"), *_ROOT.glob("model/**/*.md")]
)


def anchors(document: Path) -> set[str]:
    """Make the anchors of headings as they are made where the documents are shown."""
    headings = re.findall(r"^#+ (.+)$", _BLOCK.sub("", document.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize(
    "document", _DOCUMENTS, ids=lambda one: one.relative_to(_ROOT).as_posix()
)
def test_every_link_leads_somewhere(document: Path) -> None:
    lost = []
    for link in _LINK.findall(_CODE.sub("", document.read_text())):
        if ":" in link:  # another host's
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        is_there = target.exists() and (
            not anchor or target.suffix != ".md" or anchor in anchors(target)
        )
        if not is_there:
            lost.append(link)

    assert not lost

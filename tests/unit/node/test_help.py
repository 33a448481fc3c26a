"""The help of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from dicom_node.cli import app


def _texts(command: Any, path: str) -> Iterator[tuple[str, str]]:
    yield path, command.help or ""
    for parameter in command.params:
        yield f"{path} {parameter.name}", getattr(parameter, "help", None) or ""
    for name, one in getattr(command, "commands", {}).items():
        yield from _texts(one, f"{path} {name}")


def test_no_text_has_words_in_brackets_which_are_markup_and_vanish() -> None:
    texts = dict(_texts(typer.main.get_command(app), "dicom-node"))

    assert len(texts) > 50
    assert [path for path, text in texts.items() if "[" in text] == []

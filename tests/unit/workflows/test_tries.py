"""The folders that earlier tries at a version left, whoever made them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dicom_node.workflows.processing import _remove_tries


@pytest.mark.parametrize(
    ("epoch", "left"),
    [
        (None, {"name.1", "name.2", "name.3", "other", "other.1"}),
        (2, {"name.3", "other", "other.1"}),
    ],
)
def test_earlier_tries_go_without_a_look_at_the_results_of_all_others(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epoch: int | None,
    left: set[str],
) -> None:
    for name in ("name", "name.1", "name.2", "name.3", "other", "other.1"):
        (tmp_path / name / "inner").mkdir(parents=True)
    listed: list[str] = []
    for function in ("scandir", "listdir"):
        real = getattr(os, function)

        def look(folder: object = ".", real: object = real) -> object:
            listed.append(str(folder))
            return real(folder)  # type: ignore[operator]

        monkeypatch.setattr(os, function, look)

    _remove_tries(tmp_path, "name", epoch)

    monkeypatch.undo()
    assert {one.name for one in tmp_path.iterdir()} == left
    assert str(tmp_path) not in listed

"""No drawing and no picture of the page ends where it does not belong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders.ohif import VIEWERS
from tests.builders.page import PASSWORD, drive_page, run_page_node
from tests.builders.page_pixels import read_canvas
from tests.builders.page_study import make_page_study
from tests.builders.peers import cannot_run, require_program

pytestmark = [pytest.mark.peers, pytest.mark.slow]

_ARTIFACTS = Path(__file__).parents[2] / "artifacts" / "page-safety"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    require_program("chromium")
    require_program("node")
    if not (VIEWERS / "node_modules" / "axe-core").is_dir():
        cannot_run("run tests/viewers/install.sh first")
    folder = tmp_path_factory.mktemp("page-safety")
    with run_page_node(folder) as node:
        study = make_page_study(folder / "study")
        node.send(study.files)
        node.wait_until_done(study.uid)
        task = {
            "url": node.url,
            "password": PASSWORD,
            "study": study.uid,
            "model_fails": str(folder / "model-fails"),
        }
        yield drive_page(task, folder=_ARTIFACTS, driver="page-safety.mjs")


def test_the_browser_complains_only_of_what_was_broken(seen: dict[str, Any]) -> None:
    assert [one for one in seen["complaints"] if "ERR_FAILED" not in one] == []


def test_news_of_a_study_leave_zoom_and_pan(seen: dict[str, Any]) -> None:
    zoom = seen["zoom"]

    assert zoom["after"]["view"] == zoom["before"]["view"]


def test_a_stroke_on_another_series_is_no_part_of_a_drawing(
    seen: dict[str, Any],
) -> None:
    elsewhere = seen["elsewhere"]

    assert "“Abdomen 4 mm”: nothing is drawn on this series" in elsewhere["note"]
    assert not elsewhere["canUndo"]
    assert elsewhere["noteAtHome"] == ""
    assert elsewhere["canUndoAtHome"]
    assert elsewhere["axe"] == []


def test_news_of_a_study_leave_a_drawing_in_sight(seen: dict[str, Any]) -> None:
    elsewhere = seen["elsewhere"]

    drawn, after = (read_canvas(elsewhere[one]) for one in ("drawn", "afterNews"))
    assert np.array_equal(drawn, after)


def test_a_drawing_goes_only_after_a_question(seen: dict[str, Any]) -> None:
    escape = seen["escape"]

    assert escape["asked"] == "keep-drawing"
    assert escape["axe"] == []
    assert escape["kept"] == {"editors": 1, "focus": "stack", "canUndo": True}
    assert escape["gone"] == {"focus": "redraw"}
    assert escape["untouched"] == {"isAsked": False}


def test_a_frame_that_did_not_come_is_asked_for_again(seen: dict[str, Any]) -> None:
    assert seen["network"]["refused"] > 2


def test_series_are_pictured_in_browsers_without_idle_callbacks(
    seen: dict[str, Any],
) -> None:
    assert seen["network"]["painted"] == [True, True]


def test_another_run_of_the_same_content_shows_its_own_pixels(
    seen: dict[str, Any],
) -> None:
    run = seen["run"]

    assert run["before"]["series"] == ["Abdomen 4 mm", "Overview"]
    assert "Abdomen" in run["before"]["corner"]
    assert run["after"]["series"] == ["Overview"]
    assert "the model ran out of memory" in run["after"]["not_processed"]
    assert "Overview" in run["after"]["corner"]
    assert run["after"]["bytes"] == run["after"]["side"]
    assert run["name"] != run["old"]
    assert run["name"] in run["asked"]
    changed = run["asked"].index(run["name"])
    assert set(run["asked"][changed:]) == {run["name"]}


def test_a_drawing_on_an_earlier_run_is_refused_and_not_lost(
    seen: dict[str, Any],
) -> None:
    late = seen["run"]["late"]

    assert "New results of this study are here" in late["told"]
    assert late["status"] == 409
    assert late["editors"] == 1
    assert seen["run"]["redrawn"] == 0

"""The page in Chromium, on a real node whose findings are known to the pixel."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from tests.builders.ohif import VIEWERS
from tests.builders.page import PASSWORD, PageNode, drive_page, run_page_node
from tests.builders.page_pixels import (
    bitmap_of,
    edge_band,
    line_of,
    on_canvas,
    read_canvas,
    rgb_of,
)
from tests.builders.page_study import (
    ORGANS,
    REPORT,
    PageStudy,
    make_long_study,
    make_page_study,
    organ_mask,
)
from tests.builders.peers import cannot_run, require_program

pytestmark = [pytest.mark.peers, pytest.mark.slow]

PHRASES = {
    "The liver is enlarged": "liver",
    "The spleen is unremarkable": "spleen",
    "cyst in the left kidney": "kidney",
}
"""Phrase to the organ that the grounder finds for it."""

_ARTIFACTS = Path(__file__).parents[2] / "artifacts" / "page"
_LEAST_CONTRAST = 4.5
"""WCAG 2.2, 1.4.3."""


def make_task(url: str, study: PageStudy, long_uid: str | None) -> dict[str, Any]:
    """Describe what the driver does, and where the organs are."""
    inside = {}
    for text, organ in PHRASES.items():
        mask = organ_mask(study.series.voxels, organ)
        frame = int(mask.sum(axis=(1, 2)).argmax())
        where = np.argwhere(mask[frame])
        row, column = where[np.abs(where - where.mean(axis=0)).sum(axis=1).argmin()]
        inside[text] = {"frame": frame, "row": int(row), "column": int(column)}
    return {
        "url": url,
        "password": PASSWORD,
        "study": study.uid,
        "prior": study.prior_uid,
        "long": long_uid,
        "rule_file": str(study.series.paths[0]),
        "inside": inside,
        "outside": {"row": 3, "column": 3},
        "stroke": [{"row": 40, "column": 50}, {"row": 30, "column": 66}],
    }


class Seen:
    """What the driver saw, and what the node says afterwards."""

    def __init__(self, node: PageNode, study: PageStudy, page: dict[str, Any]) -> None:
        self.study = study
        self.page = page
        self.corrections = node.get(f"/studies/{study.uid}/corrections")
        self.detail = page["view"]["detail"]
        liver = self.detail["phrases"][0]["regions"][0]["tracking_uid"]
        self.machine = node.get(f"/studies/{study.uid}/regions/{liver}")
        self.liver_uid = liver


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    require_program("chromium")
    require_program("node")
    if not (VIEWERS / "node_modules" / "axe-core").is_dir():
        cannot_run("run tests/viewers/install.sh first")
    folder = tmp_path_factory.mktemp("page")
    with run_page_node(folder) as node:
        study = make_page_study(folder / "study")
        long_uid, long_files = make_long_study(folder / "long", slices=500, side=128)
        node.send(study.prior_files)
        node.send(study.files)
        node.send(long_files)
        for uid in (study.uid, study.prior_uid, long_uid):
            node.wait_until_done(uid)
        task = make_task(node.url, study, long_uid)
        shutil.rmtree(_ARTIFACTS, ignore_errors=True)
        yield Seen(node, study, drive_page(task, folder=_ARTIFACTS))


def test_the_browser_complains_of_nothing_and_asks_nobody_else(seen: Seen) -> None:
    assert seen.page["complaints"] == []


def test_a_stranger_signs_in_and_arrives_where_they_wanted(seen: Seen) -> None:
    door = seen.page["sign_in"]

    assert door["refusal"] == "Name and password do not go together."
    assert door["arrived"].endswith(f"/view/{seen.study.uid}")


def test_the_list_shows_searches_and_filters_studies(seen: Seen) -> None:
    page = seen.page["list"]
    row = next(one for one in page["rows"] if one["study"] == seen.study.uid)

    for words in (
        "Page, Ada",
        "PAGE-1",
        "CT Abdomen",
        "ACC-7",
        "3 of 4 phrases located",
    ):
        assert words in row["text"]
    assert "2 absent" in row["text"]
    assert "outbox" in row["text"]
    assert page["nothing"] == "No study matches."
    assert {one["study"] for one in page["found"]} >= {seen.study.uid}
    assert all("Done" in one["text"] for one in page["done"])


def test_the_list_follows_the_node_without_being_asked(seen: Seen) -> None:
    page = seen.page["list"]

    assert "Waiting" in page["waiting"]
    assert "paused" in page["banner"]
    assert "Done" in page["resumed"]


def test_the_list_is_read_by_keyboard(seen: Seen) -> None:
    page = seen.page["list"]

    assert page["focused"] == page["rows"][0]["study"]
    assert page["opened"].endswith(f"/view/{page['focused']}")


def test_phrases_are_marked_at_their_code_points(seen: Seen) -> None:
    view = seen.page["view"]
    phrases = view["detail"]["phrases"]

    assert REPORT in view["text"]
    assert {one["text"] for one in view["spans"]} == {one["text"] for one in phrases}
    for one in view["spans"]:
        assert one["text"] == phrases[one["phrase"]]["text"]


def test_what_is_absent_uncertain_or_not_located_is_visibly_so(seen: Seen) -> None:
    spans = {one["text"]: one for one in seen.page["view"]["spans"]}

    assert "is-located" in spans["The liver is enlarged"]["kind"]
    assert "is-uncertain" in spans["cyst in the left kidney"]["kind"]
    assert spans["The stomach is distended"]["label"].endswith("not located")
    assert spans["ascites"]["label"] == "ascites, absent: never drawn"
    assert "cannot be decoded" in seen.page["details"]["text"]


def test_a_prior_report_is_labelled_and_never_marked(seen: Seen) -> None:
    view = seen.page["view"]

    assert view["tabs"] == ["Structured report", "Prior, 2025-02-03"]
    assert all("normal size" not in one["text"] for one in view["spans"])


def test_the_warning_is_on_the_page(seen: Seen) -> None:
    assert seen.page["view"]["warning"] == "AI - not for diagnostic use"


def test_hovering_a_phrase_lights_its_region_on_its_best_slice(seen: Seen) -> None:
    found = seen.page["view"]["hover"]

    assert [one["text"] for one in found] == list(PHRASES)
    for one in found:
        voxels = seen.study.series.voxels
        frame = one["lit"]["frame"]
        masks = {name: organ_mask(voxels, name) for name in ORGANS}
        mine = masks.pop(PHRASES[one["text"]])
        assert frame == mine.sum(axis=(1, 2)).argmax()

        lit, plain = read_canvas(one["lit"]), read_canvas(one["plain"])
        inside = on_canvas(mine[frame], one["lit"])
        band = edge_band(inside, 3)
        for other in masks.values():
            band |= edge_band(on_canvas(other[frame], one["lit"]), 3)
        expected = plain + (inside * 0.4)[..., None] * (rgb_of(one["colour"]) - plain)
        assert (inside & ~band).sum() > 500
        assert np.abs(lit - expected)[~band].max() <= 2
        assert f"slice {frame + 1} of 24" in one["said"]
        assert "confidence 0." in one["said"]


def test_an_absent_phrase_is_struck_and_never_drawn(seen: Seen) -> None:
    absent = seen.page["view"]["absent"]
    before, after = read_canvas(absent["before"]), read_canvas(absent["after"])

    assert absent["isStruck"]
    assert absent["fate"] == "absent: never drawn"
    assert absent["said"].endswith("absent: never drawn")
    assert absent["before"]["frame"] == absent["after"]["frame"]
    # Others step back while it is looked at; nothing is added in any colour.
    assert _saturation(after).sum() <= _saturation(before).sum()


def test_clicking_a_region_marks_its_phrase_and_brings_it_into_sight(
    seen: Seen,
) -> None:
    click = seen.page["view"]["click"]

    assert len(click["found"]) == len(PHRASES)
    for one in click["found"]:
        assert one["selected"] == [one["text"]]
        assert one["pressed"] == [one["text"]]
        assert one["isInSight"]
    assert click["afterOutside"] == 0


def test_wheel_and_keys_go_through_the_stack(seen: Seen) -> None:
    scroll = seen.page["view"]["scroll"]

    assert scroll["last"] == 23
    assert scroll["seen"] == [0, 23, 22, 20, 1]
    assert scroll["valuetext"] == "slice 22 of 24"


def test_dragging_changes_the_window_and_reset_brings_it_back(seen: Seen) -> None:
    window = seen.page["view"]["window"]
    before, after = read_canvas(window["before"]), read_canvas(window["after"])

    assert window["words"] == "W 400  L 60"
    assert window["dragged"] != window["words"]
    assert np.abs(before - after).max() > 10
    assert np.abs(before - read_canvas(window["inverted"])).max() > 100
    assert np.array_equal(before, read_canvas(window["reset"]))
    assert window["presets"][:4] == ["Image 1", "Soft tissue", "Lung", "Bone"]


def test_pixels_have_their_true_shape_and_zoom_keeps_it(seen: Seen) -> None:
    zoom = seen.page["view"]["zoom"]

    for a, d, _, _ in (zoom["plain"], zoom["zoomed"], zoom["wheeled"]):
        assert d / a == pytest.approx(1.2 / 0.9)
    assert zoom["zoomed"][0] == pytest.approx(zoom["plain"][0] * 1.25)
    assert zoom["wheeled"][0] > zoom["zoomed"][0]
    assert zoom["panned"][2:] == pytest.approx(
        [zoom["wheeled"][2] + 25, zoom["wheeled"][3] - 15]
    )
    assert zoom["reset"] == zoom["plain"]
    assert seen.page["view"]["sides"] == ["R", "L", "A", "P"]


def test_phrases_are_walked_by_keyboard_and_told_aloud(seen: Seen) -> None:
    keys = seen.page["view"]["keys"]

    assert keys["selected"] == ["phrase-1"]
    assert keys["active"] == "phrase-1"
    assert keys["said"].startswith("The spleen is unremarkable, slice ")
    assert (
        keys["frame"]
        == organ_mask(seen.study.series.voxels, "spleen").sum(axis=(1, 2)).argmax()
    )


def test_a_phrase_that_has_the_focus_lights_up_as_if_pointed_at(seen: Seen) -> None:
    focus = seen.page["view"]["focus"]

    assert focus["text"] == "The liver is enlarged"
    assert focus["frame"] == focus["best"]
    assert focus["outline"] != "none"
    assert focus["pressed"] == "true"


def test_boxes_are_drawn_when_asked_for(seen: Seen) -> None:
    boxes = seen.page["view"]["boxes"]
    before, after = read_canvas(boxes["before"]), read_canvas(boxes["after"])
    changed = np.abs(before - after).max(axis=-1) > 8

    shape = seen.study.series.voxels.shape[1:]
    lines = np.zeros(changed.shape, bool)
    for left, top, right, bottom in boxes["xyxy"]:
        whole = np.zeros(shape, bool)
        whole[int(top) : int(bottom), int(left) : int(right)] = True
        lines |= edge_band(on_canvas(whole, boxes["after"]), 2)
    assert boxes["xyxy"]
    assert changed.any()
    assert not (changed & ~lines).any()


def test_cine_runs_until_it_is_stopped(seen: Seen) -> None:
    cine = seen.page["view"]["cine"]

    assert cine["stopped"] != cine["before"]
    assert cine["later"] == cine["stopped"]


def test_who_signs_out_is_out(seen: Seen) -> None:
    assert "/sign-in" in seen.page["redraw"]["left"]


def test_the_way_back_of_a_browser_shows_nothing_after_signing_out(seen: Seen) -> None:
    gone = seen.page["redraw"]["gone"]

    assert "/sign-in?next=" in gone["address"]
    assert "Page, Ada" not in gone["shown"]


def test_every_file_can_be_downloaded(seen: Seen) -> None:
    details = seen.page["details"]

    assert [status for status, _ in details["downloads"]] == [200] * len(
        details["links"]
    )
    assert all(size > 0 for _, size in details["downloads"])
    names = {link.rsplit("/", 1)[1] for link in details["links"]}
    assert {"results.zip", "result.json", "fhir.json"} <= names
    assert "outbox" in details["text"]


def test_where_the_time_went_is_a_picture_and_the_same_table(seen: Seen) -> None:
    details = seen.page["details"]

    rows = {(name, track): took for name, track, _, took in details["spans"]}
    assert {("receiving", "study"), ("quiet time", "study")} <= set(rows)
    assert {("inference", "processing"), ("sending", "to outbox")} <= set(rows)
    assert [title for title, _ in details["bars"]] == [
        f"{name}: {took}" for name, _, _, took in details["spans"]
    ]
    assert all(width > 0 for _, width in details["bars"])
    assert "from the last image to the last result" in details["text"]


def test_a_dropped_file_shows_which_rule_it_meets(seen: Seen) -> None:
    operations = seen.page["operations"]

    assert operations["isOver"]
    assert operations["rule"] == "urgent-abdomen"
    assert ["is-miss", "no-knees"] in operations["trace"]
    assert ["is-match", "urgent-abdomen"] in operations["trace"]
    assert "ABDOMEN" in operations["tags"]
    assert operations["junk"].startswith("notes.txt: ")
    for words in ("Health", "Queue", "Model", "Disk", "outbox"):
        assert words in operations["text"]


def test_what_is_painted_is_what_is_saved(seen: Seen) -> None:
    redraw = seen.page["redraw"]
    shape = seen.study.series.voxels.shape
    machine = organ_mask(seen.study.series.voxels, "liver")
    line = line_of(redraw["from"], redraw["to"], 4.5, shape[1:])

    saved = np.zeros(shape, bool)
    for one in redraw["body"]["frames"]:
        saved[one["frame"]] = bitmap_of(one["runs"], shape[1:])

    expected = machine.copy()
    expected[redraw["frame"]] |= line
    assert (line & ~machine[redraw["frame"]]).sum() > 50
    assert redraw["address"].split("/")[4] == seen.liver_uid
    assert np.array_equal(saved, expected)
    assert redraw["body"]["comment"] == "the upper pole is part of it"
    painted, undone = read_canvas(redraw["painted"]), read_canvas(redraw["undone"])
    inside = on_canvas(expected[redraw["frame"]], redraw["undone"])
    sure = inside & ~edge_band(inside, 3)
    sure &= ~on_canvas(
        line_of(redraw["to"], redraw["to"], 7, shape[1:]), redraw["undone"]
    )
    sure &= ~edge_band(on_canvas(machine[redraw["frame"]], redraw["undone"]), 3)
    assert np.abs(painted - undone)[sure].max() <= 1
    assert np.abs(painted - read_canvas(redraw["erased"]))[sure].max() > 20


def test_a_correction_is_kept_with_who_made_it_and_leaves_the_machines_result(
    seen: Seen,
) -> None:
    redraw = seen.page["redraw"]
    drawn, accepted = seen.corrections

    assert redraw["verdict"].startswith("Redrawn by eve, ")
    assert redraw["accepted"].startswith("Accepted by eve, ")
    assert (drawn["action"], drawn["person"]) == ("redraw", "eve")
    assert drawn["frames"] == redraw["body"]["frames"]
    assert accepted["action"] == "accept"
    machine = organ_mask(seen.study.series.voxels, "liver")
    for one in seen.machine["frames"]:
        kept = bitmap_of(one["runs"], machine.shape[1:])
        assert np.array_equal(kept, machine[one["frame"]])


def test_who_corrected_takes_responsibility_before_a_report_is_verified(
    seen: Seen,
) -> None:
    redraw = seen.page["redraw"]

    report = dcmread(BytesIO(base64.b64decode(redraw["verified"])))

    assert redraw["barred"]
    assert report.VerificationFlag == "VERIFIED"
    assert report.VerifyingObserverSequence[0].VerifyingObserverName == "eve"
    names = {link.rsplit("/", 1)[1] for link in redraw["files"]}
    assert names == {"report.dcm", "result.zip"}


def test_who_may_only_look_is_offered_nothing_to_change(seen: Seen) -> None:
    assert seen.page["redraw"]["offered"] == 0


@pytest.mark.parametrize(
    "place", ["sign_in", "list", "view", "details", "operations", "redraw", "light"]
)
def test_axe_finds_no_serious_violation(seen: Seen, place: str) -> None:
    grave = [
        one
        for one in seen.page[place]["axe"]
        if one["impact"] in {"serious", "critical"}
    ]

    assert grave == []


@pytest.mark.parametrize("place", ["view", "light"])
def test_words_stand_out_from_their_ground(seen: Seen, place: str) -> None:
    page, images = (seen.page[place]["colours"][one] for one in ("page", "images"))
    pairs = [
        (page[word], page[ground])
        for word in ("text", "muted", "accent", "good", "caution", "bad")
        for ground in ("ground", "surface", "raised")
    ]
    pairs += [
        (page[word], page[f"{word}-ground"])
        for word in ("accent", "good", "caution", "bad")
    ]
    pairs += [
        (page["on-accent"], page["accent"]),
        (images["on-accent"], images["accent"]),
    ]
    pairs += [
        (images[word], images[ground])
        for word in ("text", "muted", "accent", "good", "caution", "bad")
        for ground in ("surface", "raised")
    ]

    assert min(_contrast(*pair) for pair in pairs) >= _LEAST_CONTRAST


def test_the_theme_follows_the_system_and_the_switch(seen: Seen) -> None:
    light, dark, reloaded = seen.page["light"]["themes"]

    assert light != dark == reloaded


def test_nothing_hangs_over_at_1024_pixels(seen: Seen) -> None:
    assert all(over <= 0 for over in seen.page["light"]["overflow"].values())


def test_a_long_stack_opens_and_says_how_fast(
    seen: Seen, capsys: pytest.CaptureFixture[str]
) -> None:
    long = seen.page["long"]

    with capsys.disabled():
        print(f"\n500 slices: first paint and first image, ms: {json.dumps(long)}")
    assert long["slices"] == "500"


def _contrast(one: list[int], other: list[int]) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(rgb: list[int]) -> float:
    share = np.asarray(rgb) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))


def _saturation(canvas: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    return canvas.max(axis=-1) - canvas.min(axis=-1)

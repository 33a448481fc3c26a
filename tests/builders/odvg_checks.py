"""Read ODVG lines as the formats' own loaders do, written from their description.

They are strict: what a loader would drop without a word, or fail at, is an error here.
"""

from __future__ import annotations

from typing import Any

Box = tuple[float, float, float, float]


def check_mm_gdino(
    lines: list[Any], *, label_map: dict[str, str] | None
) -> list[dict[str, Any]]:
    """Return text and instances (box, phrase) of each line."""
    loaded = []
    for line in lines:
        assert isinstance(line["filename"], str)
        if label_map is not None:
            assert "grounding" not in line
            instances = [
                (_box(one["bbox"], line), _name(one, label_map))
                for one in line["detection"]["instances"]
            ]
            loaded.append({"text": label_map, "instances": instances})
            continue
        grounding = line["grounding"]
        instances = []
        for region in grounding["regions"]:
            boxes = region["bbox"]
            # The loader looks at the first element to see whether there are several.
            if not isinstance(boxes[0], list):
                boxes = [boxes]
            instances += [(_box(box, line), region["phrase"]) for box in boxes]
            spans = region["tokens_positive"]
            said = " ".join(grounding["caption"][a:b] for a, b in spans)
            assert said == region["phrase"]
        loaded.append({"text": grounding["caption"], "instances": instances})
    return loaded


def check_open_groundingdino(
    lines: list[Any], *, label_map: dict[str, str] | None
) -> list[list[tuple[Box, str]]]:
    """Return the instances (box, phrase) of each line."""
    loaded = []
    for line in lines:
        if label_map is not None:
            found = [
                (_box(one["bbox"], line), _name(one, label_map))
                for one in line["detection"]["instances"]
            ]
        else:
            regions = line["grounding"]["regions"]
            found = [(_box(one["bbox"], line), one["phrase"]) for one in regions]
            # It makes the caption anew, so that a phrase must not hold its separator.
            assert all(" . " not in phrase for _, phrase in found)
        assert found, "the loader unpacks an empty list and fails"
        loaded.append(found)
    return loaded


def _name(instance: dict[str, Any], label_map: dict[str, str]) -> str:
    assert isinstance(instance["label"], int)
    assert label_map[str(instance["label"])] == instance["category"]
    return label_map[str(instance["label"])]


def _box(box: list[float], line: dict[str, Any]) -> Box:
    left, top, right, bottom = box
    assert 0 <= left < right <= line["width"]
    assert 0 <= top < bottom <= line["height"]
    return left, top, right, bottom

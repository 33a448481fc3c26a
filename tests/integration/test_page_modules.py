"""The page's modules: they parse, ask nobody else, and count as the node does."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders.ohif import VIEWERS
from tests.builders.page import STATIC
from tests.builders.page_pixels import bitmap_of, line_of
from tests.builders.peers import require_program

_FLAGS = (
    "--experimental-default-type=module",
    "--experimental-vm-modules",
    "--no-warnings",
)
"""The page serves its modules as ``.js``, which Node takes for scripts; and to parse
one without running it is an experiment there."""

_MODULES = "--experimental-default-type=module"
"""The page serves its modules as ``.js``; Node takes those for scripts."""

_MODULES = sorted(path for path in STATIC.rglob("*.js") if path.name != "theme.js")
_MOST_LINES = 300


def _run(cases: dict[str, Any]) -> dict[str, Any]:
    node = require_program("node")
    result = subprocess.run(
        [node, *_FLAGS, VIEWERS / "modules.mjs"],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.mark.peers
def test_every_module_parses() -> None:
    paths = [str(path) for path in (*_MODULES, STATIC / "common" / "theme.js")]

    assert len(paths) > 30
    assert _run({"parse": paths})["parse"] == []


def test_modules_are_short_and_say_what_they_are_for() -> None:
    for path in _MODULES:
        text = path.read_text(encoding="utf-8")
        assert text.startswith("/**"), path
        assert len(text.splitlines()) <= _MOST_LINES, path


def test_modules_import_what_is_there() -> None:
    imports = re.compile(r"(?:from|import) '(\.[^']+)'")
    for path in _MODULES:
        for name in imports.findall(path.read_text(encoding="utf-8")):
            assert (path.parent / name).is_file(), (path, name)


def test_no_file_of_the_page_names_another_host() -> None:
    address = re.compile(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+[^\s'\"]*")
    for path in STATIC.rglob("*"):
        if path.is_file():
            found = set(address.findall(path.read_text(encoding="utf-8")))
            assert found <= {"http://www.w3.org/2000/svg"}, path


def test_no_page_has_what_its_security_policy_forbids() -> None:
    pages = sorted(STATIC.glob("*.html"))

    assert [one.stem for one in pages] == ["index", "operations", "sign-in", "view"]
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:", text)
        named = re.findall(r"\bid=\"([^\"]+)\"", text)
        assert len(named) == len(set(named))
        for name in re.findall(r"(?:src|href)=\"/static/([^\"#]+)", text):
            assert (STATIC / name).is_file()


_CUTS = st.text(max_size=40).flatmap(
    lambda text: st.tuples(
        st.just(text),
        st.lists(
            st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted),
            max_size=5,
        ),
    )
)


@pytest.mark.peers
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases=st.lists(_CUTS, min_size=20, max_size=60))
def test_text_is_cut_where_python_counts(
    cases: list[tuple[str, list[list[int]]]],
) -> None:
    sent = [{"text": text, "spans": spans} for text, spans in cases]

    answers = _run({"cut": sent})["cut"]

    for (text, spans), pieces in zip(cases, answers, strict=True):
        assert "".join(one["text"] for one in pieces) == text
        for index, (start, end) in enumerate(spans):
            mine = [one["text"] for one in pieces if index in one["phrases"]]
            assert "".join(mine) == text[start:end]


@pytest.mark.peers
def test_runs_and_bitmaps_map_onto_each_other() -> None:
    generator = np.random.default_rng(3)
    shapes = [(1, 1), (3, 7), (16, 5), (9, 9)]
    bitmaps = [generator.random(shape) < 0.5 for shape in shapes]
    bitmaps += [np.zeros((4, 4), bool), np.ones((4, 4), bool)]
    sent = [
        {"bitmap": one.ravel().astype(int).tolist(), "columns": one.shape[1]}
        for one in bitmaps
    ]

    answers = _run({"runs": sent})["runs"]

    for bitmap, answer in zip(bitmaps, answers, strict=True):
        assert np.array_equal(bitmap_of(answer["runs"], bitmap.shape), bitmap)
        assert np.array_equal(np.reshape(answer["back"], bitmap.shape), bitmap)


@pytest.mark.peers
def test_the_brush_sets_the_pixels_whose_centres_it_covers() -> None:
    generator = np.random.default_rng(5)
    sent = [
        {
            "rows": 20,
            "columns": 30,
            "from": {"row": float(a), "column": float(b)},
            "to": {"row": float(c), "column": float(d)},
            "radius": float(radius),
        }
        for a, b, c, d, radius in generator.uniform(-4, 24, (60, 5)).clip(0.3)
    ]
    sent.append({**sent[0], "to": sent[0]["from"]})

    answers = _run({"lines": sent})["lines"]

    for line, answer in zip(sent, answers, strict=True):
        expected = line_of(line["from"], line["to"], line["radius"], (20, 30))
        assert np.array_equal(np.reshape(answer, (20, 30)), expected)


@pytest.mark.peers
def test_a_window_is_the_function_of_the_standard() -> None:
    # PS3.3 C.11.2.1.2 and C.11.2.1.3
    cases = [(40.0, 400.0), (-600.0, 1500.0), (128.0, 256.0), (10.5, 1.0), (0.0, 2.0)]
    sent = [
        {"centre": centre, "width": width, "voi": voi, "low": -1024, "high": 3071}
        for voi in ("LINEAR", "LINEAR_EXACT", "SIGMOID")
        for centre, width in cases
    ]

    answers = _run({"windows": sent})["windows"]

    values = np.arange(-1024.0, 3072.0)
    for case, answer in zip(sent, answers, strict=True):
        shown = _shown(values, case)
        assert np.abs(np.asarray(answer) - shown).max() <= 0.5 + 1e-9


def _shown(values: np.ndarray, case: dict[str, Any]) -> np.ndarray:
    centre, width = case["centre"], case["width"]
    if case["voi"] == "SIGMOID":
        exponent = np.clip(-4 * (values - centre) / width, -700, 700)
        return 255 / (1 + np.exp(exponent))
    if case["voi"] == "LINEAR":
        centre, width = centre - 0.5, width - 1
    above = values - centre + width / 2
    return np.clip(above / max(width, 1e-9), 0, 1) * 255


@pytest.mark.peers
def test_characters_that_nobody_sees_are_shown() -> None:
    plain = "liver\nis\tlarge, \u00e4 \u0645 \U0001d6fc"
    said = {
        plain: plain,
        "no\u202eton\u202c": "no\ufffdton\ufffd",
        "a\x00\x1b[31m\x7f\x85": "a\u2400\u241b[31m\u2421\ufffd",
        "\u2066x\u2069\u200b\ufeff": "\ufffdx\ufffd\ufffd\ufffd",
    }

    assert _run({"texts": list(said)})["texts"] == list(said.values())

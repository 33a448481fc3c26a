"""The tables of performance.md are what the recorded figures say."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.interleave import interleave, timed
from tests.bench.report import (
    Case,
    Ceiling,
    Contender,
    Goal,
    Report,
    Sample,
    Table,
)
from tests.bench.subjects import SUBJECTS
from tests.bench.table import PAGE, RECORDS, render_report, render_subject

SECONDS = st.floats(min_value=1e-6, max_value=1e6)


def test_the_page_holds_the_tables_of_the_recorded_figures() -> None:
    page = PAGE.read_text(encoding="utf-8")

    for subject in SUBJECTS:
        assert render_subject(subject) in page, "run: python -m tests.bench page"


@pytest.mark.parametrize("name", [one.name for one in SUBJECTS])
def test_every_subject_has_a_program_and_a_section(name: str) -> None:
    found = importlib.util.find_spec(f"tests.bench.{name}")
    assert found is not None
    assert found.origin is not None
    # Read, not run: some import what takes seconds.
    program = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
    runs = [
        one
        for one in program.body
        if isinstance(one, ast.FunctionDef) and one.name == "run"
    ]
    assert [[one.arg for one in run.args.args] for run in runs] == [
        ["scale", "work", "tell"]
    ]

    sections = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    (section,) = (one for one in sections if f"<!-- {name}: " in one)
    start, end = (
        section.index(f"<!-- {name}: "),
        section.index(f"<!-- end of {name} -->"),
    )
    assert start < end
    assert section.count("<!-- ") == 2  # a section is of one subject


def test_no_subject_is_without_a_test_of_its_short_form() -> None:
    acceptance = Path(__file__).parents[2] / "acceptance"

    for subject in SUBJECTS:
        text = (acceptance / f"test_bench_{subject.name}.py").read_text()
        assert re.search(rf"\b{subject.name}\b", text)
        assert "def test_" in text


def test_every_record_belongs_to_a_subject_and_can_be_read() -> None:
    names = {f"{one.name}.json" for one in SUBJECTS}

    for path in RECORDS.glob("*.json"):
        assert path.name in names
        report = Report.read(json.loads(path.read_text(encoding="utf-8")))
        assert report.cases or report.tables


def test_contenders_take_turns() -> None:
    seen: list[str] = []
    case = interleave(
        "nothing",
        {
            name: timed(lambda name=name: seen.append(name))  # type: ignore[misc]
            for name in ("a", "b")
        },
        base="a",
        repeats=3,
        tell=lambda _: None,
    )

    assert seen == ["a", "b", "b", "a", "a", "b"]
    assert [len(one.samples) for one in case.contenders] == [3, 3]


def test_a_goal_that_is_not_reached_says_so() -> None:
    case = Case(
        "work",
        "peer",
        (
            Contender("peer", (Sample(1.0, 0.5),)),
            Contender("ours", (Sample(2.0, 0.5, {"RSS MiB": 80.0}),)),
        ),
        (Goal("ours", "peer", 0.4), Goal("ours", "peer", 0.6)),
    )

    told = render_report(Report((case,)))

    assert told.count("falls short") == 1
    assert "0.50 times as fast as peer; asked: 0.6. **falls short**" in told
    assert "| ours | 2 | 2 | 0.50 | 80 | 0.5 |" in told
    without = render_report(Report((case,)).without_goals())
    assert "asked" not in without
    assert "| ours | 2 | 2 | 0.50 | 80 | 0.5 |" in without


@given(
    seconds=st.lists(SECONDS, min_size=1, max_size=9),
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
def test_a_report_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, seconds: list[float], text: str
) -> None:
    report = Report(
        (Case(text, "a", (Contender("a", tuple(Sample(s, 1.0) for s in seconds)),)),),
        (Table(text, ("x", "y"), ((text, 1.5), ("b", 2))),),
        (text,),
        {"peer": text},
    )
    path = tmp_path_factory.mktemp("report") / "one.json"

    report.save(path, commit="c")

    assert Report.read(json.loads(path.read_text(encoding="utf-8"))) == report


@given(seconds=SECONDS, extra=SECONDS, at_most=SECONDS)
def test_a_figure_above_its_ceiling_is_said_to_fall_short(
    seconds: float, extra: float, at_most: float
) -> None:
    asked = tuple(Ceiling("a", column, at_most) for column in ("median s", "MiB"))
    case = Case(
        "work",
        "a",
        (Contender("a", (Sample(seconds, 0.0, {"MiB": extra}),)),),
        ceilings=asked,
    )
    table = Table("rest", ("", "MiB"), (("a", extra), ("b", "")), asked[1:])
    report = Report((case,), (table,))

    text = render_report(report)

    assert text.count("asked: at most") == 3
    assert text.count("**falls short**") == (seconds > at_most) + 2 * (extra > at_most)
    document = json.loads(json.dumps(asdict(report)))
    assert Report.read(document) == report

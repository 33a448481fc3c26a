"""The tables of ``docs/performance.md``, from the figures that were recorded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.bench.report import Case, Contender, Report, Table
from tests.bench.subjects import SUBJECTS, Subject

__all__ = ["PAGE", "RECORDS", "render_report", "render_subject", "write_page"]

_ROOT = Path(__file__).parents[2]
PAGE = _ROOT / "docs" / "performance.md"
RECORDS = _ROOT / "docs" / "performance"
"""One JSON file for each subject: the figures of its last recorded run."""


def write_page() -> Path:
    """Put the tables of the recorded figures into the page; return the page."""
    text = PAGE.read_text(encoding="utf-8")
    for subject in SUBJECTS:
        begin, end = _marks(subject)
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}{render_subject(subject)}{end}{after}"
    PAGE.write_text(text, encoding="utf-8")
    return PAGE


def _marks(subject: Subject) -> tuple[str, str]:
    return (
        f"<!-- {subject.name}: python -m tests.bench page -->\n",
        f"<!-- end of {subject.name} -->\n",
    )


def render_subject(subject: Subject) -> str:
    """Return what stands between a subject's marks, as Markdown."""
    path = RECORDS / f"{subject.name}.json"
    if not path.exists():
        return "**Not measured.**\n"
    document = json.loads(path.read_text(encoding="utf-8"))
    facts = (
        f"Measured at {document['commit']}, {document['at'][:10]}, on "
        f"{document['cores']} cores in {document['seconds']} s; repeat it with "
        f"`python -m tests.bench run {subject.name}`.\n"
    )
    return f"{facts}\n{render_report(Report.read(document))}"


def render_report(report: Report) -> str:
    """Return a report's tables and notes as Markdown."""
    parts = [*map(_render_case, report.cases), *map(_render_table, report.tables)]
    if report.notes:
        parts.append("\n".join(f"- {note}" for note in report.notes) + "\n")
    if report.versions:
        of = ", ".join(f"{name} {version}" for name, version in report.versions.items())
        parts.append(f"Versions: {of}.\n")
    return "\n".join(parts)


def _render_case(case: Case) -> str:
    extras = tuple(
        dict.fromkeys(
            column
            for contender in case.contenders
            for sample in contender.samples
            for column in sample.extra
        )
    )
    heads = ("", "median s", "min s", f"times as fast as {case.base}", *extras, "load")
    rows = (_row(case, contender, extras) for contender in case.contenders)
    lines = [f"**{case.title}** (n = {len(case.contenders[0].samples)})", ""]
    lines += [*_grid(heads, rows), ""]
    for goal in case.goals:
        ratio = case.ratio(goal.contender, to=goal.peer)
        verdict = "" if ratio >= goal.at_least else " **falls short**"
        lines.append(
            f"- {goal.contender} is {ratio:.2f} times as fast as {goal.peer}; "
            f"asked: {goal.at_least:g}.{verdict}"
        )
    lines += _verdicts(case)
    return "\n".join(lines) + ("\n" if case.goals or case.ceilings else "")


def _verdicts(of: Case | Table) -> Iterator[str]:
    for ceiling in of.ceilings:
        figure = of.figure(ceiling)
        if figure is not None:
            verdict = "" if figure <= ceiling.at_most else " **falls short**"
            yield (
                f"- {ceiling.name}, {ceiling.column}: {figure:.4g}; asked: at most "
                f"{ceiling.at_most:g}.{verdict}"
            )


def _row(
    case: Case, contender: Contender, extras: tuple[str, ...]
) -> Iterator[str | float]:
    yield contender.name
    yield f"{contender.median_s:.4g}"
    yield f"{contender.minimum_s:.4g}"
    yield f"{case.ratio(contender.name, to=case.base):.2f}"
    for column in extras:
        value = contender.extra(column)
        yield "" if value is None else value
    yield f"{contender.load:.1f}"


def _render_table(table: Table) -> str:
    lines = [f"**{table.title}**", "", *_grid(table.columns, table.rows)]
    if table.ceilings:
        lines += ["", *_verdicts(table)]
    return "\n".join(lines) + "\n"


def _grid(heads: Sequence[str], rows: Iterable[Iterable[str | float]]) -> Iterator[str]:
    yield _line(heads)
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield _line(row)


def _line(values: Iterable[str | float]) -> str:
    cells = (
        f"{value:.4g}" if isinstance(value, float) else str(value) for value in values
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

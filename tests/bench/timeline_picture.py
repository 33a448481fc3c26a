"""The timelines of single studies as an SVG for docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from dicom_node.timeline import Span, VersionMoments, make_spans

__all__ = ["PICTURE", "draw_timelines"]

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "timeline.svg"

_WIDTH, _LEFT, _ROW, _BAR = 860, 250, 20, 12
_WAITING = frozenset({"quiet time", "queued", "waiting to be sent", "commitment"})
_STYLE = "text{font:12px sans-serif;fill:#57606a}rect{fill:#1f6feb}rect.w{fill:#afb8c1}"


def draw_timelines(studies: Sequence[VersionMoments], path: Path = PICTURE) -> None:
    """Draw a row for each span, studies below each other, each on its own scale."""
    parts: list[str] = []
    top = 0
    for moments in studies:
        spans = make_spans(moments, now=datetime.now(UTC))
        images = "image" if moments.instances == 1 else "images"
        title = f"{moments.instances} {images}"
        parts += _rows(title, spans, top)
        top += (len(spans) + 2) * _ROW
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" '
        f'role="img"><title>Where the time of a study goes</title>'
        f"<style>{_STYLE}</style>"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{head}\n{chr(10).join(parts)}\n</svg>\n", encoding="utf-8")


def _rows(title: str, spans: Sequence[Span], top: int) -> Iterator[str]:
    begin = min(one.begin for one in spans)
    whole = max((one.end - begin).total_seconds() for one in spans) or 1.0
    scale = (_WIDTH - _LEFT - 70) / whole
    yield f'<text x="0" y="{top + 15}" font-weight="bold">{escape(title)}</text>'
    for number, one in enumerate(spans, start=1):
        y = top + number * _ROW
        where = "" if one.track == "study" else f"{one.track}: "
        x = _LEFT + (one.begin - begin).total_seconds() * scale
        width = max(1.0, one.seconds * scale)
        kind = ' class="w"' if one.name in _WAITING else ""
        yield f'<text x="0" y="{y + 14}">{escape(where + one.name)}</text>'
        yield (
            f'<rect{kind} x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="{_BAR}"/>'
        )
        yield f'<text x="{x + width + 4:.1f}" y="{y + 14}">{one.seconds:.2f} s</text>'

"""Reports as XHTML with spans that refer to resources."""

from __future__ import annotations

from defusedxml.ElementTree import fromstring
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.fhir.narrative import Link, narrative

_TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\n\t<>&\r\"'"),
    max_size=60,
)


@st.composite
def _linked(draw: st.DrawFn) -> tuple[str, list[Link]]:
    text = draw(_TEXT)
    spans = draw(
        st.lists(
            st.tuples(st.integers(0, len(text)), st.integers(0, len(text))), max_size=5
        )
    )
    return text, [
        Link(min(span), max(span), tuple(f"ImagingSelection/{n}-{k}" for k in (0, 1)))
        for n, span in enumerate(spans)
    ]


@settings(deadline=None)
@given(_linked())
def test_the_text_comes_back_and_each_phrase_is_its_spans(
    case: tuple[str, list[Link]],
) -> None:
    text, links = case

    root = fromstring(narrative(text, links))

    clean = text.replace("\ufffe", " ").replace("\uffff", " ")
    assert "".join(root.itertext()) == clean
    said: dict[str, str] = {}
    ids: list[str] = []
    for span in root.iter("{http://www.w3.org/1999/xhtml}span"):
        target = span.get("id") or span.get("title") or ""
        said[target] = said.get(target, "") + "".join(span.itertext())
        ids += [span.get("id")] if span.get("id") else []
    assert said == {
        target: clean[one.start : one.end]
        for one in links
        if one.start < one.end
        for target in one.targets
    }
    assert sorted(ids) == sorted(said)


def test_a_span_is_as_imr_writes_it() -> None:
    assert narrative("a b", [Link(2, 3, ("ImagingSelection/7",))]) == (
        '<div xmlns="http://www.w3.org/1999/xhtml"><p style="white-space: pre-wrap">a '
        '<span class="imr-ref-ImagingSelection" id="ImagingSelection/7">b</span>'
        "</p></div>"
    )


def test_control_characters_become_blanks_so_that_spans_stay() -> None:
    root = fromstring(narrative("a\x0bb\x00c", [Link(2, 3, ("ImagingSelection/7",))]))

    (span,) = root.iter("{http://www.w3.org/1999/xhtml}span")
    assert span.text == "b"
    assert "".join(root.itertext()) == "a b c"

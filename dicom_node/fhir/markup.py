"""Text of HTML and XHTML with its structure: lines, lists, headings, cells."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from html.entities import html5
from html.parser import HTMLParser
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from dicom_node.errors import ReportRefusedError

__all__ = ["text_of_html", "text_of_xhtml"]

_BLOCKS = frozenset(
    """address article aside blockquote body caption dd div dl dt fieldset figure footer
    form h1 h2 h3 h4 h5 h6 header hr html li main nav ol p pre section table tbody
    tfoot thead tr ul""".split()  # noqa: SIM905 - easier to read than quoted
)
_APART = frozenset({"blockquote", "dl", "ol", "p", "pre", "section", "table", "ul"}) | {
    f"h{level}" for level in range(1, 7)
}
"""Blocks with an empty line around them."""

_SILENT = frozenset(
    {"head", "math", "noscript", "object", "script", "style", "svg"}
) | {
    "template",
    "title",
}
"""Elements whose text is no text of the document."""

_MAX_MARKUP = 4 << 20
"""Characters: more is no report, and costs time to read."""

_LINE, _EMPTY_LINE = "\0", "\1"
"""Marks, between the pieces, of the edges of blocks."""

_XML_ENTITIES = frozenset({"amp", "lt", "gt", "quot", "apos"})


class _Writer:
    """Puts elements and characters together as lines."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._silent = 0
        self._kept = 0

    def begin(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag == "br":
            self._pieces.append("\n")
        elif tag in _BLOCKS:
            self._pieces.append(_EMPTY_LINE if tag in _APART else _LINE)
            if tag == "li":
                self._pieces.append("- ")
            self._kept += tag == "pre"
        elif tag in ("td", "th"):
            self._pieces.append(" ")

    def end(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag in _BLOCKS:
            self._pieces.append(_EMPTY_LINE if tag in _APART else _LINE)
            if tag == "pre":
                self._kept = max(0, self._kept - 1)

    def text(self, text: str) -> None:
        if self._silent:
            return
        text = re.sub(r"[\0\1]", "", text).replace("\xa0", " ")
        self._pieces.append(text if self._kept else re.sub(r"\s+", " ", text))

    def whole(self) -> str:
        """Return the lines."""
        pieces = re.split(r"([\0\1][ \0\1]*)", "".join(self._pieces))
        text = "".join(
            piece.rstrip(" ")
            if piece[:1] not in (_LINE, _EMPTY_LINE)
            else ("\n\n" if _EMPTY_LINE in piece else "\n")
            for piece in pieces
        )
        lines = [line.rstrip() for line in text.split("\n")]
        lines = [line[1:] if line[:1] == " " != line[1:2] else line for line in lines]
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
        return text.strip("\n ")


class _HtmlReader(HTMLParser):
    def __init__(self, writer: _Writer) -> None:
        super().__init__(convert_charrefs=True)
        self._writer = writer

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._writer.begin(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _SILENT:
            self._writer.begin(tag)

    def handle_endtag(self, tag: str) -> None:
        self._writer.end(tag)

    def handle_data(self, data: str) -> None:
        self._writer.text(data)


def text_of_html(markup: str) -> str:
    """Return the text of an HTML document, well-formed or not.

    Raises
    ------
    ReportRefusedError
        It is too long.

    """
    _check_length(markup)
    writer = _Writer()
    reader = _HtmlReader(writer)
    reader.feed(markup)
    reader.close()
    return writer.whole()


def text_of_xhtml(markup: str) -> str:
    """Return the text of a narrative (FHIR ``text.div``).

    Raises
    ------
    ReportRefusedError
        It is not well-formed, defines entities, or is too long.

    """
    _check_length(markup)
    try:
        root: Element = fromstring(_without_html_entities(markup))
    except (ParseError, DefusedXmlException, ValueError) as error:
        msg = "the narrative is not well-formed XHTML"
        raise ReportRefusedError(msg, code="structure", at="text.div") from error
    writer = _Writer()
    for step, element in _walk(root):
        name = element.tag.rpartition("}")[2].lower()
        if step == "begin":
            writer.begin(name)
            writer.text(element.text or "")
        else:
            writer.end(name)
            writer.text("" if element is root else element.tail or "")
    return writer.whole()


def _walk(root: Element) -> Iterator[tuple[str, Element]]:
    """Yield begin and end of each element; depth costs no stack."""
    waiting: list[tuple[str, Element]] = [("begin", root)]
    while waiting:
        step, element = waiting.pop()
        yield step, element
        if step == "begin":
            waiting.append(("end", element))
            waiting += [("begin", one) for one in reversed(element)]


def _without_html_entities(markup: str) -> str:
    """Replace the names that HTML has and XML has not, such as ``&nbsp;``."""

    def replace(found: re.Match[str]) -> str:
        name = found[1]
        if name in _XML_ENTITIES or f"{name};" not in html5:
            return found[0]
        return html.escape(html5[f"{name};"])

    return re.sub(r"&([A-Za-z][A-Za-z0-9]{1,31});", replace, markup)


def _check_length(markup: str) -> None:
    if len(markup) > _MAX_MARKUP:
        msg = f"the document has more than {_MAX_MARKUP} characters"
        raise ReportRefusedError(msg, code="too-long")

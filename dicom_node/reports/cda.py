"""The narrative of a CDA document (HL7 Clinical Document Architecture, release 2).

The narrative of a section is what its author signed; coded entries only repeat it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from dicom_node.errors import ReportError
from dicom_node.reports.flat_text import FlatText, clean
from dicom_node.reports.pdf import pdf_text
from dicom_node.reports.sections import SectionKind, section_kind
from dicom_node.reports.titles import is_english, section_title

__all__ = ["cda_text"]

_MAX_DEPTH = 100
"""Of sections and of elements in a narrative; documents nest a handful."""

_LOINC = "2.16.840.1.113883.6.1"

_BLOCKS = frozenset({"caption", "item", "list", "paragraph", "table", "tr"})
"""Elements of the narrative that stand on lines of their own."""

_CELLS = frozenset({"td", "th"})

_SILENT = frozenset({"renderMultiMedia"})


def cda_text(data: bytes) -> str:
    """Flatten the narrative of a CDA document to text.

    Parameters
    ----------
    data : bytes
        The XML; zero bytes that a DICOM object pads it with may follow.

    Returns
    -------
    str
        A heading line for each section, then its paragraphs.

    Raises
    ------
    ReportError
        It is no CDA document, is not in English, states no text, or declares what an
        attack would declare. The message quotes nothing.

    """
    try:
        root = fromstring(data.rstrip(b"\0"), forbid_dtd=True)
        return _text(root)
    except DefusedXmlException as error:
        msg = "the CDA document declares entities or a document type"
        raise ReportError(msg) from error
    except (ParseError, LookupError, ValueError, RecursionError) as error:
        msg = f"the CDA document cannot be read ({type(error).__name__})"
        raise ReportError(msg) from error


def _text(root: Element) -> str:
    if _name(root) != "ClinicalDocument":
        raise ReportError("the document is no CDA document")
    language = _child(root, "languageCode")
    if language is not None and not is_english(language.get("code", "")):
        raise ReportError("the CDA document is not in English")
    text = FlatText()
    for component in _children(root, "component"):
        for body in _children(component, "structuredBody"):
            for section in _sections(body):
                _add_section(text, section, inherited="", depth=0)
        for body in _children(component, "nonXMLBody"):
            text.add(_other_text(body), "")
    if not text.has_statements:
        raise ReportError("the CDA document holds no report text")
    return str(text)


def _add_section(
    text: FlatText, section: Element, *, inherited: str, depth: int
) -> None:
    if depth > _MAX_DEPTH:
        raise ReportError("the CDA document nests its sections too deep")
    title, label = inherited, ""
    # A "Findings" under "History" is history.
    if section_kind(inherited) is not SectionKind.OTHER:
        own, label = _title(section)
        title = own or inherited
    text.label = label
    for narrative in _children(section, "text"):
        text.add(_narrative(narrative), title)
    for one in _sections(section):
        _add_section(text, one, inherited=title, depth=depth + 1)


def _title(section: Element) -> tuple[str, str]:
    """Return the title of a section that is known, and else what it calls itself."""
    words = "".join(
        one for found in _children(section, "title") for one in found.itertext()
    )
    words = " ".join(clean(words).strip(" :").split())
    if section_kind(words) is not None:
        return words, ""
    code = _child(section, "code")
    if code is not None and code.get("codeSystem") == _LOINC:
        known = section_title("LN", code.get("code", ""))
        if known is not None:
            return known, ""
    return "", words


def _narrative(element: Element) -> str:
    text = clean("".join(_pieces(element, 0)))
    flat = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in flat if line not in {"", "-"})


def _pieces(element: Element, depth: int) -> Iterator[str]:
    """Yield the text of a narrative in reading order, blocks on their own lines."""
    if depth > _MAX_DEPTH:
        raise ReportError("the CDA document nests its narrative too deep")
    name = _name(element)
    # Text that was revised away is still there (CDA R2 4.3.5.1).
    if name in _SILENT or element.get("revised") == "delete":
        return
    if name in _BLOCKS:
        yield "\n- " if name == "item" else "\n"
    elif name == "br":
        yield "\n"
    elif name in _CELLS:
        yield " "
    yield _run(element.text)
    for child in element:
        yield from _pieces(child, depth + 1)
        yield _run(child.tail)
    if name in _BLOCKS:
        yield "\n"


def _run(text: str | None) -> str:
    """Return text without the line breaks of the XML file, which mean nothing."""
    return (text or "").replace("\n", " ").replace("\r", " ").replace("\t", " ")


def _other_text(body: Element) -> str:
    """Return the text of a body that is no XML: plain text or a PDF."""
    element = _child(body, "text")
    if element is None:
        return ""
    media = element.get("mediaType", "text/plain")
    content = "".join(element.itertext())
    try:
        data = (
            base64.b64decode("".join(content.split()), validate=True)
            if element.get("representation") == "B64"
            else content.encode()
        )
    except binascii.Error as error:
        raise ReportError("the CDA document's body cannot be decoded") from error
    if media == "application/pdf":
        return pdf_text(data).strip()
    if media == "text/plain":
        return clean(data.decode("utf-8", "replace"))
    raise ReportError("the CDA document's body is neither text nor a PDF")


def _sections(element: Element) -> Iterator[Element]:
    for component in _children(element, "component"):
        yield from _children(component, "section")


def _children(element: Element, name: str) -> Iterator[Element]:
    return (child for child in element if _name(child) == name)


def _child(element: Element, name: str) -> Element | None:
    return next(_children(element, name), None)


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]

"""The text of a PDF. It runs in the documents' own process: a PDF may be hostile."""

from __future__ import annotations

import io

import pypdf

from dicom_node.errors import ReportError
from dicom_node.reports.flat_text import clean

__all__ = ["pdf_text"]

_MAX_PAGES = 200
"""A report has fewer; a scanned file of a patient may have more."""

_MAX_CHARACTERS = 1 << 20


def pdf_text(data: bytes) -> str:
    """Extract the text of a PDF, page by page.

    Parameters
    ----------
    data : bytes
        The file; what a DICOM object pads it with may follow.

    Returns
    -------
    str
        In the order in which the pages draw it.

    Raises
    ------
    ReportError
        It is encrypted, holds no text (a scan), is too large, or is no PDF. The
        message quotes nothing.

    """
    try:
        return _text(data)
    except ReportError:
        raise
    # The library meets damage with errors of every kind, MemoryError among them.
    except Exception as error:
        msg = f"the PDF cannot be read ({type(error).__name__})"
        raise ReportError(msg) from error


def _text(data: bytes) -> str:
    reader = pypdf.PdfReader(io.BytesIO(data), strict=False)
    # Many are only locked against changes and open with the empty password.
    if reader.is_encrypted and not reader.decrypt(""):
        raise ReportError("the PDF is encrypted")
    count = len(reader.pages)
    if count > _MAX_PAGES:
        msg = f"the PDF has more than {_MAX_PAGES} pages"
        raise ReportError(msg)
    pages: list[str] = []
    length = 0
    for page in reader.pages:
        pages.append(clean(page.extract_text()))
        length += len(pages[-1])
        if length > _MAX_CHARACTERS:
            raise ReportError("the PDF holds too much text to be a report")
    text = "\n\n".join(one for one in pages if one)
    if not text:
        raise ReportError("the PDF holds no text: it may be a scan")
    return text + "\n"

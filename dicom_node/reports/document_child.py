"""The documents' process: its entry point, its limits, and the one request it knows.

What is in an encapsulated document comes from anywhere; it is parsed here, where it
can exhaust nothing but this process.
"""

from __future__ import annotations

import logging
import resource
import sys
import warnings
from pathlib import Path

import pydicom

from dicom_node.child.answers import Answer, Tell, answer_requests
from dicom_node.errors import ReportError
from dicom_node.reports.cda import cda_text
from dicom_node.reports.pdf import pdf_text

__all__ = ["main"]

_READERS = {"pdf": pdf_text, "cda": cda_text}


def main() -> None:
    """Set the limits and answer requests until the parent has enough.

    The arguments are the socket's number and the limit of the address space in
    bytes.
    """
    socket_fd, memory_bytes = int(sys.argv[1]), int(sys.argv[2])
    # Warnings and logs of parsers quote what they read.
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    answer_requests(_read, socket_fd=socket_fd)


def _read(request: Answer, _tell: Tell) -> Answer:
    """Read one document: the request holds its ``kind`` and a file.

    ``path`` names a DICOM file that holds it, else ``files`` the document itself.
    """
    if request["files"]:
        data = Path(request["files"][0]).read_bytes()
        return {"text": _READERS[request["kind"]](data)}
    ds = pydicom.dcmread(Path(request["path"]))
    data = ds.get("EncapsulatedDocument") or b""
    length = ds.get("EncapsulatedDocumentLength")
    if isinstance(length, int) and 0 < length <= len(data):
        data = data[:length]  # what follows is padding
    if not data:
        raise ReportError("the object holds no document")
    return {"text": _READERS[request["kind"]](data)}


if __name__ == "__main__":
    main()

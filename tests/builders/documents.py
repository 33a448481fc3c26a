"""Encapsulated documents for tests: PDF and CDA, and DICOM objects around them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pypdf
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from dicom_node.identity import derive_uid

__all__ = ["encapsulated", "make_cda", "make_pdf"]


def make_pdf(lines: Sequence[str], *, password: str = "", owner: str = "") -> bytes:
    """Draw lines of text on pages of a PDF; ``---`` begins the next page."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=A4, invariant=1)
    height = 800
    for line in lines:
        if line == "---":
            canvas.showPage()
            height = 800
            continue
        canvas.drawString(50, height, line)
        height -= 14
    canvas.showPage()
    canvas.save()
    if not password and not owner:
        return buffer.getvalue()
    writer = pypdf.PdfWriter(clone_from=pypdf.PdfReader(buffer))
    writer.encrypt(password, owner or None, algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def make_cda(body: str, *, language: str = "en-US", prolog: str = "") -> bytes:
    """Make a CDA document with sections, each a ``<component>`` of the body."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>{prolog}
<ClinicalDocument xmlns="urn:hl7-org:v3">
  <code code="18748-4" codeSystem="2.16.840.1.113883.6.1"/>
  <languageCode code="{language}"/>
  <recordTarget><patientRole><patient><name>Hidden Name</name></patient>
  </patientRole></recordTarget>
  <component><structuredBody>{body}</structuredBody></component>
</ClinicalDocument>""".encode()


def encapsulated(document: bytes, *, kind: str = "pdf", number: int = 1) -> Dataset:
    """Put a document into an Encapsulated PDF or CDA object (PS3.3 A.45)."""
    sop_class = {
        "pdf": uid.EncapsulatedPDFStorage,
        "cda": uid.EncapsulatedCDAStorage,
    }[kind]
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = derive_uid("encapsulated", kind, str(number))
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.StudyInstanceUID = "1.2.826.0.1.3680043.10.511.1"
    ds.SeriesInstanceUID = derive_uid("documents", str(number))
    ds.Modality = "DOC"
    ds.PatientID = "TEST"
    ds.MIMETypeOfEncapsulatedDocument = (
        "application/pdf" if kind == "pdf" else "text/XML"
    )
    ds.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    ds.EncapsulatedDocumentLength = len(document)
    return ds

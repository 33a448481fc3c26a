"""What is small and becomes large: pixels, data sets, documents."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np
import pydicom
from openjpeg.utils import encode_array
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate

from dicom_node.identity import derive_uid
from tests.builders.documents import encapsulated, make_cda
from tests.builders.pixel_images import make_bomb, make_image

__all__ = ["GIBIBYTE", "deflated", "file_bytes", "pixel_bombs", "report_bombs", "zeros"]

GIBIBYTE = 1 << 30


def pixel_bombs() -> Iterator[tuple[str, Dataset]]:
    """Yield images that claim what they do not hold, each a study of its own."""
    for name, make in _PIXELS.items():
        ds = make()
        ds.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
        ds.Modality, ds.BodyPartExamined = "DX", "CHEST"
        ds.PatientID = "TORTURE"
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(ds, keyword, derive_uid("bomb", name, keyword))
        yield name, ds


def report_bombs(inflated_bytes: int) -> Iterator[tuple[str, Dataset]]:
    """Yield encapsulated documents that grow, or nest, beyond measure."""
    laughs = "".join(
        f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "ha"}">' for n in range(10)
    )
    documents = {
        "PDF, a stream that inflates": ("pdf", _pdf(zeros(inflated_bytes), filters=1)),
        "PDF, inflated twice": ("pdf", _pdf(zlib.compress(zeros(inflated_bytes)), 2)),
        "PDF, a page tree that holds itself": ("pdf", _circular_pdf()),
        "CDA, entities of entities": (
            "cda",
            make_cda("&e9;", prolog=f"<!DOCTYPE x [{laughs}]>"),
        ),
        "CDA, 200,000 levels": ("cda", b"<a>" * 200_000 + b"</a>" * 200_000),
        "CDA, a ZIP in its place": ("cda", b"PK\x03\x04" + zeros(inflated_bytes)),
    }
    for name, (kind, document) in documents.items():
        ds = encapsulated(document, kind=kind)
        ds.PatientID = "TORTURE"
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(ds, keyword, derive_uid("bomb", name, keyword))
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        yield name, ds


def zeros(size: int, *, wbits: int = 15) -> bytes:
    """Return so many zeros, deflated a thousandfold."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(size >> 20)]
    return b"".join([*parts, packer.flush()])


def deflated(size: int) -> bytes:
    """Return a DICOM file whose deflated data set holds so many zeros (PS3.5 A.5)."""
    ds = make_image(np.zeros((1, 1), np.uint8))
    ds.SOPClassUID = uid.CTImageStorage
    ds.SOPInstanceUID = derive_uid("bomb", "deflated", str(size))
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    del ds.PixelData
    whole = file_bytes(ds)
    start = whole.index(b"\x08\x00\x16\x00UI")
    # PS3.5 7.1.2: OW, with a length of 32 bits.
    head = whole[start:] + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<L", size)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(1 << 20)
    body = [packer.compress(head), *(packer.compress(block) for _ in range(size >> 20))]
    ds.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    meta = BytesIO()
    pydicom.filewriter.write_file_meta_info(meta, ds.file_meta)
    return b"".join([bytes(128), b"DICM", meta.getvalue(), *body, packer.flush()])


def file_bytes(ds: Dataset) -> bytes:
    """Return a data set as a file, whatever it claims."""
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    out = BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _j2k(rows: int, columns: int) -> bytes:
    """Return a few bytes of JPEG 2000 whose SIZ claims a size (15444-1 A.5.1)."""
    stream = bytearray(encode_array(np.zeros((64, 64), np.uint16)))
    for at, value in ((8, columns), (12, rows), (24, columns), (28, rows)):
        stream[at : at + 4] = struct.pack(">L", value)
    return bytes(stream)


def _jpeg(marker: int, *, rows: int, columns: int, bits: int) -> bytes:
    """Return the head of a JPEG stream that claims a size (ISO/IEC 10918-1 B.2.2)."""
    frame = struct.pack(">HBHHBBBB", 11, bits, rows, columns, 1, 1, 0x11, 0)
    scan = struct.pack(">HBBBBBB", 8, 1, 1, 0, 1, 0, 0)
    return (
        b"\xff\xd8\xff" + bytes([marker]) + frame + b"\xff\xda" + scan + b"\xff\xd9\0"
    )


def _bomb(syntax: uid.UID, frame: bytes, rows: int, columns: int) -> Dataset:
    return make_bomb(syntax, frame, rows=rows, columns=columns)


def _with(**values: object) -> Dataset:
    return make_image(np.zeros((8, 8), np.uint16), **values)


def _rows_as_ul() -> Dataset:
    ds = _with()
    ds["Rows"].VR = "UL"
    ds["Rows"].value = 4_000_000_000
    return ds


def _no_fragments() -> Dataset:
    ds = _bomb(uid.JPEG2000Lossless, _j2k(8, 8), 8, 8)
    ds.PixelData = bytes.fromhex("feff00e000000000")  # the offset table alone
    return ds


def _palette() -> Dataset:
    ds = make_image(np.full((8, 8), 255, np.uint8), photometric="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [0, 0, 16])
        setattr(ds, f"{colour}PaletteColorLookupTableData", b"\0\0")
    return ds


def _frames_of_one() -> Dataset:
    ds = _bomb(uid.JPEG2000Lossless, _j2k(8, 8), 8, 8)
    ds.NumberOfFrames = 999_999
    ds.PixelData = encapsulate([_j2k(8, 8)])
    return ds


_RLE = struct.pack("<16L", 2, 64, 76, *[0] * 13) + bytes(24)
"""Two segments of nothing, PS3.5 G.5."""

_PIXELS: dict[str, Callable[[], Dataset]] = {
    "JPEG 2000, 60,000 x 60,000": lambda: _bomb(
        uid.JPEG2000Lossless, _j2k(60_000, 60_000), 60_000, 60_000
    ),
    "JPEG 2000, larger than its header": lambda: _bomb(
        uid.JPEG2000Lossless, _j2k(60_000, 60_000), 8, 8
    ),
    "HTJ2K, larger than its header": lambda: _bomb(
        uid.HTJ2KLossless, _j2k(60_000, 60_000), 8, 8
    ),
    "RLE, 65,535 x 65,535 in 88 bytes": lambda: _bomb(
        uid.RLELossless,
        _RLE,
        65535,
        65535,
    ),
    "RLE, 5,000 x 5,000 in 88 bytes": lambda: _bomb(
        uid.RLELossless,
        _RLE,
        5000,
        5000,
    ),
    "JPEG-LS, larger than its header": lambda: _bomb(
        uid.JPEGLSLossless, _jpeg(0xF7, rows=65500, columns=65500, bits=16), 8, 8
    ),
    "JPEG-LS, as large as its header": lambda: _bomb(
        uid.JPEGLSLossless, _jpeg(0xF7, rows=5000, columns=5000, bits=16), 5000, 5000
    ),
    "JPEG lossless, larger than its header": lambda: _bomb(
        uid.JPEGLosslessSV1, _jpeg(0xC3, rows=65500, columns=65500, bits=16), 8, 8
    ),
    "JPEG lossless, as large as its header": lambda: _bomb(
        uid.JPEGLosslessSV1, _jpeg(0xC3, rows=5000, columns=5000, bits=16), 5000, 5000
    ),
    "JPEG 12 bit, larger than its header": lambda: _bomb(
        uid.JPEGExtended12Bit, _jpeg(0xC1, rows=65500, columns=65500, bits=12), 8, 8
    ),
    "999,999 frames in 128 bytes": lambda: _with(NumberOfFrames=999_999),
    "999,999 frames in one fragment": _frames_of_one,
    "Rows as UL": _rows_as_ul,
    "High Bit beyond the allocated": lambda: _with(HighBit=16, BitsStored=16),
    "no fragments": _no_fragments,
    "a palette of 65,536 in two bytes": _palette,
}


def _pdf(content: bytes, filters: int) -> bytes:
    names = " ".join(["/FlateDecode"] * filters)
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/Contents 4 0 R/MediaBox[0 0 9 9]>>",
        b"<</Length %d/Filter[%s]>>stream\n%s\nendstream"
        % (len(content), names.encode(), content),
    ]
    return _numbered(objects)


def _circular_pdf() -> bytes:
    return _numbered(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 100000000>>",
        ]
    )


def _numbered(objects: list[bytes]) -> bytes:
    out, places = b"%PDF-1.7\n", []
    for number, one in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    tail = b"trailer<</Root 1 0 R/Size %d>>\n" % (len(objects) + 1)
    return out + head + table + tail + b"startxref\n%d\n%%%%EOF" % len(out)

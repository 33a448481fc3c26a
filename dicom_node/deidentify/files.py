"""De-identify files: read, judge, clean, write; and list what would leave."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

from conformance.profile import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.deidentify.clean import Options, clean_data_set
from dicom_node.deidentify.pixels import cut_lookup_tables, cut_pixels
from dicom_node.deidentify.pseudonyms import Pseudonyms
from dicom_node.deidentify.refusals import refusal
from dicom_node.durable import write_whole
from dicom_node.errors import DeidentificationError, NodeError, ReceiveError
from dicom_node.header import read_header
from dicom_node.imaging.dataset import quiet_reading

__all__ = ["deidentify_file", "encode", "what_leaves"]

_BYTES = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})


def deidentify_file(
    source: Path,
    target: Path,
    pseudonyms: Pseudonyms,
    *,
    options: Options | None = None,
) -> Dataset:
    """Write a de-identified copy of a DICOM file; the same file, the same bytes.

    Parameters
    ----------
    source, target : pathlib.Path
        The file and its copy, which is there whole or not at all.
    pseudonyms : Pseudonyms
        What stands for UIDs and patient.
    options : Options, optional
        Options of the profile.

    Returns
    -------
    pydicom.Dataset
        What the copy holds.

    Raises
    ------
    DeidentificationError
        It must not leave, or cannot be read or written; the message says why and is
        free of patient data.

    """
    ds, copy = _read_clean(source, pseudonyms, options or Options())
    data = encode(copy, str(ds.file_meta.TransferSyntaxUID))
    try:
        write_whole(target, data)
    except OSError as error:
        msg = f"the copy cannot be written ({error.strerror})"
        raise DeidentificationError(msg) from error
    return copy


def what_leaves(
    source: Path, pseudonyms: Pseudonyms, *, options: Options | None = None
) -> dict[str, str]:
    """Return what a copy of a file would hold: path of each element and its value.

    Bytes are told by their number. Paths are keywords, with a dot for each depth;
    items of a sequence are not told apart.

    Raises
    ------
    DeidentificationError
        As `deidentify_file`.

    """
    _, copy = _read_clean(source, pseudonyms, options or Options())
    return dict(_describe(copy, ""))


def encode(ds: Dataset, transfer_syntax_uid: str) -> bytes:
    """Return a data set as a DICOM file with our file meta information and no preamble.

    Raises
    ------
    DeidentificationError
        A value cannot be encoded.

    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    ds.file_meta = meta
    file = BytesIO()
    try:
        with quiet_reading():
            dcmwrite(file, ds, enforce_file_format=True)
    except Exception as error:
        # What pydicom raises for a value that has no encoding may quote it.
        msg = f"a value cannot be encoded ({type(error).__name__})"
        raise DeidentificationError(msg) from error
    return file.getvalue()


def _read_clean(
    source: Path, pseudonyms: Pseudonyms, options: Options
) -> tuple[Dataset, Dataset]:
    try:
        read_header(source)  # refuses what would exhaust the reader
        with quiet_reading():
            ds = dcmread(source)
            _check(ds, options)
            copy = clean_data_set(ds, pseudonyms, options=options)
            cut_pixels(copy, str(ds.file_meta.TransferSyntaxUID))
            cut_lookup_tables(copy)
    except ReceiveError as error:
        raise DeidentificationError(str(error)) from error
    except NodeError:
        raise
    except Exception as error:
        msg = f"it cannot be read ({type(error).__name__})"
        raise DeidentificationError(msg) from error
    return ds, copy


def _check(ds: Dataset, options: Options) -> None:
    syntax = str(ds.file_meta.TransferSyntaxUID)
    if why := refusal(ds, options=options, transfer_syntax_uid=syntax):
        raise DeidentificationError(why)


def _describe(ds: Dataset, prefix: str) -> Iterator[tuple[str, str]]:
    for element in ds:
        path = prefix + (keyword_for_tag(element.tag) or str(element.tag))
        if element.VR == "SQ":
            for item in element.value:
                yield from _describe(item, f"{path}.")
        elif element.VR in _BYTES:
            yield path, f"{len(element.value or b'')} bytes"
        else:
            yield path, str(element.value if element.value is not None else "")

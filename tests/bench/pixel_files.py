"""CT series on disk for the benchmark of pixels, in every transfer syntax."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.identity import derive_uid
from dicom_node.records import StoredInstance
from tests.builders.dicom_series import write_dataset
from tests.builders.pixel_images import make_image

__all__ = ["CODECS", "INTERCEPT", "Files", "make_files"]

INTERCEPT = -1024
"""Rescale Intercept: Hounsfield units are the stored values and this."""

_DISTINCT = 12
"""Pictures that are encoded; a longer series repeats them with headers of its own."""


@dataclass(frozen=True)
class Files:
    """A series on disk, in the order of its slices, with the values it stores."""

    instances: tuple[StoredInstance, ...]
    stored: npt.NDArray[np.uint16]

    @property
    def paths(self) -> list[str]:
        """The files, in the order of the slices."""
        return [str(one.path) for one in self.instances]

    @property
    def hounsfield(self) -> npt.NDArray[np.float32]:
        """What a reader must find, up to a codec that loses something."""
        return self.stored.astype(np.float32) + INTERCEPT


def make_files(folder: Path, syntax: UID, *, count: int, size: int) -> Files:
    """Write a CT series.

    Parameters
    ----------
    folder : Path
        Becomes a folder with one file for each slice.
    syntax : UID
        Of `CODECS`, or Explicit VR Little Endian.
    count, size : int
        Slices; rows and columns.

    """
    folder.mkdir()
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    distinct = [_picture(index, size, bits) for index in range(min(count, _DISTINCT))]
    encoded = [_encode(one, syntax, folder, bits) for one in distinct]
    instances = []
    for index in range(count):
        ds = _slice(distinct[0], bits)
        ds.file_meta.TransferSyntaxUID = syntax
        ds.SOPInstanceUID = derive_uid("bench", str(syntax), str(index))
        ds.SeriesInstanceUID = derive_uid("bench", str(syntax))
        ds.InstanceNumber = index + 1
        ds.ImagePositionPatient = [-180, -180, index]
        ds.PixelData = encoded[index % len(encoded)]
        ds["PixelData"].VR = "OB" if syntax.is_encapsulated else "OW"
        ds["PixelData"].is_undefined_length = syntax.is_encapsulated
        instances.append(write_dataset(ds, folder / f"{index:04}.dcm"))
    order = [index % len(distinct) for index in range(count)]
    return Files(tuple(instances), np.stack(distinct)[order])


def _picture(index: int, size: int, bits: int) -> npt.NDArray[np.uint16]:
    """Draw a body with an organ that moves, and the noise of a CT."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    hu = np.where(x**2 + (1.3 * y) ** 2 < 0.8, 40.0, -1000.0)
    hu[(x + 0.3) ** 2 + (y - index / 40) ** 2 < 0.06] = -850.0
    hu[(x - 0.3) ** 2 + (y + index / 50) ** 2 < 0.03] = 700.0
    hu += np.random.default_rng(index).normal(0, 12, hu.shape)
    stored = np.clip(hu - INTERCEPT, 0, 4095)
    return (stored / (16 if bits == 8 else 1)).astype(np.uint16)


def _slice(picture: npt.NDArray[np.uint16], bits: int) -> Dataset:
    stored = picture.astype(np.uint8) if bits == 8 else picture
    ds = make_image(stored, bits_stored=bits)
    ds.SOPClassUID = CTImageStorage
    ds.StudyInstanceUID = derive_uid("bench", "study")
    ds.FrameOfReferenceUID = derive_uid("bench", "place")
    ds.Modality = "CT"
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [0.7, 0.7]
    ds.SliceThickness = 1
    ds.RescaleSlope, ds.RescaleIntercept = 1, INTERCEPT
    return ds


def _encode(
    picture: npt.NDArray[np.uint16], syntax: UID, folder: Path, bits: int
) -> bytes:
    if not syntax.is_encapsulated:
        return picture.astype("<u2").tobytes()
    return CODECS[syntax](_slice(picture, bits), folder.parent, syntax)


def _by_pydicom(ds: Dataset, _work: Path, syntax: UID) -> bytes:
    ds.compress(syntax, generate_instance_uid=False)
    return bytes(ds.PixelData)


def _by_dcmtk(ds: Dataset, work: Path, syntax: UID) -> bytes:
    raw, coded = work / "raw.dcm", work / "coded.dcm"
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    write_dataset(ds, raw)
    how = "+eb" if syntax == JPEGBaseline8Bit else "+e1"
    subprocess.run(["/usr/bin/dcmcjpeg", how, "+un", raw, coded], check=True)
    return encapsulate([get_frame(dcmread(coded).PixelData, 0, number_of_frames=1)])


def _by_openjph(ds: Dataset, work: Path, _syntax: UID) -> bytes:
    raw, coded = work / "raw.pgm", work / "coded.j2c"
    pixels = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    raw.write_bytes(b"P5\n%d %d\n4095\n" % (ds.Columns, ds.Rows) + pixels)
    command = ["/usr/bin/ojph_compress", "-i", raw, "-o", coded, "-reversible", "true"]
    subprocess.run(command, check=True, capture_output=True)
    return encapsulate([coded.read_bytes()])


CODECS: dict[UID, Callable[[Dataset, Path, UID], bytes]] = {
    JPEGLosslessSV1: _by_dcmtk,
    JPEGBaseline8Bit: _by_dcmtk,
    JPEGLSLossless: _by_pydicom,
    JPEG2000Lossless: _by_pydicom,
    HTJ2KLossless: _by_openjph,
    RLELossless: _by_pydicom,
}
"""Who encodes each transfer syntax."""

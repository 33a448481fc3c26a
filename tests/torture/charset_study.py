"""Studies whose series have each another transfer syntax, in one character set."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import JPEG2000, JPEG2000Lossless

from dicom_node.identity import derive_uid
from tests.builders.dicom_series import make_ct_series
from tests.torture.charset_cases import CharsetCase

__all__ = ["SYNTAXES", "SyntaxStudy", "make_syntax_study"]

SYNTAXES: dict[str, tuple[str, ...]] = {
    "1.2.840.10008.1.2": ("/usr/bin/dcmconv", "+ti"),
    "1.2.840.10008.1.2.1": ("/usr/bin/dcmconv", "+te"),
    "1.2.840.10008.1.2.2": ("/usr/bin/dcmconv", "+tb"),
    "1.2.840.10008.1.2.4.50": ("/usr/bin/dcmcjpeg", "+eb", "+un"),
    "1.2.840.10008.1.2.4.51": ("/usr/bin/dcmcjpeg", "+ee", "+un"),
    "1.2.840.10008.1.2.4.57": ("/usr/bin/dcmcjpeg", "+el", "+un"),
    "1.2.840.10008.1.2.4.70": ("/usr/bin/dcmcjpeg", "+e1", "+un"),
    "1.2.840.10008.1.2.4.80": ("/usr/bin/dcmcjpls", "+el", "+un"),
    "1.2.840.10008.1.2.4.81": ("/usr/bin/dcmcjpls", "+en", "+un"),
    str(JPEG2000Lossless): (),
    str(JPEG2000): (),
    "1.2.840.10008.1.2.5": ("/usr/bin/dcmcrle", "+un"),
}
"""DCMTK's program for each; none: pydicom with OpenJPEG."""


@dataclass(frozen=True, slots=True)
class SyntaxStudy:
    """Its files, and what they are of."""

    case: CharsetCase
    uid: str
    syntaxes: tuple[str, ...]
    paths: tuple[Path, ...]


def make_syntax_study(
    folder: Path, case: CharsetCase, syntaxes: Sequence[str]
) -> SyntaxStudy:
    """Write a study with a series of two slices in each transfer syntax."""
    uid = derive_uid("charset", case.name)
    paths = []
    for number, syntax in enumerate(syntaxes, start=1):
        series = make_ct_series(
            folder / f"{number}-plain",
            slices=2,
            rows=32,
            columns=32,
            study_uid=uid,
            series_number=number,
            name=f"{case.name}-{syntax}",
        )
        for path in series.paths:
            target = folder / f"{number}-{path.name}"
            with warnings.catch_warnings():
                # pydicom warns of the labels that lie on purpose.
                warnings.simplefilter("ignore")
                _encode(path, target, syntax, case)
            paths.append(target)
    return SyntaxStudy(case, uid, tuple(syntaxes), tuple(paths))


def _say(path: Path, case: CharsetCase) -> None:
    """Write the name as these bytes under this label, in Explicit VR Little Endian.

    No library takes part: each would make the bytes what the label says.
    """
    data = path.read_bytes()
    data = _replace(data, b"\x08\x00\x05\x00CS", case.label)
    data = _replace(data, b"\x10\x00\x10\x00PN", case.value)
    description = case.value.split(b"=")[0].replace(b"^", b" ")
    path.write_bytes(_replace(data, b"\x08\x00\x30\x10LO", description))


def _replace(data: bytes, begin: bytes, value: bytes | None) -> bytes:
    """Replace an element with a 16-bit length (PS3.5 7.1.2), None: leave it out."""
    at = data.index(begin)
    end = at + 8 + int.from_bytes(data[at + 6 : at + 8], "little")
    if value is None:
        return data[:at] + data[end:]
    value += b" " * (len(value) % 2)
    return data[:at] + begin + len(value).to_bytes(2, "little") + value + data[end:]


def _encode(source: Path, target: Path, syntax: str, case: CharsetCase) -> None:
    if command := SYNTAXES[syntax]:
        _say(source, case)
        done = subprocess.run(
            [*command, source, target], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    else:
        ds = dcmread(source)
        ratios = [4.0] if syntax == JPEG2000 else None
        ds.compress(syntax, generate_instance_uid=False, j2k_cr=ratios)
        ds.save_as(target)
        _say(target, case)
    found = dcmread(target, stop_before_pixels=True).file_meta.TransferSyntaxUID
    assert found == syntax, (found, syntax)

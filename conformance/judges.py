"""Outside judges: programs of other projects that say whether an object is valid."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread

__all__ = [
    "FALSE_COMPLAINTS",
    "FalseComplaint",
    "ask_dciodvfy",
    "find_dciodvfy",
]

_TIMEOUT_S = 120.0
_GBK, _GB18030 = (
    b"\x08\x00\x05\x00CS" + len(value).to_bytes(2, "little") + value
    for value in (b"GBK ", b"GB18030 ")
)
"""Specific Character Set (0008,0005) in Explicit VR Little Endian (PS3.5 7.1.2)."""

_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"


@dataclass(frozen=True, slots=True)
class FalseComplaint:
    """An error that dciodvfy reports and that is none.

    ``count`` says how often it may come for a data set: one more is a real error.
    """

    text: str
    reason: str
    count: Callable[[Dataset], int]


def _label_map_references(ds: Dataset) -> int:
    """Count references to segments of label maps, at any depth."""
    total = 0
    for element in ds:
        if element.VR != "SQ":
            continue
        for item in element.value:
            if (
                item.get("ReferencedSOPClassUID") == _LABEL_MAP
                and "ReferencedSegmentNumber" in item
            ):
                total += 1
            total += _label_map_references(item)
    return total


FALSE_COMPLAINTS: tuple[FalseComplaint, ...] = (
    FalseComplaint(
        "Shall not be present for Referenced SOP Class that is not segmentation - "
        "attribute <ReferencedSegmentNumber>",
        "Label Map Segmentation Storage is a segmentation too (PS3.3 C.18.4, since "
        "Supplement 243); dciodvfy knows Segmentation Storage alone.",
        _label_map_references,
    ),
)
"""What dciodvfy of dicom3tools 20260927 gets wrong about our objects."""


def find_dciodvfy() -> Path | None:
    """Return where dciodvfy is: beside this Python, else on PATH; None: not here."""
    beside = Path(sys.executable).with_name("dciodvfy")
    if beside.is_file():
        return beside
    found = shutil.which("dciodvfy")
    return None if found is None else Path(found)


def ask_dciodvfy(program: Path, path: Path, ds: Dataset) -> Iterator[str]:
    """Yield the errors that dciodvfy reports for a file, without its false ones.

    Its exit status means nothing: errors are lines that begin with ``Error``.

    Parameters
    ----------
    program : pathlib.Path
        dciodvfy.
    path : pathlib.Path
        The file.
    ds : Dataset
        The same file, read.

    """
    try:
        with _readable(path, ds) as file:
            done = subprocess.run(
                [program, file],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
    except subprocess.TimeoutExpired:
        yield f"gave no answer within {_TIMEOUT_S:g} s"
        return
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    if done.returncode < 0 or not lines:
        yield f"ended with status {done.returncode} and said nothing"
    allowed = {one.text: one.count(ds) for one in FALSE_COMPLAINTS}
    for line in lines:
        if not line.startswith("Error"):
            continue
        text = line.removeprefix("Error").lstrip(" -")
        if allowed.get(text, 0) > 0:
            allowed[text] -= 1
        else:
            yield text


@contextmanager
def _readable(path: Path, ds: Dataset) -> Iterator[Path]:
    """Yield the file; where it is in GBK, a copy whose label dciodvfy knows.

    It knows GB18030 and not GBK (PS3.3 C.12.1.1.2). What GBK holds has the same bytes
    in both, and what it cannot hold is left under its own label, to be complained of.
    """
    if ds.get("SpecificCharacterSet") != "GBK" or not _is_in_gbk(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        copy.write_bytes(path.read_bytes().replace(_GBK, _GB18030, 1))
        yield copy


def _is_in_gbk(path: Path) -> bool:
    """Return whether all text can be decoded as GBK, which it is labelled as."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="Failed to decode byte string")
        try:
            dcmread(path, stop_before_pixels=True).decode()
        except UserWarning:
            return False
    return True

"""From a result to DICOM objects: SEG and SR that name each other, or pictures."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.errors import NodeError, ObjectError
from dicom_node.objects.archive import make_archive_objects
from dicom_node.objects.common import Making
from dicom_node.objects.profiles import ObjectSet, find_profile
from dicom_node.objects.seg import make_segmentations
from dicom_node.objects.sources import study_header
from dicom_node.objects.sr import make_report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydicom import Dataset

    from dicom_node.objects.common import FrameReader
    from dicom_node.records import ResultObject, StudyResult

__all__ = ["make_objects"]


def make_objects(
    result: StudyResult,
    *,
    profile: str = "default",
    out_dir: Path,
    reader: FrameReader | None = None,
) -> tuple[ResultObject, ...]:
    """Write the objects of a result: segmentations and report, or pictures.

    The same result and profile give the same files, byte for byte.

    Parameters
    ----------
    result : StudyResult
        What was found.
    profile : str
        A name of `PROFILES`.
    out_dir : pathlib.Path
        An existing folder; files are named by what they hold and a number:
        ``seg-1.dcm``, ``seg-2.dcm`` ... and ``sr.dcm``.
    reader : FrameReader, optional
        Reads the pixels of the source; profiles of `ObjectSet.PICTURES` need one.

    Returns
    -------
    tuple of ResultObject
        Segmentations in the order of their series, then the report; or presentation
        states, pictures, key objects and PDF. The report or the PDF is there even
        when nothing was found.

    Raises
    ------
    ObjectError
        The profile is unknown, a mask does not fit its series, a source cannot be
        read again, a value cannot be encoded, or there is no reader where one is
        needed. Nothing is left in `out_dir` then, nor after any other error.
    PixelDecodingError
        A frame cannot be decoded for its picture.

    """
    making = Making(result, find_profile(profile), study_header(result), reader)
    making.check_sources()
    try:
        return _write_all(making, out_dir)
    except NodeError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        # What the builders raise for a value that DICOM cannot hold. The message
        # may quote it, so only its kind is told.
        msg = f"a result object could not be built: {type(error).__name__}"
        raise ObjectError(msg) from error


def _write_all(making: Making, out_dir: Path) -> tuple[ResultObject, ...]:
    """Write every object, or leave none behind."""
    written: list[ResultObject] = []
    with ExitStack() as undo:

        def write(ds: Dataset, name: str, segments: Mapping[str, int]) -> None:
            path = out_dir / name
            undo.callback(path.unlink, missing_ok=True)
            written.append(making.write(ds, path, segments))

        if making.profile.objects is ObjectSet.PICTURES:
            for name, ds in make_archive_objects(making):
                write(ds, name, {})
        else:
            for number, made in enumerate(make_segmentations(making), start=1):
                write(made.dataset, f"seg-{number}.dcm", made.segments)
            write(make_report(making, written), "sr.dcm", {})
        undo.pop_all()
    return tuple(written)

"""From a result to DICOM objects: SEG and Comprehensive 3D SR that name each other."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.errors import NodeError, ObjectError
from dicom_node.objects.common import Making
from dicom_node.objects.profiles import find_profile
from dicom_node.objects.seg import make_segmentations
from dicom_node.objects.sources import study_header
from dicom_node.objects.sr import make_report

if TYPE_CHECKING:
    from dicom_node.records import ResultObject, StudyResult

__all__ = ["make_objects"]


def make_objects(
    result: StudyResult, *, profile: str = "default", out_dir: Path
) -> tuple[ResultObject, ...]:
    """Write the objects of a result: the segmentations, then the report.

    The same result and profile give the same files, byte for byte.

    Parameters
    ----------
    result : StudyResult
        What was found.
    profile : str
        A name of `PROFILES`.
    out_dir : pathlib.Path
        An existing folder; files are named ``seg-1.dcm``, ``seg-2.dcm`` ... and
        ``sr.dcm``.

    Returns
    -------
    tuple of ResultObject
        Segmentations in the order of their series, then the report, which is there
        even when nothing was found.

    Raises
    ------
    ObjectError
        The profile is unknown, a mask does not fit its series, a source cannot be
        read again, or a value cannot be encoded. Nothing is left in `out_dir` then,
        nor after any other error.

    """
    making = Making(result, find_profile(profile), study_header(result))
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
        for number, made in enumerate(make_segmentations(making), start=1):
            path = out_dir / f"seg-{number}.dcm"
            undo.callback(path.unlink, missing_ok=True)
            written.append(making.write(made.dataset, path, made.segments))
        report = make_report(making, written)
        path = out_dir / "sr.dcm"
        undo.callback(path.unlink, missing_ok=True)
        written.append(making.write(report, path, {}))
        undo.pop_all()
    return tuple(written)

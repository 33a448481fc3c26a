"""From a result to DICOM objects: SEG and SR that name each other, or pictures.

What builds them is imported where they are built: a node at rest does without it.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.errors import NodeError, ObjectError
from dicom_node.objects.profiles import ObjectSet, find_profile, needs_probabilities
from dicom_node.objects.sources import study_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from pydicom import Dataset

    from dicom_node.objects.common import FrameReader, Making
    from dicom_node.objects.review import Review
    from dicom_node.objects.seg import Segmentation
    from dicom_node.records import ResultObject, StudyResult

    _Write: TypeAlias = Callable[[Dataset | Segmentation, str], None]

__all__ = ["make_objects", "make_review_objects", "needs_probabilities"]


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
    from dicom_node.objects.common import Making

    making = Making(result, find_profile(profile), study_header(result), reader)
    making.check_sources()
    return _told(lambda: _write_all(making, out_dir))


def make_review_objects(
    result: StudyResult,
    review: Review,
    *,
    redrawn: StudyResult,
    redrawn_review: Review,
    machine: Sequence[ResultObject],
    profile: str,
    out_dir: Path,
) -> tuple[ResultObject, ...]:
    """Write what people made of a result: the regions they drew, and the report.

    Parameters
    ----------
    result : StudyResult
        The whole result; regions that were redrawn have the new mask.
    review : Review
        What was said of it.
    redrawn : StudyResult
        The same with the redrawn regions alone: what the segmentations hold.
    redrawn_review : Review
        What was said of these.
    machine : sequence of ResultObject
        The machine's segmentations, with the segments that the report still names.
    profile : str
        The profile of the machine's result.
    out_dir : pathlib.Path
        An existing folder, for ``segmentation-1.dcm`` ... and ``report.dcm``.

    Raises
    ------
    ObjectError
        As for `make_objects`.

    """
    from dicom_node.objects.common import Making

    source, kind = study_header(result), find_profile(profile)
    making = Making(result, kind, source, review=review)
    drawing = Making(redrawn, kind, source, review=redrawn_review)
    return _told(lambda: _write_review(making, drawing, machine, out_dir))


def _told(write: Callable[[], tuple[ResultObject, ...]]) -> tuple[ResultObject, ...]:
    try:
        return write()
    except NodeError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        # What the builders raise for a value that DICOM cannot hold. The message
        # may quote it, so only its kind is told.
        msg = f"a result object could not be built: {type(error).__name__}"
        raise ObjectError(msg) from error


def _write_review(
    making: Making, drawing: Making, machine: Sequence[ResultObject], out_dir: Path
) -> tuple[ResultObject, ...]:
    from dicom_node.objects.seg import make_segmentations
    from dicom_node.objects.sr import make_report

    with _writing(making, out_dir) as (write, written):
        for number, made in enumerate(make_segmentations(drawing), start=1):
            write(made, f"segmentation-{number}.dcm")
        named = [one for one in machine if one.segments]
        write(make_report(making, [*named, *written]), "report.dcm")
    return tuple(written)


def _write_all(making: Making, out_dir: Path) -> tuple[ResultObject, ...]:
    from dicom_node.objects.archive import make_archive_objects
    from dicom_node.objects.seg import make_segmentations
    from dicom_node.objects.sr import make_report

    with _writing(making, out_dir) as (write, written):
        if making.profile.objects is ObjectSet.PICTURES:
            for name, ds in make_archive_objects(making):
                write(ds, name)
        else:
            for number, made in enumerate(make_segmentations(making), start=1):
                write(made, f"seg-{number}.dcm")
            write(make_report(making, written), "sr.dcm")
    return tuple(written)


@contextmanager
def _writing(
    making: Making, out_dir: Path
) -> Iterator[tuple[_Write, list[ResultObject]]]:
    """Write every object of the block, or leave none behind."""
    from dicom_node.objects.seg import Segmentation

    written: list[ResultObject] = []
    with ExitStack() as undo:

        def write(made: Dataset | Segmentation, name: str) -> None:
            path = out_dir / name
            undo.callback(path.unlink, missing_ok=True)
            if isinstance(made, Segmentation):
                ds, frames, segments = made.dataset, made.frames, made.segments
                one = making.write(ds, path, segments, frames=frames)
            else:
                one = making.write(made, path, {})
            written.append(one)

        yield write, written
        undo.pop_all()

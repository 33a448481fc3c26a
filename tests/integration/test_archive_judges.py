"""Profile ``pacs`` before judges and readers of other projects: dciodvfy and DCMTK."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom import dcmread

from conformance.validators import judge_file
from dicom_node.records import (
    ImageSeries,
    PhraseResult,
    PhraseStatus,
    ResultObject,
    StudyResult,
)
from tests.builders.archive_objects import fill, make_archive, of_kind
from tests.builders.dicom_series import make_dx_image
from tests.builders.peers import require_program
from tests.builders.result_cases import SERIES, full_result
from tests.builders.study_results import (
    image_series,
    make_phrase,
    make_region,
    make_result,
    mask_of,
)

pytestmark = pytest.mark.peers

NEGATIVE = "negative"
EVERYTHING = "everything"
GREY = ("axial", "oblique", "radiograph", "cine", "enhanced", NEGATIVE)
NAMES = (*GREY, "odd cine", "photograph", "no frame of reference", EVERYTHING)

Made = Callable[[str], tuple[StudyResult, tuple[ResultObject, ...]]]


def _negative(folder: Path) -> ImageSeries:
    dx = make_dx_image(folder, photometric="MONOCHROME1", rows=31, columns=43)
    return image_series(dx.instances)


def _phrase(series: ImageSeries) -> PhraseResult:
    """Return a phrase with a ragged region on every frame, another on each."""
    shape = (len(series.frames), series.rows, series.columns)
    mask = np.random.default_rng(8).random(shape) < 0.6
    mask[:, : series.rows // 4] = mask[:, :, : series.columns // 3] = False
    region = make_region(series, mask, "kidney")
    return PhraseResult(
        make_phrase("left kidney"), PhraseStatus.PRESENT, (region,), score=0.75
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Make the objects of each source once; one phrase, with one region."""

    @cache
    def make(name: str) -> tuple[StudyResult, tuple[ResultObject, ...]]:
        folder = tmp_path_factory.mktemp("judged")
        source = folder / "source"
        if name == EVERYTHING:
            result = full_result(source)
        else:
            series = {**SERIES, NEGATIVE: _negative}[name](source)
            result = make_result([series], (_phrase(series),))
        return result, make_archive(result, folder / "out")

    return make


@pytest.mark.parametrize("name", NAMES)
def test_dciodvfy_finds_no_error(name: str, made: Made) -> None:
    _, objects = made(name)

    judgements = [judge_file(one.path) for one in objects]

    assert [str(v) for one in judgements for v in one.violations] == []
    assert {one.judges for one in judgements} == {("rules", "dciodvfy")}


@pytest.mark.parametrize("name", NAMES)
def test_dcmtk_checks_presentation_states_and_reads_key_objects(
    name: str, made: Made
) -> None:
    _, objects = made(name)
    check, dump = require_program("dcmpschk"), require_program("dsrdump")

    for one in objects:
        if one.path.name.startswith("pr"):
            assert "Test passed" in _run(check, one.path)
        if one.path.name == "ko.dcm":
            text = _run(dump, one.path)
            assert "Key Object Selection Document" in text
            assert '"Key Object Description")="AI - not for diagnostic use' in text
            assert "GSPS" in text or "CSPS" in text


@pytest.mark.parametrize("name", GREY)
def test_dcmtk_reads_the_outline_of_the_mask(
    name: str, made: Made, tmp_path: Path
) -> None:
    result, objects = made(name)
    (series,) = result.series
    region = result.phrases[0].regions[0]
    mask = mask_of(region, series)
    # Of a multi-frame image DCMTK describes what is on the first frame.
    index = 0 if series.frames[0].number_of_frames > 1 else len(mask) - 1

    text, _ = _present(series, index, objects, tmp_path)

    layer = text[text.index("Graphic Layer #1 [PHRASE_1]") :]
    assert 'text 1: "left kidney"' in layer
    polygons = [
        np.array([point.split("\\") for point in line.split(", ") if point], float)
        for line in re.findall(r"coordinates: (.*?),?\s*$", layer, re.MULTILINE)
    ]
    assert polygons
    assert (fill(polygons, (series.rows, series.columns)) == mask[index]).all()


@pytest.mark.parametrize("name", GREY)
def test_dcmtk_shows_the_grey_values_of_the_source(
    name: str, made: Made, tmp_path: Path
) -> None:
    result, objects = made(name)
    (series,) = result.series
    index = len(series.frames) - 1
    state = of_kind(objects, "pr")[0]

    _, shown = _present(series, index, objects, tmp_path)

    window = state.SoftcopyVOILUTSequence[0]
    expected = tmp_path / "expected.pgm"
    _run(
        require_program("dcm2pnm"),
        "--frame",
        str(series.frames[index].frame_number),
        "+Ww",
        str(window.WindowCenter),
        str(window.WindowWidth),
        series.frames[index].path,
        expected,
    )
    with Image.open(expected) as picture:
        plain = np.asarray(picture).astype(int)
    assert np.ptp(shown) > 64  # neither black nor white
    assert shown.shape[1] == plain.shape[1]
    if shown.shape == plain.shape:  # proportions that are kept change no row
        assert np.abs(shown - plain).max() <= 1


@pytest.mark.parametrize("name", ["axial", "radiograph", "photograph"])
def test_dcmtk_shows_pictures_as_they_were_painted(
    name: str, made: Made, tmp_path: Path
) -> None:
    _, objects = made(name)

    for one in objects:
        if one.path.name.startswith("sc"):
            file = tmp_path / "shown.ppm"
            _run(require_program("dcmj2pnm"), one.path, file)
            with Image.open(file) as picture:
                shown = np.asarray(picture)
            assert (shown == dcmread(one.path).pixel_array).all()


def test_dcmtk_takes_the_pdf_out(made: Made, tmp_path: Path) -> None:
    _, objects = made(EVERYTHING)
    (ds,) = of_kind(objects, "pdf")
    file = tmp_path / "summary.pdf"

    _run(require_program("dcm2pdf"), objects[-1].path, file)

    data = file.read_bytes()
    assert data.startswith(b"%PDF-")
    assert (
        data[: ds.EncapsulatedDocumentLength]
        == (ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength])
    )


def test_highdicom_reads_the_key_objects(made: Made) -> None:
    result, objects = made(EVERYTHING)
    (ds,) = of_kind(objects, "ko")

    document = hd.ko.KeyObjectSelectionDocument.from_dataset(ds)

    known = {
        one.sop_instance_uid: series.series_instance_uid
        for series in result.series
        for one in series.frames
    }
    for item in document.content.get_references():
        _, series_uid, uid = document.resolve_reference(
            item.referenced_sop_instance_uid
        )
        assert known.get(uid, series_uid) == series_uid
    assert {one.SOPInstanceUID for one in of_kind(objects, "sc")} <= {
        item.referenced_sop_instance_uid for item in document.content.get_references()
    }


def _present(
    series: ImageSeries, index: int, objects: tuple[ResultObject, ...], folder: Path
) -> tuple[str, npt.NDArray[np.int64]]:
    """Let DCMTK present a frame: what it says of the state, and the grey values."""
    frame = series.frames[index]
    path = next(one.path for one in objects if one.path.name.startswith("pr"))
    file = folder / "presented.pgm"
    text = _run(
        require_program("dcmp2pgm"),
        "-v",
        "-f",
        str(frame.frame_number),
        "-p",
        path,
        frame.path,
        file,
    )
    with Image.open(file) as picture:
        return text, np.asarray(picture).astype(int)


def _run(*command: object) -> str:
    done = subprocess.run(
        [str(one) for one in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr

"""From a correction over REST to a record of a build, and two steps of training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.corrections import runs_of_mask
from dicom_node.corrections.pseudonyms import SALT_FILE, Pseudonyms, names_somebody
from tests.builders.finished_study import FinishedStudy, finish_study
from tests.builders.websites import Site, open_site
from training.build.ingest import Source
from training.build.pipeline import build
from training.build.settings import BuildSettings
from training.layout import iterate_shard, read_shards
from training.readers.node_corrections import read_node_corrections
from training.readers.source import SourceImage
from training.records import ImageRecord
from training.registry import load_registry
from training.rle import decode_rle

SLICES, ROWS, COLUMNS = 6, 24, 32
DRAWN = np.zeros((SLICES, ROWS, COLUMNS), np.bool_)
DRAWN[2, 3:15, 20:29] = DRAWN[3, 4:14, 18:29] = DRAWN[3, 20, 2:8] = True
"""Nothing of it is its own mirror image."""

CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
"""Directions of rows and columns in the patient."""

TINY_RUN = """
steps = 2
batch = 2
rows = 32
columns = 32
core_every = 2
core_phrases = 4
warmup = 1
workers = 0
device = "cpu"
log_every = 1
[[sources]]
name = "mine"
shards = "{shards}"
[model]
slice_offsets_mm = [0.0]
trunk_channels = [8, 16, 16, 16, 16]
bottleneck_heads = 2
phrase_dim = 32
dense_dim = 16
core_dim = 32
core_heads = 2
core_ffn = 64
core_queries = 6
core_mask_dim = 8
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("node")) as opened:
        opened.add_user("eve", "editor")
        yield opened


@pytest.fixture(scope="module")
def web(site: Site) -> TestClient:
    return site.client("eve")


@pytest.fixture(scope="module")
def config(site: Site) -> Path:
    path = site.data_dir.parent / "node.toml"
    path.write_text(f'[node]\ndata_dir = "{site.data_dir}"\n')
    return path


@pytest.fixture(scope="module")
def finished(site: Site) -> FinishedStudy:
    return finish_study(
        site.store,
        site.data_dir,
        slices=SLICES,
        rows=ROWS,
        columns=COLUMNS,
        orientation=CORONAL,
    )


@pytest.fixture
def study(web: TestClient, finished: FinishedStudy) -> FinishedStudy:
    """Return a study whose region was redrawn last."""
    frames = [
        {"frame": index, "runs": runs_of_mask(mask)}
        for index, mask in enumerate(DRAWN)
        if mask.any()
    ]
    _say(web, finished, action="redraw", frames=frames)
    return finished


def _say(web: TestClient, study: FinishedStudy, **said: Any) -> None:
    url = f"/studies/{study.uid}"
    (region,) = web.get(url).json()["phrases"][0]["regions"]
    uid = region["tracking_uid"]
    answer = web.post(f"{url}/regions/{uid}/corrections", json=said)
    assert answer.status_code == 201, answer.text


def _export(config: Path, out: Path, *more: str) -> str:
    command = ["corrections", "export", "--out", str(out), "--config", str(config)]
    done = CliRunner().invoke(app, [*command, *more])
    assert done.exit_code == 0, (done.output, done.exception)
    return " ".join(done.output.split())


def _read(out: Path) -> list[SourceImage]:
    return list(read_node_corrections(out, load_registry()["node-corrections"]))


def _in_patient(study: FinishedStudy, mask: np.ndarray) -> set[tuple[float, ...]]:
    """Return where the pixels of frames in the series' order lie, in LPS."""
    images = [pydicom.dcmread(path) for path in study.images]
    normal = np.cross(
        images[0].ImageOrientationPatient[:3], images[0].ImageOrientationPatient[3:]
    )
    images.sort(key=lambda ds: float(np.dot(ds.ImagePositionPatient, normal)))
    found = set()
    for frame, row, column in np.argwhere(mask):
        ds = images[frame]
        cosines = np.array(ds.ImageOrientationPatient, float)
        rows_mm, columns_mm = (float(one) for one in ds.PixelSpacing)
        point = (
            np.array(ds.ImagePositionPatient, float)
            + cosines[:3] * columns_mm * column
            + cosines[3:] * rows_mm * row
        )
        found.add(tuple(np.round(point, 3).tolist()))
    return found


def test_a_drawing_is_in_the_record_where_it_is_in_the_patient(
    site: Site, config: Path, study: FinishedStudy, tmp_path: Path
) -> None:
    _export(config, tmp_path / "out")

    (image,) = _read(tmp_path / "out")
    picture = image.load()
    (region,) = image.regions
    assert region.mask is not None
    mask = region.mask()
    assert picture.is_volume
    assert picture.pixels.shape == mask.shape
    # Canonical axes are S, P, L: indices grow along +z, +y and +x of the patient.
    assert picture.spacing_mm is not None
    steps = np.array(picture.spacing_mm)[::-1]
    points = np.argwhere(mask)[:, ::-1] * steps
    wanted = np.array(sorted(_in_patient(study, DRAWN)))
    offset = wanted.min(axis=0) - points.min(axis=0)
    placed = {tuple(np.round(one + offset, 3).tolist()) for one in points}
    assert placed == {tuple(np.round(one, 3).tolist()) for one in wanted}
    assert mask.sum() == DRAWN.sum()
    # The pixels were turned with the mask: the same values lie below the drawing.
    images = {pydicom.dcmread(path).SOPInstanceUID: path for path in study.images}
    (series,) = json.loads(
        (
            site.data_dir / "results" / study.content_version[:16] / "result.json"
        ).read_bytes()
    )["series"]
    frames = [pydicom.dcmread(images[uid]) for uid, _ in series["frames"]]
    stored = np.stack(
        [ds.pixel_array * ds.RescaleSlope + ds.RescaleIntercept for ds in frames]
    )
    assert sorted(picture.pixels[mask].tolist()) == sorted(stored[DRAWN].tolist())
    assert (region.tier, region.status, region.phrase) == (
        "manual",
        "present",
        "The liver is enlarged",
    )


def test_a_build_and_two_steps_of_training_take_it(
    config: Path, study: FinishedStudy, tmp_path: Path
) -> None:
    from training.cli import main

    _export(config, tmp_path / "out")
    (image,) = _read(tmp_path / "out")
    (region,) = image.regions
    assert region.mask is not None
    whole = region.mask()
    spec = load_registry()["node-corrections"]

    build(
        [Source(spec, tmp_path / "out")],
        tmp_path / "built",
        settings=BuildSettings(slice_step=1, min_area=1, val_percent=0, test_percent=0),
        allowed_licences=frozenset({"LicenseRef-Private"}),
        progress=False,
    )

    records = [
        ImageRecord.from_json(sample["json"])
        for shard in read_shards(tmp_path / "built")
        for sample in iterate_shard(tmp_path / "built" / "shards" / shard.name)
    ]
    drawn = 0
    for record in records:
        assert record.volume is not None
        found = np.zeros(whole.shape[1:], np.bool_)
        for one in record.regions:
            for rle in one.mask or ():
                found |= decode_rle(rle)
        np.testing.assert_array_equal(found, whole[record.volume.index])
        drawn += int(found.any())
    assert drawn

    recipe = tmp_path / "run.toml"
    recipe.write_text(TINY_RUN.format(shards=tmp_path / "built"))
    main(["fit", str(recipe), "--out", str(tmp_path / "run")])
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_nothing_of_an_export_names_anybody(
    site: Site, config: Path, study: FinishedStudy, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    _export(config, out)

    image = pydicom.dcmread(study.images[0])
    secrets = [
        study.uid,
        image.SeriesInstanceUID,
        image.SOPInstanceUID,
        image.FrameOfReferenceUID,
        str(image.PatientID),
        str(image.PatientName),
        *str(image.PatientName).split("^"),
        image.StudyDate,
        image.AccessionNumber,
        "eve",
        (site.data_dir / SALT_FILE).read_text().strip(),
    ]
    for path in out.rglob("*"):
        place = str(path.relative_to(out)).encode()
        data = place + (path.read_bytes() if path.suffix == ".json" else b"")
        for secret in secrets:
            assert not secret or str(secret).encode() not in data, (path, secret)
    assert not (out / SALT_FILE).exists()


def test_what_is_there_and_still_true_is_kept_and_what_changed_is_replaced(
    web: TestClient, config: Path, study: FinishedStudy, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = _export(config, out)
    (folder,) = (out / "images").iterdir()
    (out / "images" / f".{folder.name}.part").mkdir()
    again = _export(config, out, "--study", study.uid)
    assert "1 picture written, 0 kept" in first
    assert "0 pictures written, 1 kept" in again
    assert "0 pictures written, 0 kept" in _export(config, out, "--since", "2999-01-01")

    _say(web, study, action="accept")
    changed = _export(config, out)

    assert "1 picture written, 0 kept" in changed
    (image,) = _read(out)
    assert (image.regions[0].tier, image.regions[0].attributes["verdict"]) == (
        "pseudo",
        "accept",
    )
    _say(web, study, action="reject")
    # A report states the phrase: the place was wrong, the finding is not denied.
    assert "left out: rejected, and a report states it" in _export(config, out)
    assert _read(out) == []


@pytest.mark.parametrize("name", ["notes.txt", "node-corrections.json"])
def test_a_folder_of_somebody_else_is_refused_and_left_as_it_is(
    config: Path, study: FinishedStudy, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("{}")
    command = ["corrections", "export", "--out", str(tmp_path), "-c", str(config)]

    done = CliRunner().invoke(app, command)

    assert done.exit_code != 0
    assert [one.name for one in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "{}"


def test_the_command_writes_the_corrected_report(
    config: Path, study: FinishedStudy, tmp_path: Path
) -> None:
    command = ["corrections", "report", study.uid, "--out", str(tmp_path / "report")]

    done = CliRunner().invoke(app, [*command, "-c", str(config)])

    assert done.exit_code == 0, (done.output, done.exception)
    report = pydicom.dcmread(tmp_path / "report" / "report.dcm")
    assert report.VerificationFlag == "UNVERIFIED"


def test_pseudonyms_need_their_salt(tmp_path: Path) -> None:
    one = Pseudonyms.read(tmp_path / "salt")
    same, other = Pseudonyms.read(tmp_path / "salt"), Pseudonyms.read(tmp_path / "new")

    assert one.of("patient", "1") == same.of("patient", "1")
    assert one.of("patient", "1") != other.of("patient", "1")
    assert one.of("patient", "1") != one.of("study", "1")
    assert (tmp_path / "salt").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the liver is enlarged", False),
        ("unchanged since 12.03.2024", True),
        ("compared with March 2024", True),
        ("as discussed with Dr. Who", True),
        ("nodule of 12 mm in segment 4", False),
        ("Doe has a nodule", True),
        ("see 1234567", True),
    ],
)
def test_a_text_that_may_name_somebody_is_seen(text: str, expected: bool) -> None:
    assert names_somebody([text], frozenset({"doe"})) is expected


def test_the_year_is_all_that_is_told_of_the_moment(
    config: Path, study: FinishedStudy, tmp_path: Path
) -> None:
    _export(config, tmp_path / "out")

    texts = [one.read_text() for one in (tmp_path / "out").rglob("image.json")]

    for text in texts:
        for region in json.loads(text)["regions"]:
            assert region["year"] <= datetime.now(UTC).year
        assert '"at"' not in text

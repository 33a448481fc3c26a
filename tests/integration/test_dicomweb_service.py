"""DICOMweb over real sockets, asked by an outside client and by hostile ones."""

from __future__ import annotations

import gzip
import io
import json
import logging
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from dicom_node.dicomweb.multipart import Part, write_multipart
from dicom_node.records import ResultObject
from tests.builders.dicom_series import (
    SyntheticSeries,
    make_ct_series,
    make_dx_image,
    write_dataset,
)
from tests.builders.dicomweb_node import SENDER, DicomwebNode, run_dicomweb
from tests.builders.peers import require_program
from tests.builders.stores import result_object

DICOM_PARTS = 'multipart/related; type="application/dicom"'
STOW = {
    "Content-Type": f"{DICOM_PARTS}; boundary=b",
    "Accept": "application/dicom+json",
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SyntheticSeries:
    return make_ct_series(
        tmp_path_factory.mktemp("ct"), slices=6, study_uid="1.2.826.0.1"
    )


@pytest.fixture(scope="module")
def node(
    tmp_path_factory: pytest.TempPathFactory, study: SyntheticSeries
) -> Iterator[DicomwebNode]:
    """Serve a CT, an X-ray of another patient, and compressed images."""
    folder = tmp_path_factory.mktemp("served")
    other = make_dx_image(folder / "dx")
    files = [Path(str(get_testdata_file("MR_small_RLE.dcm"))), _jpeg_ls(folder)]
    with run_dicomweb(folder / "data") as running:
        running.receive((*study.paths, *other.paths, *files))
        yield running


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[DicomwebNode]:
    with run_dicomweb(
        tmp_path / "data", max_upload_bytes=3 << 20, max_instance_bytes=1 << 20
    ) as running:
        yield running


def address(node: DicomwebNode, ds: pydicom.Dataset) -> str:
    return (
        f"{node.root}/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}"
    )


def body_of(*contents: bytes, boundary: str = "b") -> bytes:
    parts = [Part("application/dicom", [one]) for one in contents]
    return b"".join(write_multipart(parts, boundary=boundary))


def reasons(answer: httpx.Response) -> list[int]:
    found = answer.json()
    return [
        item["00081197"]["Value"][0]
        for tag in ("00081198", "0008119A")
        for item in found.get(tag, {}).get("Value", [])
    ]


def named(answer: httpx.Response, tag: str) -> list[str]:
    """Return the instances of a list of the answer."""
    items = answer.json().get(tag, {}).get("Value", [])
    return [one["00081155"]["Value"][0] for one in items]


def test_an_outside_client_finds_studies_series_and_instances(
    node: DicomwebNode, study: SyntheticSeries
) -> None:
    first = pydicom.dcmread(study.paths[0])

    (found,) = node.client.search_for_studies(
        search_filters={"StudyInstanceUID": study.study_instance_uid}
    )
    series = node.client.search_for_series(study.study_instance_uid)
    instances = node.client.search_for_instances(
        study.study_instance_uid, study.series_instance_uid
    )

    ds = pydicom.Dataset.from_json(found)
    assert ds.PatientName == first.PatientName
    assert ds.NumberOfStudyRelatedInstances == 6
    assert ds.NumberOfStudyRelatedSeries == 1
    assert ds.ModalitiesInStudy == "CT"
    assert [one["0020000E"]["Value"] for one in series] == [[study.series_instance_uid]]
    assert {one["00080018"]["Value"][0] for one in instances} == {
        one.sop_instance_uid for one in study.instances
    }


def test_pages_of_a_search_hold_everything_once(node: DicomwebNode) -> None:
    every = node.client.search_for_studies()
    pages = [node.client.search_for_studies(limit=1, offset=one) for one in range(5)]

    uids = [one["0020000D"]["Value"][0] for page in pages for one in page]
    assert uids == [one["0020000D"]["Value"][0] for one in every]
    assert len(set(uids)) == len(uids) >= 3


def test_a_search_over_all_studies_says_which_study_each_is_of(
    node: DicomwebNode, study: SyntheticSeries
) -> None:
    found = node.client.search_for_instances(
        search_filters={"Modality": "CT", "InstanceNumber": 3},
        fields=["SliceThickness"],
    )

    (one,) = found
    assert one["0020000D"]["Value"] == [study.study_instance_uid]
    assert one["00180050"]["Value"]  # what the catalogue does not keep
    assert one["00200013"]["Value"] == [3]


def test_no_results_have_no_content(node: DicomwebNode) -> None:
    answer = httpx.get(f"{node.root}/studies?PatientID=nobody")

    assert (answer.status_code, answer.content) == (204, b"")


def test_more_results_and_unknown_wishes_are_told_in_a_warning(
    node: DicomwebNode,
) -> None:
    answer = httpx.get(f"{node.root}/studies?limit=1&fuzzymatching=true")

    assert answer.status_code == 200
    assert "more results" in answer.headers["warning"]
    assert "fuzzymatching" in answer.headers["warning"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/studies/1.2.3.99", 404),
        ("/studies/1.2.3.99/metadata", 404),
        ("/studies/not-a-uid", 400),
        ("/studies/..%2f..%2fetc/metadata", 404),
        ("/studies?NoSuchKeyword=1", 400),
        ("/studies?limit=x", 400),
    ],
)
def test_what_is_not_there_is_told_as_such(
    node: DicomwebNode, path: str, status: int
) -> None:
    assert httpx.get(node.root + path).status_code == status


def test_instances_come_as_they_were_sent(
    node: DicomwebNode, study: SyntheticSeries
) -> None:
    found = node.client.retrieve_study(study.study_instance_uid)

    expected = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, study.paths)}
    assert len(found) == 6
    for ds in found:
        assert ds == expected[ds.SOPInstanceUID]


@pytest.mark.peers
def test_dcmtk_reads_a_retrieved_instance(
    node: DicomwebNode, study: SyntheticSeries, tmp_path: Path
) -> None:
    dcmdump = require_program("dcmdump")
    ds = pydicom.dcmread(study.paths[0])
    answer = httpx.get(address(node, ds), headers={"Accept": "application/dicom"})
    path = tmp_path / "one.dcm"
    path.write_bytes(answer.content)

    result = subprocess.run(
        [dcmdump, "--print-all", "--search", "SOPInstanceUID", path],
        capture_output=True,
        text=True,
        check=True,
    )

    assert ds.SOPInstanceUID in result.stdout
    assert "transfer-syntax" in answer.headers["content-type"]


def test_metadata_is_what_pydicom_reads(
    node: DicomwebNode, study: SyntheticSeries
) -> None:
    found = node.client.retrieve_series_metadata(
        study.study_instance_uid, study.series_instance_uid
    )

    for one, path in zip(found, study.paths, strict=True):
        ds = pydicom.dcmread(path)
        url = one.pop("7FE00010")["BulkDataURI"]
        read = pydicom.Dataset.from_json(one)
        assert read.ImagePositionPatient == ds.ImagePositionPatient
        assert read.PatientName == ds.PatientName
        assert url.endswith(f"{ds.SOPInstanceUID}/bulkdata/7FE00010")


@pytest.mark.parametrize("lost", [[2], [0, 1, 2, 39], list(range(35)), [39]])
def test_a_lost_file_takes_no_other_metadata_away(
    lost: list[int], empty: DicomwebNode, tmp_path: Path
) -> None:
    series = make_ct_series(tmp_path / "ct", slices=40, rows=8, columns=8)
    empty.receive(series.paths)
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in series.paths]
    place = f"{empty.root}/studies/{series.study_instance_uid}"
    place += f"/series/{series.series_instance_uid}"
    order = [
        one["00080018"]["Value"][0] for one in httpx.get(f"{place}/metadata").json()
    ]
    assert sorted(order) == sorted(uids)
    gone = {order[index] for index in lost}
    _lose(empty, dict(zip(series.paths, uids, strict=True)), gone)

    answer = httpx.get(f"{place}/metadata")
    found = httpx.get(f"{place}/instances?includefield=all&limit=100")
    alone = httpx.get(f"{place}/instances/{order[lost[0]]}/metadata")

    left = [one["00080018"]["Value"][0] for one in answer.json()]
    assert left == [uid for uid in order if uid not in gone]
    assert ("warning" in answer.headers) == (lost != [39])  # told before the first
    assert len(found.json()) == 40
    assert alone.status_code == 404


def _lose(node: DicomwebNode, paths: dict[Path, str], gone: set[str]) -> None:
    """Remove the files of instances, and all that was kept of them."""
    shutil.rmtree(node.spool.data_dir / "cache")
    for path, uid in paths.items():
        if uid in gone:
            sha256 = node.sha256(path)
            (file,) = node.spool.data_dir.rglob(f"*{sha256}*")
            file.unlink()


def test_json_is_packed_for_clients_that_unpack_it(
    node: DicomwebNode, study: SyntheticSeries
) -> None:
    url = f"{node.root}/studies/{study.study_instance_uid}/metadata"
    with httpx.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())
    plain = httpx.get(url, headers={"Accept-Encoding": "identity"})

    assert json.loads(gzip.decompress(packed)) == plain.json()
    assert len(packed) * 2 < len(plain.content)


def test_frames_come_stored_or_decoded(node: DicomwebNode) -> None:
    path = Path(str(get_testdata_file("MR_small_RLE.dcm")))
    ds = pydicom.dcmread(path)
    native = pydicom.dcmread(str(get_testdata_file("MR_small.dcm"))).PixelData
    stored = next(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1))
    uids = (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)

    (decoded,) = node.client.retrieve_instance_frames(*uids, [1])
    (as_stored,) = node.client.retrieve_instance_frames(
        *uids, [1], media_types=(("image/dicom-rle", RLELossless),)
    )

    assert decoded == native
    assert as_stored == stored


def test_frames_in_any_syntax_name_the_one_they_have(
    node: DicomwebNode, tmp_path: Path
) -> None:
    ds = pydicom.dcmread(_jpeg_ls(tmp_path))
    accept = "multipart/related; type=application/octet-stream; transfer-syntax=*"

    answer = httpx.get(f"{address(node, ds)}/frames/1", headers={"Accept": accept})

    assert f"transfer-syntax={JPEGLSLossless}".encode() in answer.content[:300]


@pytest.mark.parametrize("wish", ["frames/2", "frames/0", "frames/1,9"])
def test_frames_that_are_not_there_are_not_found(
    node: DicomwebNode, study: SyntheticSeries, wish: str
) -> None:
    url = address(node, pydicom.dcmread(study.paths[0]))

    assert httpx.get(f"{url}/{wish}").status_code == 404


def test_bulk_data_is_the_value_that_metadata_name(
    node: DicomwebNode, study: SyntheticSeries
) -> None:
    ds = pydicom.dcmread(study.paths[0])
    url = address(node, ds)

    answer = httpx.get(f"{url}/bulkdata/7FE00010", headers={"Accept": "*/*"})

    assert answer.content == ds.PixelData
    for path in ("bulkdata/00420011", "bulkdata/0008103E/0/00080100"):
        assert httpx.get(f"{url}/{path}").status_code == 404
    assert httpx.get(f"{url}/bulkdata/..%2f..%2fnode.sqlite").status_code == 400


def test_bulk_data_of_many_compressed_frames_come_in_parts(
    empty: DicomwebNode, tmp_path: Path
) -> None:
    ds = pydicom.dcmread(str(get_testdata_file("SC_rgb_rle_2frame.dcm")))
    empty.receive([Path(str(ds.filename))])
    url = f"{address(empty, ds)}/bulkdata/7FE00010"

    answers = {
        accept: httpx.get(url, headers={"Accept": accept})
        for accept in (
            "*/*",
            "application/octet-stream, */*;q=0.1",
            'multipart/related; type="application/octet-stream"',
            "application/octet-stream",
        )
    }

    assert [one.status_code for one in answers.values()] == [200, 200, 200, 406]
    stored = list(generate_frames(ds.PixelData, number_of_frames=2))
    for answer in list(answers.values())[:3]:
        kind = answer.headers["content-type"]
        assert kind.startswith('multipart/related; type="application/octet-stream"')
        boundary = kind.partition("boundary=")[2].encode()
        parts = answer.content.split(b"--" + boundary)[1:-1]
        found = [one.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for one in parts]
        assert found == stored


def test_pictures_go_through_the_window_that_is_asked_for(
    node: DicomwebNode, study: SyntheticSeries
) -> None:
    ds = pydicom.dcmread(study.paths[2])
    values = ds.pixel_array * ds.RescaleSlope + ds.RescaleIntercept

    answer = httpx.get(
        f"{address(node, ds)}/rendered?window=100,200,linear-exact",
        headers={"Accept": "image/png"},
    )

    shown = np.asarray(Image.open(io.BytesIO(answer.content)), int)
    grey = Image.fromarray(np.rint(np.clip(values / 200, 0, 1) * 255).astype(np.uint8))
    rows_mm, columns_mm = ds.PixelSpacing
    size = (ds.Columns, round(ds.Rows * rows_mm / columns_mm))  # square pixels
    expected = np.asarray(grey.resize(size, Image.Resampling.BILINEAR), int)
    assert np.abs(shown - expected).max() <= 1


def test_thumbnails_fit_and_documents_have_none(
    node: DicomwebNode, study: SyntheticSeries
) -> None:
    ds = pydicom.dcmread(study.paths[2])
    series = address(node, ds).partition("/instances")[0]

    picture = Image.open(io.BytesIO(httpx.get(f"{series}/thumbnail").content))
    small = httpx.get(f"{address(node, ds)}/rendered?viewport=16,16")

    assert max(picture.size) == 128
    assert max(Image.open(io.BytesIO(small.content)).size) == 16
    for query in (
        "window=a,b,linear",
        "window=1,0,linear",
        "viewport=0,1",
        "quality=0",
    ):
        answer = httpx.get(f"{address(node, ds)}/rendered?{query}")
        assert answer.status_code == 400


@pytest.mark.parametrize(
    "accept",
    ["text/html", 'multipart/related; type="application/dicom+xml"', "image/gif"],
)
def test_what_the_client_does_not_take_is_not_given(
    node: DicomwebNode, study: SyntheticSeries, accept: str
) -> None:
    url = address(node, pydicom.dcmread(study.paths[0]))

    for wish in ("", "/metadata", "/frames/1", "/rendered"):
        answer = httpx.get(url + wish, headers={"Accept": accept})
        assert answer.status_code == 406, wish


def test_results_of_the_shown_profile_are_part_of_the_study(
    empty: DicomwebNode, tmp_path: Path
) -> None:
    study = make_ct_series(tmp_path / "ct", slices=2)
    empty.receive(study.paths)
    result_dir = empty.spool.data_dir / "results" / "r"
    ds = pydicom.dcmread(study.paths[0])
    del ds.PixelData
    ds.Modality, ds.SeriesDescription = "SEG", "Regions"
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.4", "2.25.7"
    ds.SeriesInstanceUID = "2.25.8"
    made = _as_result(ds, result_dir)
    hidden = result_object(result_dir, 9, profile="default")
    empty.finish([made, hidden], result_dir=result_dir)

    (found,) = empty.client.search_for_studies()
    series = empty.client.search_for_series(study.study_instance_uid)
    got = empty.client.retrieve_instance(study.study_instance_uid, "2.25.8", "2.25.7")

    assert found["00080061"]["Value"] == ["CT", "SEG"]
    assert found["00201208"]["Value"] == [3]
    assert [one["0008103E"]["Value"][0] for one in series] == [
        "Synthetic series",
        "Regions",
    ]
    assert got == pydicom.dcmread(made.path)
    assert len(empty.client.search_for_studies(search_filters={"Modality": "SEG"})) == 1


def test_an_outside_client_stores_many_instances(
    empty: DicomwebNode, tmp_path: Path
) -> None:
    study = make_ct_series(tmp_path / "ct", slices=5)

    answer = empty.client.store_instances(
        [pydicom.dcmread(path) for path in study.paths]
    )

    stored = {one.ReferencedSOPInstanceUID for one in answer.ReferencedSOPSequence}
    assert stored == {one.sop_instance_uid for one in study.instances}
    assert "FailedSOPSequence" not in answer
    assert answer.RetrieveURL.endswith(study.study_instance_uid)
    assert len(empty.client.retrieve_study(study.study_instance_uid)) == 5
    assert empty.released == [1]


def test_what_is_stored_is_named_by_its_content_and_sender(
    empty: DicomwebNode, tmp_path: Path
) -> None:
    study = make_ct_series(tmp_path / "ct", slices=1)
    content = study.paths[0].read_bytes()

    for _ in range(2):  # the same again changes nothing
        answer = httpx.post(
            f"{empty.root}/studies", content=body_of(content), headers=STOW
        )
        assert answer.status_code == 200

    (row,) = empty.store.recorded_files()
    assert row.sha256 == empty.sha256(study.paths[0])
    with empty.store.catalogue._database.read() as connection:
        found = connection.exec_driver_sql("SELECT calling_ae_title FROM instances")
        assert found.scalars().all() == [SENDER[:16]]


def test_instances_of_another_study_are_refused_and_leave_nothing(
    empty: DicomwebNode, tmp_path: Path
) -> None:
    one = make_ct_series(tmp_path / "a", slices=1, study_uid="1.2.3.1")
    two = make_ct_series(tmp_path / "b", slices=1, study_uid="1.2.3.2", name="b")

    answer = httpx.post(
        f"{empty.root}/studies/1.2.3.1",
        content=body_of(one.paths[0].read_bytes(), two.paths[0].read_bytes()),
        headers=STOW,
    )

    assert answer.status_code == 202
    assert reasons(answer) == [0xA900]
    assert [
        one["0020000D"]["Value"][0] for one in empty.client.search_for_studies()
    ] == ["1.2.3.1"]
    # Not even in the spool, where a restart would find it.
    assert len(list(empty.spool.files())) == 1
    assert empty.spool.remove_leftovers() == 0


def test_each_refusal_has_its_reason(empty: DicomwebNode, tmp_path: Path) -> None:
    study = make_ct_series(tmp_path / "ct", slices=1)
    ds = pydicom.dcmread(study.paths[0])
    good = study.paths[0].read_bytes()
    changed: list[bytes] = []
    for keyword, value in (
        ("MediaStorageSOPClassUID", "1.2.840.10008.5.1.4.1.2.1.1"),
        ("TransferSyntaxUID", "1.2.840.10008.1.2.1.99"),
        ("MediaStorageSOPInstanceUID", "1.2.3.4.5"),
    ):
        ds = pydicom.dcmread(study.paths[0])
        setattr(ds.file_meta, keyword, value)
        file = io.BytesIO()
        pydicom.filewriter.write_file_meta_info(file, ds.file_meta)
        end = good.index(b"\x08\0\x05\0") if b"\x08\0\x05\0" in good else None
        changed.append(bytes(128) + b"DICM" + file.getvalue() + good[end:])

    answer = httpx.post(
        f"{empty.root}/studies",
        content=body_of(
            *changed, b"not DICOM", b"", good[:300], good + bytes(1 << 20), good[:-700]
        ),
        headers=STOW,
    )

    assert answer.status_code == 409
    assert sorted(reasons(answer)) == sorted(
        [0x0122, 0xC122, 0xA900, 0xC000, 0xC000, 0xC000, 0xA700, 0xC000]
    )
    assert empty.store.recorded_files() == ()
    assert empty.spool.remove_leftovers() == 0


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "application/dicom"}, b"x", 415),
        ({"Content-Type": "application/json"}, b"{}", 415),
        (
            {"Content-Type": 'multipart/related; type="application/dicom+json"'},
            b"x",
            415,
        ),
        ({"Content-Type": DICOM_PARTS}, b"x", 400),
        (STOW, b"nothing of the kind", 400),
        (STOW, b"", 400),
        (STOW, b"--b\r\n" + b"X: y\r\n" * 10_000, 400),
        (STOW, b"--b--\r\n", 400),
        (STOW, b"--b\r\nContent-Type: application/dicom\r\n\r\nDICM", 400),
        (STOW, b"--b\r\n\r\n\r\n" * 100_000, 413),
        ({**STOW, "Accept": "text/html"}, b"--b--", 406),
    ],
)
def test_a_body_that_is_no_stow_request_is_refused(
    empty: DicomwebNode, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = httpx.post(f"{empty.root}/studies", content=body, headers=headers)

    assert answer.status_code == status
    assert empty.store.recorded_files() == ()


def test_an_endless_body_is_stopped_at_the_limit(empty: DicomwebNode) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b"--b\r\nContent-Type: application/dicom\r\n\r\n"
        while sent < 1 << 30:
            sent += 1 << 16
            yield bytes(1 << 16)

    try:
        answer = httpx.post(f"{empty.root}/studies", content=endless(), headers=STOW)
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # the node hung up on it

    assert sent < 64 << 20
    assert empty.released == [1]
    assert empty.spool.remove_leftovers() == 0


def test_instances_before_a_cut_are_kept(empty: DicomwebNode, tmp_path: Path) -> None:
    study = make_ct_series(tmp_path / "ct", slices=2)
    body = body_of(*(path.read_bytes() for path in study.paths))[:-200]

    answer = httpx.post(f"{empty.root}/studies", content=body, headers=STOW)

    assert answer.status_code == 202
    assert reasons(answer) == [0xC000]
    assert named(answer, "00081198") == [study.instances[1].sop_instance_uid]
    assert named(answer, "00081199") == [study.instances[0].sop_instance_uid]
    assert len(empty.store.recorded_files()) == 1
    assert empty.spool.remove_leftovers() == 0


def test_an_instance_in_the_block_that_breaks_is_kept_and_listed(
    empty: DicomwebNode, tmp_path: Path
) -> None:
    study = make_ct_series(tmp_path / "ct", slices=1)
    whole = body_of(study.paths[0].read_bytes())
    broken = whole.removesuffix(b"--\r\n") + b"\r\n garbage\r\n\r\n\0"

    answer = httpx.post(f"{empty.root}/studies", content=broken, headers=STOW)

    assert answer.status_code == 202
    assert named(answer, "00081199") == [study.instances[0].sop_instance_uid]
    assert reasons(answer) == [0xC000]
    assert len(empty.store.recorded_files()) == 1


def test_other_bytes_under_a_uid_that_is_there_are_not_told_as_stored(
    empty: DicomwebNode, tmp_path: Path
) -> None:
    study = make_ct_series(tmp_path / "ct", slices=2)
    first, second = (path.read_bytes() for path in study.paths)
    ds = pydicom.dcmread(study.paths[0])
    ds.PatientComments = "changed"
    changed = io.BytesIO()
    ds.save_as(changed)
    url = f"{empty.root}/studies"

    httpx.post(url, content=body_of(first), headers=STOW)
    again = httpx.post(url, content=body_of(first), headers=STOW)
    alone = httpx.post(url, content=body_of(changed.getvalue()), headers=STOW)
    both = httpx.post(url, content=body_of(changed.getvalue(), second), headers=STOW)
    shown = httpx.get(
        address(empty, ds), headers={"Accept": "application/dicom"}
    ).content

    assert again.status_code == 200
    assert (alone.status_code, reasons(alone)) == (409, [0x0111])
    assert (both.status_code, reasons(both)) == (202, [0x0111])
    assert named(both, "00081199") == [study.instances[1].sop_instance_uid]
    assert "PatientComments" not in pydicom.dcmread(io.BytesIO(shown))


def test_nothing_of_a_patient_is_logged(
    empty: DicomwebNode, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    study = make_ct_series(
        tmp_path / "ct", slices=1, changes={"PatientName": "Secret^A"}
    )
    caplog.set_level(logging.DEBUG, logger="dicom_node")

    empty.client.store_instances([pydicom.dcmread(study.paths[0])])
    httpx.get(f"{empty.root}/studies?PatientName=Secret*")
    httpx.get(f"{empty.root}/studies/{study.study_instance_uid}/metadata")
    httpx.get(f"{empty.root}/studies?PatientID=Secret&StudyDate=Secret")

    assert "Secret" not in capsys.readouterr().out
    assert "Secret" not in "".join(
        one.getMessage() for one in caplog.records if one.name.startswith("dicom_node")
    )


def _jpeg_ls(folder: Path) -> Path:
    """Write a compressed image with a UID of its own."""
    ds = pydicom.dcmread(str(get_testdata_file("MR_small_jpeg_ls_lossless.dcm")))
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.2"
    path = folder / "jpeg-ls.dcm"
    ds.save_as(path)
    return path


def _as_result(ds: pydicom.Dataset, folder: Path) -> ResultObject:
    result = result_object(folder, 7, profile="ohif")
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    write_dataset(ds, result.path)
    reference: Any = replace(
        result.reference,
        sop_class_uid=ds.SOPClassUID,
        sop_instance_uid=ds.SOPInstanceUID,
        series_instance_uid=ds.SeriesInstanceUID,
        study_instance_uid=ds.StudyInstanceUID,
    )
    return replace(result, reference=reference)

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient

from dicom_node.corrections import mask_of_runs
from tests.builders.finished_study import REPORT, FinishedStudy, finish_study
from tests.builders.websites import Site, open_site

SLICES, ROWS, COLUMNS = 6, 24, 32


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("node")) as opened:
        opened.add_user("eve", "editor")
        opened.add_user("pacs", "sender")
        yield opened


@pytest.fixture(scope="module")
def study(site: Site) -> FinishedStudy:
    return finish_study(site.store, site.data_dir, slices=SLICES)


@pytest.fixture
def web(site: Site) -> TestClient:
    return site.client("eve")


def test_the_list_shows_a_study_with_its_phrases_and_deliveries(
    web: TestClient, study: FinishedStudy
) -> None:
    found = web.get("/studies").json()

    (one,) = found["studies"]
    assert found["counts"] == {"done": 1}
    assert one["study_instance_uid"] == study.uid
    assert one["state"] == "done"
    assert one["modalities"] == ["CT"]
    assert one["instances"] == SLICES
    assert one["phrases"] == {"present": 1, "uncertain": 0, "absent": 1, "located": 1}
    assert one["has_report"] is True
    (delivery,) = one["deliveries"]
    assert (delivery["destination"], delivery["pending"]) == ("archive", 2)


def test_a_study_has_its_phrases_regions_series_objects_and_events(
    web: TestClient, study: FinishedStudy
) -> None:
    found = web.get(f"/studies/{study.uid}").json()

    liver, ascites = found["phrases"]
    begin, end = liver["span"]
    assert REPORT[begin:end] == liver["text"] == "The liver is enlarged"
    (region,) = liver["regions"]
    assert (region["first_frame"], region["best_frame"], region["last_frame"]) == (
        1,
        1,
        2,
    )
    assert [one["frame"] for one in region["boxes"]] == [1, 2]
    assert region["colour"].startswith("#")
    assert region["correction"] is None
    assert (ascites["status"], ascites["regions"]) == ("absent", [])
    (series,) = found["series"]
    assert (series["frames"], series["rows"], series["columns"]) == (
        SLICES,
        ROWS,
        COLUMNS,
    )
    assert series["sides"] == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    assert {one["kind"] for one in found["objects"]} == {"SEG", "SR"}
    assert all(one["size_bytes"] > 0 for one in found["objects"])
    assert {one["kind"] for one in found["deliveries"]} == {"SEG", "SR"}
    assert found["events"][0]["kind"] == "study_processed"
    assert found["versions"][0]["is_latest"]
    assert found["versions"][0]["has_result"]
    assert found["model"]["name"] == "corner"
    assert found["warning"] == "AI - not for diagnostic use"


def test_the_colour_of_a_region_is_that_of_its_segment(
    web: TestClient, site: Site, study: FinishedStudy
) -> None:
    (region,) = web.get(f"/studies/{study.uid}").json()["phrases"][0]["regions"]
    data = web.get(
        f"/studies/{study.uid}/objects/{region['segment']['sop_instance_uid']}"
    ).content

    seg = hd.seg.segread(io.BytesIO(data))

    said = seg.get_segment_description(region["segment"]["segment_number"])
    lab = hd.color.CIELabColor.from_dicom_value(
        [int(one) for one in said.RecommendedDisplayCIELabValue]
    )
    assert region["colour"] == "#" + "".join(f"{int(one):02x}" for one in lab.to_rgb())


def test_a_frame_is_the_modalitys_values_in_sixteen_bits(
    web: TestClient, study: FinishedStudy
) -> None:
    by_place = sorted(
        (pydicom.dcmread(path) for path in study.images),
        key=lambda ds: float(ds.ImagePositionPatient[2]),
    )

    for index, ds in enumerate(by_place):
        answer = web.get(f"/studies/{study.uid}/series/0/frames/{index}")

        shown = np.frombuffer(answer.content, "<i2").reshape(ROWS, COLUMNS)
        expected = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        assert np.array_equal(shown, expected)
        low, high = (float(one) for one in answer.headers["x-value-range"].split(","))
        assert (low, high) == (expected.min(), expected.max())


def test_a_frame_is_kept_by_the_browser_and_asked_for_again_for_nothing(
    web: TestClient, study: FinishedStudy
) -> None:
    url = f"/studies/{study.uid}/series/0/frames/0"
    shown = web.get(f"/studies/{study.uid}").json()["shown_results"]

    named = web.get(url, params={"v": shown})
    plain = web.get(url)
    again = web.get(url, headers={"If-None-Match": plain.headers["etag"]})

    assert "immutable" in named.headers["cache-control"]
    assert "no-cache" in plain.headers["cache-control"]
    assert (again.status_code, again.content) == (304, b"")


def test_a_frame_goes_packed_to_other_machines_that_ask(
    site: Site, web: TestClient, study: FinishedStudy
) -> None:
    far = site.client("eve", address="192.0.2.7", host="node.example")
    url = f"/studies/{study.uid}/series/0/frames/0"

    packed = far.get(url, headers={"Accept-Encoding": "gzip"})

    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == web.get(url).content


@pytest.mark.parametrize(
    "path",
    [
        "/series/0/frames/6",
        "/series/1/frames/0",
        "/regions/1.2.3",
        "/objects/1.2.3",
    ],
)
def test_what_a_study_does_not_have_is_not_found(
    web: TestClient, study: FinishedStudy, path: str
) -> None:
    answer = web.get(f"/studies/{study.uid}{path}")

    assert answer.status_code == 404
    assert "detail" in answer.json()


def test_a_study_that_never_came_is_not_found(web: TestClient) -> None:
    assert web.get("/studies/1.2.3.4.5").status_code == 404
    assert web.get("/studies/1.2.3.4.5/results.zip").status_code == 404
    assert web.post("/studies/1.2.3.4.5/requeue").status_code == 404


def test_a_region_is_what_another_reader_finds_in_the_segmentation(
    web: TestClient, study: FinishedStudy
) -> None:
    detail = web.get(f"/studies/{study.uid}").json()
    (region,) = detail["phrases"][0]["regions"]
    data = web.get(
        f"/studies/{study.uid}/objects/{region['segment']['sop_instance_uid']}"
    ).content
    seg = hd.seg.segread(io.BytesIO(data))
    order = [
        ds.SOPInstanceUID
        for ds in sorted(
            (pydicom.dcmread(path) for path in study.images),
            key=lambda ds: float(ds.ImagePositionPatient[2]),
        )
    ]

    answer = web.get(f"/studies/{study.uid}/regions/{region['tracking_uid']}").json()

    drawn = np.zeros((SLICES, ROWS, COLUMNS), np.bool_)
    for one in answer["frames"]:
        drawn[one["frame"]] = mask_of_runs(one["runs"], rows=ROWS, columns=COLUMNS)
    pixels = seg.get_pixels_by_source_instance(
        order,
        segment_numbers=[region["segment"]["segment_number"]],
        assert_missing_frames_are_empty=True,
    )
    assert drawn.any()
    assert np.array_equal(drawn, pixels[..., 0] > 0)


def test_the_zip_holds_every_result(web: TestClient, study: FinishedStudy) -> None:
    answer = web.get(f"/studies/{study.uid}/results.zip")

    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        document = archive.read("result.json")
    assert names == {"result.json", "fhir.json", "seg-1.dcm", "sr.dcm"}
    assert document == web.get(f"/studies/{study.uid}/result.json").content


def test_a_correction_is_kept_beside_what_the_machine_found(
    web: TestClient, study: FinishedStudy
) -> None:
    url = f"/studies/{study.uid}"
    before = web.get(f"{url}/result.json").content
    (region,) = web.get(url).json()["phrases"][0]["regions"]
    uid = region["tracking_uid"]

    rejected = web.post(
        f"{url}/regions/{uid}/corrections", json={"action": "reject", "comment": "no"}
    )
    redrawn = web.post(
        f"{url}/regions/{uid}/corrections",
        json={"action": "redraw", "frames": [{"frame": 3, "runs": [33, 2, 65, 2]}]},
    )

    assert (rejected.status_code, redrawn.status_code) == (201, 201)
    first, second = web.get(f"{url}/corrections").json()
    assert (first["action"], first["person"], first["comment"]) == (
        "reject",
        "eve",
        "no",
    )
    assert second["frames"] == [{"frame": 3, "runs": [33, 2, 65, 2]}]
    assert second["id"] == redrawn.json()["id"]
    (region,) = web.get(url).json()["phrases"][0]["regions"]
    assert region["correction"]["action"] == "redraw"
    assert web.get(f"{url}/result.json").content == before


@pytest.mark.parametrize(
    "said",
    [
        {"action": "redraw", "frames": [{"frame": SLICES, "runs": [0, 1]}]},
        {"action": "redraw", "frames": [{"frame": 0, "runs": [0, ROWS * COLUMNS + 1]}]},
        {"action": "redraw", "frames": [{"frame": 0, "runs": [5, 2, 6, 2]}]},
        {"action": "redraw", "frames": [{"frame": 0, "runs": [5]}]},
        {"action": "redraw", "frames": [{"frame": 0, "runs": [1, 1]}] * 2},
        {"action": "redraw"},
        {"action": "accept", "frames": [{"frame": 0, "runs": [1, 1]}]},
        {"action": "praise"},
    ],
)
def test_a_correction_that_does_not_fit_is_refused(
    web: TestClient, study: FinishedStudy, said: dict[str, object]
) -> None:
    url = f"/studies/{study.uid}"
    (region,) = web.get(url).json()["phrases"][0]["regions"]
    before = web.get(f"{url}/corrections").json()

    answer = web.post(f"{url}/regions/{region['tracking_uid']}/corrections", json=said)

    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert web.get(f"{url}/corrections").json() == before


def test_a_report_is_taken_as_text_and_as_json(
    site: Site, web: TestClient, study: FinishedStudy
) -> None:
    sender = site.client("pacs")
    url = f"/studies/{study.uid}/report"

    text = sender.post(
        url, content="The spleen is large.", headers={"Content-Type": "text/plain"}
    )
    same = sender.post(url, json={"text": "The spleen is large.", "status": "final"})
    early = sender.post(
        "/studies/1.2.77/report", json={"text": "Fracture.", "identifier": "R7"}
    )

    assert [one.status_code for one in (text, same, early)] == [202, 202, 202]
    assert [one.json()["outcome"] for one in (text, same, early)] == [
        "joined",
        "duplicate",
        "waiting",
    ]
    kept = web.get(f"/studies/{study.uid}").json()["reports"]
    assert [(one["channel"], one["text"]) for one in kept] == [
        ("rest", "The spleen is large.")
    ]


def test_report_documents_are_told_from_the_answer_and_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a file was read")

    monkeypatch.setattr("dicom_node.reports.find_reports", refuse)
    with open_site(tmp_path) as site:
        site.add_user("eve", "editor")
        study = finish_study(site.store, site.data_dir, slices=SLICES)
        (path,) = site.data_dir.glob("results/*/result.json")
        answer = json.loads(path.read_text(encoding="utf-8"))
        one = {"source": "pdf:1.2", "status": None, "sop_instance_uid": "1.2"}
        answer["reports"] = [
            {**one, "text": "A cyst."},
            {**one, "source": "hl7:7", "sop_instance_uid": None, "text": "Sent."},
        ]
        earlier = {**one, "source": "prior:sr:1.3", "text": "No cyst."}
        answer["priors"] = [{"study_date": "20200101", "reports": [earlier]}]
        path.write_text(json.dumps(answer), encoding="utf-8")

        found = site.client("eve").get(f"/studies/{study.uid}").json()["reports"]

    assert [
        (one["source"], one["channel"], one["text"], one["study_date"]) for one in found
    ] == [
        ("pdf:1.2", "pdf", "A cyst.", None),
        ("prior:sr:1.3", "sr", "No cyst.", "20200101"),
    ]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"\xff\xfe", "text/plain", 422),
        (b"{", "application/json", 422),
        (b'{"text": "x", "status": "perhaps"}', "application/json", 422),
        (b"  ", "text/plain", 422),
        (b"<r/>", "text/xml", 415),
    ],
)
def test_a_report_that_cannot_be_read_is_refused(
    site: Site, study: FinishedStudy, content: bytes, kind: str, status: int
) -> None:
    answer = site.client("pacs").post(
        f"/studies/{study.uid}/report", content=content, headers={"Content-Type": kind}
    )

    assert answer.status_code == status


def test_a_study_is_asked_for_again(web: TestClient, study: FinishedStudy) -> None:
    answer = web.post(f"/studies/{study.uid}/requeue")

    assert answer.status_code == 202
    assert answer.json()["outcome"]


def test_a_study_says_where_its_time_went_without_saying_whose_it_is(
    web: TestClient, study: FinishedStudy
) -> None:
    found = web.get(f"/studies/{study.uid}/timeline").json()
    trace = web.get(f"/studies/{study.uid}/trace.json")

    (version,) = found["versions"]
    told = [(one["track"], one["name"], one["is_open"]) for one in version["spans"]]
    assert (version["instances"], version["seconds_to_result"]) == (SLICES, None)
    assert told == [
        ("study", "receiving", False),
        ("study", "quiet time", False),
        ("study", "queued", False),
        ("study", "processing", False),
        ("to archive", "waiting to be sent", True),
    ]
    complete = [one for one in trace.json()["traceEvents"] if one["ph"] == "X"]
    assert [(one["cat"], one["name"]) for one in complete] == [
        (track, name) for track, name, _ in told
    ]
    assert REPORT not in trace.text
    assert web.get("/studies/9.9/timeline").status_code == 404

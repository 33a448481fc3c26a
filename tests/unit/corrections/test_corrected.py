from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient
from pydicom.uid import Comprehensive3DSRStorage

from conformance.validators import check_dataset, judge_file
from dicom_node.corrections import mask_of_runs, runs_of_mask
from tests.builders.finished_study import FinishedStudy, finish_study, store_series
from tests.builders.websites import Site, open_site

SLICES, ROWS, COLUMNS = 6, 24, 32
REDRAWN = np.zeros((ROWS, COLUMNS), np.bool_)
REDRAWN[3:9, 20:25] = REDRAWN[8, 2:20] = True


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("node")
    with open_site(folder, web={"organisation": "General Hospital"}) as opened:
        for name, role in (
            ("eve", "editor"),
            ("max", "editor"),
            ("root", "admin"),
            ("vic", "viewer"),
        ):
            opened.add_user(name, role)  # type: ignore[arg-type]
        yield opened


@pytest.fixture
def web(site: Site) -> TestClient:
    return site.client("eve")


@pytest.fixture(scope="module", params=["ohif", "default"])
def study(site: Site, request: pytest.FixtureRequest) -> FinishedStudy:
    profile = request.param
    return finish_study(
        site.store,
        site.data_dir,
        profile=profile,
        slices=SLICES,
        name=profile,
        study_uid=f"1.2.3.{len(profile)}",
        series_uid=f"1.2.3.{len(profile)}.1",
    )


def _region(web: TestClient, study: FinishedStudy) -> str:
    (region,) = web.get(f"/studies/{study.uid}").json()["phrases"][0]["regions"]
    return str(region["tracking_uid"])


def _say(web: TestClient, study: FinishedStudy, **said: Any) -> str:
    uid = _region(web, study)
    answer = web.post(f"/studies/{study.uid}/regions/{uid}/corrections", json=said)
    assert answer.status_code == 201, answer.text
    return uid


def _redraw(web: TestClient, study: FinishedStudy) -> str:
    frames = [{"frame": one, "runs": runs_of_mask(REDRAWN)} for one in (3, 4)]
    return _say(web, study, action="redraw", frames=frames, comment="too small")


def _report(web: TestClient, study: FinishedStudy, **query: Any) -> pydicom.Dataset:
    answer = web.get(f"/studies/{study.uid}/corrections/report.dcm", params=query)
    assert answer.status_code == 200, answer.text
    return pydicom.dcmread(io.BytesIO(answer.content))


def _groups(ds: pydicom.Dataset) -> list[dict[str, list[pydicom.Dataset]]]:
    found = []
    for top in ds.ContentSequence:
        for group in top.get("ContentSequence", ()):
            if group.ConceptNameCodeSequence[0].CodeValue == "125007":
                named: dict[str, list[pydicom.Dataset]] = {}
                for item in group.ContentSequence:
                    key = item.ConceptNameCodeSequence[0].CodeValue
                    named.setdefault(key, []).append(item)
                found.append(named)
    return found


def _verdicts(ds: pydicom.Dataset) -> set[str]:
    return {one["review"][0].ConceptCodeSequence[0].CodeValue for one in _groups(ds)}


def test_a_redrawn_region_is_a_segment_of_its_own_under_its_old_name(
    web: TestClient, study: FinishedStudy, tmp_path: Path
) -> None:
    uid = _redraw(web, study)

    archive = zipfile.ZipFile(
        io.BytesIO(web.get(f"/studies/{study.uid}/corrections/result.zip").content)
    )
    assert archive.namelist() == ["report.dcm", "segmentation-1.dcm"]
    archive.extractall(tmp_path)
    report = pydicom.dcmread(tmp_path / "report.dcm")
    seg = hd.seg.segread(tmp_path / "segmentation-1.dcm")

    single = web.get(f"/studies/{study.uid}/corrections/segmentation-1.dcm")
    assert single.content == (tmp_path / "segmentation-1.dcm").read_bytes()
    (segment,) = seg.SegmentSequence
    assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert (segment.TrackingUID, seg.ContentCreatorName) == (uid, "eve")
    frames = {
        item.DerivationImageSequence[0]
        .SourceImageSequence[0]
        .ReferencedSOPInstanceUID: seg.pixel_array[index]
        for index, item in enumerate(seg.PerFrameFunctionalGroupsSequence)
    }
    assert len(frames) == 2
    for mask in frames.values():
        np.testing.assert_array_equal(mask.astype(bool), REDRAWN)
    linked = [one["121191"][0] for one in _groups(report) if "121191" in one]
    (reference,) = linked[0].ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == seg.SOPInstanceUID
    assert _verdicts(report) == {"redrawn"}
    for path in tmp_path.glob("*.dcm"):
        judged = judge_file(path)
        assert judged.is_valid, judged


def test_the_corrected_report_names_people_machine_and_predecessor(
    web: TestClient, site: Site, study: FinishedStudy
) -> None:
    _redraw(web, study)

    report = _report(web, study)

    names = [
        str(one.PersonName) for one in report.ContentSequence if "PersonName" in one
    ]
    assert names == ["eve"]
    (machine,) = [
        one
        for one in site.store.details.results(study.version_id)
        if one.sop_class_uid == Comprehensive3DSRStorage
    ]
    (before,) = report.PredecessorDocumentsSequence
    (series,) = before.ReferencedSeriesSequence
    (sop,) = series.ReferencedSOPSequence
    assert sop.ReferencedSOPInstanceUID == machine.sop_instance_uid
    assert report.SOPInstanceUID != machine.sop_instance_uid
    (version,) = web.get(f"/studies/{study.uid}").json()["versions"]
    assert version["corrected_regions"] == 1
    assert (report.VerificationFlag, report.PreliminaryFlag) == (
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert check_dataset(report) == []
    # What a person drew has no certainty of the model.
    sure = {"111012", "local-certainty", "uncertainty"}
    assert not any(sure & one.keys() for one in _groups(report))


def test_a_rejected_region_stays_with_the_reason(
    web: TestClient, study: FinishedStudy
) -> None:
    _say(web, study, action="reject", comment="this is the spleen")

    report = _report(web, study)

    assert _verdicts(report) == {"rejected"}
    for group in _groups(report):
        texts = [str(one.TextValue) for one in group["121106"]]
        assert texts == ["The liver is enlarged", "this is the spleen"]
    answer = web.get(f"/studies/{study.uid}/corrections/segmentation-1.dcm")
    assert answer.status_code == 404


def test_the_newest_correction_counts_and_the_same_ones_give_the_same_bytes(
    web: TestClient, site: Site, study: FinishedStudy
) -> None:
    url = f"/studies/{study.uid}/corrections/report.dcm"
    _redraw(web, study)
    drawn = web.get(url).content
    _say(web, study, action="accept")

    accepted = web.get(url).content
    site.parts.corrected._kept.clear()

    assert _verdicts(pydicom.dcmread(io.BytesIO(accepted))) == {"accepted"}
    assert web.get(url).content == accepted != drawn


def test_only_who_made_every_newest_correction_verifies(
    site: Site, web: TestClient, study: FinishedStudy, tmp_path: Path
) -> None:
    _redraw(web, study)
    url = f"/studies/{study.uid}/corrections/report.dcm"
    query = {"verify": "true"}

    refused = [
        site.client(name).get(url, params=query).status_code
        for name in ("max", "root", "vic")
    ]
    verified = web.get(url, params=query)

    assert refused == [403, 403, 403]
    (tmp_path / "report.dcm").write_bytes(verified.content)
    assert judge_file(tmp_path / "report.dcm").is_valid
    report = pydicom.dcmread(tmp_path / "report.dcm")
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("VERIFIED", "FINAL")
    (item,) = report.VerifyingObserverSequence
    assert (item.VerifyingObserverName, item.VerifyingOrganization) == (
        "eve",
        "General Hospital",
    )
    assert len(item.VerifyingObserverIdentificationCodeSequence) == 0
    assert report.SOPInstanceUID != _report(web, study).SOPInstanceUID
    events = web.get(f"/studies/{study.uid}").json()["events"]
    assert events[0]["kind"] == "report_verified"

    site.client("max").post(
        f"/studies/{study.uid}/regions/{_region(web, study)}/corrections",
        json={"action": "accept"},
    )
    assert web.get(url, params=query).status_code == 403


def test_of_several_people_each_group_names_its_own_and_nobody_verifies(
    site: Site, tmp_path: Path
) -> None:
    uids = {"study_uid": "1.2.3.99", "slices": 3}
    store_series(site.store, site.data_dir, name="two", series_uid="1.2.3.99.2", **uids)
    study = finish_study(
        site.store, site.data_dir, name="one", series_uid="1.2.3.99.1", **uids
    )
    eve, url = site.client("eve"), f"/studies/{study.uid}"
    first, second = eve.get(url).json()["phrases"][0]["regions"]
    address = "{}/regions/{}/corrections"
    eve.post(address.format(url, first["tracking_uid"]), json={"action": "accept"})
    frames = [{"frame": 1, "runs": runs_of_mask(REDRAWN)}]
    site.client("max").post(
        address.format(url, second["tracking_uid"]),
        json={"action": "redraw", "frames": frames},
    )

    report = _report(eve, study)

    report.save_as(tmp_path / "report.dcm")
    assert judge_file(tmp_path / "report.dcm").is_valid
    said = {
        (
            str(one["121008"][0].PersonName),
            one["review"][0].ConceptCodeSequence[0].CodeValue,
        )
        for one in _groups(report)
    }
    assert said == {("eve", "accepted"), ("max", "redrawn")}
    answer = eve.get(f"{url}/corrections/report.dcm", params={"verify": "true"})
    assert answer.status_code == 403
    accepted, redrawn = (
        {
            one["121191"][0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
            for one in _groups(report)
            if "121191" in one and region["tracking_uid"] == one["112040"][0].UID
        }
        for region in (first, second)
    )
    assert accepted == {first["segment"]["sop_instance_uid"]}
    assert redrawn.isdisjoint(accepted | {second["segment"]["sop_instance_uid"]})


def test_there_is_no_report_without_corrections_and_no_verified_one_for_nobody(
    tmp_path: Path,
) -> None:
    with open_site(tmp_path) as site:
        site.add_user("eve", "editor")
        web = site.client("eve")
        study = finish_study(site.store, site.data_dir, slices=SLICES)
        url = f"/studies/{study.uid}/corrections/report.dcm"
        missing = web.get(url)
        _say(web, study, action="accept")

        answer = web.get(url, params={"verify": "true"})

        assert missing.status_code == 404
        assert "nobody has corrected" in missing.json()["detail"]
        assert answer.status_code == 422
        assert "web.organisation" in answer.json()["detail"]


def test_the_drawn_mask_is_what_its_runs_say() -> None:
    runs = runs_of_mask(REDRAWN)

    np.testing.assert_array_equal(
        mask_of_runs(runs, rows=ROWS, columns=COLUMNS), REDRAWN
    )

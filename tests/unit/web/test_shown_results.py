from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydicom.uid import (
    ColorSoftcopyPresentationStateStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    PseudoColorSoftcopyPresentationStateStorage,
)

from dicom_node.records import ObjectReference, ResultObject
from dicom_node.store import AttemptOutcome, Parcel, Store
from dicom_node.store.removable import StudyPart
from dicom_node.store.retention import RemovalRule
from dicom_node.web.study_detail import kind_of
from tests.builders.finished_study import FinishedStudy, finish_study
from tests.builders.stores import NOON
from tests.builders.websites import Site, open_site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path) as opened:
        opened.add_user("eve", "editor")
        yield opened


@pytest.fixture
def study(site: Site) -> FinishedStudy:
    return finish_study(site.store, site.data_dir, slices=4)


@pytest.fixture
def web(site: Site) -> TestClient:
    return site.client("eve")


def run_again(site: Site, study: FinishedStudy) -> None:
    """Process the same content once more: other series come first, one object less.

    The series of the first run becomes the second of this one, which has the first
    frame of the study alone as its first.
    """
    store, now = site.store, NOON + timedelta(minutes=5)
    before = store.details.shown_version(study.uid)
    assert before is not None
    store.requeue_study(study.uid, destinations={}, now=now)
    run = store.details.versions(before.study_id)[0].run
    work = store.work.start_version(
        study.version_id, run=run, fingerprint="f", data_dir=site.data_dir, now=now
    )
    assert work is not None
    old = site.data_dir / before.result_dir
    folder = old.with_name(f"{old.name}-{run}")
    shutil.copytree(old, folder)
    document: dict[str, Any] = json.loads((folder / "result.json").read_bytes())
    (series,) = document["series"]
    short = {
        **series,
        "series_instance_uid": "1.2.826.99",
        "frames": series["frames"][:1],
    }
    document["series"] = [short, {**series, "index": 1}]
    for phrase in document["phrases"]:
        for one in (*phrase["outlines"], *phrase["regions"]):
            one["series"] = 1
    (folder / "result.json").write_text(json.dumps(document), encoding="utf-8")
    store.work.finish_version(
        study.version_id,
        run=run,
        fingerprint="f",
        objects=[
            replace(one, path=folder / one.path.name)
            for one in read_objects(store, study, site.data_dir)[:1]
        ],
        result_dir=folder,
        data_dir=site.data_dir,
        destinations={},
        now=now,
    )


def read_objects(
    store: Store, study: FinishedStudy, data_dir: Path
) -> list[ResultObject]:
    return [
        ResultObject(
            path=data_dir / one.path,
            reference=ObjectReference(
                one.sop_class_uid, one.sop_instance_uid, "2.25.9", study.uid
            ),
            sha256=sha256((data_dir / one.path).read_bytes()).hexdigest(),
            transfer_syntax_uid=one.transfer_syntax_uid,
            profile=one.profile,
        )
        for one in store.details.results(study.version_id)
    ]


def test_another_run_of_the_same_content_has_another_name(
    site: Site, web: TestClient, study: FinishedStudy
) -> None:
    url = f"/studies/{study.uid}"
    first = web.get(url).json()
    again = web.get(url).json()

    run_again(site, study)
    second = web.get(url).json()

    assert first["shown_results"] == again["shown_results"]
    assert first["shown_version"] == second["shown_version"]
    assert first["shown_results"] != second["shown_results"]


def test_pixels_that_are_kept_for_ever_are_named_by_their_run(
    site: Site, web: TestClient, study: FinishedStudy
) -> None:
    url = f"/studies/{study.uid}"
    frame = f"{url}/series/0/frames/2"
    first = web.get(url).json()
    (region,) = first["phrases"][0]["regions"]
    mask = f"{url}/regions/{region['tracking_uid']}"
    seen = {"v": first["shown_results"]}
    assert "immutable" in web.get(frame, params=seen).headers["cache-control"]
    assert "immutable" in web.get(mask, params=seen).headers["cache-control"]

    run_again(site, study)
    late = [web.get(one, params=seen) for one in (frame, mask)]
    newer = {"v": web.get(url).json()["shown_results"]}
    moved = web.get(f"{url}/series/1/frames/2", params=newer)

    assert [one.status_code for one in late] == [409, 409]
    assert {one.headers["cache-control"] for one in late} == {"no-store"}
    assert "newer results" in late[0].json()["detail"]
    assert "immutable" in moved.headers["cache-control"]
    assert web.get(frame, params=newer).status_code == 404
    assert web.get(mask, params=newer).status_code == 200


def test_the_name_of_the_content_alone_names_no_pixels(
    web: TestClient, study: FinishedStudy
) -> None:
    url = f"/studies/{study.uid}/series/0/frames/0"

    answer = web.get(url, params={"v": study.content_version})

    assert answer.status_code == 409


def test_what_is_said_of_an_earlier_run_is_refused(
    site: Site, web: TestClient, study: FinishedStudy
) -> None:
    url = f"/studies/{study.uid}"
    first = web.get(url).json()
    (region,) = first["phrases"][0]["regions"]
    path = f"{url}/regions/{region['tracking_uid']}/corrections"
    drawn = {"action": "redraw", "frames": [{"frame": 3, "runs": [33, 2]}]}

    run_again(site, study)
    late = web.post(path, json={**drawn, "results": first["shown_results"]})
    kept = web.get(f"{url}/corrections").json()
    newer = web.get(url).json()["shown_results"]
    taken = web.post(path, json={**drawn, "results": newer})

    assert late.status_code == 409
    assert "newer results" in late.json()["detail"]
    assert kept == []
    assert taken.status_code == 201


def test_the_objects_are_those_of_the_run_that_is_shown(
    site: Site, web: TestClient, study: FinishedStudy
) -> None:
    url = f"/studies/{study.uid}"
    before = [one["sop_instance_uid"] for one in web.get(url).json()["objects"]]

    run_again(site, study)

    after = [one["sop_instance_uid"] for one in web.get(url).json()["objects"]]
    assert len(before) == 2
    assert after == before[:1]


@pytest.mark.parametrize(
    "sop_class_uid",
    [
        GrayscaleSoftcopyPresentationStateStorage,
        ColorSoftcopyPresentationStateStorage,
        PseudoColorSoftcopyPresentationStateStorage,
    ],
)
def test_every_presentation_state_is_one(sop_class_uid: str) -> None:
    assert kind_of(sop_class_uid) == "PR"


@pytest.mark.parametrize("part", StudyPart)
def test_what_was_deleted_is_said_to_be_gone(
    site: Site, study: FinishedStudy, web: TestClient, part: StudyPart
) -> None:
    frames = f"/studies/{study.uid}/series/0/frames/0"
    assert web.get(frames).status_code == 200
    site.store.outbox.record_attempt(
        *_delivered(site.store, study), now=NOON, next_attempt_at=NOON
    )

    site.store.retention.remove(
        site.store.study_id(study.uid),
        RemovalRule("age", frozenset({part})),
        now=NOON,
        is_busy=lambda _uid: False,
    )

    answer = web.get(frames)
    assert answer.status_code == 410
    assert "deleted on 2026-01-01" in answer.json()["detail"]
    shown = web.get(f"/studies/{study.uid}")
    assert shown.status_code == 200
    is_gone = part is StudyPart.IMAGES
    assert (shown.json()["study"]["images_removed_at"] is not None) == is_gone
    zipped = web.get(f"/studies/{study.uid}/results.zip")
    assert zipped.status_code == (200 if is_gone else 410)


def _delivered(
    store: Store, study: FinishedStudy
) -> tuple[Parcel, list[AttemptOutcome]]:
    (parcel,) = store.outbox.pending_parcels()
    items = store.outbox.pending_items(
        study.version_id, parcel.destination, data_dir=Path()
    )
    return parcel, [AttemptOutcome(one.delivery_id, True, 0, "") for one in items]

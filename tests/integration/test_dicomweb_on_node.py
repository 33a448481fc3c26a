"""The node's own web door leads to DICOMweb and the viewer, behind its guards."""

from __future__ import annotations

from pathlib import Path

import httpx

from dicom_node.config import (
    LimitSettings,
    NodeSection,
    NodeSettings,
    WebSettings,
)
from dicom_node.dicomweb.multipart import Part, write_multipart
from dicom_node.service import NodeService
from dicom_node.web.passwords import hash_password
from tests.builders.dicom_series import make_ct_series
from tests.builders.process import wait_until
from tests.builders.study_processor import QuickProcessor

PASSWORD = "a-long-enough-password"


def test_a_stored_study_is_processed_and_shown_with_its_results(
    tmp_path: Path,
) -> None:
    study = make_ct_series(tmp_path / "ct", slices=3)
    viewer = tmp_path / "viewer"
    viewer.mkdir()
    (viewer / "index.html").write_text('<script src="/app.js"></script>')
    settings = NodeSettings(
        node=NodeSection(data_dir=tmp_path / "data", port=0, quiet_time_s=0.2),
        web=WebSettings(port=0, viewer_dir=viewer, profile="default"),
        limits=LimitSettings(min_free_bytes=0),
    )
    body = b"".join(
        write_multipart(
            (Part("application/dicom", [path.read_bytes()]) for path in study.paths),
            boundary="b",
        )
    )
    headers = {
        "Content-Type": 'multipart/related; type="application/dicom"; boundary=b'
    }

    with NodeService(settings, processor=QuickProcessor()) as node:
        url = f"http://127.0.0.1:{node.web_port}"
        root = f"{url}/dicom-web/studies"
        without_user = httpx.post(root, content=body, headers=headers)
        from_elsewhere = httpx.get(root, headers={"Host": "evil.example"})
        page = httpx.get(f"{url}/viewer/")

        def count() -> int:
            answer = httpx.get(root)
            if answer.status_code == 204:
                return 0
            return int(answer.json()[0]["00201208"]["Value"][0])

        assert count() == 0
        node.store.users.add(
            "sender", password_hash=hash_password(PASSWORD), role="sender"
        )
        stored = httpx.post(
            root,
            content=body,
            headers=headers,
            auth=("sender", PASSWORD),
            timeout=30,
        )
        strangers = httpx.get(root)
        # The one who sends may not look; the catalogue says what there is to see.
        catalogue = node.store.catalogue

        def has_result() -> bool:
            (found,) = catalogue.series([1], profile="default").values()
            return sum(one.instance_count for one in found) == 4

        wait_until(has_result, timeout_s=60, what=lambda: "the result is not shown")

    assert without_user.status_code == 403
    assert from_elsewhere.status_code == 401
    assert 'src="/viewer/app.js"' in page.text
    assert page.headers["cross-origin-embedder-policy"] == "require-corp"
    assert stored.status_code == 200
    assert strangers.status_code == 401

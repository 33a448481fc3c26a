from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dicom_node.errors import SettingsError
from dicom_node.web.viewer import make_viewer_router

PAGE = '<script>window.PUBLIC_URL="/"</script><script src="/app.js"></script>'
SCRIPT = '__webpack_require__.p = "/";fetch(__webpack_require__.p + "a.wasm")'


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    dist = tmp_path / "dist"
    dist.mkdir()
    (dist / "index.html").write_text(PAGE)
    (dist / "app.js").write_text(SCRIPT)
    (dist / "app.css").write_text("a{src:url(/font.woff2)} b{src:url(//x/y)}")
    (dist / "0f6159c501addfe9.wasm").write_bytes(b"\0asm")
    (tmp_path / "secret.txt").write_text("secret")
    (dist / "link.txt").symlink_to(tmp_path / "secret.txt")
    app = FastAPI()
    app.include_router(make_viewer_router(dist, access=lambda: None))
    with TestClient(app) as running:
        yield running


def test_the_page_and_what_it_loads_live_below_the_viewer(client: TestClient) -> None:
    page = client.get("/viewer/")

    assert 'PUBLIC_URL="/viewer/"' in page.text
    assert 'src="/viewer/app.js"' in page.text
    assert '.p = "/viewer/";' in client.get("/viewer/app.js").text
    style = client.get("/viewer/app.css").text
    assert "url(/viewer/font.woff2)" in style
    assert "url(//x/y)" in style


def test_addresses_of_the_page_itself_are_the_page(client: TestClient) -> None:
    answer = client.get("/viewer/viewer?StudyInstanceUIDs=1.2.3")

    assert answer.text == client.get("/viewer/").text


def test_the_viewer_is_told_where_the_node_answers(client: TestClient) -> None:
    answer = client.get("/viewer/app-config.js")

    config = json.loads(answer.text.partition("=")[2].strip().rstrip(";"))
    (source,) = config["dataSources"]
    assert config["routerBasename"] == "/viewer"
    assert source["configuration"]["qidoRoot"] == "/dicom-web"
    assert source["configuration"]["wadoRoot"] == "/dicom-web"


def test_the_viewer_without_a_slash_leads_to_the_one_with_it(
    client: TestClient,
) -> None:
    answer = client.get("/viewer?StudyInstanceUIDs=1.2", follow_redirects=False)

    assert answer.headers["location"] == "/viewer/?StudyInstanceUIDs=1.2"


def test_the_page_is_isolated_and_loads_nothing_from_elsewhere(
    client: TestClient,
) -> None:
    headers = client.get("/viewer/").headers

    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    assert "http" not in headers["content-security-policy"]


def test_files_named_by_their_content_are_kept_by_the_browser(
    client: TestClient,
) -> None:
    wasm = client.get("/viewer/0f6159c501addfe9.wasm")

    assert wasm.headers["content-type"] == "application/wasm"
    assert "immutable" in wasm.headers["cache-control"]
    assert client.get("/viewer/").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "..%2fsecret.txt",
        "%2e%2e/secret.txt",
        "link.txt",
        "%2fetc%2fpasswd",
        "a%00b",
        "x" * 5000,
    ],
)
def test_nothing_outside_the_folder_is_given(client: TestClient, path: str) -> None:
    answer = client.get(f"/viewer/{path}")

    assert "secret" not in answer.text
    assert "root:" not in answer.text
    assert answer.status_code in {200, 404}


def test_a_script_that_is_not_there_is_no_page(client: TestClient) -> None:
    assert client.get("/viewer/missing.js").status_code == 404


def test_a_folder_without_a_viewer_is_named_by_its_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"web\.viewer_dir"):
        make_viewer_router(tmp_path, access=lambda: None)

"""TLS with peers of other makers: DCMTK, pynetdicom, openssl and an HTTPS server."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pydicom
import pytest

from dicom_node.config import (
    CallerSettings,
    DestinationSettings,
    DicomTlsSettings,
    PeerTls,
    WebSettings,
)
from dicom_node.deliver import check
from dicom_node.errors import DeliveryError
from dicom_node.web.server import WebServer
from tests.builders.certificates import Authority, Pair
from tests.builders.dicom_server import RunningServer, running_server
from tests.builders.peers import require_program
from tests.builders.raw_peer import make_instance
from tests.torture.tls_peers import storescp

pytestmark = pytest.mark.peers


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def running(tmp_path: Path, authority: Authority) -> Iterator[RunningServer]:
    node = authority.sign("node")
    settings = DicomTlsSettings(
        enabled=True,
        port=0,
        certificate=node.certificate,
        private_key=node.private_key,
        client_ca=authority.path,
    )
    caller = CallerSettings(
        ae_title="PACS",
        address="127.0.0.1",
        certificate_sha256=authority.sign("pacs").fingerprint,
    )
    with running_server(
        tmp_path / "data", tls=settings, callers=(caller,), plain=False
    ) as one:
        yield one


def _dcmtk(
    program: str, running: RunningServer, authority: Authority, *files: Path
) -> int:
    pair = authority.folder / "pacs"
    command = [
        str(require_program(program)),
        *("--enable-tls", f"{pair}.key", f"{pair}.pem"),
        *("--add-cert-file", str(authority.path), "--require-peer-cert"),
        *("-aet", "PACS", "-aec", "GROUNDING"),
        *("127.0.0.1", str(running.port), *map(str, files)),
    ]
    return subprocess.run(command, check=False, timeout=60).returncode


def test_dcmtk_verifies_and_stores_over_tls(
    running: RunningServer, authority: Authority, tmp_path: Path
) -> None:
    ds = make_instance(InstanceNumber="1", EncapsulatedDocument=bytes(8 << 20))
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    path = tmp_path / "one.dcm"
    ds.save_as(path, enforce_file_format=True)

    assert _dcmtk("echoscu", running, authority) == 0
    assert _dcmtk("storescu", running, authority, path) == 0
    stored = pydicom.dcmread(running.files()[0])
    assert stored.EncapsulatedDocument == ds.EncapsulatedDocument


def test_openssl_accepts_the_chain_and_speaks_the_newest_version(
    running: RunningServer, authority: Authority
) -> None:
    told = subprocess.run(
        [
            *(str(require_program("openssl")), "s_client"),
            *("-connect", f"127.0.0.1:{running.port}", "-CAfile", str(authority.path)),
            *("-cert", str(authority.folder / "pacs.pem")),
            *("-key", str(authority.folder / "pacs.key"), "-verify_return_error"),
        ],
        input=b"",
        capture_output=True,
        timeout=30,
        check=True,
    ).stdout.decode()

    assert "Verify return code: 0 (ok)" in told
    assert "TLSv1.3" in told


def _dimse(port: int, authority: Authority, pair: Pair | None) -> DestinationSettings:
    return DestinationSettings(
        name="archive",
        ae_title="ANY",
        host="127.0.0.1",
        port=port,
        tls=PeerTls(
            ca=authority.path,
            certificate=None if pair is None else pair.certificate,
            private_key=None if pair is None else pair.private_key,
        ),
    )


def test_the_node_calls_dcmtk_over_tls_and_says_why_it_cannot(
    tmp_path: Path, authority: Authority
) -> None:
    require_program("storescp")
    own, other = authority.sign("own"), Authority(tmp_path / "other")
    with storescp(tmp_path / "scp", authority.sign("scp"), authority) as port:
        sign = check(_dimse(port, authority, own), ae_title="GROUNDING")
        with pytest.raises(DeliveryError, match="accept this node's certificate"):
            check(_dimse(port, authority, None), ae_title="GROUNDING")
        with pytest.raises(DeliveryError, match="certificate is not accepted"):
            check(_dimse(port, other, own), ae_title="GROUNDING")

    assert sign


class _Archive(http.server.BaseHTTPRequestHandler):
    """Answers QIDO-RS with nothing."""

    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def https_archive(authority: Authority) -> Iterator[int]:
    """Serve for the name pacs.example to those with a certificate."""
    pair = authority.sign("archive", "pacs.example")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.private_key)
    context.load_verify_locations(authority.path)
    context.verify_mode = ssl.CERT_REQUIRED
    server = http.server.HTTPServer(("127.0.0.1", 0), _Archive)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "is_shown", "is_good"),
    [("pacs.example", True, True), (None, True, False), ("pacs.example", False, False)],
)
def test_stow_over_https_asks_for_the_right_name_and_shows_a_certificate(
    https_archive: int,
    authority: Authority,
    name: str | None,
    is_shown: bool,
    is_good: bool,
) -> None:
    own = authority.sign("own") if is_shown else None
    destination = DestinationSettings(
        name="archive",
        kind="stow",
        url=f"https://127.0.0.1:{https_archive}/dicom-web",
        tls=PeerTls(
            ca=authority.path,
            certificate=None if own is None else own.certificate,
            private_key=None if own is None else own.private_key,
            server_name=name,
        ),
    )

    if is_good:
        assert check(destination, ae_title="GROUNDING")
    else:
        with pytest.raises(DeliveryError):
            check(destination, ae_title="GROUNDING")


async def _hello(scope: object, receive: object, send: object) -> None:
    assert callable(send)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def test_pages_are_served_over_https_and_their_certificate_is_renewed(
    authority: Authority,
) -> None:
    pair = authority.sign("web")
    first = pair.der
    server = WebServer(
        _hello,
        WebSettings(port=0, certificate=pair.certificate, private_key=pair.private_key),
    )
    server.start()
    try:
        shown = []
        for _ in range(2):
            with httpx.Client(verify=authority.client(), trust_env=False) as client:
                answer = client.get(f"https://127.0.0.1:{server.port}/")
                stream = answer.extensions["network_stream"]
                shown.append(stream.get_extra_info("ssl_object").getpeercert(True))
            assert answer.text == "hello"
            authority.sign("web")
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{server.port}/", trust_env=False)
    finally:
        server.stop()

    assert shown[0] == first
    assert shown[1] != first

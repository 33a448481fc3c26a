"""Peers that speak TLS well or badly, and others that are asked the same."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from tests.builders.certificates import Authority, Pair
from tests.builders.orthanc import ORTHANC
from tests.builders.process import Program, free_port
from tests.builders.raw_peer import VERIFICATION, RawPeer
from tests.builders.storescp import STORESCP

__all__ = [
    "Try",
    "bad_clients",
    "echo",
    "orthanc",
    "scan",
    "storescp",
    "tls_scp",
]

_FORBIDDEN = {"SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"}


@dataclass(frozen=True, slots=True)
class Try:
    """What came of an attempt to associate and to send C-ECHO."""

    is_served: bool
    took_s: float


def echo(
    port: int,
    context: ssl.SSLContext | None,
    *,
    calling: str = "PEER",
    called: str = "GROUNDING",
    source: str = "127.0.0.1",
) -> Try:
    """Associate, send C-ECHO and release; a refusal of any kind is no service."""
    began = time.monotonic()
    is_served = False
    try:
        with RawPeer(port, tls=context, source=source, timeout_s=10.0) as peer:
            peer.associate(VERIFICATION, calling=calling, called=called)
            is_served = peer.echo() == 0
            peer.release()
    except (OSError, AssertionError):
        pass
    return Try(is_served, time.monotonic() - began)


def bad_clients(
    authority: Authority, other: Authority, *, revoked: Pair
) -> Mapping[str, ssl.SSLContext]:
    """Return contexts of clients that must not be served, by what is wrong."""
    good = authority.sign("good")
    old = authority.client(good)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with warnings.catch_warnings():
        # That it is deprecated is why it is tried.
        warnings.simplefilter("ignore", DeprecationWarning)
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    found = {
        "no certificate": authority.client(),
        "other CA": authority.client(other.sign("stranger")),
        "expired": authority.client(authority.sign("expired", days=-1)),
        "revoked": authority.client(revoked),
        "TLS 1.1": old,
    }
    for name in ("AES128-SHA", "ECDHE-RSA-AES128-SHA256", "ECDHE-RSA-NULL-SHA"):
        weak = authority.client(good)
        weak.maximum_version = ssl.TLSVersion.TLSv1_2
        weak.set_ciphers(f"{name}:@SECLEVEL=0")
        found[f"suite {name}"] = weak
    return found


def scan(port: int) -> Mapping[str, int]:
    """Let sslscan look: how many protocols, suites and flaws it finds that are bad."""
    told = subprocess.run(
        ["sslscan", "--no-colour", "--xml=-", f"127.0.0.1:{port}"],
        capture_output=True,
        timeout=120,
        check=True,
    )
    tree = ElementTree.fromstring(told.stdout)
    spoken = {
        f"{one.get('type', '').upper().replace('SSLV', 'SSLv').replace('TLSV', 'TLSv')}"
        f"{'' if one.get('type') == 'tls' else 'v'}{one.get('version')}"
        for one in tree.iter("protocol")
        if one.get("enabled") == "1"
    }
    spoken = {one.replace("TLS1", "TLSv1") for one in spoken}
    suites = [one.get("cipher", "") for one in tree.iter("cipher")]
    weak = [
        one
        for one in suites
        if not one.startswith("TLS_")
        and not (one.startswith("ECDHE") and ("GCM" in one or "CHACHA" in one))
    ]
    flaws = sum(one.get("vulnerable") == "1" for one in tree.iter("heartbleed"))
    flaws += sum(one.get("supported") == "1" for one in tree.iter("compression"))
    flaws += sum(
        one.get("secure") == "0" and one.get("supported") == "1"
        for one in tree.iter("renegotiation")
    )
    return {
        "protocols": len(spoken),
        "bad protocols": len(spoken & _FORBIDDEN),
        "suites": len(suites),
        "bad suites": len(weak),
        "flaws": flaws,
    }


@contextmanager
def tls_scp(pair: Pair, authority: Authority) -> Iterator[tuple[int, list[str]]]:
    """Run an SCP of pynetdicom; yield its port and who has sent C-ECHO."""
    heard: list[str] = []

    def answer(event: evt.Event) -> int:
        heard.append(str(event.assoc.requestor.ae_title))
        return 0

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.private_key)
    context.load_verify_locations(authority.path)
    entity = AE("ARCHIVE")
    entity.add_supported_context(Verification)
    server = entity.start_server(
        ("127.0.0.1", 0),
        block=False,
        ssl_context=context,
        evt_handlers=[(evt.EVT_C_ECHO, answer)],
    )
    try:
        assert server is not None
        yield server.socket.getsockname()[1], heard
    finally:
        server.shutdown()


@contextmanager
def storescp(folder: Path, pair: Pair, authority: Authority) -> Iterator[int]:
    """Run DCMTK's storescp with TLS, one process for each association."""
    (folder / "files").mkdir(parents=True)
    port = free_port()
    command: list[str | Path] = [STORESCP, "--fork", "--accept-all"]
    command += ["--enable-tls", pair.private_key, pair.certificate]
    command += ["--add-cert-file", authority.path, "--require-peer-cert"]
    command += ["--output-directory", folder / "files", str(port)]
    with Program(command, log_path=folder / "storescp.log") as program:
        program.wait_for_port(port)
        yield port


@contextmanager
def orthanc(folder: Path, more: Mapping[str, object]) -> Iterator[int]:
    """Run Orthanc with its default settings but for `more`; in a network of its own."""
    folder.mkdir(parents=True)
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": 8052,
        "DicomPort": 4242,
        **more,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    with Program(
        [ORTHANC, path], log_path=folder / "orthanc.log", cwd=folder
    ) as program:
        program.wait_for_port(4242)
        yield 4242

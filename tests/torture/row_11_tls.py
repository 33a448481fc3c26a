"""TLS: who stalls keeps nobody waiting, who may not call is not served, keys renew."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from dicom_node.config import DestinationSettings, PeerTls
from dicom_node.deliver import check as check_destination
from dicom_node.errors import DeliveryError
from tests.builders.certificates import Authority, Pair
from tests.builders.network import loopback_network
from tests.builders.process import free_port, wait_for_port
from tests.builders.raw_peer import (
    EXPLICIT_LITTLE,
    VERIFICATION,
    RawPeer,
    associate_request,
)
from tests.torture.nodes import WatchedNode, run_watched
from tests.torture.outcome import Figure, Outcome, Scale, Tell, at_least, at_most, seen
from tests.torture.tls_peers import (
    bad_clients,
    echo,
    orthanc,
    scan,
    storescp,
    tls_scp,
)

__all__ = ["run"]

_SILENT = 20
_OPEN = 50
_PLAIN = associate_request([(1, VERIFICATION, [EXPLICIT_LITTLE])], calling="PEER")


@dataclass(frozen=True, slots=True)
class _Site:
    """Two authorities, and what the first of them has signed."""

    authority: Authority
    other: Authority
    node: Pair
    good: Pair
    bound: Pair
    taken_back: Pair

    @classmethod
    def make(cls, folder: Path) -> _Site:
        authority = Authority(folder / "ca")
        return cls(
            authority,
            Authority(folder / "other-ca"),
            # RSA: else weak suites would fail for want of such a key.
            authority.sign("node", key_type=trustme.KeyType.RSA),
            authority.sign("caller"),
            authority.sign("bound"),
            authority.sign("taken-back"),
        )


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Stall, knock with bad certificates, renew; then call peers with bad ones."""
    # A figure of time means little where others load the machine.
    slack = 10.0 if scale is Scale.SHORT else 1.0
    site = _Site.make(work)
    with _node(work / "node", site) as (node, port):
        figures = [
            *_stall(port, site, slack=slack, rounds=3 if scale is Scale.SHORT else 20),
            *_wrong_language(node.dicom_port, port, site, slack=slack),
        ]
        tell("certificates that are not good")
        figures += _matrix(port, site)
        tell("renewal")
        figures += _renew(port, site)
        figures += _scanned(port)
        figures.append(at_most("exits", 0 if node.is_alive() else 1, 0))
        uncaught = node.unexpected()
        # It says so when it is given a certificate that is none.
        uncaught.pop("certificate_not_renewed", None)
        figures.append(at_most("uncaught errors", uncaught.total(), 0))
    tell("peers with bad certificates")
    figures += _as_scu(site)
    anchors = {} if scale is Scale.SHORT else _anchors(work, tell)
    notes = (
        "pynetdicom is the peer that the node calls; revocation lists are not asked "
        "of the anchors, whose versions here read none",
    )
    return Outcome(tuple(figures), anchors, notes if anchors else ())


@contextmanager
def _node(folder: Path, site: _Site) -> Iterator[tuple[WatchedNode, int]]:
    port = free_port()
    revoked = site.authority.revoke(site.taken_back)
    tls = f"""
refusals_per_minute = 1000
[dicom_tls]
enabled = true
port = {port}
certificate = "{site.node.certificate}"
private_key = "{site.node.private_key}"
client_ca = "{site.authority.path}"
revoked = "{revoked}"
"""
    callers = f"""
[[callers]]
ae_title = "PEER"
address = "127.0.0.1"
[[callers]]
ae_title = "BOUND"
address = "127.0.0.1"
certificate_sha256 = "{site.bound.fingerprint}"
"""
    with run_watched(folder, limits=tls, hl7=callers) as node:
        wait_for_port(port, timeout_s=20, what=lambda: "the TLS port")
        yield node, port


def _stall(port: int, site: _Site, *, slack: float, rounds: int) -> Iterator[Figure]:
    """Ask for C-ECHO while others have connected and say nothing, or half of it."""
    good = site.authority.client(site.good)
    with ExitStack() as stack:
        for number in range(_SILENT):
            silent = stack.enter_context(RawPeer(port))
            if number % 2:
                silent.send(b"\x16\x03\x01\x02\x00\x01\x00")
        tries = [echo(port, good) for _ in range(rounds)]
    worst = max(one.took_s for one in tries)
    yield at_most(
        "20 silent TLS clients: C-ECHO not answered",
        sum(not one.is_served for one in tries),
        0,
    )
    yield at_most("20 silent TLS clients: C-ECHO", round(worst, 3), slack, "s")


def _wrong_language(
    plain_port: int, port: int, site: _Site, *, slack: float
) -> Iterator[Figure]:
    """Speak plain DICOM where TLS is spoken, and TLS where it is not."""
    began = time.monotonic()
    with RawPeer(port, timeout_s=20.0) as peer:
        peer.send(_PLAIN)
        kind, _ = peer.read_pdu()
        took_s = time.monotonic() - began
    yield at_most("plain client on the TLS port: served", int(kind == 2), 0)
    yield at_most("plain client on the TLS port: ended", round(took_s, 3), slack, "s")
    told = echo(plain_port, site.authority.client(site.good))
    yield at_most("TLS client on the plain port: served", int(told.is_served), 0)
    yield at_most(
        "TLS client on the plain port: ended", round(told.took_s, 3), slack, "s"
    )


def _matrix(port: int, site: _Site) -> Iterator[Figure]:
    clients = bad_clients(site.authority, site.other, revoked=site.taken_back)
    for name, context in clients.items():
        yield at_most(f"{name}: served", int(echo(port, context).is_served), 0)
    another = echo(port, site.authority.client(site.good), calling="BOUND")
    yield at_most("certificate of another caller: served", int(another.is_served), 0)
    own = echo(port, site.authority.client(site.bound), calling="BOUND")
    good = echo(port, site.authority.client(site.good))
    yield at_least("good certificates: served", own.is_served + good.is_served, 2)


def _renew(port: int, site: _Site) -> Iterator[Figure]:
    """Renew the node's certificate, and break it, while associations are open."""
    context = site.authority.client(site.good)
    with ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(port, tls=context)) for _ in range(_OPEN)]
        for peer in peers:
            peer.associate(VERIFICATION, calling="PEER")
        before = site.node.der
        renewed = site.authority.sign("node", key_type=trustme.KeyType.RSA).der
        shown = _shown(port, context)
        site.node.certificate.write_text("no certificate")
        broken = _shown(port, context)
        site.authority.sign("node", key_type=trustme.KeyType.RSA)
        site.authority.revoke(site.taken_back, site.good)
        is_revoked = not echo(port, context).is_served
        site.authority.revoke(site.taken_back)
        dropped = sum(not _answers(peer) for peer in peers)
    yield at_least("new certificate shown", int(shown == renewed != before), 1)
    yield at_least("broken certificate: last good one shown", int(broken == shown), 1)
    yield at_least("newly revoked caller refused", int(is_revoked), 1)
    yield at_most(f"renewal: dropped of {_OPEN} associations", dropped, 0)


def _answers(peer: RawPeer) -> bool:
    try:
        return peer.echo() == 0
    except (OSError, AssertionError):
        return False


def _shown(port: int, context: ssl.SSLContext) -> bytes | None:
    with RawPeer(port, tls=context) as peer:
        assert isinstance(peer.socket, ssl.SSLSocket)
        return peer.socket.getpeercert(binary_form=True)


def _scanned(port: int) -> Iterator[Figure]:
    found = scan(port)
    yield at_least("sslscan: protocols spoken", found["protocols"], 2)
    for name in ("bad protocols", "bad suites", "flaws"):
        yield at_most(f"sslscan: {name}", found[name], 0)


def _as_scu(site: _Site) -> Iterator[Figure]:
    """Let the node call peers whose certificates are not good."""
    servers = {
        "wrong host": site.authority.sign("elsewhere", "pacs.example"),
        "other CA": site.other.sign("stranger"),
        "expired": site.authority.sign("ended", days=-1),
    }
    for name, pair in servers.items():
        served = _calls(pair, site)
        yield at_most(f"calls a peer, {name}: DIMSE sent", served, 0)
    good = _calls(site.authority.sign("archive"), site)
    yield at_least("calls a peer with a good certificate", good, 1)


def _calls(pair: Pair, site: _Site) -> int:
    with tls_scp(pair, site.authority) as (port, heard):
        destination = DestinationSettings(
            name="archive",
            ae_title="ARCHIVE",
            host="127.0.0.1",
            port=port,
            tls=PeerTls(
                ca=site.authority.path,
                certificate=site.good.certificate,
                private_key=site.good.private_key,
            ),
        )
        try:
            check_destination(destination, ae_title="GROUNDING")
        except DeliveryError:
            return len(heard)
        return max(1, len(heard))


def _anchors(work: Path, tell: Tell) -> Mapping[str, tuple[Figure, ...]]:
    site = _Site.make(work / "anchor-site")
    found = {}
    tell("storescp")
    with storescp(work / "storescp", site.node, site.authority) as port:
        found["DCMTK storescp 3.6.7 --fork"] = _ask(port, site, called="ANY")
    tell("Orthanc")
    chain = work / "anchor-site" / "ca" / "trusted.pem"
    chain.write_bytes(site.authority.path.read_bytes())
    more = {
        "DicomTlsEnabled": True,
        "DicomTlsPrivateKey": str(site.node.private_key),
        "DicomTlsCertificate": str(site.node.certificate),
        "DicomTlsTrustedCertificates": str(chain),
    }
    with loopback_network(), orthanc(work / "orthanc", more) as port:
        found["Orthanc 1.10.1"] = _ask(port, site, called="ORTHANC")
    return found


def _ask(port: int, site: _Site, *, called: str) -> tuple[Figure, ...]:
    good = site.authority.client(site.good)
    first = echo(port, good, called=called)
    with ExitStack() as stack:
        for _ in range(_SILENT):
            stack.enter_context(RawPeer(port))
        stalled = echo(port, good, called=called)
    clients = bad_clients(site.authority, site.other, revoked=site.taken_back)
    served = [
        name
        for name, context in clients.items()
        if name != "revoked" and echo(port, context, called=called).is_served
    ]
    return (
        seen("good certificate: served", int(first.is_served)),
        seen("20 silent TLS clients: C-ECHO answered", int(stalled.is_served)),
        seen("20 silent TLS clients: C-ECHO", round(stalled.took_s, 3), "s"),
        seen("bad clients served", len(served)),
        seen("bad clients served, which", ", ".join(served) or "none"),
    )

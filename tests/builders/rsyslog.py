"""A real audit record repository: Debian's rsyslog with TLS, on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.builders.peers import require_program
from tests.builders.process import Program

__all__ = ["SyslogServer", "TestAuthority"]


class TestAuthority:
    """Certificates for the repository and for the node."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ca = folder / "ca.pem"
        self.server, self.server_key = folder / "server.pem", folder / "server.key"
        self.client, self.client_key = folder / "client.pem", folder / "client.key"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca)
        for certificate, chain, key in (
            (authority.issue_cert("localhost"), self.server, self.server_key),
            (authority.issue_cert("node.example"), self.client, self.client_key),
        ):
            chain.write_bytes(b"".join(x.bytes() for x in certificate.cert_chain_pems))
            certificate.private_key_pem.write_to_path(key)


class SyslogServer:
    """rsyslog, started and stopped; what it keeps outlasts it.

    Parameters
    ----------
    folder : pathlib.Path
        Where its settings and what it receives lie.
    port : int
        The TLS port on loopback.
    authority : TestAuthority
        Signs its certificate and those of who may send.

    """

    def __init__(self, folder: Path, *, port: int, authority: TestAuthority) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._program = require_program("rsyslogd")
        self._folder = folder
        self._port = port
        self._config = folder / "rsyslog.conf"
        self._received = folder / "audit.log"
        self._config.write_text(
            _SETTINGS.format(folder=folder, port=port, authority=authority),
            encoding="utf-8",
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it while the block lasts."""
        command = [
            self._program,
            "-n",
            "-f",
            self._config,
            "-i",
            self._folder / "rsyslog.pid",
        ]
        log = self._folder / "rsyslogd.log"
        with Program(command, log_path=log) as program:
            program.wait_for_port(self._port, timeout_s=30)
            yield

    def messages(self) -> list[bytes]:
        """Return the audit messages that it has, without their syslog headers."""
        if not self._received.exists():
            return []
        lines = self._received.read_bytes().split(b"\n")
        return [line for line in lines[:-1] if line]


_SETTINGS = """\
global(
  workDirectory="{folder}"
  maxMessageSize="256k"
  defaultNetstreamDriverCAFile="{authority.ca}"
  defaultNetstreamDriverCertFile="{authority.server}"
  defaultNetstreamDriverKeyFile="{authority.server_key}"
  parser.escapeControlCharactersOnReceive="off"
)
module(
  load="imtcp"
  streamDriver.name="gtls"
  streamDriver.mode="1"
  streamDriver.authMode="x509/certvalid"
)
template(name="audit" type="string" string="%msg%\\n")
ruleset(name="audit") {{
  if $app-name == "dicom-node" and $msgid == "DICOM+RFC3881"
     and $syslogfacility == 10 then
    action(type="omfile" file="{folder}/audit.log" template="audit"
           asyncWriting="off" flushOnTXEnd="on")
}}
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="audit")
"""

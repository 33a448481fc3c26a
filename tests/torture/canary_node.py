"""The node for the canary patient, with peers that quote the patient in answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt

from dicom_node.config import DicomPeer, load_settings
from dicom_node.config.peers import Role
from dicom_node.deliver import send_objects
from dicom_node.store import Store
from dicom_node.web.passwords import hash_password
from tests.builders.process import Program, free_port, wait_until
from tests.builders.qr_archive import QrArchive, instance
from tests.builders.stow_server import Answer, run_stow_server
from tests.builders.ups_server import UpsServer, workitem
from tests.torture.canary import PATIENT, SECRET, Finder, Watch
from tests.torture.canary_patient import BIRTH_DATE

__all__ = ["PASSWORD", "PEOPLE", "CanaryNode", "Trap", "run_canary_node"]

PASSWORD = f"{SECRET} of the canary"
PEOPLE: dict[str, Role] = {
    "ada": "admin",
    "eve": "editor",
    "vic": "viewer",
    "sid": "sender",
}
_ROOT = Path(__file__).parents[2]
_START_S = 120.0


class Trap:
    """A listening socket to which nobody may ever connect."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections: list[bytes] = []
        self._done = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                with self._socket.accept()[0] as peer:
                    peer.settimeout(0.2)
                    try:
                        said = peer.recv(200)
                    except OSError:
                        said = b""
                    self.connections.append(said)
            except TimeoutError:
                continue
            except OSError:
                return  # closed

    def close(self) -> None:
        """Listen no more."""
        self._done.set()
        self._socket.close()


@dataclass
class CanaryNode:
    """A running node, its peers, and what watches it."""

    folder: Path
    program: Program
    dicom_port: int
    web_port: int
    hl7_port: int
    finder: Finder
    watch: Watch
    trap: Trap
    ups: UpsServer
    said: dict[str, bytes] = field(default_factory=dict)
    """What it answered to whom may not see patients, and printed, by what it was."""

    @property
    def url(self) -> str:
        """Where the pages are."""
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def data_dir(self) -> Path:
        """Its data folder."""
        return self.folder / "data"

    def client(self, name: str | None = None, **options: Any) -> httpx.Client:
        """Return a client of a person, who signs every request; None: a stranger."""
        return httpx.Client(
            base_url=self.url,
            auth=None if name is None else (name, PASSWORD),
            timeout=60,
            trust_env=False,
            **options,
        )

    def send(self, *files: Path, ae_title: str = "CANARYSCU") -> list[bool]:
        """Send files by C-STORE; say which were taken."""
        peer = DicomPeer("node", "GROUNDING", "127.0.0.1", self.dicom_port)
        outcomes = send_objects(files, peer, ae_title=ae_title)
        return [one.is_delivered for one in outcomes]

    def state(self, uid: str) -> str | None:
        """Return the state of a study."""
        with self.client("ada") as client:
            answer = client.get(f"/studies/{uid}")
        return answer.json()["study"]["state"] if answer.status_code == 200 else None

    def wait_for(self, uid: str, *states: str, timeout_s: float = 60.0) -> str:
        """Wait until a study has one of the states."""

        def is_there() -> bool:
            self.program.check_alive()
            return self.state(uid) in states

        wait_until(is_there, timeout_s=timeout_s, what=lambda: self._tell(uid))
        return str(self.state(uid))

    def _tell(self, uid: str) -> str:
        return f"{uid}, which is {self.state(uid)}\n{self.program.tail(12)}"

    @contextmanager
    def broken_database(self) -> Iterator[None]:
        """Let the database refuse reports and instances while the block lasts."""
        tables = ("reports", "instances")
        path = self.data_dir / "node.sqlite"
        for table in tables:
            _execute(
                path,
                f"CREATE TRIGGER refuse_{table} BEFORE INSERT ON {table} "
                "BEGIN SELECT RAISE(ABORT, 'refused'); END",
            )
        try:
            yield
        finally:
            for table in tables:
                _execute(path, f"DROP TRIGGER refuse_{table}")

    def abort(self) -> int:
        """Let the process abort, as a fault in a library does; return its status."""
        self.program.process.send_signal(signal.SIGABRT)
        return self.program.process.wait(30)


def _execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path, timeout=20)
    connection.execute(statement)
    connection.commit()
    connection.close()


def _refusing_archive(port: int) -> Any:
    def refuse(_event: evt.Event) -> Dataset:
        status = Dataset()
        status.Status = 0xC123
        status.ErrorComment = f"{PATIENT} is unknown"
        return status

    ae = AE("REFUSING")
    ae.supported_contexts = AllStoragePresentationContexts
    return ae.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, refuse)]
    )


@contextmanager
def run_canary_node(folder: Path) -> Iterator[CanaryNode]:
    """Run the node and its peers while the block lasts."""
    for name in ("outbox", "tmp", "cwd", "secrets"):
        (folder / name).mkdir(parents=True)
    with ExitStack() as stack:
        trap = Trap()
        stack.callback(trap.close)
        quoting = stack.enter_context(
            run_stow_server(
                lambda *_: Answer(
                    400, f"<h1>{PATIENT}</h1>".encode(), f"text/html; p={PATIENT}"
                )
            )
        )
        leading = stack.enter_context(
            run_stow_server(
                lambda *_: Answer(302, headers={"Location": f"{trap.url}/elsewhere"})
            )
        )
        documents = [
            instance("2.25.11919", 1, series=9, PatientComments=f"{PATIENT} archive")
        ]
        archive = stack.enter_context(QrArchive(documents, fetch=("priors",)))
        item = workitem(
            study="2.25.11919",
            ProcedureStepLabel=f"{PATIENT} label",
            WorklistLabel=f"{PATIENT} list",
            CommentsOnTheScheduledProcedureStep=f"{PATIENT} comments",
            retrieve_url=f"{trap.url}/retrieve",
        )
        ups = stack.enter_context(UpsServer(item))
        refusing = free_port()
        server = _refusing_archive(refusing)
        stack.callback(server.shutdown)
        config, ports = _write_config(
            folder,
            quoting=quoting.url,
            leading=leading.url,
            archive=archive,
            ups=ups.url,
            refusing=refusing,
        )
        _add_people(config)
        log = folder / "node.log"
        environment = {
            "TMPDIR": str(folder / "tmp"),
            "PYTHONPATH": str(_ROOT),
            **dict.fromkeys(
                ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY"), trap.url
            ),
            "no_proxy": "",
        }
        program = stack.enter_context(
            Program(
                [sys.executable, "-m", "tests.torture.privacy_node", config],
                log_path=log,
                environment=environment,
                cwd=folder / "cwd",
            )
        )
        for port in ports:
            program.wait_for_port(port, timeout_s=_START_S)
        secret = (folder / "data" / "web-secret").read_text().strip()
        finder = Finder(BIRTH_DATE, secret)
        folders = (folder / "data", folder / "tmp", folder / "cwd", folder / "outbox")
        watch = stack.enter_context(Watch(finder, program.process.pid, folders))
        yield CanaryNode(folder, program, *ports, finder, watch, trap, ups)


def _write_config(
    folder: Path,
    *,
    quoting: str,
    leading: str,
    archive: QrArchive,
    ups: str,
    refusing: int,
) -> tuple[Path, tuple[int, int, int]]:
    ports = free_port(), free_port(), free_port()
    tokens = {"stow": f"canary:{SECRET}", "ups": f"{SECRET}.ups", "oidc": SECRET}
    for name, token in tokens.items():
        path = folder / "secrets" / name
        path.write_text(token)
        path.chmod(0o600)
    said = json.dumps
    secrets = folder / "secrets"
    config = folder / "node.toml"
    config.write_text(
        f"""
[node]
port = {ports[0]}
data_dir = {said(str(folder / "data"))}
quiet_time_s = 0.3
log_level = "DEBUG"
[web]
port = {ports[1]}
organisation = "General Hospital"
[limits]
min_free_bytes = 0
[hl7]
enabled = true
port = {ports[2]}
[oidc]
issuer = {said(leading)}
client_secret_file = {said(str(secrets / "oidc"))}
[ups]
url = {said(ups)}
token_file = {said(str(secrets / "ups"))}
poll_s = 1.0
[[archives]]
name = "priors"
ae_title = "QRSCP"
host = "127.0.0.1"
port = {archive.settings.port}
fetch = ["series", "priors"]
[[archives]]
name = "leading"
kind = "dicomweb"
url = {said(leading)}
fetch = ["reports", "priors"]
[[destinations]]
name = "outbox"
kind = "folder"
folder = {said(str(folder / "outbox"))}
[[destinations]]
name = "quoting"
kind = "stow"
url = {said(quoting)}
token_file = {said(str(secrets / "stow"))}
[[destinations]]
name = "leading"
kind = "stow"
url = {said(leading)}
[[destinations]]
name = "refusing"
ae_title = "REFUSING"
host = "127.0.0.1"
port = {refusing}
commitment = "off"
""",
        encoding="utf-8",
    )
    return config, ports


def _add_people(config: Path) -> None:
    (config.parent / "data").mkdir(mode=0o700)
    before = os.umask(0o077)
    try:
        with Store(load_settings(config, {}).database_url) as store:
            store.migrate()
            for name, role in PEOPLE.items():
                known = hash_password(PASSWORD)
                store.users.add(name, password_hash=known, role=role)
    finally:
        os.umask(before)

"""The node's own page in a real browser: a node with a study, and the page's driver."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.config import DicomPeer, load_settings
from dicom_node.deliver import send_objects
from dicom_node.store import Store
from dicom_node.web.passwords import hash_password
from tests.builders.ohif import VIEWERS
from tests.builders.process import Program, free_port, wait_until

__all__ = ["PASSWORD", "STATIC", "PageNode", "drive_page", "run_page_node"]

STATIC = Path(__file__).parents[2] / "dicom_node" / "web" / "static"
"""The page's modules."""

PASSWORD = "correct horse battery"
"""Of everybody in `PEOPLE`."""

PEOPLE = {"ada": "admin", "eve": "editor", "vic": "viewer"}
"""Who may sign in, and their roles."""

_START_S = 120.0


@dataclass(frozen=True, slots=True)
class PageNode:
    """A running node with a page."""

    url: str
    dicom_port: int
    program: Program

    def send(self, files: Sequence[Path]) -> None:
        """Send files by C-STORE; each must be taken."""
        peer = DicomPeer("node", "GROUNDING", "127.0.0.1", self.dicom_port)
        outcomes = send_objects(files, peer, ae_title="PAGE")
        refused = [one for one in outcomes if not one.is_delivered]
        if refused:
            msg = f"{len(refused)} of {len(outcomes)} objects were refused"
            raise AssertionError(msg)

    def get(self, path: str) -> Any:
        """Ask the REST interface as the administrator."""
        name = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(
            self.url + path, headers={"Authorization": f"Basic {name}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def wait_until_done(self, study_uid: str) -> None:
        """Wait until a study's results are there."""

        def is_done() -> bool:
            self.program.check_alive()
            states = {
                one["study_instance_uid"]: one["state"]
                for one in self.get("/studies")["studies"]
            }
            return states.get(study_uid) == "done"

        wait_until(is_done, timeout_s=_START_S, what=lambda: self.program.tail())


@contextmanager
def run_page_node(folder: Path) -> Iterator[PageNode]:
    """Run a node on loopback while the block lasts: real but for what it finds."""
    dicom_port, web_port = free_port(), free_port()
    (folder / "outbox").mkdir(parents=True)
    config = folder / "node.toml"
    config.write_text(
        f"""
[node]
port = {dicom_port}
data_dir = {json.dumps(str(folder / "data"))}
quiet_time_s = 0.5
[web]
port = {web_port}
organisation = "General Hospital"
[limits]
min_free_bytes = 0
[[rules]]
name = "no-knees"
when = 'BodyPartExamined == "KNEE"'
action = "ignore"
[[rules]]
name = "urgent-abdomen"
when = 'Modality == "CT" and BodyPartExamined == "ABDOMEN"'
priority = "urgent"
[[destinations]]
name = "outbox"
kind = "folder"
folder = {json.dumps(str(folder / "outbox"))}
""",
        encoding="utf-8",
    )
    (folder / "data").mkdir()
    with Store(load_settings(config, {}).database_url) as store:
        store.migrate()
        for name, role in PEOPLE.items():
            store.users.add(name, password_hash=hash_password(PASSWORD), role=role)
    command = [sys.executable, "-m", "tests.builders.page_node", str(config)]
    root = Path(__file__).parents[2]
    with Program(command, log_path=folder / "node.log", cwd=root) as program:
        program.wait_for_port(dicom_port, timeout_s=_START_S)
        program.wait_for_port(web_port, timeout_s=_START_S)
        yield PageNode(f"http://127.0.0.1:{web_port}", dicom_port, program)
        status = program.stop()
        if status:
            msg = f"the node ended with {status}\n{program.tail()}"
            raise AssertionError(msg)


def drive_page(
    task: Mapping[str, Any],
    *,
    folder: Path,
    driver: str = "page.mjs",
    timeout_s: float = 300.0,
) -> dict[str, Any]:
    """Run a driver on a task and return what it saw; pictures go to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(
        ["node", VIEWERS / driver],
        input=json.dumps({**task, "folder": str(folder)}),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd=VIEWERS,
    )
    if result.returncode:
        msg = f"the page driver ended with {result.returncode}\n{result.stderr[-6000:]}"
        raise AssertionError(msg)
    seen: dict[str, Any] = json.loads(result.stdout)
    return seen

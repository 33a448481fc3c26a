"""The doors that a data set can come in by: C-STORE, STOW-RS and files."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from dicom_node.config import load_settings
from dicom_node.header import is_uid
from dicom_node.instance_file import file_meta, instance_hash
from dicom_node.store import Store
from dicom_node.web.passwords import hash_password
from tests.builders.raw_peer import (
    RawPeer,
    associate_request,
    command_set,
    p_data,
)
from tests.torture.data_attacks import Attack
from tests.torture.nodes import WatchedNode

__all__ = ["Answer", "Web", "is_allowed", "is_kept_as_sent", "store_all"]

_PDU_BYTES = 131_072
_CONTEXTS = 128
_PASSWORD = "a long enough password"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a door said; ``status`` is that of C-STORE or the reason of STOW-RS."""

    attack: Attack
    status: int


def is_allowed(status: int) -> bool:
    """Return whether a status is one that this node gives: 0000, A7xx, A9xx, Cxxx."""
    return status == 0 or status & 0xFF00 in (0xA700, 0xA900) or status >> 12 == 0xC


def is_kept_as_sent(data_dir: Path, attack: Attack) -> bool:
    """Return whether an instance lies there, byte by byte, behind our own preamble."""
    uids = {
        "sop_class_uid": attack.sop_class_uid,
        "sop_instance_uid": attack.sop_instance_uid,
        "transfer_syntax_uid": attack.transfer_syntax_uid,
    }
    digest = instance_hash(**uids)
    digest.update(attack.data)
    name = digest.hexdigest()
    path = data_dir / "instances" / name[:2] / f"{name}.dcm"
    preamble = f"dicom-node sha256:{name}".encode().ljust(128, b"\0")
    kept = preamble + file_meta(**uids)[128:] + attack.data
    return path.exists() and path.read_bytes() == kept


def store_all(port: int, cases: Iterable[Attack]) -> list[Answer]:
    """Send each by C-STORE over one association after another.

    Raises
    ------
    AssertionError
        An association ended although nothing of it was wrong but the data sets.

    """
    answers: list[Answer] = []
    waiting = list(cases)
    kinds = sorted({(one.sop_class_uid, one.transfer_syntax_uid) for one in waiting})
    for start in range(0, len(kinds), _CONTEXTS):
        ids = {
            kind: 2 * number + 1
            for number, kind in enumerate(kinds[start : start + _CONTEXTS])
        }
        with RawPeer(port, timeout_s=60.0) as peer:
            accepted = _associate(peer, ids)
            for one in waiting:
                kind = (one.sop_class_uid, one.transfer_syntax_uid)
                if ids.get(kind) in accepted:
                    answers.append(Answer(one, _store(peer, one, ids[kind])))
            assert peer.release() == 6
    return answers


def _associate(peer: RawPeer, ids: dict[tuple[str, str], int]) -> set[int]:
    peer.send(
        associate_request(
            [(number, kind[0], [kind[1]]) for kind, number in ids.items()],
            max_pdu=_PDU_BYTES,
        )
    )
    kind, body = peer.read_pdu()
    assert kind == 2, kind
    accepted, at = set(), 68
    while at < len(body):
        length = int.from_bytes(body[at + 2 : at + 4], "big")
        if body[at] == 0x21 and body[at + 6] == 0:
            accepted.add(body[at + 4])
        at += 4 + length
    return accepted


def _store(peer: RawPeer, one: Attack, context_id: int) -> int:
    uid = one.sop_instance_uid.encode("utf-8").decode("latin-1")
    command = command_set(1, sop_class=one.sop_class_uid, sop_instance=uid)
    peer.send(
        p_data(command, is_command=True, context_id=context_id)
        + p_data(one.data, context_id=context_id, pdu_bytes=_PDU_BYTES)
    )
    return peer.response().status


@dataclass
class Web:
    """The node's web interface, asked as somebody who may store."""

    node: WatchedNode
    failures: list[str] = field(default_factory=list)
    """Addresses that answered with a server error."""

    def __post_init__(self) -> None:
        settings = load_settings(self.node.data_dir.parent / "node.toml", {})
        with Store(settings.database_url) as store:
            store.users.add(
                "fuzzer", password_hash=hash_password(_PASSWORD), role="editor"
            )
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", self.node.web_port, timeout=60
        )
        token = base64.b64encode(f"fuzzer:{_PASSWORD}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def get(self, path: str) -> bytes:
        """Ask for an address; note a server error."""
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status >= 500:
            self.failures.append(f"{answer.status} {path}")
        return body

    def store(self, cases: Sequence[Attack], *, preamble: bytes = b"") -> list[Answer]:
        """Send files by STOW-RS, one request; return what became of each."""
        boundary = "==fuzz=="
        body = b"".join(
            f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            + preamble.ljust(128, b"\0")[:128]
            + file_meta(
                sop_class_uid=one.sop_class_uid,
                sop_instance_uid=one.sop_instance_uid,
                transfer_syntax_uid=one.transfer_syntax_uid,
            )[128:]
            + one.data
            + b"\r\n"
            for one in cases
        )
        self._connection.request(
            "POST",
            "/dicom-web/studies",
            body + f"--{boundary}--\r\n".encode(),
            {
                **self._headers,
                "Accept": "application/dicom+json",
                "Content-Type": "multipart/related; "
                f'type="application/dicom"; boundary="{boundary}"',
            },
        )
        answer = self._connection.getresponse()
        told = answer.read()
        if answer.status not in (200, 202, 409):
            self.failures.append(f"{answer.status} by STOW-RS")
            return []
        return _read_answers(cases, json.loads(told))

    def show(self, study_instance_uid: str) -> None:
        """Ask for all that shows a study."""
        uid = quote(study_instance_uid)
        for path in (
            f"/dicom-web/studies/{uid}/metadata",
            f"/dicom-web/studies/{uid}/series",
            f"/dicom-web/studies/{uid}/instances?includefield=all",
            f"/studies/{uid}",
            f"/studies/{uid}/findings",
        ):
            self.get(path)


def _read_answers(cases: Sequence[Attack], told: dict[str, object]) -> list[Answer]:
    failed: dict[str, int] = {}
    for item in _items(told, "00081198"):
        uid = item["00081155"]["Value"][0]
        failed[uid] = item["00081197"]["Value"][0]
    stored = {item["00081155"]["Value"][0] for item in _items(told, "00081199")}
    unnamed = iter(_items(told, "0008119A"))
    answers = []
    for one in cases:
        uid = one.sop_instance_uid
        if uid in failed:
            answers.append(Answer(one, failed[uid]))
        elif uid in stored:
            answers.append(Answer(one, 0))
        elif not is_uid(uid):
            answers.append(Answer(one, next(unnamed)["00081197"]["Value"][0]))
        else:
            answers.append(Answer(one, -1))
    return answers


def _items(told: dict[str, object], tag: str) -> list[dict[str, dict[str, list]]]:  # type: ignore[type-arg]
    return told.get(tag, {}).get("Value", [])  # type: ignore[attr-defined, no-any-return]

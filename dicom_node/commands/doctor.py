"""`dicom-node doctor`: is this set-up going to work, in plain words."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dicom_node.atna import check_repository
from dicom_node.commands.keep_house import look_at_space
from dicom_node.config import NodeSettings
from dicom_node.deliver import check, echo
from dicom_node.errors import (
    AuditError,
    DeliveryError,
    NodeError,
    RetrieveError,
    RuleError,
    SettingsError,
    StoreError,
)
from dicom_node.grounding.worker import GroundingWorker
from dicom_node.reconcile import describe_trouble
from dicom_node.retrieve import check_archive
from dicom_node.rules import RuleBook
from dicom_node.service import LOCK_FILE
from dicom_node.service.guard import SOON_DAYS
from dicom_node.store import Store
from dicom_node.store.migration import REVISION
from dicom_node.tls import (
    ServerFiles,
    certificates_of,
    is_readable_by_others,
    server_context,
    valid_until,
)
from dicom_node.wording import counted

__all__ = ["DoctorFinding", "examine"]


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One thing that was looked at, and what was seen."""

    is_good: bool
    text: str


def examine(settings: NodeSettings) -> Iterator[DoctorFinding]:
    """Look at the folder, database, ports, callers, destinations and model.

    Parameters
    ----------
    settings : NodeSettings
        The set-up to examine. Nothing is changed but for the data folder and the
        tables of the database, which are made where there are none.

    Yields
    ------
    DoctorFinding
        Each as it is seen: a peer that is away takes its time.

    Raises
    ------
    SettingsError
        ``node.database_url`` names nothing that could be a database.

    """
    for look in (
        _folder,
        _database,
        _retention,
        _ports,
        _callers,
        _hl7,
        _certificates,
        _secrets,
        _destinations,
        _archives,
        _remotes,
        _audit,
        _rules,
        _model,
    ):
        yield from look(settings)


def _folder(settings: NodeSettings) -> Iterator[DoctorFinding]:
    folder = settings.node.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".doctor"
        probe.write_bytes(b"ok")
        probe.unlink()
    except OSError as error:
        yield DoctorFinding(False, f"data folder {folder}: {error.strerror}")
        return
    free = shutil.disk_usage(folder).free
    enough = free > settings.limits.min_free_bytes
    text = f"data folder {folder} is writable, {free >> 30} GiB free"
    if not enough:
        text += ": below limits.min_free_bytes, so instances would be refused"
    yield DoctorFinding(enough, text)


def _database(settings: NodeSettings) -> Iterator[DoctorFinding]:
    kind = settings.database_url.partition(":")[0]
    try:
        with Store(settings.database_url) as store:
            revision = store.make_tables()
            if revision != REVISION:
                yield DoctorFinding(
                    True,
                    f"database ({kind}) answers; its tables are of an older version "
                    f"({revision}), which the next start brings to {REVISION}: "
                    "afterwards only a backup leads back",
                )
                return
            refusals = store.commitments.refusals()
            trouble = describe_trouble(store.last_reconciled())
    except SettingsError as error:
        if settings.node.database_url:
            raise  # the setting itself cannot be used: no finding, but bad usage
        yield DoctorFinding(False, f"database ({kind}): {error}")
        return
    except StoreError as error:
        yield DoctorFinding(False, f"database ({kind}): {error}")
        return
    yield DoctorFinding(True, f"database ({kind}) answers and has the current schema")
    if trouble is not None:
        yield DoctorFinding(False, f"files, at the last start: {trouble}")
    for name, (reason, count) in sorted(refusals.items()):
        yield DoctorFinding(
            False,
            f"destination {name} has stored {counted(count, 'result', 'results')} and "
            "does not say that it "
            f"commits: {reason}. Let it know this node (AE title, host, port), or set "
            'commitment = "off"',
        )


def _retention(settings: NodeSettings) -> Iterator[DoctorFinding]:
    if settings.retention.high_water is None:
        return
    try:
        trouble = look_at_space(settings)
    except NodeError:
        return  # the database says so
    yield DoctorFinding(
        trouble is None, trouble or "the disk is below its high water mark, or will be"
    )


def _ports(settings: NodeSettings) -> Iterator[DoctorFinding]:
    node = settings.node
    if _is_running(settings):
        ports = [node.port] if node.plain else []
        ports += [settings.dicom_tls.port] if settings.dicom_tls.enabled else []
        where = " and ".join(f"{node.host}:{port}" for port in ports)
        yield DoctorFinding(True, f"the node is running on {where}")
        return
    wanted = [("DICOM", node.host, node.port)] if node.plain else []
    if settings.dicom_tls.enabled:
        wanted.append(("DICOM TLS", node.host, settings.dicom_tls.port))
    if settings.web.enabled:
        wanted.append(("web", settings.web.host, settings.web.port))
    if settings.hl7.enabled:
        wanted.append(("HL7", settings.hl7.host, settings.hl7.port))
    for name, host, port in wanted:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind((host, port))
            except OSError as error:
                yield DoctorFinding(
                    False, f"{name} port {host}:{port}: {error.strerror}"
                )
            else:
                yield DoctorFinding(True, f"{name} port {host}:{port} is free")


def _is_running(settings: NodeSettings) -> bool:
    """Whether a node holds the lock of the data folder."""
    lock = settings.node.data_dir / LOCK_FILE
    if not lock.exists():
        return False
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _callers(settings: NodeSettings) -> Iterator[DoctorFinding]:
    loopback = settings.node.host in {"127.0.0.1", "::1", "localhost"}
    elsewhere = [
        one
        for one in settings.callers
        if not ipaddress.ip_network(one.address, strict=False).is_loopback
    ]
    if settings.callers:
        what = counted(len(settings.callers), "caller", "callers")
        yield DoctorFinding(True, f"{what} may associate")
        if loopback and elsewhere:
            yield DoctorFinding(
                False,
                f"the node listens on {settings.node.host} only, so callers on other "
                'hosts cannot reach it: set node.host = "0.0.0.0"',
            )
    elif loopback:
        yield DoctorFinding(True, "no callers listed: only this machine may associate")
    else:
        yield DoctorFinding(
            False, "no callers listed: only this machine may associate; list the PACS"
        )


def _hl7(settings: NodeSettings) -> Iterator[DoctorFinding]:
    if not settings.hl7.enabled:
        return
    count = len(settings.hl7.callers)
    who = counted(count, "network", "networks") if count else "only this machine"
    yield DoctorFinding(True, f"HL7: {who} may send reports")


def _certificates(settings: NodeSettings) -> Iterator[DoctorFinding]:
    for table in (settings.dicom_tls, settings.hl7, settings.web):
        files = ServerFiles.of(table) if table.enabled else None
        if files is None:
            continue
        try:
            server_context(files)
        except SettingsError as error:
            yield DoctorFinding(False, str(error))
    for one in certificates_of(settings):
        try:
            ends = valid_until(one)
        except SettingsError as error:
            yield DoctorFinding(False, str(error))
            continue
        now = datetime.now(UTC)
        what = "certificate" if one.private_key else "list"
        is_good = ends > now
        # A list is made anew every few days.
        is_ending = one.private_key and ends < now + timedelta(days=SOON_DAYS)
        said = "is valid until" if is_good else "has expired on"
        yield DoctorFinding(
            is_good and not is_ending,
            f"{one.use} {what} {one.path} {said} {ends:%Y-%m-%d}",
        )
        if one.private_key is not None and is_readable_by_others(one.private_key):
            yield DoctorFinding(
                False,
                f"{one.use}.private_key {one.private_key}: every user of this machine "
                "may read it: chmod o-r, and give it to the node's user or group",
            )


def _secrets(settings: NodeSettings) -> Iterator[DoctorFinding]:
    files = {
        "node.database_password_file": settings.node.database_password_file,
        "oidc.client_secret_file": settings.oidc.client_secret_file,
        "ups.token_file": settings.ups.token_file,
        **{
            f"destination {one.name} token_file": one.token_file
            for one in settings.destinations
        },
        **{
            f"archive {one.name} token_file": one.token_file
            for one in settings.archives
        },
    }
    for use, path in files.items():
        who = None if path is None else _who_else_reads(path)
        if who is not None:
            yield DoctorFinding(False, f"{use} {path}: {who} may read it: chmod 600")


def _who_else_reads(path: Path) -> str | None:
    try:
        found = path.stat()
    except OSError:
        return None  # whoever needs it says so
    if found.st_mode & stat.S_IROTH:
        return "every user of this machine"
    # By its group a file of somebody else's is lent to the node.
    is_own = found.st_uid == os.geteuid()
    return "its group" if is_own and found.st_mode & stat.S_IRGRP else None


def _destinations(settings: NodeSettings) -> Iterator[DoctorFinding]:
    if not settings.destinations:
        yield DoctorFinding(True, "no destinations listed: results stay in data_dir")
    for one in settings.destinations:
        where = {
            "dimse": f"{one.ae_title}@{one.host}:{one.port}",
            "stow": one.url,
            "folder": one.folder,
        }[one.kind]
        about = f"destination {one.name} ({where})"
        try:
            sign = check(one, ae_title=settings.node.ae_title)
        except (DeliveryError, SettingsError) as error:
            yield DoctorFinding(False, f"{about}: {error}")
        else:
            yield DoctorFinding(True, f"{about} {sign}")
        may_report = not settings.callers or one.ae_title in {
            caller.ae_title for caller in settings.callers
        }
        if one.kind == "dimse" and one.commitment != "off" and not may_report:
            yield DoctorFinding(
                False,
                f"destination {one.name}: its reports on commitment are refused where "
                f"they come on an association of their own: list {one.ae_title} as a "
                'caller, or set commitment = "off"',
            )


def _archives(settings: NodeSettings) -> Iterator[DoctorFinding]:
    for one in settings.archives:
        where = one.url or f"{one.ae_title}@{one.host}:{one.port}"
        about = f"archive {one.name} ({where})"
        try:
            sign = check_archive(one, ae_title=settings.node.ae_title)
        except (RetrieveError, SettingsError) as error:
            yield DoctorFinding(False, f"{about}: {error}")
        else:
            yield DoctorFinding(True, f"{about} {sign}")


def _remotes(settings: NodeSettings) -> Iterator[DoctorFinding]:
    for one in settings.remotes:
        about = f"remote {one.name} ({one.ae_title}@{one.host}:{one.port})"
        try:
            echo(one.peer, ae_title=settings.node.ae_title)
        except (DeliveryError, SettingsError) as error:
            yield DoctorFinding(False, f"{about}: {error}")
        else:
            yield DoctorFinding(True, f"{about} answers C-ECHO")


def _audit(settings: NodeSettings) -> Iterator[DoctorFinding]:
    audit = settings.audit
    if audit.file is not None:
        folder = audit.file.parent
        is_good = folder.is_dir() and os.access(folder, os.W_OK)
        sign = "can be written" if is_good else "its folder cannot be written"
        yield DoctorFinding(is_good, f"audit file {audit.file}: {sign}")
    if audit.host is not None:
        about = f"audit repository {audit.host}:{audit.port}"
        try:
            sign = check_repository(audit)
        except (AuditError, SettingsError) as error:
            yield DoctorFinding(False, str(error))
        else:
            yield DoctorFinding(True, f"{about} {sign}")


def _rules(settings: NodeSettings) -> Iterator[DoctorFinding]:
    try:
        RuleBook(settings.rules)
    except RuleError as error:
        yield DoctorFinding(False, str(error))
        return
    if settings.rules:
        yield DoctorFinding(
            True, counted(len(settings.rules), "rule is", "rules are") + " understood"
        )


def _model(settings: NodeSettings) -> Iterator[DoctorFinding]:
    try:
        with GroundingWorker(settings.model) as worker:
            identity = worker.identity
    except NodeError as error:
        yield DoctorFinding(False, f"model: {error}")
        return
    yield DoctorFinding(
        True,
        f"model {identity.name} {identity.version} loads (sha256 {identity.sha256})",
    )

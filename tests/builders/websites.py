"""The web application over a store of its own, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from dicom_node.config import NodeSettings
from dicom_node.config.peers import Role
from dicom_node.grounding.grounder import ModelIdentity
from dicom_node.store import Store
from dicom_node.web import HealthReport
from dicom_node.web.app import make_app
from dicom_node.web.parts import NodeNumbers, WebParts, make_parts
from dicom_node.web.passwords import hash_password
from tests.builders.stores import NOON

__all__ = ["NUMBERS", "PASSWORD", "Site", "open_site"]

PASSWORD = "a long enough password"
"""Of every user that a test adds."""

NUMBERS = NodeNumbers(
    started_at=NOON,
    model=ModelIdentity("model", "1", "abc"),
    model_trouble=None,
    associations_open=2,
    associations_accepted=7,
    associations_rejected=4,
)
"""What the node says of itself."""

_HASH: list[str] = []


@dataclass
class Site:
    """A web application and what it stands on."""

    app: FastAPI
    parts: WebParts
    store: Store
    data_dir: Path

    def client(
        self,
        user: str | None = None,
        *,
        address: str = "127.0.0.1",
        host: str = "127.0.0.1:8042",
    ) -> TestClient:
        """Return a client; with a name, it signs every request with its password."""
        client = TestClient(
            self.app,
            base_url=f"http://{host}",
            client=(address, 50_000),
            raise_server_exceptions=True,
        )
        if user is not None:
            client.auth = (user, PASSWORD)
        return client

    def add_user(self, name: str, role: Role) -> None:
        """Add a user with `PASSWORD`."""
        if not _HASH:
            _HASH.append(hash_password(PASSWORD))
        self.store.users.add(name, password_hash=_HASH[0], role=role)


@contextmanager
def open_site(
    folder: Path,
    *,
    problems: dict[str, str] | None = None,
    registry: CollectorRegistry | None = None,
    **sections: Any,
) -> Iterator[Site]:
    """Open a web application whose data lies in a folder; ``sections`` are settings."""
    settings = NodeSettings.model_validate({"node": {"data_dir": folder}, **sections})
    report = HealthReport(checks=("disk", "worker"), problems=problems or {})
    with Store(settings.database_url) as store:
        store.migrate()
        parts = make_parts(
            settings,
            store,
            examine=lambda: report,
            registry=registry or CollectorRegistry(),
            node=lambda: NUMBERS,
        )
        yield Site(make_app(parts), parts, store, folder)
        parts.close()
